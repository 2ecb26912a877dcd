import { graph } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { onnxOps } from '../../lib/onnx/ops.ts'
import { failureOf, scratch } from '../helpers/expect.ts'
import { withNetwork } from '../helpers/tensors.ts'
import { agree, exported, randomNetwork } from './helpers.ts'

const folder = scratch()
const { add, averagePool, batchNorm, concat, conv, convTranspose, crop, dropout, flatten, input, linear } = graph
const { globalAveragePool, matmul, maxPool, multiply, padChannels, relu, relu6, select, sigmoid, subsample } = graph
const { upsample, permute, mergeBatch, splitBatch, mean, norm, normalise, attention } = graph

type Value = graph.Value
type Shape = (number | null)[]

/** Exports a graph with free sizes, and for the first two shapes with fixed ones, and compares all runs. */
async function check(
  inputs: Record<string, Shape>,
  make: (...values: Value[]) => Value | Record<string, Value>,
  shapes: Record<string, number[]>[],
  opset?: number,
): Promise<void> {
  const values = Object.entries(inputs).map(([name, shape]) => input(name, shape))
  const made = make(...values)
  const outputs = 'source' in made ? { y: made as Value } : (made as Record<string, Value>)
  const network = await randomNetwork(graph.build(outputs), folder)
  try {
    const free = await exported(network, folder, { opset })
    for (const shape of shapes) await agree(network, free, shape)
    for (const shape of shapes.slice(0, 2))
      await agree(network, await exported(network, folder, { inputs: shape, opset }), shape)
  } finally {
    network.dispose()
  }
}

const maps: Shape = [null, 4, null, null]
const odd = [{ x: [1, 4, 7, 9] }, { x: [3, 4, 12, 5] }]

/** Of one input (N, 4, H, W). */
const one = (
  make: (x: Value) => Value | Record<string, Value>,
  shapes: Record<string, number[]>[] = odd,
  opset?: number,
) => check({ x: maps }, make, shapes, opset)

test('every op of the engine has a row, and every row an op', async () => {
  const unknown: graph.Graph = {
    ...graph.build({ y: relu(input('x', maps)) }),
    nodes: [{ op: 'noSuchOp', name: 'a', inputs: ['x'] }],
    outputs: { y: 'a' },
  }
  const { message } = (await failureOf(() => withNetwork(unknown, async () => {}))) as Error
  const ops = message.match(/Ops: (.*)\.$/)?.[1]?.split(', ') as string[]
  expect(ops).toContain('conv')
  expect(Object.keys(onnxOps).sort()).toEqual(ops.sort())
})

describe('conv', () => {
  test.each([1, 2, 3])('over %i dimensions: stride, padding, dilation, groups', async (rank) => {
    const free: Shape = [null, 4, ...new Array<null>(rank).fill(null)]
    const settings = {
      kernel: [3, 2, 3].slice(0, rank),
      stride: [2, 1, 2].slice(0, rank),
      padding: [1, 0, 2].slice(0, rank),
    }
    const shapes = [{ x: [1, 4, ...[7, 9, 8].slice(0, rank)] }, { x: [2, 4, ...[10, 6, 7].slice(0, rank)] }]
    await check(
      { x: free },
      (x) => conv(x, { out: 6, groups: 2, dilation: [1, 2, 1].slice(0, rank), ...settings }),
      shapes,
    )
    await check({ x: free }, (x) => conv(x, { out: 5, bias: false, ...settings }), shapes)
  })
  test.each([
    [{ kernel: 3, stride: 2 }],
    [{ kernel: 4, stride: 3 }],
    [{ kernel: [2, 5], stride: [1, 2] }],
    [{ kernel: 1, stride: 2 }],
    [{ kernel: 3, dilation: 2 }],
    [{ kernel: 2, stride: [1, 2], dilation: [3, 1] }],
    [{ kernel: 3, stride: 2, dilation: 2 }],
    [{ kernel: [3, 2], stride: [3, 2], dilation: [1, 3], groups: 4, bias: false }],
  ])("TensorFlow's SAME: %o", async (settings) => {
    await one((x) => conv(x, { out: 4, padding: 'same', ...settings }))
  })
  test('SAME over one and three dimensions', async () => {
    const settings = { out: 4, padding: 'same' as const, stride: 2 }
    await check({ x: [null, 4, null] }, (x) => conv(x, { ...settings, kernel: [3] }), [
      { x: [1, 4, 7] },
      { x: [2, 4, 8] },
    ])
    const kernel = [3, 2, 3]
    await check({ x: [null, 4, null, null, null] }, (x) => conv(x, { ...settings, kernel, dilation: [1, 1, 2] }), [
      { x: [1, 4, 7, 8, 9] },
      { x: [2, 4, 8, 5, 6] },
    ])
  })
})

