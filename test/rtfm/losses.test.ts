import { losses, type TensorData } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { refuses } from '../helpers/expect.ts'
import { randomFrom, relative, tensor } from '../helpers/tensors.ts'

/** What a network made of videos, in double precision. */
interface Outputs {
  /** (videos, T) */
  scores: number[][]
  magnitudes: number[][]
  /** (videos, crops, T, F) */
  features: number[][][][]
}

const [crops, size] = [2, 5]

function outputs(videos: number, segments: number, seed: number): Outputs {
  const random = randomFrom(seed)
  const list = <T>(count: number, make: () => T) => Array.from({ length: count }, make)
  const number = (low: number, high: number) => Math.fround(low + (high - low) * random())
  return {
    scores: list(videos, () => list(segments, () => number(0.05, 0.95))),
    magnitudes: list(videos, () => list(segments, () => number(0, 20))),
    features: list(videos, () => list(crops, () => list(segments, () => list(size, () => number(-30, 30))))),
  }
}

const shapeOf = (x: unknown): number[] => (Array.isArray(x) ? [x.length, ...shapeOf(x[0])] : [])
const asTensor = (x: unknown[]): TensorData => {
  const flat = x.flat(4) as number[]
  return tensor(shapeOf(x), (i) => flat[i]!)
}
const given = ({ scores, magnitudes, features }: Outputs) => ({
  scores: asTensor(scores),
  magnitudes: asTensor(magnitudes),
  features: asTensor(features),
})

const sum = (values: number[]) => values.reduce((a, b) => a + b, 0)
const mean = (values: number[]) => sum(values) / values.length
const topOf = (magnitudes: number[], k: number) =>
  [...magnitudes.keys()].sort((a, b) => magnitudes[b]! - magnitudes[a]!).slice(0, k)
const crossEntropy = (score: number, label: number) => -Math.log(label === 1 ? score : 1 - score)
const steps = (scores: number[]) => sum(scores.slice(1).map((s, i) => (s - scores[i]!) ** 2))
/** L2 norms, by crop, of a video's features meaned over the segments that count. */
const topNorms = (features: number[][][], top: number[]) =>
  features.map((crop) => Math.hypot(...crop[0]!.map((_, f) => mean(top.map((t) => crop[t]![f]!)))))

interface Weights {
  top: number
  margin: number
  magnitude: number
  smoothness: number
  sparsity: number
}

function reference(abnormal: Outputs, normal: Outputs, { top, margin, ...weights }: Weights) {
  const [far, near] = [abnormal, normal].map(({ magnitudes }) => magnitudes.map((row) => topOf(row, top)))
  const scoreOf = ({ scores }: Outputs, chosen: number[][]) =>
    scores.map((row, i) => mean(chosen[i]!.map((t) => row[t]!)))
  const bce = mean([
    ...scoreOf(normal, near!).map((score) => crossEntropy(score, 0)),
    ...scoreOf(abnormal, far!).map((score) => crossEntropy(score, 1)),
  ])
  const apart = abnormal.features.flatMap((features, i) => {
    const others = topNorms(normal.features[i]!, near![i]!)
    return topNorms(features, far![i]!).map((norm, crop) => (Math.abs(margin - norm) + others[crop]!) ** 2)
  })
  const flat = abnormal.scores.flat()
  return {
    bce,
    magnitude: weights.magnitude * mean(apart),
    smooth: weights.smoothness * steps(flat),
    sparse: weights.sparsity * Math.hypot(...flat),
  }
}

function paper(abnormal: Outputs, normal: Outputs, { top, margin, ...weights }: Weights) {
  const kinds = [abnormal, normal].map((one) => one.magnitudes.map((row) => topOf(row, top)))
  const [far, near] = kinds as [number[][], number[][]]
  const entropies = (of: Outputs, chosen: number[][], label: number) =>
    of.scores.map((row, i) => sum(chosen[i]!.map((t) => crossEntropy(row[t]!, label))))
  const g = (of: Outputs, chosen: number[][]) => of.magnitudes.map((row, i) => mean(chosen[i]!.map((t) => row[t]!)))
  const pairs = g(abnormal, far).flatMap((a) => g(normal, near).map((n) => Math.max(0, margin - (a - n))))
  return {
    bce: mean([...entropies(normal, near, 0), ...entropies(abnormal, far, 1)]),
    magnitude: mean(pairs),
    smooth: weights.smoothness * mean(abnormal.scores.map(steps)),
    sparse: weights.sparsity * mean(abnormal.scores.map(sum)),
  }
}

function milRanking(abnormal: number[][], normal: number[][], { smoothness, sparsity }: Record<string, number>) {
  const best = (scores: number[]) => Math.max(...scores)
  return {
    hinge: mean(normal.map((n) => sum(abnormal.map((a) => Math.max(0, 1 - best(a) + best(n)))))),
    smooth: smoothness! * sum(abnormal.map(steps)),
    sparse: sparsity! * sum(abnormal.map(sum)),
  }
}

