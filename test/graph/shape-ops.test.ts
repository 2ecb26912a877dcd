import { graph, type TensorData } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { refuses } from '../helpers/expect.ts'
import { fromPlaces, places, valueAt } from '../helpers/n-d.ts'
import { expectClose, noise, withNetwork } from '../helpers/tensors.ts'

type Shape = (number | null)[]

/** Runs a graph on tensors of any sizes. */
async function run(
  tensors: TensorData[],
  make: (...values: graph.Value[]) => graph.Value,
  shapes: Shape[] = tensors.map(({ shape }) => shape.map(() => null)),
): Promise<TensorData> {
  const values = shapes.map((shape, i) => graph.input(`x${i}`, shape))
  const inputs = Object.fromEntries(tensors.map((data, i) => [`x${i}`, data]))
  return await withNetwork(graph.build({ y: make(...values) }), async (network) => (await network.forward(inputs)).y!)
}

const x = noise([2, 3, 4, 5])

test('permute', async () => {
  for (const order of [
    [0, 2, 1, 3],
    [3, 1, 0, 2],
    [0, 1, 2, 3],
  ]) {
    const y = await run([x], (v) => graph.permute(v, { order }))
    const wanted = fromPlaces(
      order.map((d) => x.shape[d]!),
      (place) =>
        valueAt(
          x,
          order.map((_, d) => place[order.indexOf(d)]!),
        )!,
    )
    expectClose(y, wanted, 0)
  }
})

test('mergeBatch and splitBatch undo each other', async () => {
  const merged = await run([x], (v) => graph.mergeBatch(v))
  expectClose(merged, { data: x.data, shape: [6, 4, 5] }, 0)
  expectClose(await run([x], (v) => graph.splitBatch(graph.mergeBatch(v), v)), x, 0)
  const like = noise([3, 2, 7])
  const shapes = [
    [6, 4],
    [3, 2, 7],
  ]
  const split = await run([noise([6, 4]), like], (v, other) => graph.splitBatch(v!, other!), shapes)
  expect(split.shape).toEqual([3, 2, 4])
})

test.each([0, 1, 2, 3])('mean and norm over dimension %i', async (dimension) => {
  const shape = x.shape.filter((_, d) => d !== dimension)
  const along = (place: number[]) =>
    Array.from({ length: x.shape[dimension]! }, (_, i) => valueAt(x, place.toSpliced(dimension, 0, i))!)
  const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length
  expectClose(
    await run([x], (v) => graph.mean(v, { dimension })),
    fromPlaces(shape, (place) => mean(along(place))),
  )
  expectClose(
    await run([x], (v) => graph.norm(v, { dimension })),
    fromPlaces(shape, (place) => Math.hypot(...along(place))),
  )
})

/** What attention is, place by place. */
function attentionOf(query: TensorData, key: TensorData, value: TensorData, scaling: 'softmax' | 'mean'): TensorData {
  const [channels, out] = [query.shape[1]!, value.shape[1]!]
  const keys = places(key.shape.slice(2))
  const cache = new Map<string, number[]>()
  const weights = (n: number, place: number[]) => {
    const name = `${n} ${place}`
    const known = cache.get(name)
    if (known) return known
    const products = keys.map((k) => {
      let sum = 0
      for (let c = 0; c < channels; c++) sum += valueAt(query, [n, c, ...place])! * valueAt(key, [n, c, ...k])!
      return sum
    })
    const powers = products.map((p) => Math.exp(p / Math.sqrt(channels)))
    const total = powers.reduce((a, b) => a + b, 0)
    const result = scaling === 'softmax' ? powers.map((p) => p / total) : products.map((p) => p / keys.length)
    cache.set(name, result)
    return result
  }
  return fromPlaces([query.shape[0]!, out, ...query.shape.slice(2)], ([n, d, ...place]) =>
    weights(n!, place).reduce((sum, weight, i) => sum + weight * valueAt(value, [n!, d!, ...keys[i]!])!, 0),
  )
}

describe.each(['softmax', 'mean'] as const)('attention, %s', (scaling) => {
  test.each([
    // Few places: weights first; many: their sum over the key first.
    [
      [2, 6, 3],
      [2, 6, 4],
      [2, 5, 4],
    ],
    [
      [1, 2, 60],
      [1, 2, 70],
      [1, 3, 70],
    ],
    [
      [2, 3, 2, 3],
      [2, 3, 4],
      [2, 4, 4],
    ],
    [
      [1, 4, 2, 3, 4],
      [1, 4, 2, 2, 2],
      [1, 4, 2, 2, 2],
    ],
  ])('of %j over %j, %j', async (q, k, v) => {
    const tensors = [noise(q, 1), noise(k, 2), noise(v, 3)] as const
    const y = await run([...tensors], (a, b, c) => graph.attention(a!, b!, c!, { scaling }))
    expectClose(y, attentionOf(...tensors, scaling))
  })
})