test.each([
  [{ kernel: 4, stride: 2 }],
  [{ kernel: 3, stride: 2, padding: 1, outputPadding: 1 }],
  [{ kernel: [3, 2], stride: [3, 2], padding: [1, 0], outputPadding: [2, 1], groups: 2, bias: false }],
  [{ kernel: 3, dilation: 2, padding: 1 }],
])('convTranspose %o', async (settings) => {
  await one((x) => convTranspose(x, { out: 6, ...settings }))
})

test('convTranspose over one and three dimensions', async () => {
  await check({ x: [null, 4, null] }, (x) => convTranspose(x, { out: 2, kernel: [3], stride: 2 }), [{ x: [2, 4, 5] }])
  await check({ x: [null, 4, null, null, null] }, (x) => convTranspose(x, { out: 2, kernel: [3, 2, 2], stride: 2 }), [
    { x: [2, 4, 3, 2, 5] },
  ])
})

test.each([true, false])('linear over two, three and four dimensions, bias %s', async (bias) => {
  await check({ x: [null, 6] }, (x) => linear(x, { in: 6, out: 5, bias }), [{ x: [1, 6] }, { x: [3, 6] }])
  await check({ x: [null, null, 6] }, (x) => linear(x, { in: 6, out: 5, bias }), [{ x: [1, 4, 6] }, { x: [3, 2, 6] }])
  await check({ x: [null, 2, 3, 6] }, (x) => linear(x, { in: 6, out: 5, bias }), [{ x: [2, 2, 3, 6] }])
})

test('batchNorm over two to five dimensions, with an epsilon of its own', async () => {
  await check({ x: [null, 4] }, (x) => batchNorm(x), [{ x: [1, 4] }, { x: [3, 4] }])
  await check({ x: [null, 4, null] }, (x) => batchNorm(x), [{ x: [2, 4, 3] }])
  await one((x) => batchNorm(x, { epsilon: 0.3 }))
  await check({ x: [null, 4, 2, 3, null] }, (x) => batchNorm(x), [{ x: [2, 4, 2, 3, 5] }])
})

test('relu, relu6, sigmoid, dropout', async () => {
  await one((x) => {
    const tenfold = add([x, x, x, x, x, x, x, x, x, x])
    return { a: relu(x), b: relu6(tenfold), c: sigmoid(tenfold), d: dropout(x, { probability: 0.5 }) }
  })
})

describe.each([17, 22])('pools, opset %i', (opset) => {
  test.each([
    [{ kernel: 2 }],
    [{ kernel: [3, 2] }],
    [{ kernel: 3, stride: 2, padding: 1 }],
    [{ kernel: [3, 2], stride: [1, 2], padding: [1, 0] }],
    [{ kernel: 2, ceil: true }],
    [{ kernel: 3, stride: 2, ceil: true }],
    [{ kernel: 3, stride: 2, padding: 1, ceil: true }],
    [{ kernel: 2, stride: 2, padding: 1, ceil: true }],
    [{ kernel: 2, stride: 3, padding: 1, ceil: true }],
    [{ kernel: 2, stride: 5, ceil: true }],
    [{ kernel: [4, 3], stride: [3, 2], padding: [2, 1], ceil: true }],
  ])('%o', async (settings) => {
    const shapes = [...odd, { x: [1, 4, 8, 11] }, { x: [1, 4, 6, 10] }]
    const pools = (x: Value) => ({
      max: maxPool(x, settings),
      mean: averagePool(x, settings),
      meanInside: averagePool(x, { ...settings, countPadding: false }),
    })
    await one(pools, shapes, opset)
  })
})

