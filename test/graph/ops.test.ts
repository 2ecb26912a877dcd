import { graph, type TensorData } from 'torchvid'
import { expect, test } from 'vitest'
import * as reference from '../helpers/reference.ts'
import { expectClose, noise, relative, tensor, withNetwork } from '../helpers/tensors.ts'

type Shape = (number | null)[]

/** Runs a graph of one input. */
async function run(
  shape: Shape,
  make: (x: graph.Value) => graph.Value,
  x: TensorData,
  options: { training?: boolean; seed?: number } = {},
): Promise<TensorData> {
  const net = graph.build({ y: make(graph.input('x', shape)) })
  return await withNetwork(net, async (network) => (await network.forward({ x }, options)).y!)
}

const any: Shape = [null, 2, null, null]

test('relu, relu6 and sigmoid', async () => {
  const x = tensor([1, 2, 2, 2], (i) => [-3, -0.5, 0, 0.5, 3, 5.9, 6, 100][i]!)
  expect([...(await run(any, (v) => graph.relu(v), x)).data]).toEqual([0, 0, 0, 0.5, 3, Math.fround(5.9), 6, 100])
  expect([...(await run(any, (v) => graph.relu6(v), x)).data]).toEqual([0, 0, 0, 0.5, 3, Math.fround(5.9), 6, 6])
  expectClose(
    await run(any, (v) => graph.sigmoid(v), x),
    tensor(x.shape, (i) => 1 / (1 + Math.exp(-x.data[i]!))),
  )
})

test('the input given is never written to', async () => {
  const x = noise([1, 2, 3, 3])
  const before = x.data.slice()
  await run(any, (v) => graph.relu(graph.conv(graph.relu(v), { out: 2, kernel: 1 })), x)
  expect(x.data).toEqual(before)
})

test.each([false, true])('pools over an odd size, ceil %s', async (ceil) => {
  const x = noise([2, 2, 5, 7], 4)
  const max = (values: number[]) => Math.max(...values)
  const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length
  expectClose(await run(any, (v) => graph.maxPool(v, { kernel: 2, ceil }), x), reference.pool(x, 2, ceil, max))
  expectClose(await run(any, (v) => graph.averagePool(v, { kernel: 2, ceil }), x), reference.pool(x, 2, ceil, mean))
  expectClose(await run(any, (v) => graph.globalAveragePool(v), x), {
    ...tensor([2, 2], (i) => mean([...x.data.slice(i * 35, (i + 1) * 35)])),
  })
})

test('averagePool counts padded zeros, or not', async () => {
  const x = tensor([1, 2, 2, 2], () => 1)
  const pooled = (countPadding?: boolean) =>
    run(any, (v) => graph.averagePool(v, { kernel: 2, padding: 1, countPadding }), x)
  expect([...(await pooled()).data]).toEqual(new Array(8).fill(0.25))
  expect([...(await pooled(false)).data]).toEqual(new Array(8).fill(1))
})

test('maxPool with a stride of its own and padding never picks a padded value', async () => {
  const x = tensor([1, 2, 3, 3], () => -1)
  const y = await run(any, (v) => graph.maxPool(v, { kernel: 3, stride: 2, padding: 1 }), x)
  expect(y.shape).toEqual([1, 2, 2, 2])
  expect([...y.data]).toEqual(new Array(8).fill(-1))
})

test.each([
  [5, 2, 3],
  [4, 2, 2],
  [1, 0, 1],
  [0, 0, 0],
])(
  'crop: of a surplus of %i, %i goes at the top and left, %i at the bottom and right',
  async (surplus, before, after) => {
    const x = noise([1, 2, 3 + surplus, 4 + surplus], 6)
    const net = graph.build({ y: graph.crop(graph.input('x', any), graph.input('like', any)) })
    const { y } = await withNetwork(net, (network) => network.forward({ x, like: noise([1, 2, 3, 4]) }))
    const wanted = reference.map4(
      [1, 2, 3, 4],
      (_, c, r, q) => x.data[(c * (3 + surplus) + r + before) * (4 + surplus) + q + before]!,
    )
    expectClose(y, wanted, 0)
    expect(before + after).toBe(surplus)
  },
)

test.each([false, true])(
  'upsample bilinear, alignCorners %s, by factor and to the size of another map',
  async (alignCorners) => {
    const x = noise([1, 2, 3, 4], 8)
    const byFactor = await run(any, (v) => graph.upsample(v, { scale: 2.5, alignCorners }), x)
    expectClose(byFactor, reference.bilinear(x, 7, 10, alignCorners))
    const net = graph.build({
      y: graph.upsample(graph.input('x', any), { like: graph.input('like', any), alignCorners }),
    })
    const { y } = await withNetwork(net, (network) => network.forward({ x, like: noise([1, 2, 8, 5]) }))
    expectClose(y, reference.bilinear(x, 8, 5, alignCorners))
  },
)

