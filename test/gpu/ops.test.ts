import { graph, slim } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { failureOf, scratch } from '../helpers/expect.ts'
import { expectClose, noise, withNetwork } from '../helpers/tensors.ts'
import { randomImages } from '../slim/training.ts'
import { absent, device, floats, norm, note, twins } from './helpers.ts'
import { middles, type OpCase, opCases } from './op-cases.ts'

const folder = scratch()
/** Float32 on both sides; only the order of sums differs. */
const tolerance = 2e-5

test('the cases know every op of the engine', async () => {
  const unknown: graph.Graph = {
    ...graph.build({ y: graph.relu(graph.input('x', [null, 4])) }),
    nodes: [{ op: 'noSuchOp', name: 'a', inputs: ['x'] }],
    outputs: { y: 'a' },
  }
  const { message } = (await failureOf(() => withNetwork(unknown, async () => {}))) as Error
  const ops = message.match(/Ops: (.*)\.$/)?.[1]?.split(', ') as string[]
  expect([...new Set(opCases.map(({ op }) => op))].sort()).toEqual(ops.sort())
})

/** The same on both, in inference and (but for dropout, whose generators differ) with batch statistics. */
async function check({ op, inputs, make, shapes }: OpCase): Promise<void> {
  const values = Object.entries(inputs).map(([name, shape]) => graph.input(name, shape))
  const [cpu, other] = await twins(graph.build(make(...values)), folder)
  for (const shape of shapes) {
    const given = Object.fromEntries(Object.entries(shape).map(([name, size], i) => [name, noise(size, 11 + i)]))
    for (const training of op === 'dropout' ? [false] : [false, true]) {
      const [wanted, got] = [await cpu.forward(given, { training }), await other.forward(given, { training })]
      expect(Object.keys(got)).toEqual(Object.keys(wanted))
      for (const [name, value] of Object.entries(wanted)) expectClose(got[name], value, tolerance)
    }
  }
  for (const network of [cpu, other]) network.dispose()
}

describe.skipIf(absent)(`an op on the device, beside the CPU${note}`, () => {
  test.each(opCases.map((each) => [each.op, each.what, each] as const))('%s %s', async (_, __, each) => {
    await check(each)
  })
})

describe.skipIf(absent)(`gradients through a layer, as one large step of the optimiser shows them${note}`, () => {
  test.each(Object.entries(middles))('%s', async (_, middle) => {
    const image = graph.input('image', [null, 3, 12, 12])
    const before = graph.conv(image, { out: 8, kernel: 3, padding: 1, name: 'before' })
    const after = graph.conv(middle(before), { out: 6, kernel: 1, name: 'after' })
    const net = graph.build({ logits: graph.linear(graph.globalAveragePool(after), { out: 3, name: 'classifier' }) })
    const [cpu, other] = await twins(net, folder)
    const start = await cpu.clone()
    const settings = {
      train: randomImages([6, 3, 12, 12], 3),
      steps: 1,
      batchSize: 6,
      learningRate: 1,
      momentum: 0,
      weightDecay: 0,
      sparsity: 0,
      schedule: 'constant',
      shuffle: false,
      augment: false,
      nesterov: false,
      precision: 'float32',
    } as const
    await slim.train(cpu, { ...settings, device: 'cpu' })
    await slim.train(other, { ...settings, device })
    let moved = 0
    for (const { name, trainable } of start.parameters()) {
      if (!trainable) continue
      const [from, wanted, got] = [await floats(start, name), await floats(cpu, name), await floats(other, name)]
      const gradient = norm(wanted, from)
      moved += gradient
      // A bias that the batch-norm after it undoes has a gradient of rounding alone.
      expect(norm(got, wanted), `${name}: gradient of norm ${gradient}`).toBeLessThanOrEqual(1e-4 * gradient + 1e-6)
    }
    expect(moved).toBeGreaterThan(0)
    for (const network of [start, cpu, other]) network.dispose()
  })
})

test.skipIf(absent)(`dropout on the device: a share is zeroed, the rest scaled, by the seed${note}`, async () => {
  const net = graph.build({ y: graph.dropout(graph.input('x', [null, 5000]), { probability: 0.3 }) })
  const [cpu, other] = await twins(net, folder)
  const x = { data: new Float32Array(5000).fill(1), shape: [1, 5000] }
  const run = async (seed: number) => [...(await other.forward({ x }, { training: true, seed })).y!.data].map(Number)
  const first = await run(1)
  expect(new Set(first)).toEqual(new Set([0, Math.fround(1 / 0.7)]))
  expect(Math.abs(first.filter((value) => value === 0).length / 5000 - 0.3)).toBeLessThan(0.03)
  expect(await run(1)).toEqual(first)
  expect(await run(2)).not.toEqual(first)
  for (const network of [cpu, other]) network.dispose()
})