const total = (parts: Record<string, number>) => sum(Object.values(parts))

function expectParts(actual: Record<string, unknown>, wanted: Record<string, number>) {
  expect(relative([actual.loss as number], [total(wanted)])).toBeLessThan(1e-6)
  for (const [name, value] of Object.entries(wanted))
    expect(relative([actual[name] as number], [value]), name).toBeLessThan(1e-6)
}

/** Central differences of `loss` by every number of a nested array, in its order. */
function differences(values: unknown[], loss: () => number): number[] {
  return values.flatMap((value, i) => {
    if (Array.isArray(value)) return differences(value, loss)
    const h = 1e-5
    const at = (x: number) => {
      values[i] = x
      return loss()
    }
    const slope = (at((value as number) + h) - at((value as number) - h)) / (2 * h)
    values[i] = value
    return [slope]
  })
}

describe.each([
  ['reference', reference, 3, 3],
  ['paper', paper, 2, 4],
] as const)('rtfm, %s', (objective, plain, abnormalVideos, normalVideos) => {
  const defaults = { margin: 100, magnitude: 1e-4, smoothness: 8e-4, sparsity: 8e-3 }

  test.each([
    ['by default', 12, 1, {}],
    ['with a tenth of 32 segments', 32, 3, {}],
    ['of a single segment', 1, 1, {}],
    ['with settings', 12, 4, { top: 4, margin: 7, magnitude: 0.3, smoothness: 0.2, sparsity: 0.1 }],
    ['with parts left out', 12, 2, { top: 2, margin: 0, magnitude: 0, smoothness: 0, sparsity: 0 }],
  ])('its parts %s', async (_, segments, top, options) => {
    const [abnormal, normal] = [outputs(abnormalVideos, segments, 1), outputs(normalVideos, segments, 2)]
    const result = await losses.rtfm(given(abnormal), given(normal), { objective, ...options })
    expectParts(result as never, plain(abnormal, normal, { ...defaults, ...options, top }))
  })

  test('its gradients', async () => {
    const [abnormal, normal] = [outputs(abnormalVideos, 10, 3), outputs(normalVideos, 10, 4)]
    const weights = { top: 3, margin: 17, magnitude: 0.01, smoothness: 0.2, sparsity: 0.1 }
    const { gradient } = await losses.rtfm(given(abnormal), given(normal), { objective, ...weights })
    const loss = () => total(plain(abnormal, normal, weights))
    for (const [kind, of] of Object.entries({ abnormal, normal })) {
      for (const name of ['scores', 'magnitudes', 'features'] as const) {
        const found = gradient[kind as 'abnormal' | 'normal'][name]
        expect(found.shape).toEqual(shapeOf(of[name]))
        const wanted = differences(of[name], loss)
        const absent = name === (objective === 'reference' ? 'magnitudes' : 'features')
        if (absent) expect(new Set(found.data as Float32Array), `${kind} ${name}`).toEqual(new Set([0]))
        else expect(relative(found.data, wanted), `${kind} ${name}`).toBeLessThan(1e-5)
      }
    }
  })
})

