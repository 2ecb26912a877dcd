import { graph, type TensorData } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { refuses } from '../helpers/expect.ts'
import { fromPlaces, overWindows, places, valueAt, type Windows } from '../helpers/n-d.ts'
import { expectClose, noise, tensor, withNetwork } from '../helpers/tensors.ts'

type Shape = (number | null)[]

async function run(
  make: (x: graph.Value) => graph.Value,
  x: TensorData,
  options: { training?: boolean; free?: Shape } = {},
): Promise<TensorData> {
  const shape = options.free ?? [null, x.shape[1]!, ...x.shape.slice(2).map(() => null)]
  const net = graph.build({ y: make(graph.input('x', shape)) })
  return await withNetwork(net, async (network) => (await network.forward({ x }, options)).y!)
}

const sizes = [5, 6, 7]
const ranks = [1, 2, 3]

/** Windows of symmetric padding. */
function windows(
  shape: number[],
  settings: { kernel: number[]; stride: number[]; padding: number[]; ceil?: boolean },
): Windows {
  const { kernel, stride, padding, ceil = false } = settings
  const out = shape.slice(2).map((size, d) => {
    const steps = (size + 2 * padding[d]! - kernel[d]!) / stride[d]!
    const count = (ceil ? Math.ceil(steps) : Math.floor(steps)) + 1
    return (count - 1) * stride[d]! >= size + padding[d]! ? count - 1 : count
  })
  return { kernel, stride, before: padding, out }
}

const largest = (values: (number | undefined)[]) => Math.max(...values.filter((v) => v !== undefined))
const orZero = (values: (number | undefined)[]) => Math.max(...values.map((v) => v ?? 0))
const meanOf = (values: (number | undefined)[]) => values.reduce<number>((sum, v) => sum + (v ?? 0), 0) / values.length
const meanInside = (values: (number | undefined)[]) => meanOf(values.filter((v) => v !== undefined))

describe.each(ranks)('pools over %i dimensions', (rank) => {
  const x = noise([2, 19, ...sizes.slice(0, rank)], rank)
  const cut = (list: number[]) => list.slice(0, rank)
  test.each([
    { kernel: cut([2, 2, 2]), stride: cut([2, 2, 2]), padding: cut([0, 0, 0]) },
    { kernel: cut([3, 2, 3]), stride: cut([1, 2, 2]), padding: cut([1, 0, 1]) },
    { kernel: cut([1, 3, 3]), stride: cut([1, 2, 2]), padding: cut([0, 1, 1]), ceil: true },
    { kernel: cut([2, 2, 2]), stride: cut([3, 3, 3]), padding: cut([1, 1, 1]), ceil: true },
  ])('%o', async (settings) => {
    for (const training of [false, true]) {
      expectClose(
        await run((v) => graph.maxPool(v, settings), x, { training }),
        overWindows(x, windows(x.shape, settings), largest),
        0,
      )
    }
    if (settings.ceil) return // what an average over the rounded-up edge divides by is LibTorch's own matter
    const over = windows(x.shape, settings)
    expectClose(await run((v) => graph.averagePool(v, settings), x), overWindows(x, over, meanOf))
    const inside = await run((v) => graph.averagePool(v, { ...settings, countPadding: false }), x)
    expectClose(inside, overWindows(x, over, meanInside))
  })

  test.each([
    { kernel: cut([3, 3, 3]), stride: cut([2, 2, 2]) },
    { kernel: cut([1, 3, 3]), stride: cut([1, 2, 2]) },
    { kernel: cut([2, 2, 2]), stride: cut([2, 2, 2]) },
    { kernel: cut([3, 3, 3]), stride: cut([1, 1, 1]) },
  ])("'same', in zeros that count: %o", async ({ kernel, stride }) => {
    const below = tensor(x.shape, (i) => x.data[i]! - 1.1) // all negative: zeros win wherever they are met
    const out = x.shape.slice(2).map((size, d) => Math.ceil(size / stride[d]!))
    const before = out.map((count, d) => {
      const total = Math.max((count - 1) * stride[d]! + kernel[d]! - x.shape[d + 2]!, 0)
      return Math.floor(total / 2)
    })
    const wanted = overWindows(below, { kernel, stride, before, out }, orZero)
    for (const training of [false, true]) {
      const y = await run((v) => graph.maxPool(v, { kernel, stride, padding: 'same' }), below, { training })
      expectClose(y, wanted, 0)
    }
  })

  test('global average, with and without the dimensions', async () => {
    const kept = await run((v) => graph.globalAveragePool(v, { keepDimensions: true }), x)
    const gone = await run((v) => graph.globalAveragePool(v), x)
    expect(kept.shape).toEqual([2, 19, ...new Array<number>(rank).fill(1)])
    expect(gone.shape).toEqual([2, 19])
    expect(kept.data).toEqual(gone.data)
    const all = { kernel: x.shape.slice(2), stride: x.shape.slice(2), before: [0, 0, 0], out: kept.shape.slice(2) }
    expectClose(kept, overWindows(x, all, meanOf))
  })
})

