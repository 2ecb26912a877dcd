import { graph, type Network, networks, type TensorData } from 'torchvid'
import { expect, test } from 'vitest'
import * as reference from '../helpers/reference.ts'
import { expectClose, noise, relative, withNetwork } from '../helpers/tensors.ts'

type Floats = TensorData & { data: Float32Array }

/** The rewrites and the other memory layout begin at 32768 pixels. */
const large = { height: 160, width: 208 }
const read = async (network: Network, name: string) => (await network.tensor(name)) as Floats

/** Gives every parameter values that matter; upsampling stays bilinear. */
async function randomise(network: Network, scale: number): Promise<void> {
  for (const [i, { name, shape, trainable }] of network.parameters().entries()) {
    if (!trainable) continue
    const value = noise(shape, i)
    const fan = shape.length > 1 ? shape.slice(1).reduce((a, b) => a * b, 1) : 1
    value.data.forEach((v, k) => {
      value.data[k] = (v * scale) / Math.sqrt(fan)
    })
    await network.handle.write(name, value)
  }
}

/** OSVOS's head on a small trunk, with odd sizes so that every crop has something to cut. */
function head(options: { joinedToo?: boolean; frozen?: boolean; bias?: boolean; out?: number } = {}): graph.Graph {
  const { joinedToo = false, frozen = true, bias = true, out = 1 } = options
  const image = graph.input('image', [null, 3, null, null])
  const taps = [2, 4].map((stride) => {
    const side = graph.conv(graph.maxPool(image, { kernel: stride, ceil: true }), {
      out: 4,
      kernel: 3,
      padding: 1,
      name: `side.${stride}`,
    })
    const init = { weight: { distribution: 'bilinear' as const } }
    return graph.crop(
      graph.convTranspose(side, {
        out: 4,
        kernel: 2 * stride,
        stride,
        bias: false,
        frozen,
        init,
        name: `up.${stride}`,
      }),
      image,
    )
  })
  const joined = graph.concat(taps)
  return graph.build({ fuse: graph.conv(joined, { out, kernel: 1, bias, name: 'fuse' }), ...(joinedToo && { joined }) })
}

test.each([
  ['as OSVOS has it', {}],
  ['without a bias', { bias: false }],
  ['three outputs', { out: 3 }],
  ['upsampling that is trained', { frozen: false }],
])('a pointwise layer moved before the upsampling computes the same: %s', async (_, options) => {
  const { height, width } = large
  const image = noise([1, 3, height - 3, width + 5], 3)
  const rewritten = await withNetwork(head(options), async (network) => (await network.forward({ image })).fuse!, {
    seed: 5,
  })
  // Here the joined maps are an output too, so nothing can be moved; and they give the fused map by hand.
  await withNetwork(
    head({ ...options, joinedToo: true }),
    async (network) => {
      const out = await network.forward({ image })
      expectClose(rewritten, out.fuse!, 1e-5)
      const bias = options && 'bias' in options ? undefined : (await read(network, 'fuse.bias')).data
      expectClose(rewritten, reference.conv(out.joined as Floats, await read(network, 'fuse.weight'), bias), 1e-5)
    },
    { seed: 5 },
  )
})

test('upsampling that is no longer bilinear on the diagonal is not moved', async () => {
  const image = noise([1, 3, large.height, large.width], 4)
  const both = [head(), head({ joinedToo: true })].map((net) =>
    withNetwork(
      net,
      async (network) => {
        await network.handle.write('up.2.weight', noise([4, 4, 4, 4], 6))
        return (await network.forward({ image })).fuse!
      },
      { seed: 5 },
    ),
  )
  const [one, other] = await Promise.all(both)
  expectClose(one, other!, 1e-5)
})

test('weights written after a run count in the next one', async () => {
  const image = noise([1, 3, large.height, large.width], 4)
  await withNetwork(head(), async (network) => {
    const before = (await network.forward({ image })).fuse!
    const weight = await read(network, 'fuse.weight')
    const bias = await read(network, 'fuse.bias')
    await network.handle.write('fuse.weight', { data: weight.data.map((v) => 2 * v), shape: weight.shape })
    await network.handle.write('fuse.bias', { data: bias.data.map((v) => 2 * v), shape: bias.shape })
    const after = (await network.forward({ image })).fuse!
    expectClose(after, { data: (before.data as Float32Array).map((v) => 2 * v), shape: before.shape }, 1e-6)
  })
})

