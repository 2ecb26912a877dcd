import { graph, type Network, type TensorData } from 'torchvid'
import { expect, test } from 'vitest'
import { normalise, statistics } from '../helpers/reference.ts'
import { expectClose, noise, withNetwork } from '../helpers/tensors.ts'

/** Random gamma, beta and running statistics, written to the network; as the reference wants them. */
async function fill(network: Network, name: string, channels: number) {
  const values = {
    weight: noise([channels], 11),
    bias: noise([channels], 12),
    running_mean: noise([channels], 13),
    running_var: noise([channels], 14),
  }
  values.running_var.data.forEach((value, i) => {
    values.running_var.data[i] = 1 + value / 2
  })
  for (const [leaf, tensor] of Object.entries(values)) await network.handle.write(`${name}.${leaf}`, tensor)
  return Array.from({ length: channels }, (_, k) => ({
    gamma: values.weight.data[k]!,
    beta: values.bias.data[k]!,
    mean: values.running_mean.data[k]!,
    variance: values.running_var.data[k]!,
  }))
}

const layer = (options: graph.BatchNormOptions = {}) =>
  graph.build({ y: graph.batchNorm(graph.input('x', [null, 3, null, null]), { ...options, name: 'bn' }) })

test('at inference: the running statistics, unchanged by it', async () => {
  const x = noise([2, 3, 4, 5], 1)
  await withNetwork(layer({ epsilon: 1e-3 }), async (network) => {
    const channels = await fill(network, 'bn', 3)
    const { y } = await network.forward({ x })
    expectClose(y, normalise(x, channels, 1e-3))
    expect([...(await network.tensor('bn.running_mean')).data]).toEqual(channels.map(({ mean }) => mean))
    expect((await network.tensor('bn.num_batches_tracked')).data[0]).toBe(0n)
  })
})

test("in training: the batch's statistics, and the running ones move towards them", async () => {
  const x = noise([2, 3, 4, 5], 2)
  await withNetwork(layer({ momentum: 0.25 }), async (network) => {
    const channels = await fill(network, 'bn', 3)
    const batch = statistics(x)
    const { y } = await network.forward({ x }, { training: true })
    expectClose(
      y,
      normalise(
        x,
        channels.map((c, k) => ({ ...c, mean: batch[k]!.mean, variance: batch[k]!.variance })),
      ),
    )
    const moved = (old: number, now: number) => 0.75 * old + 0.25 * now
    const column = (values: number[]): TensorData => ({ data: Float32Array.from(values), shape: [3] })
    expectClose(await network.tensor('bn.running_mean'), column(channels.map((c, k) => moved(c.mean, batch[k]!.mean))))
    expectClose(
      await network.tensor('bn.running_var'),
      column(channels.map((c, k) => moved(c.variance, batch[k]!.unbiased))),
    )
    expect((await network.tensor('bn.num_batches_tracked')).data[0]).toBe(1n)
  })
})

test('the next inference uses the statistics that training moved', async () => {
  const x = noise([2, 3, 4, 4], 3)
  const conv = graph.conv(graph.input('x', [null, 3, null, null]), { out: 3, kernel: 1, bias: false, name: 'c' })
  await withNetwork(graph.build({ y: graph.batchNorm(conv, { name: 'bn' }) }), async (network) => {
    const before = (await network.forward({ x })).y!
    await network.forward({ x }, { training: true })
    const after = (await network.forward({ x })).y!
    await network.handle.write('bn.running_mean', { data: new Float32Array(3), shape: [3] })
    await network.handle.write('bn.running_var', { data: new Float32Array(3).fill(1), shape: [3] })
    const reset = (await network.forward({ x })).y!
    expect([...after.data]).not.toEqual([...before.data])
    expectClose(reset, before, 0)
  })
})

test('fixedStatistics: training computes as inference, and moves nothing', async () => {
  const x = noise([2, 3, 4, 5], 4)
  await withNetwork(layer({ fixedStatistics: true }), async (network) => {
    const channels = await fill(network, 'bn', 3)
    const { y } = await network.forward({ x }, { training: true })
    expectClose(y, normalise(x, channels))
    expect([...(await network.tensor('bn.running_mean')).data]).toEqual(channels.map(({ mean }) => mean))
  })
})

test.each([
  ['conv', [2, 3, 5, 5], (x: graph.Value) => graph.conv(x, { out: 3, kernel: 3, name: 'c' })],
  ['conv without bias', [2, 3, 5, 5], (x: graph.Value) => graph.conv(x, { out: 3, kernel: 3, bias: false, name: 'c' })],
  ['depthwise conv', [2, 3, 5, 5], (x: graph.Value) => graph.conv(x, { out: 3, kernel: 3, groups: 3, name: 'c' })],
  [
    'convTranspose',
    [2, 3, 5, 5],
    (x: graph.Value) => graph.convTranspose(x, { out: 3, kernel: 2, stride: 2, name: 'c' }),
  ],
  ['linear', [4, 3], (x: graph.Value) => graph.linear(x, { out: 3, name: 'c' })],
  // Here the norm's channels are dimension 1, and the linear layer's outputs the last one.
  ['linear over sequences', [2, 3, 3], (x: graph.Value) => graph.linear(x, { in: 3, out: 3, name: 'c' })],
])('folding keeps the function: %s, then batchNorm', async (_, shape, make) => {
  const x = noise(shape, 5)
  const inside = make(
    graph.input(
      'x',
      shape.map((size, i) => (i === 0 ? null : size)),
    ),
  )
  const folded = graph.build({ y: graph.batchNorm(inside, { name: 'bn' }) })
  const apart = graph.build({ y: graph.batchNorm(inside, { name: 'bn' }), inside })
  const channels = await withNetwork(folded, async (network) => {
    const values = await fill(network, 'bn', 3)
    const { y } = await network.forward({ x })
    return { values, y }
  })
  await withNetwork(apart, async (network) => {
    await fill(network, 'bn', 3)
    const out = await network.forward({ x }) // the inner value is an output too: nothing can be folded
    expectClose(out.y, normalise(out.inside!, channels.values))
    expectClose(channels.y, out.y!)
  })
})

test('folding leaves alone a value that has another reader', async () => {
  const c = graph.conv(graph.input('x', [null, 3, null, null]), { out: 3, kernel: 1, name: 'c' })
  const net = graph.build({ y: graph.add([graph.batchNorm(c, { name: 'bn' }), c]), c })
  const x = noise([1, 3, 4, 4], 6)
  await withNetwork(net, async (network) => {
    const channels = await fill(network, 'bn', 3)
    const only = (await network.forward({ x }, { outputs: ['y'] })).y!
    const inside = (await network.forward({ x }, { outputs: ['c'] })).c!
    const wanted = normalise(inside, channels)
    wanted.data.forEach((value, i) => {
      wanted.data[i] = value + Number(inside.data[i])
    })
    expectClose(only, wanted)
  })
})
