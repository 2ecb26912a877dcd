import { graph, type Network, type TensorData } from 'torchvid'
import { expect, test } from 'vitest'
import * as reference from '../helpers/reference.ts'
import { expectClose, noise, tensor, withNetwork } from '../helpers/tensors.ts'

type Floats = TensorData & { data: Float32Array }

const read = async (network: Network, name: string) => (await network.tensor(name)) as Floats

/** Runs one convolution with its random weights; gives what came out and what went in. */
async function convolve(shape: number[], settings: Omit<graph.ConvOptions, 'name'>) {
  const net = graph.build({
    y: graph.conv(graph.input('x', [null, shape[1]!, null, null]), { ...settings, name: 'c' }),
  })
  const x = noise(shape, 3)
  return await withNetwork(net, async (network) => {
    const { y } = await network.forward({ x })
    const bias = settings.bias === false ? undefined : (await read(network, 'c.bias')).data
    return { x, y, weight: await read(network, 'c.weight'), bias }
  })
}

test.each([
  [
    'stride and padding',
    [2, 3, 9, 11],
    { out: 4, kernel: 3, stride: 2, padding: 1 },
    { stride: 2, padding: [1, 1, 1, 1] },
  ],
  ['no bias', [1, 2, 5, 5], { out: 3, kernel: 3, bias: false }, {}],
  ['groups', [1, 4, 6, 7], { out: 6, kernel: 3, groups: 2, padding: 1 }, { groups: 2, padding: [1, 1, 1, 1] }],
  ['depthwise', [1, 5, 6, 6], { out: 5, kernel: 3, groups: 5 }, { groups: 5 }],
  ['dilation', [1, 2, 12, 13], { out: 3, kernel: 3, dilation: 3, padding: 2 }, { dilation: 3, padding: [2, 2, 2, 2] }],
  ['a kernel of two sizes', [1, 2, 6, 8], { out: 2, kernel: [1, 5], padding: [0, 2] }, { padding: [0, 0, 2, 2] }],
  ["'same' at stride 1", [1, 2, 5, 6], { out: 2, kernel: 3, padding: 'same' }, { padding: [1, 1, 1, 1] }],
  // TensorFlow puts the odd zero at the end: an even size takes 0 before and 1 after.
  [
    "'same', stride 2, even size",
    [1, 2, 8, 6],
    { out: 2, kernel: 3, stride: 2, padding: 'same' },
    { stride: 2, padding: [0, 1, 0, 1] },
  ],
  [
    "'same', stride 2, odd size",
    [1, 2, 7, 9],
    { out: 2, kernel: 3, stride: 2, padding: 'same' },
    { stride: 2, padding: [1, 1, 1, 1] },
  ],
  [
    "'same', stride 2, one of each",
    [1, 2, 8, 9],
    { out: 2, kernel: 3, stride: 2, padding: 'same' },
    { stride: 2, padding: [0, 1, 1, 1] },
  ],
  ["'same', even kernel", [1, 1, 5, 5], { out: 1, kernel: 4, padding: 'same' }, { padding: [1, 2, 1, 2] }],
  [
    "'same', dilated",
    [1, 1, 9, 9],
    { out: 1, kernel: 3, dilation: 2, padding: 'same' },
    { dilation: 2, padding: [2, 2, 2, 2] },
  ],
] as [string, number[], graph.ConvOptions, reference.ConvSettings][])(
  'conv: %s',
  async (_, shape, settings, wanted) => {
    const { x, y, weight, bias } = await convolve(shape, settings)
    expectClose(y, reference.conv(x, weight, bias, wanted))
  },
)

test("'same' is padded by the size that arrives, not by the size the graph was checked with", async () => {
  const net = graph.build({
    y: graph.conv(graph.input('x', [null, 1, null, null]), {
      out: 1,
      kernel: 3,
      stride: 2,
      padding: 'same',
      bias: false,
      name: 'c',
    }),
  })
  await withNetwork(net, async (network) => {
    const weight = await read(network, 'c.weight')
    for (const [size, before] of [
      [6, 0],
      [7, 1],
      [6, 0],
    ] as const) {
      const x = noise([1, 1, size, size], size)
      const { y } = await network.forward({ x })
      expectClose(y, reference.conv(x, weight, undefined, { stride: 2, padding: [before, 1, before, 1] }))
    }
  })
})