describe('rtfm', () => {
  /** The segments that count: the gradient by features is 0 elsewhere. */
  const chosen = ({ data, shape }: TensorData) => {
    const [count, , segments] = shape as [number, number, number]
    const x = data as Float32Array
    return Array.from({ length: count }, (_, i) =>
      Array.from({ length: segments }, (_, t) => t).filter((t) => {
        const from = (i * crops * segments + t) * size
        return x.subarray(from, from + size).some((value) => value !== 0)
      }),
    )
  }

  test('dropout hides segments from the choice: seeded, and apart for both kinds', async () => {
    const made = outputs(4, 32, 5)
    const best = made.magnitudes.map((row) => topOf(row, 1)[0]!)
    const choices = async (seed: number, dropout = 0.7) => {
      const { gradient } = await losses.rtfm(given(made), given(made), { dropout, seed })
      return [chosen(gradient.abnormal.features), chosen(gradient.normal.features)] as const
    }
    expect(await choices(1)).toEqual(await choices(1))
    let [kept, differ] = [0, 0]
    const seeds = 60
    for (let seed = 0; seed < seeds; seed++) {
      const [abnormal, normal] = await choices(seed)
      for (const rows of [abnormal, normal]) {
        expect(rows.every((row) => row.length === 3)).toBe(true)
        kept += rows.filter((row, i) => row.includes(best[i]!)).length
      }
      if (JSON.stringify(abnormal) !== JSON.stringify(normal)) differ++
    }
    expect(differ).toBe(seeds)
    // The largest is chosen whenever it is not dropped: three in ten of 480 times, within five standard deviations.
    expect(kept / (seeds * 8)).toBeGreaterThan(0.2)
    expect(kept / (seeds * 8)).toBeLessThan(0.4)
    const [all] = await choices(1, 0)
    expect(all).toEqual(made.magnitudes.map((row) => topOf(row, 3).sort((a, b) => a - b)))
  })

  test('the paper has no dropout in its choice', async () => {
    const [abnormal, normal] = [given(outputs(2, 32, 1)), given(outputs(2, 32, 2))]
    const plain = await losses.rtfm(abnormal, normal, { objective: 'paper' })
    expect(await losses.rtfm(abnormal, normal, { objective: 'paper', dropout: 0.7, seed: 3 })).toEqual(plain)
  })

  test('what does not fit is refused', async () => {
    const [abnormal, normal] = [given(outputs(2, 12, 1)), given(outputs(2, 12, 2))]
    const rtfm = (a: unknown, n: unknown, options = {}) =>
      losses.rtfm(a as typeof abnormal, n as typeof normal, options)
    await refuses('ERR_SHAPE', /abnormal: scores \[2, 12\], normal: \[3, 12\]/, () =>
      rtfm(abnormal, given(outputs(3, 12, 1))),
    )
    await refuses('ERR_SHAPE', /\[2, 12\], normal: \[2, 10\]/, () => rtfm(abnormal, given(outputs(2, 10, 1))))
    await refuses('ERR_SHAPE', /normal: \[2, 10\]/, () =>
      rtfm(abnormal, given(outputs(2, 10, 1)), { objective: 'paper' }),
    )
    await refuses('ERR_SHAPE', /normal: scores \[2, 12\], magnitudes \[2, 12\] and features \[2, 2, 10, 5\]/, () =>
      rtfm(abnormal, { ...normal, features: given(outputs(2, 10, 1)).features }),
    )
    await refuses('ERR_SHAPE', /top: got 13 of 12/, () => rtfm(abnormal, normal, { top: 13 }))
    await refuses('ERR_SHAPE', /features of 2 crops of 5 numbers.*3 crops of 5/, () =>
      rtfm(abnormal, { ...normal, features: tensor([2, 3, 12, 5], () => 1) }),
    )
    for (const missing of [undefined, null, 5, {}, { ...normal, scores: undefined }])
      await refuses('ERR_INVALID_ARGUMENT', /normal/, () => rtfm(abnormal, missing))
    for (const [name, value] of Object.entries({
      objective: 'x',
      top: -1,
      dropout: 1,
      margin: Number.NaN,
      magnitude: -1,
      smoothness: '1',
      sparsity: -1,
      seed: 0.5,
    }))
      await refuses('ERR_INVALID_ARGUMENT', new RegExp(name), () => rtfm(abnormal, normal, { [name]: value }))
  })
})

describe('milRanking', () => {
  test.each([
    ['by default', {}],
    ['with settings', { smoothness: 0.3, sparsity: 0.02 }],
  ])('its parts and gradients %s', async (_, options) => {
    const [abnormal, normal] = [outputs(4, 32, 6).scores, outputs(3, 32, 7).scores]
    const weights = { smoothness: 8e-5, sparsity: 8e-5, ...options }
    const { gradient, ...parts } = await losses.milRanking(asTensor(abnormal), asTensor(normal), options)
    expectParts(parts, milRanking(abnormal, normal, weights))
    const loss = () => total(milRanking(abnormal, normal, weights))
    expect(relative(gradient.abnormal.data, differences(abnormal, loss))).toBeLessThan(1e-5)
    expect(relative(gradient.normal.data, differences(normal, loss))).toBeLessThan(1e-5)
  })

  test('no hinge where all abnormal videos are far above all normal ones', async () => {
    const flat = (score: number) => tensor([2, 4], () => score)
    const { hinge, gradient } = await losses.milRanking(flat(2), flat(0), { smoothness: 0, sparsity: 0 })
    expect(hinge).toBe(0)
    expect(new Set(gradient.normal.data as Float32Array)).toEqual(new Set([0]))
  })

  test('what does not fit is refused', async () => {
    const scores = tensor([2, 4], () => 0.5)
    const odd = tensor([8], () => 0.5)
    await refuses('ERR_SHAPE', /abnormal: got shape \[8\], wanted \(videos, segments\)/, () =>
      losses.milRanking(odd, scores),
    )
    await refuses('ERR_SHAPE', /normal/, () =>
      losses.milRanking(
        scores,
        tensor([0, 4], () => 0),
      ),
    )
    await refuses('ERR_INVALID_ARGUMENT', /normal/, () => losses.milRanking(scores, undefined as never))
    await refuses('ERR_INVALID_ARGUMENT', /sparsity/, () => losses.milRanking(scores, scores, { sparsity: -1 }))
    await refuses('ERR_INVALID_ARGUMENT', /smoothness/, () =>
      losses.milRanking(scores, scores, { smoothness: Number.NaN }),
    )
  })
})