test('a maximum over clips keeps NaN and infinities', async () => {
  const x = tensor([1, 1, 2, 2, 2], (i) => [Number.NaN, 1, 2, 3, Number.NEGATIVE_INFINITY, -1, -2, -3][i]!)
  const [first] = (await run((v) => graph.maxPool(v, { kernel: [2, 2, 2] }), x)).data
  expect(first).toBeNaN()
  const rows = await run((v) => graph.maxPool(v, { kernel: [1, 1, 2] }), x)
  expect([...rows.data]).toEqual([Number.NaN, 3, -1, -2])
  const columns = await run((v) => graph.maxPool(v, { kernel: [1, 2, 1] }), x)
  expect([...columns.data]).toEqual([Number.NaN, 3, -2, -1])
})

/** A convolution over three dimensions, the plain way; padding of each side. */
function conv3d(
  x: TensorData,
  weight: TensorData,
  bias: ArrayLike<number> | undefined,
  s: { stride: number[]; before: number[]; after: number[]; dilation: number[]; groups: number },
): TensorData {
  const [out, inside, ...kernel] = weight.shape as [number, number, ...number[]]
  const size = x.shape.slice(2).map((length, d) => {
    const reach = s.dilation[d]! * (kernel[d]! - 1) + 1
    return Math.floor((length + s.before[d]! + s.after[d]! - reach) / s.stride[d]!) + 1
  })
  const taps = places([inside, ...kernel])
  return fromPlaces([x.shape[0]!, out, ...size], ([n, o, ...place]) => {
    const first = Math.floor(o! / (out / s.groups)) * inside
    return taps.reduce((sum, [c, ...k]) => {
      const from = k.map((tap, d) => place[d]! * s.stride[d]! - s.before[d]! + tap * s.dilation[d]!)
      return sum + (valueAt(x, [n!, first + c!, ...from]) ?? 0) * valueAt(weight, [o!, c!, ...k])!
    }, bias?.[o!] ?? 0)
  })
}