test('upsample nearest', async () => {
  const x = noise([1, 2, 2, 3], 8)
  const y = await run(any, (v) => graph.upsample(v, { scale: 2, mode: 'nearest' }), x)
  expectClose(
    y,
    reference.map4([1, 2, 4, 6], (_, c, r, q) => x.data[(c * 2 + (r >> 1)) * 3 + (q >> 1)]!),
    0,
  )
})

test('add, multiply, concat, matmul and flatten', async () => {
  const [a, b, c] = [graph.input('a', [null, 2, 3]), graph.input('b', [null, 2, 3]), graph.input('c', [null, 3, 2])]
  const net = graph.build({
    sum: graph.add([a, b, a]),
    product: graph.multiply(a, b),
    joined: graph.concat([a, b]),
    beside: graph.concat([a, b, b], { dimension: 2 }),
    matmul: graph.matmul(a, c),
    flat: graph.flatten(graph.concat([a, b])),
  })
  const [x, y, z] = [noise([2, 2, 3], 1), noise([2, 2, 3], 2), noise([2, 3, 2], 3)]
  const out = await withNetwork(net, (network) => network.forward({ a: x, b: y, c: z }))
  expectClose(
    out.sum,
    tensor([2, 2, 3], (i) => 2 * x.data[i]! + y.data[i]!),
  )
  expectClose(
    out.product,
    tensor([2, 2, 3], (i) => x.data[i]! * y.data[i]!),
  )
  const joined = tensor([2, 4, 3], (i) => {
    const [n, rest] = [Math.floor(i / 12), i % 12]
    return rest < 6 ? x.data[n * 6 + rest]! : y.data[n * 6 + rest - 6]!
  })
  expectClose(out.joined, joined, 0)
  expectClose(out.flat, { data: joined.data, shape: [2, 12] }, 0)
  expectClose(
    out.beside,
    tensor([2, 2, 9], (i) => (i % 9 < 3 ? x : y).data[Math.floor(i / 9) * 3 + (i % 3)]!),
    0,
  )
  expectClose(
    out.matmul,
    tensor([2, 2, 2], (i) => {
      const [n, r, q] = [i >> 2, (i >> 1) & 1, i & 1]
      return [0, 1, 2].reduce((sum, k) => sum + x.data[n * 6 + r * 3 + k]! * z.data[n * 6 + k * 2 + q]!, 0)
    }),
  )
})

test('dropout: nothing at inference; in training a share is zeroed, the rest scaled, by the seed', async () => {
  const x = tensor([1, 2, 50, 50], () => 1)
  const drop = (options: object) => run(any, (v) => graph.dropout(v, { probability: 0.3 }), x, options)
  expectClose(await drop({}), x, 0)
  const first = await drop({ training: true, seed: 1 })
  expect(new Set(Array.from(first.data, Number))).toEqual(new Set([0, Math.fround(1 / 0.7)]))
  const zeros = Array.from(first.data, Number).filter((value) => value === 0).length / 5000
  expect(Math.abs(zeros - 0.3)).toBeLessThan(0.03)
  expectClose(await drop({ training: true, seed: 1 }), first, 0)
  expect(relative((await drop({ training: true, seed: 2 })).data, first.data)).toBeGreaterThan(0)
})

test('forward: the outputs asked for, and no others', async () => {
  const x = graph.input('x', any)
  const net = graph.build({ a: graph.relu(x), b: graph.sigmoid(x) })
  await withNetwork(net, async (network) => {
    expect(Object.keys(await network.forward({ x: noise([1, 2, 2, 2]) }))).toEqual(['a', 'b'])
    expect(Object.keys(await network.forward({ x: noise([1, 2, 2, 2]) }, { outputs: ['b'] }))).toEqual(['b'])
  })
})

test('typed arrays of every kind are taken as numbers', async () => {
  const shape = [1, 2, 1, 1]
  for (const data of [
    new Float64Array([1, 2]),
    new Int32Array([1, 2]),
    new BigInt64Array([1n, 2n]),
    new Uint8Array([1, 2]),
  ]) {
    const y = await run(any, (v) => graph.add([v, v]), { data, shape })
    expect([...y.data]).toEqual([2, 4])
  }
})
