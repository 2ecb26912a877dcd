import type { RtfmOptions } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { relative, tensor } from '../helpers/tensors.ts'
import { type Features, traced, video, withDetector } from './helpers.ts'

const lengths = [1, 2, 5, 17, 31, 32, 33, 53, 64, 100]

/** Rows of a video (T, crops, F) between borders, meaned; the one row at the first border where there is none between. */
function between({ data, shape }: Features, borders: number[]): Features {
  const [, crops, size] = shape as [number, number, number]
  const row = crops * size
  return tensor([borders.length - 1, crops, size], (i) => {
    const [segment, at] = [Math.floor(i / row), i % row]
    const [from, to] = [borders[segment]!, Math.max(borders[segment + 1]!, borders[segment]! + 1)]
    let sum = 0
    for (let t = from; t < to; t++) sum += data[t * row + at]!
    return sum / (to - from)
  })
}

/** RTFM's: linspace(0, T, n + 1) truncated. */
const linspace = (features: Features, n: number) =>
  between(
    features,
    Array.from({ length: n + 1 }, (_, i) => Math.trunc((i * features.shape[0]!) / n)),
  )

/** Sultani et al.'s: round(linspace(1, T, n + 1)), counted from 1; what has n rows stays. */
const sultani = (features: Features, n: number) => {
  const last = features.shape[0]!
  if (last === n) return features
  return between(
    features,
    Array.from({ length: n + 1 }, (_, i) => Math.round(1 + (i * (last - 1)) / n) - 1),
  )
}

const normalised = ({ data, shape }: Features): Features => {
  const size = shape.at(-1)!
  const norm = (row: number) => Math.hypot(...data.subarray(row * size, (row + 1) * size)) || 1
  return tensor(shape, (i) => data[i]! / norm(Math.floor(i / size)))
}

/** The parts of the first loss on these videos, of a network whose scores all count. */
async function firstLosses(options: RtfmOptions, normal: Features, abnormal: Features): Promise<number[]> {
  return await withDetector({ dropout: 0, seed: 3, ...options }, async (rtfm) => {
    const given = { normal: [normal], abnormal: [abnormal] }
    const { records } = await traced(rtfm.fit(given, { steps: 1, validation: false, smoothness: 1, sparsity: 1 }))
    return Object.values(records[0]!.losses)
  })
}

describe.each([
  ['RTFM', { network: 'rtfm' }, linspace, sultani],
  ['MIL ranking', { network: 'deepMil' }, sultani, linspace],
  ["RTFM's network with MIL ranking", { network: 'rtfm', objective: 'milRanking' }, sultani, linspace],
] as const)('%s resamples every video', (_, options, own, other) => {
  test.each(lengths)('of %i segments to 32', async (segments) => {
    const made = [1, 2].map((seed) => video(seed, { segments, crops: 2, event: [0, 1] })) as [Features, Features]
    const twin = (how: typeof own) => made.map((features) => how(features, 32)) as [Features, Features]
    const found = await firstLosses(options, ...made)
    expect(relative(found, await firstLosses(options, ...twin(own)))).toBeLessThan(1e-5)
    // What the other does is far enough away to be told apart, where it does differ.
    const differ = segments > 2 && segments !== 32
    if (differ) expect(relative(found, await firstLosses(options, ...twin(other)))).toBeGreaterThan(1e-4)
  })
})

test('to another number of segments', async () => {
  const made = [1, 2].map((seed) => video(seed, { segments: 23 })) as [Features, Features]
  const found = await firstLosses({ segments: 7 }, ...made)
  expect(relative(found, await firstLosses({ segments: 7 }, linspace(made[0], 7), linspace(made[1], 7)))).toBeLessThan(
    1e-5,
  )
  expect(relative(found, await firstLosses({}, ...made))).toBeGreaterThan(1e-3)
})

test('normalise: each row is divided by its L2 norm, after the resampling; rows of zeros stay', async () => {
  const options = { network: 'deepMil' } as const
  const [normal, abnormal] = [video(1, { segments: 40 }), video(2, { segments: 40 })]
  normal.data.fill(0, 0, 3 * 16)
  const found = await firstLosses({ ...options, normalise: true }, normal, abnormal)
  const after = [normal, abnormal].map((features) => normalised(sultani(features, 32))) as [Features, Features]
  const before = [normal, abnormal].map((features) => sultani(normalised(features), 32)) as [Features, Features]
  expect(relative(found, await firstLosses(options, ...after))).toBeLessThan(1e-5)
  expect(relative(found, await firstLosses(options, ...before))).toBeGreaterThan(1e-5)
})