describe('convolution over clips, alone and with what follows it', () => {
  const x = noise([2, 4, 5, 6, 7], 3)
  const ones = [1, 1, 1]
  test.each([
    [
      { kernel: [3, 3, 3], padding: 1 },
      { before: ones, after: ones },
    ],
    [
      { kernel: [1, 3, 3], stride: [1, 2, 2], padding: [0, 1, 1] },
      { stride: [1, 2, 2], before: [0, 1, 1], after: [0, 1, 1] },
    ],
    [
      { kernel: [3, 1, 1], padding: [1, 0, 0], bias: false },
      { before: [1, 0, 0], after: [1, 0, 0] },
    ],
    [{ kernel: [1, 1, 1], stride: [1, 2, 2] }, { stride: [1, 2, 2] }],
    [
      { kernel: [3, 3, 3], stride: [2, 2, 2], padding: 'same' as const },
      { stride: [2, 2, 2], before: [1, 0, 1], after: [1, 1, 1] },
    ],
    [
      { kernel: [2, 3, 2], padding: 2, dilation: [1, 2, 1], groups: 2 },
      { before: [2, 2, 2], after: [2, 2, 2], dilation: [1, 2, 1], groups: 2 },
    ],
  ])('%o', async (settings, plain) => {
    const { conv, batchNorm, relu, add, input, build } = graph
    const v = input('x', [null, 4, null, null, null])
    const named = (name: string) => conv(v, { out: 6, name, ...settings })
    const a = named('a')
    const net = build({
      plain: named('alone'),
      rectified: relu(named('b')),
      normed: relu(batchNorm(named('c'), { name: 'norm' })),
      sum: add([named('d'), a]),
      rectifiedSum: relu(add([relu(named('e')), named('f')])),
      read: add([a, a]),
    })
    await withNetwork(net, async (network) => {
      for (const [i, name] of ['weight', 'bias', 'running_mean'].entries())
        await network.handle.write(`norm.${name}`, noise([6], 20 + i))
      await network.handle.write(
        'norm.running_var',
        tensor([6], (i) => 0.5 + i / 4),
      )
      const own = { stride: ones, before: [0, 0, 0], after: [0, 0, 0], dilation: ones, groups: 1, ...plain }
      const y: Record<string, TensorData & { data: Float32Array }> = {}
      for (const name of ['alone', 'a', 'b', 'c', 'd', 'e', 'f']) {
        const weight = await network.tensor(`${name}.weight`)
        const bias = 'bias' in settings ? undefined : ((await network.tensor(`${name}.bias`)).data as Float32Array)
        y[name] = conv3d(x, weight, bias, own) as TensorData & { data: Float32Array }
      }
      const area = y.a!.shape.slice(2).reduce((product, size) => product * size, 1)
      const norm = Object.fromEntries(
        await Promise.all(
          ['weight', 'bias', 'running_mean', 'running_var'].map(
            async (name) => [name, (await network.tensor(`norm.${name}`)).data as Float32Array] as const,
          ),
        ),
      )
      const normed = tensor(y.c!.shape, (i) => {
        const c = Math.floor(i / area) % 6
        const scale = norm.weight![c]! / Math.sqrt(norm.running_var![c]! + 1e-5)
        return Math.max((y.c!.data[i]! - norm.running_mean![c]!) * scale + norm.bias![c]!, 0)
      })
      for (let call = 0; call < 2; call++) {
        const out = await network.forward({ x })
        expectClose(out.plain, y.alone!)
        expectClose(
          out.rectified,
          tensor(y.b!.shape, (i) => Math.max(y.b!.data[i]!, 0)),
        )
        expectClose(out.normed, normed)
        expectClose(
          out.sum,
          tensor(y.a!.shape, (i) => y.d!.data[i]! + y.a!.data[i]!),
        )
        expectClose(
          out.rectifiedSum,
          tensor(y.e!.shape, (i) => Math.max(Math.max(y.e!.data[i]!, 0) + y.f!.data[i]!, 0)),
        )
        expectClose(
          out.read,
          tensor(y.a!.shape, (i) => 2 * y.a!.data[i]!),
        )
      }
    })
  })

  test('a sum that is broadcast, and other sizes after the first', async () => {
    const { conv, relu, add, input, build, globalAveragePool } = graph
    const v = input('x', [null, 4, null, null, null])
    const wide = conv(v, { out: 6, kernel: [1, 1, 1], name: 'a' })
    const one = conv(globalAveragePool(v, { keepDimensions: true }), { out: 6, kernel: [1, 1, 1], name: 'b' })
    const net = build({ y: relu(add([one, conv(v, { out: 6, kernel: [1, 1, 1], name: 'c' })])), wide, one })
    const plain = build({ c: conv(v, { out: 6, kernel: [1, 1, 1], name: 'c' }) })
    await withNetwork(net, async (network) => {
      const view = await network.view(plain)
      for (const clip of [x, noise([1, 4, 2, 3, 9], 8), x]) {
        const out = await network.forward({ x: clip })
        const { c } = await view.forward({ x: clip })
        const area = clip.shape.slice(2).reduce((product, size) => product * size, 1)
        const wanted = tensor(c!.shape, (i) =>
          Math.max(Number(c!.data[i]) + Number(out.one!.data[Math.floor(i / area)]), 0),
        )
        expectClose(out.y, wanted)
      }
      view.dispose()
    })
  })
})

describe('wrong sizes', () => {
  const clip: Shape = [null, 2, null, null, null]
  test.each([
    [/maxPool.*wanted an input of 4 dimensions/, clip, (x: graph.Value) => graph.maxPool(x, { kernel: 2 })],
    [/averagePool.*wanted an input of 3 dimensions/, clip, (x: graph.Value) => graph.averagePool(x, { kernel: [2] })],
    [/the windows are larger/, [null, 2, null, 3, 3], (x: graph.Value) => graph.maxPool(x, { kernel: [1, 4, 1] })],
    [/the padding is more than half/, clip, (x: graph.Value) => graph.maxPool(x, { kernel: [2, 2, 2], padding: 2 })],
    [
      /wanted an input of 5 dimensions/,
      [null, 2, 8, 8],
      (x: graph.Value) => graph.maxPool(x, { kernel: [2, 2, 2], padding: 'same' }),
    ],
  ] as const)('%s', async (message, shape, make) => {
    await refuses('ERR_SHAPE', message, () => run(make, noise([1, 2, 1, 1, 1]), { free: [...shape] }))
  })
  test('settings', async () => {
    const refused = (message: RegExp, make: (x: graph.Value) => graph.Value) =>
      refuses('ERR_INVALID_ARGUMENT', message, () => run(make, noise([1, 2, 2, 2, 2])))
    await refused(/'kernel' must have 1 to 3 sizes/, (x) => graph.maxPool(x, { kernel: [1, 1, 1, 1] }))
    await refused(/'padding' must be a number, a list or 'same'/, (x) =>
      graph.maxPool(x, { kernel: [2, 2, 2], padding: 'valid' as 'same' }),
    )
    await refused(/'padding' must be/, (x) => graph.averagePool(x, { kernel: [2, 2, 2], padding: 'same' as never }))
  })
})