describe.each([17, 22])('pools over one and three dimensions, opset %i', (opset) => {
  test.each([
    [{ kernel: [3, 2, 3] }],
    [{ kernel: [2, 3, 3], stride: [2, 1, 2], padding: [1, 0, 1] }],
    [{ kernel: [2, 2, 2], ceil: true }],
    [{ kernel: [3, 2, 3], stride: [2, 2, 2], padding: [1, 1, 0], ceil: true }],
  ])('%o', async (settings) => {
    const pools = (x: Value, rank: number) => {
      const cut = (size: number | number[] | undefined) => (Array.isArray(size) ? size.slice(0, rank) : size)
      const own = {
        ...settings,
        kernel: settings.kernel.slice(0, rank),
        ...('stride' in settings && { stride: cut(settings.stride) }),
        ...('padding' in settings && { padding: cut(settings.padding) }),
      }
      return {
        max: maxPool(x, own),
        average: averagePool(x, own),
        inside: averagePool(x, { ...own, countPadding: false }),
      }
    }
    await check({ x: [null, 4, null] }, (x) => pools(x as Value, 1), [{ x: [2, 4, 9] }, { x: [1, 4, 12] }], opset)
    const clips = [{ x: [2, 4, 5, 7, 6] }, { x: [1, 4, 6, 4, 9] }]
    await check({ x: [null, 4, null, null, null] }, (x) => pools(x as Value, 3), clips, opset)
  })
})

test.each([
  [{ kernel: [3], stride: [2] }],
  [{ kernel: [3, 2], stride: [1, 2] }],
  [{ kernel: [1, 3, 3], stride: [1, 2, 2] }],
  [{ kernel: [3, 3, 3], stride: [2, 2, 2] }],
  [{ kernel: [3, 3, 3], stride: [1, 1, 1] }],
])("maxPool with padding 'same', in zeros: %o", async (settings) => {
  const rank = settings.kernel.length
  const shapes = [
    [5, 7, 6],
    [6, 4, 9],
  ].map((sizes, i) => ({ x: [i + 1, 4, ...sizes.slice(0, rank)] }))
  const below = (x: Value) =>
    maxPool(conv(x, { out: 3, kernel: settings.kernel.map(() => 1) }), { ...settings, padding: 'same' })
  await check({ x: [null, 4, ...new Array<null>(rank).fill(null)] }, (x) => below(x as Value), shapes)
})

test('globalAveragePool over one to three dimensions', async () => {
  await check({ x: [null, 4, null] }, (x) => globalAveragePool(x), [{ x: [2, 4, 5] }, { x: [1, 4, 3] }])
  await one((x) => ({ gone: globalAveragePool(x), kept: globalAveragePool(x, { keepDimensions: true }) }))
  await check({ x: [null, 4, null, null, null] }, (x) => globalAveragePool(x), [{ x: [2, 4, 2, 3, 5] }])
})

describe('upsample', () => {
  const sizes = [...odd, { x: [1, 4, 1, 10] }]
  test.each([1, 2, 3, 2.5, 1.1, 0.5, 47])('by %d', async (scale) => {
    const shapes = scale < 1 ? odd : scale > 9 ? sizes.slice(2) : sizes
    const maps = (x: Value) => ({
      bilinear: upsample(x, { scale }),
      corners: upsample(x, { scale, alignCorners: true }),
      nearest: upsample(x, { scale, mode: 'nearest' }),
    })
    await one(maps, shapes)
  })
  test.each([
    { from: [7, 9], to: [13, 20] },
    { from: [7, 9], to: [3, 4] },
    { from: [14, 20], to: [46, 48] },
    { from: [5, 3], to: [15, 7] },
    { from: [5, 6], to: [1, 1] },
    { from: [1, 1], to: [4, 3] },
  ])('$from to the size of another map, $to', async ({ from, to }) => {
    const shapes = [{ x: [2, 4, ...from], like: [2, 1, ...to] }]
    const sizes = (x?: Value, like?: Value) => ({
      bilinear: upsample(x as Value, { like }),
      corners: upsample(x as Value, { like, alignCorners: true }),
      nearest: upsample(x as Value, { like, mode: 'nearest' }),
    })
    await check({ x: maps, like: [null, 1, null, null] }, sizes, shapes)
  })
})