test.each(['vgg16', 'mobilenet'] as const)(
  'osvos %s, large: fuse alone is fuse among all outputs, and by hand',
  async (backbone) => {
    const net = networks.osvos({ backbone })
    const [height, width] = [163, 203]
    const image = noise([1, 3, height, width], 5)
    const joined = net.nodes.find(({ op }) => op === 'concat')!
    const open = { ...net, outputs: { ...net.outputs, joined: joined.name } } // blocks the rewrite
    await withNetwork(open, async (network) => {
      await randomise(network, 1.5)
      const all = await network.forward({ image })
      const fuse = reference.conv(
        all.joined as Floats,
        await read(network, 'fuse.weight'),
        (await read(network, 'fuse.bias')).data,
      )
      expectClose(all.fuse, fuse, 1e-5)
      const alone = (await network.forward({ image }, { outputs: ['fuse'] })).fuse!
      expectClose(alone, all.fuse!, 1e-5)
      expect(Math.max(...(alone.data as Float32Array)) - Math.min(...(alone.data as Float32Array))).toBeGreaterThan(
        1e-3,
      )
    })
  },
)

test('a batch gives what its pictures give one by one, over and under the size at which the layout changes', async () => {
  const net = networks.osvos({ backbone: 'mobilenet' })
  await withNetwork(net, async (network) => {
    const shape = [3, 96, 128] // 12288 pixels each: three are large, one is not
    const image = noise([3, ...shape], 7)
    const all = (await network.forward({ image }, { outputs: ['fuse'] })).fuse!
    const size = 96 * 128
    for (let i = 0; i < 3; i++) {
      const one = { data: image.data.slice(i * 3 * size, (i + 1) * 3 * size), shape: [1, ...shape] }
      const { fuse } = await network.forward({ image: one }, { outputs: ['fuse'] })
      expect(relative((all.data as Float32Array).slice(i * size, (i + 1) * size), fuse!.data)).toBeLessThan(1e-4)
    }
  })
})

test('values live until their last reader: outputs that others build on, twice-named and straight from the input', async () => {
  const x = graph.input('x', [null, 2, null, null])
  const a = graph.conv(x, {
    out: 2,
    kernel: 1,
    bias: false,
    init: { weight: { distribution: 'constant', value: 1 } },
    name: 'a',
  })
  const b = graph.relu(a, { name: 'b' })
  const c = graph.add([b, a], { name: 'c' })
  const d = graph.relu(c, { name: 'd' })
  const net = graph.build({ a, b, again: b, d, x })
  const input = noise([1, 2, 4, 4], 8)
  const sum = reference.map4([1, 2, 4, 4], (_, __, y, q) => input.data[y * 4 + q]! + input.data[16 + y * 4 + q]!)
  const map = (f: (v: number) => number) => ({ data: sum.data.map(f), shape: sum.shape })
  await withNetwork(net, async (network) => {
    for (let round = 0; round < 2; round++) {
      const out = await network.forward({ x: input })
      expectClose(out.a, sum, 1e-6)
      expectClose(
        out.b,
        map((v) => Math.max(v, 0)),
        1e-6,
      )
      expectClose(out.again, out.b!, 0)
      expectClose(
        out.d,
        map((v) => Math.max(Math.max(v, 0) + v, 0)),
        1e-6,
      )
      expectClose(out.x, input, 0)
    }
    const alone = await network.forward({ x: input }, { outputs: ['d', 'd', 'a'] })
    expectClose(
      alone.d,
      map((v) => Math.max(Math.max(v, 0) + v, 0)),
      1e-6,
    )
    expectClose(alone.a, sum, 1e-6)
  })
})

test('in place never writes over a value that a view still shows', async () => {
  const x = graph.input('x', [null, 1, null, null])
  const minus = { bias: false, init: { weight: { distribution: 'constant' as const, value: -1 } } }
  const a = graph.conv(x, { out: 1, kernel: 1, ...minus })
  const view = graph.crop(a, graph.input('like', [null, 1, null, null]))
  const net = graph.build({ view, high: graph.relu(a), cut: graph.relu(view), flat: graph.flatten(a) })
  const input = noise([1, 1, 4, 4], 9)
  await withNetwork(net, async (network) => {
    const out = await network.forward({ x: input, like: noise([1, 1, 4, 4]) })
    const negative = input.data.map((v) => -v)
    expect([...out.view!.data]).toEqual([...negative])
    expect([...out.flat!.data]).toEqual([...negative])
    expect([...out.high!.data]).toEqual([...negative.map((v) => Math.max(v, 0))])
    expect([...out.cut!.data]).toEqual([...out.high!.data])
  })
})
