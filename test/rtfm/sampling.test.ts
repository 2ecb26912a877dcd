import { losses, type RtfmFitOptions, type TensorData } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { relative } from '../helpers/tensors.ts'
import { type Features, traced, videos, withDetector } from './helpers.ts'

/** Which videos made up each step: numbers of normal and of abnormal ones. */
interface Step {
  normal: number[]
  abnormal: number[]
}

/** All ways to choose `count` of `videos`. */
function subsets(videos: number, count: number, from = 0): number[][] {
  if (count === 0) return [[]]
  return Array.from({ length: Math.max(videos - from, 0) }, (_, i) => from + i).flatMap((first) =>
    subsets(videos, count - 1, first + 1).map((rest) => [first, ...rest]),
  )
}

/**
 * The batches of a run, read off its losses: the network stands still, so the sum of the abnormal scores tells the abnormal
 * videos of a step, and then the hinge, all of whose terms are above 0, the normal ones.
 */
async function batches(normal: number, abnormal: number, options: RtfmFitOptions): Promise<Step[]> {
  return await withDetector({ network: 'deepMil', dropout: 0, segments: 4 }, async (mil) => {
    const made = videos(normal, abnormal, { segments: 4 })
    const scoresOf = async (features: Features) => (await mil.score(features)).scores
    const [good, bad] = [await Promise.all(made.normal.map(scoresOf)), await Promise.all(made.abnormal.map(scoresOf))]
    const still = { learningRate: 1e-30, weightDecay: 0, smoothness: 0, sparsity: 1, onWarning() {} }
    const { records } = await traced(mil.fit(made, { ...still, ...options }))
    const { batchSize } = options as { batchSize: number }
    const total = (values: number[]) => values.reduce((a, b) => a + b, 0)
    const closest = (candidates: number[][], value: number, of: (chosen: number[]) => number) => {
      const ranked = candidates
        .map((chosen) => ({ chosen, error: Math.abs(of(chosen) - value) }))
        .sort((a, b) => a.error - b.error)
      expect(ranked[0]!.error).toBeLessThan(2e-6)
      if (ranked.length > 1) expect(ranked[1]!.error, 'videos that tell apart').toBeGreaterThan(4e-6)
      return ranked[0]!.chosen
    }
    return records.map(({ losses: { hinge, sparse } }) => {
      const bags = subsets(abnormal, Math.min(batchSize, abnormal))
      const ofAbnormal = closest(bags, sparse!, (chosen) => total(chosen.map((i) => total([...bad[i]!]))))
      const others = subsets(normal, Math.min(batchSize, normal))
      const ofNormal = closest(others, hinge!, (chosen) => {
        const highest = (scores: Float32Array) => Math.max(...scores)
        const rows = chosen.map((j) => total(ofAbnormal.map((i) => 1 - highest(bad[i]!) + highest(good[j]!))))
        return total(rows) / rows.length
      })
      return { normal: ofNormal, abnormal: ofAbnormal }
    })
  })
}

/** The steps of one kind, epoch by epoch, each sorted. */
function epochs(steps: number[][], perEpoch: number): number[][] {
  return Array.from({ length: Math.floor(steps.length / perEpoch) }, (_, i) =>
    steps
      .slice(i * perEpoch, (i + 1) * perEpoch)
      .flat()
      .sort(),
  )
}