test('crop to the size of another map', async () => {
  const shapes = [
    [7, 9, 7, 9],
    [8, 12, 7, 9],
    [9, 12, 7, 9],
    [12, 10, 7, 9],
  ].map(([h, w, ...to]) => ({ x: [1, 4, h as number, w as number], like: [1, 2, ...to] }))
  const free: Record<string, Shape> = { like: [null, 2, null, null], x: [null, 4, null, null] }
  await check(free, (like, x) => crop(convTranspose(x as Value, { out: 2, kernel: 2 }), like as Value), shapes)
})

test('select, padChannels, subsample', async () => {
  await one((x) => ({
    selected: select(conv(x, { out: 9, kernel: 1 }), { out: 5 }),
    padded: padChannels(x, { before: 2, after: 3 }),
    second: subsample(x, { stride: 2 }),
    third: subsample(x, { stride: [3, 1] }),
  }))
  await check({ x: [null, 4] }, (x) => padChannels(x, { after: 1 }), [{ x: [3, 4] }])
})

test('concat, add, multiply, matmul, flatten', async () => {
  await one((x) => ({
    three: concat([x, relu(x), x]),
    alone: concat([x]),
    beside: concat([x, x], { dimension: 3 }),
    two: add([x, sigmoid(x)]),
    four: add([x, relu(x), sigmoid(x), x]),
    product: multiply(x, sigmoid(x)),
    flat: flatten(x),
  }))
  await check({ a: [null, 3, 5], b: [null, 5, 2] }, (a, b) => matmul(a as Value, b as Value), [
    { a: [1, 3, 5], b: [1, 5, 2] },
    { a: [4, 3, 5], b: [4, 5, 2] },
  ])
})

test('permute, mergeBatch, splitBatch', async () => {
  const shapes = [{ x: [2, 4, 3, 5] }, { x: [1, 4, 6, 2] }]
  await one(
    (x) => ({
      turned: permute(x, { order: [3, 0, 2, 1] }),
      merged: mergeBatch(x),
      back: splitBatch(relu(mergeBatch(x)), x),
      rows: splitBatch(permute(mergeBatch(x), { order: [0, 2, 1] }), x),
    }),
    shapes,
  )
})

test.each([17, 22])('mean, norm and normalise over each dimension, opset %i', async (opset) => {
  const over = (x: Value) =>
    Object.fromEntries(
      [0, 1, 2, 3].flatMap((dimension) => [
        [`mean${dimension}`, mean(x, { dimension })],
        [`norm${dimension}`, norm(x, { dimension })],
        [`unit${dimension}`, normalise(x, { dimension })],
      ]),
    )
  await one(over, odd, opset)
})

describe.each(['softmax', 'mean'] as const)('attention, %s', (scaling) => {
  test('of the same places, and of places of their own', async () => {
    await check({ x: [null, 4, null] }, (x) => attention(x as Value, x as Value, x as Value, { scaling }), [
      { x: [2, 4, 5] },
      { x: [1, 4, 9] },
    ])
    const inputs: Record<string, Shape> = { q: [null, 3, null, null], k: [null, 3, null], v: [null, 2, null] }
    await check(inputs, (q, k, v) => attention(q as Value, k as Value, v as Value, { scaling }), [
      { q: [2, 3, 3, 4], k: [2, 3, 7], v: [2, 2, 7] },
      { q: [1, 3, 2, 5], k: [1, 3, 40], v: [1, 2, 40] },
    ])
    await check(
      { x: [null, 4, null, null, null] },
      (x) => {
        const small = maxPool(x as Value, { kernel: [1, 2, 2] })
        const deep = conv(small, { out: 6, kernel: [1, 1, 1] })
        return attention(x as Value, small, deep, { scaling })
      },
      [{ x: [2, 4, 2, 4, 6] }, { x: [1, 4, 3, 5, 4] }],
    )
  })
})

test.each([0, 1, 2, 3])('flatten from dimension %i', async (start) => {
  const net = graph.build({ y: flatten(input('x', maps), { name: 'flat' }) })
  net.nodes[0]!.attributes = { start }
  const network = await randomNetwork(net, folder)
  const session = await exported(network, folder)
  for (const shape of odd) await agree(network, session, shape)
  network.dispose()
})