test.each([
  ['stride 2, kernel 4', [2, 3, 4, 5], { out: 2, kernel: 4, stride: 2 }, 2, 0],
  ['padding', [1, 2, 5, 4], { out: 3, kernel: 4, stride: 2, padding: 1 }, 2, 1],
  ['stride 3, kernel 2: gaps', [1, 2, 3, 3], { out: 2, kernel: 2, stride: 3, bias: false }, 3, 0],
] as [
  string,
  number[],
  { out: number; kernel: number; stride: number; padding?: number; bias?: boolean },
  number,
  number,
][])('convTranspose: %s', async (_, shape, settings, stride, padding) => {
  const net = graph.build({
    y: graph.convTranspose(graph.input('x', [null, shape[1]!, null, null]), { ...settings, name: 'c' }),
  })
  const x = noise(shape, 5)
  await withNetwork(net, async (network) => {
    const bias = settings.bias === false ? undefined : (await read(network, 'c.bias')).data
    const { y } = await network.forward({ x })
    expectClose(y, reference.convTranspose(x, await read(network, 'c.weight'), bias, stride, padding))
  })
})

test('convTranspose: outputPadding adds rows of bias at the end', async () => {
  const net = graph.build({
    y: graph.convTranspose(graph.input('x', [null, 1, null, null]), {
      out: 1,
      kernel: 2,
      stride: 2,
      outputPadding: 1,
      name: 'c',
    }),
  })
  await withNetwork(net, async (network) => {
    const { y } = await network.forward({ x: noise([1, 1, 2, 2]) })
    expect(y?.shape).toEqual([1, 1, 5, 5])
    expect(y?.data[24]).toBe((await read(network, 'c.bias')).data[0])
  })
})

test('conv over one and over three dimensions', async () => {
  const line = graph.conv(graph.input('line', [null, 2, null]), { out: 1, kernel: [3], bias: false, name: 'line_conv' })
  const cube = graph.conv(graph.input('cube', [null, 1, null, null, null]), {
    out: 1,
    kernel: [2, 2, 2],
    bias: false,
    name: 'cube_conv',
  })
  await withNetwork(graph.build({ line, cube }), async (network) => {
    const inputs = { line: noise([1, 2, 5], 1), cube: noise([1, 1, 2, 2, 2], 2) }
    const out = await network.forward(inputs)
    const [w1, w3] = [await read(network, 'line_conv.weight'), await read(network, 'cube_conv.weight')]
    const flat = (t: Floats) => ({ data: t.data, shape: [1, t.shape[1]!, 1, t.shape[2]!] })
    const wanted = reference.conv(flat(inputs.line), flat(w1), undefined)
    expectClose(out.line, { data: wanted.data, shape: [1, 1, 3] })
    const sum = inputs.cube.data.reduce((total, value, i) => total + value * w3.data[i]!, 0)
    expect(out.cube?.shape).toEqual([1, 1, 1, 1, 1])
    expect(out.cube?.data[0]).toBeCloseTo(sum, 5)
  })
})

test('linear: x W^T + b over the last dimension, whatever comes before it', async () => {
  const net = graph.build({ y: graph.linear(graph.input('x', [null, null, 3]), { in: 3, out: 2, name: 'fc' }) })
  const x = noise([2, 4, 3], 9)
  await withNetwork(net, async (network) => {
    const [weight, bias] = [await read(network, 'fc.weight'), await read(network, 'fc.bias')]
    const { y } = await network.forward({ x })
    const wanted = tensor([2, 4, 2], (i) => {
      const [row, o] = [Math.floor(i / 2), i % 2]
      return [0, 1, 2].reduce((sum, k) => sum + x.data[row * 3 + k]! * weight.data[o * 3 + k]!, bias.data[o]!)
    })
    expectClose(y, wanted)
  })
})
