import { graph } from 'torchvid'

const { add, attention, averagePool, batchNorm, concat, conv, convTranspose, crop, dropout, flatten, linear } = graph
const { globalAveragePool, matmul, maxPool, mean, mergeBatch, multiply, norm, normalise, padChannels, permute } = graph
const { relu, relu6, select, sigmoid, splitBatch, subsample, upsample } = graph

type Value = graph.Value
type Shape = (number | null)[]

/** A graph around one kind of op, and shapes to run it at. */
export interface OpCase {
  op: string
  what: string
  inputs: Record<string, Shape>
  make: (...values: Value[]) => Record<string, Value>
  shapes: Record<string, number[]>[]
}

const maps: Shape = [null, 4, null, null]
const odd = [{ x: [1, 4, 7, 9] }, { x: [3, 4, 12, 5] }]

const over = (
  op: string,
  what: string,
  shape: Shape,
  make: (x: Value) => Record<string, Value>,
  shapes: number[][],
) => ({
  op,
  what,
  inputs: { x: shape },
  make: make as OpCase['make'],
  shapes: shapes.map((x) => ({ x })),
})

/** Of one input (N, 4, H, W). */
const one = (op: string, what: string, make: (x: Value) => Record<string, Value>, shapes = odd): OpCase => ({
  op,
  what,
  inputs: { x: maps },
  make: make as OpCase['make'],
  shapes,
})

const free = (rank: number): Shape => [null, 4, ...new Array<null>(rank).fill(null)]
const sizes = [
  [7, 9, 8],
  [10, 6, 7],
]
const ofRank = (rank: number) => sizes.map((all, i) => [i + 1, 4, ...all.slice(0, rank)])

const convolutions = [1, 2, 3].flatMap((rank) => {
  const cut = (values: number[]) => values.slice(0, rank)
  const settings = { kernel: cut([3, 2, 3]), stride: cut([2, 1, 2]), padding: cut([1, 0, 2]) }
  const make = (x: Value) => ({
    grouped: conv(x, { out: 6, groups: 2, dilation: cut([1, 2, 1]), ...settings }),
    plain: conv(x, { out: 5, bias: false, ...settings }),
    same: conv(x, { out: 4, kernel: settings.kernel, stride: 2, padding: 'same' }),
    depthwise: conv(x, { out: 4, groups: 4, kernel: settings.kernel, padding: 'same' }),
  })
  return over('conv', `over ${rank} dimensions`, free(rank), make, ofRank(rank))
})

const transposed = [1, 2, 3].map((rank) => {
  const kernel = [3, 2, 2].slice(0, rank)
  const make = (x: Value) => ({
    plain: convTranspose(x, { out: 6, kernel, stride: 2 }),
    grouped: convTranspose(x, { out: 6, kernel, stride: 2, padding: 1, outputPadding: 1, groups: 2, bias: false }),
  })
  return over('convTranspose', `over ${rank} dimensions`, free(rank), make, ofRank(rank))
})

const pools = [1, 2, 3].flatMap((rank) => {
  const cut = (values: number[]) => values.slice(0, rank)
  const settings = { kernel: cut([3, 2, 3]), stride: cut([2, 2, 2]), padding: cut([1, 1, 0]) }
  return [false, true].flatMap((ceil) => [
    over(
      'maxPool',
      `over ${rank} dimensions, ceil ${ceil}`,
      free(rank),
      (x) => ({ y: maxPool(x, { ...settings, ceil }) }),
      ofRank(rank),
    ),
    over(
      'averagePool',
      `over ${rank} dimensions, ceil ${ceil}`,
      free(rank),
      (x) => ({
        y: averagePool(x, { ...settings, ceil }),
        inside: averagePool(x, { ...settings, ceil, countPadding: false }),
      }),
      ofRank(rank),
    ),
  ])
})

const resized = [1, 2, 2.5, 0.5].map((scale) =>
  one('upsample', `by ${scale}`, (x) => ({
    bilinear: upsample(x, { scale }),
    corners: upsample(x, { scale, alignCorners: true }),
    nearest: upsample(x, { scale, mode: 'nearest' }),
  })),
)