test("attention 'mean' counts the cheaper order of its products", async () => {
  const macs = async (places: number) => {
    const [q, v] = [graph.input('q', [null, 4, null]), graph.input('v', [null, 6, null])]
    const net = graph.build({ y: graph.attention(q, q, v, { scaling: 'mean' }) })
    return await withNetwork(net, async (network) => {
      const { layers } = await network.summary({ q: [2, 4, places], v: [2, 6, places] })
      return layers[0]!.macs
    })
  }
  expect(await macs(2)).toBe(2 * 2 * 2 * (4 + 6))
  expect(await macs(1000)).toBe(2 * 4 * 6 * 2000)
})

test("attention 'mean' over 135,000 places", async () => {
  const many = { data: new Float32Array(2 * 135_000).fill(0.5), shape: [1, 2, 135_000] }
  const y = await run([many], (v) => graph.attention(v, v, v, { scaling: 'mean' }))
  expectClose(y, { data: new Float32Array(2 * 135_000).fill(0.25), shape: [1, 2, 135_000] })
})

test('channels follow where they are known', () => {
  const v = graph.input('v', [null, 3, 4, null])
  expect(graph.permute(v, { order: [0, 1, 3, 2] }).channels).toBe(3)
  expect(graph.permute(v, { order: [0, 2, 1, 3] }).channels).toBeUndefined()
  expect(graph.permute(v, { order: [0, 2, 1, 3], channels: 4 }).channels).toBe(4)
  expect(graph.mean(v, { dimension: 2 }).channels).toBe(3)
  expect(graph.mean(v, { dimension: 1 }).channels).toBeUndefined()
  expect(graph.mergeBatch(v).channels).toBeUndefined()
  expect(graph.attention(v, v, graph.input('w', [null, 7, null, null])).channels).toBe(7)
})

describe('wrong', () => {
  const shape = (message: RegExp, tensors: TensorData[], make: (...values: graph.Value[]) => graph.Value) =>
    refuses('ERR_SHAPE', message, () =>
      run(
        tensors,
        make,
        tensors.map((t) => t.shape),
      ),
    )
  const bad = (message: RegExp, make: (x: graph.Value) => graph.Value) =>
    refuses('ERR_INVALID_ARGUMENT', message, () => run([x], (v) => make(v!)))

  test('sizes', async () => {
    await shape(/'permute_1'.*wanted an input of 3 dimensions/, [x], (v) => graph.permute(v!, { order: [0, 2, 1] }))
    await shape(/wanted an input of at least 3 dimensions/, [noise([2, 3])], (v) => graph.mergeBatch(v!))
    await shape(/wanted 6 items, 2 times 3.*got 5/, [noise([5, 2]), x], (v, w) => graph.splitBatch(v!, w!))
    await shape(/wanted an input of at least 5 dimensions/, [x], (v) => graph.mean(v!, { dimension: 4 }))
    await shape(/wanted an input of at least 5 dimensions/, [x], (v) => graph.norm(v!, { dimension: 4 }))
    const [q, k] = [noise([2, 3, 4]), noise([2, 3, 5])]
    await shape(/the same channels, got 3 and 2/, [q, noise([2, 2, 5]), k], (...v) =>
      graph.attention(v[0]!, v[1]!, v[2]!),
    )
    await shape(/key and value must have the same positions/, [q, k, noise([2, 3, 6])], (...v) =>
      graph.attention(v[0]!, v[1]!, v[2]!),
    )
    await shape(/equally many items/, [q, noise([1, 3, 5]), noise([1, 3, 5])], (...v) =>
      graph.attention(v[0]!, v[1]!, v[2]!),
    )
    await shape(/\(N, C, positions\.\.\.\)/, [noise([2, 3])], (v) => graph.attention(v!, v!, v!))
  })
  test('settings', async () => {
    await bad(/permute: order/, (v) => graph.permute(v, { order: [0, 0, 1, 2] }))
    await bad(/mean: dimension/, (v) => graph.mean(v, { dimension: -1 }))
    await bad(/'scaling' must be 'softmax' or 'mean'/, (v) => graph.attention(v, v, v, { scaling: 'sum' as 'mean' }))
  })
})

test.each([0, 1, 2, 3])('normalise over dimension %i', async (dimension) => {
  const y = await run([x], (v) => graph.normalise(v, { dimension }))
  const length = (place: number[]) =>
    Math.hypot(...Array.from({ length: x.shape[dimension]! }, (_, i) => valueAt(x, place.toSpliced(dimension, 1, i))!))
  expectClose(
    y,
    fromPlaces(x.shape, (place) => valueAt(x, place)! / length(place)),
  )
})

test('normalise keeps zeros, and refuses a dimension that is not there', async () => {
  const zeros = { data: new Float32Array(6), shape: [2, 3] }
  expectClose(await run([zeros], (v) => graph.normalise(v)), zeros, 0)
  await refuses('ERR_SHAPE', /at least 4 dimensions/, () => run([zeros], (v) => graph.normalise(v, { dimension: 3 })))
})