describe('sampling', () => {
  test('each kind has epochs of its own, in which every video comes once', async () => {
    const steps = await batches(5, 3, { steps: 15, batchSize: 1, seed: 3 })
    const [normal, abnormal] = [steps.map((step) => step.normal), steps.map((step) => step.abnormal)]
    expect(epochs(normal, 5)).toEqual(Array(3).fill([0, 1, 2, 3, 4]))
    expect(epochs(abnormal, 3)).toEqual(Array(5).fill([0, 1, 2]))
    // In another order in each.
    expect(new Set([0, 5, 10].map((at) => `${normal.slice(at, at + 5)}`)).size).toBe(3)
    expect(new Set([0, 3, 6, 9, 12].map((at) => `${abnormal.slice(at, at + 3)}`)).size).toBeGreaterThan(1)
    const again = await batches(5, 3, { steps: 15, batchSize: 1, seed: 3 })
    expect(again).toEqual(steps)
    const other = await batches(5, 3, { steps: 15, batchSize: 1, seed: 4 })
    expect(other).not.toEqual(steps)
  })

  test('an incomplete batch is left out of an epoch, and not always the same one', async () => {
    const steps = await batches(5, 4, { steps: 12, batchSize: 2, seed: 1 })
    const normal = epochs(
      steps.map((step) => step.normal),
      2,
    )
    expect(normal.map((epoch) => new Set(epoch).size)).toEqual(Array(6).fill(4))
    expect(new Set(normal.map((epoch) => [0, 1, 2, 3, 4].find((i) => !epoch.includes(i)))).size).toBeGreaterThan(1)
    const abnormal = epochs(
      steps.map((step) => step.abnormal),
      2,
    )
    expect(abnormal).toEqual(Array(6).fill([0, 1, 2, 3]))
  })

  test('in the order given without shuffling; the last ones never come when they fill no batch', async () => {
    const steps = await batches(5, 3, { steps: 4, batchSize: 2, shuffle: false })
    expect(steps).toEqual([
      { normal: [0, 1], abnormal: [0, 1] },
      { normal: [2, 3], abnormal: [0, 1] },
      { normal: [0, 1], abnormal: [0, 1] },
      { normal: [2, 3], abnormal: [0, 1] },
    ])
  })

  test('of a kind with fewer videos than a batch, all are in every step', async () => {
    const steps = await batches(2, 5, { steps: 3, batchSize: 4, seed: 2 })
    for (const { normal, abnormal } of steps) {
      expect(normal).toEqual([0, 1])
      expect(abnormal).toHaveLength(4)
    }
  })
})

describe("RTFM's step is the loss of the network in training on a batch", () => {
  /** (videos, crops, T, F) of videos (T, crops, F) with one crop. */
  const batchOf = (given: Features[]): TensorData => {
    const [segments, , size] = given[0]!.shape as [number, number, number]
    const data = new Float32Array(given.length * segments * size)
    for (const [i, { data: rows }] of given.entries()) data.set(rows, i * rows.length)
    return { data, shape: [given.length, 1, segments, size] }
  }
  const slice = ({ data, shape }: TensorData, from: number, count: number): TensorData => {
    const row = data.length / shape[0]!
    return { data: data.slice(from * row, (from + count) * row), shape: [count, ...shape.slice(1)] }
  }

  test.each([
    ['reference', 2, 5],
    ['reference', 5, 2],
    ['paper', 2, 5],
    ['paper', 5, 2],
  ] as const)(
    '%s, of %i normal and %i abnormal videos: two of each, normal first',
    async (objective, normal, abnormal) => {
      await withDetector({ objective, dropout: 0, seed: 2 }, async (rtfm) => {
        const made = videos(normal, abnormal, { segments: 32 })
        const batch = batchOf([...made.normal.slice(0, 2), ...made.abnormal.slice(0, 2)])
        const out = await rtfm.network.forward({ features: batch }, { training: true })
        const part = (from: number) => ({
          scores: slice(out.scores!, from, 2),
          magnitudes: slice(out.magnitudes!, from, 2),
          features: slice(out.features!, from, 2),
        })
        const settings = { top: 4, margin: 3, magnitude: 0.2, smoothness: 0.1, sparsity: 0.05 }
        const { loss, bce, magnitude, smooth, sparse } = await losses.rtfm(part(2), part(0), { objective, ...settings })
        const options = { steps: 1, batchSize: 32, shuffle: false, validation: false as const, ...settings }
        const { records } = await traced(rtfm.fit(made, options))
        expect(relative([records[0]!.loss], [loss])).toBeLessThan(1e-5)
        expect(relative(Object.values(records[0]!.losses), [bce, magnitude, smooth, sparse])).toBeLessThan(1e-5)
      })
    },
  )
})