/** Every op of the engine's table at least once. */
export const opCases: OpCase[] = [
  ...convolutions,
  ...transposed,
  ...pools,
  ...resized,
  over('linear', 'of rows', [null, 6], (x) => ({ y: linear(x, { in: 6, out: 5 }) }), [
    [1, 6],
    [3, 6],
  ]),
  over('linear', 'of maps of rows', [null, 2, 3, 6], (x) => ({ y: linear(x, { in: 6, out: 5, bias: false }) }), [
    [2, 2, 3, 6],
  ]),
  over('batchNorm', 'of rows', [null, 4], (x) => ({ y: batchNorm(x) }), [
    [3, 4],
    [8, 4],
  ]),
  one('batchNorm', 'of maps', (x) => ({ y: batchNorm(x), wide: batchNorm(x, { epsilon: 0.3 }) })),
  over('batchNorm', 'of clips', free(3), (x) => ({ y: batchNorm(x) }), ofRank(3)),
  one('relu', '', (x) => ({ y: relu(x), behind: relu(conv(x, { out: 4, kernel: 1 })) })),
  one('relu6', '', (x) => ({ y: relu6(add([x, x, x, x, x, x, x, x, x, x])) })),
  one('sigmoid', '', (x) => ({ y: sigmoid(x) })),
  one('dropout', 'at inference', (x) => ({ y: dropout(x, { probability: 0.5 }) })),
  one('maxPool', "with padding 'same'", (x) => ({ y: maxPool(x, { kernel: 3, stride: 2, padding: 'same' }) })),
  ...[1, 2, 3].map((rank) =>
    over(
      'globalAveragePool',
      `over ${rank} dimensions`,
      free(rank),
      (x) => ({ y: globalAveragePool(x) }),
      ofRank(rank),
    ),
  ),
  {
    op: 'upsample',
    what: 'to the size of another map',
    inputs: { x: maps, like: [null, 1, null, null] },
    make: (x, like) => ({
      bilinear: upsample(x!, { like: like! }),
      nearest: upsample(x!, { like: like!, mode: 'nearest' }),
    }),
    shapes: [{ x: [2, 4, 7, 9], like: [2, 1, 13, 20] }],
  },
  {
    op: 'crop',
    what: 'to the size of another map',
    inputs: { x: maps, like: [null, 2, null, null] },
    make: (x, like) => ({ y: crop(x!, like!) }),
    shapes: [{ x: [1, 4, 12, 10], like: [1, 2, 7, 9] }],
  },
  one('select', '', (x) => ({ y: select(conv(x, { out: 9, kernel: 1 }), { out: 5 }) })),
  one('padChannels', '', (x) => ({ y: padChannels(x, { before: 2, after: 3 }) })),
  one('subsample', '', (x) => ({ second: subsample(x, { stride: 2 }), third: subsample(x, { stride: [3, 1] }) })),
  one('concat', '', (x) => ({ three: concat([x, relu(x), x]), beside: concat([x, x], { dimension: 3 }) })),
  one('add', '', (x) => ({ two: add([x, sigmoid(x)]), four: add([x, relu(x), sigmoid(x), x]) })),
  one('multiply', '', (x) => ({ y: multiply(x, sigmoid(x)) })),
  one('flatten', '', (x) => ({ y: flatten(x) })),
  one('permute', '', (x) => ({ y: permute(x, { order: [3, 0, 2, 1] }) })),
  one('mergeBatch', '', (x) => ({ y: mergeBatch(x) })),
  one('splitBatch', '', (x) => ({ y: splitBatch(relu(mergeBatch(x)), x) })),
  ...[0, 1, 2, 3].flatMap((dimension) => [
    one('mean', `over dimension ${dimension}`, (x) => ({ y: mean(x, { dimension }) })),
    one('norm', `over dimension ${dimension}`, (x) => ({ y: norm(x, { dimension }) })),
    one('normalise', `over dimension ${dimension}`, (x) => ({ y: normalise(x, { dimension }) })),
  ]),
  {
    op: 'matmul',
    what: '',
    inputs: { a: [null, 3, 5], b: [null, 5, 2] },
    make: (a, b) => ({ y: matmul(a!, b!) }),
    shapes: [{ a: [4, 3, 5], b: [4, 5, 2] }],
  },
  ...(['softmax', 'mean'] as const).map((scaling) => ({
    op: 'attention',
    what: scaling,
    inputs: { q: [null, 3, null, null], k: [null, 3, null], v: [null, 2, null] },
    make: (...[q, k, v]: Value[]) => ({ y: attention(q!, k!, v!, { scaling }) }),
    shapes: [
      { q: [2, 3, 3, 4], k: [2, 3, 7], v: [2, 2, 7] },
      { q: [1, 3, 2, 5], k: [1, 3, 40], v: [1, 2, 40] },
    ],
  })),
]

/** Layers in the middle of a small classifier, for the gradients through them; each keeps (N, 8, H, W) four-dimensional. */
export const middles: Record<string, (x: Value) => Value> = {
  conv: (x) => conv(x, { out: 6, kernel: 3, stride: 2, padding: 1, groups: 2 }),
  "conv 'same'": (x) => conv(x, { out: 6, kernel: 3, stride: 2, padding: 'same' }),
  depthwise: (x) => conv(x, { out: 8, kernel: 3, padding: 1, groups: 8 }),
  convTranspose: (x) => convTranspose(x, { out: 5, kernel: 4, stride: 2, padding: 1 }),
  'batchNorm, relu': (x) => relu(batchNorm(x)),
  relu6: (x) => relu6(x),
  sigmoid: (x) => sigmoid(x),
  maxPool: (x) => maxPool(x, { kernel: 3, stride: 2, padding: 1 }),
  averagePool: (x) => averagePool(x, { kernel: 2 }),
  'upsample bilinear': (x) => upsample(x, { scale: 2.5 }),
  'upsample nearest': (x) => upsample(x, { scale: 2, mode: 'nearest' }),
  select: (x) => select(x, { out: 5 }),
  padChannels: (x) => padChannels(x, { before: 1, after: 2 }),
  subsample: (x) => subsample(x, { stride: 2 }),
  'concat, add, multiply': (x) => concat([add([x, sigmoid(x)]), multiply(x, relu(x))]),
  permute: (x) => permute(x, { order: [0, 1, 3, 2] }),
  normalise: (x) => normalise(x, { dimension: 1 }),
  attention: (x) => attention(x, x, x, { scaling: 'softmax' }),
}
