import { describe, expect, test } from 'vitest'
import { ucsdSplits } from '../../lib/data/ucsd.ts'
import { refuses } from './helpers.ts'

/** As many as UCSD-Peds has: 98. */
const videos = {
  normal: Array.from({ length: 50 }, (_, i) => `normal${i}`),
  abnormal: Array.from({ length: 48 }, (_, i) => `abnormal${i}`),
}

describe('ucsdSplits', () => {
  test('draws 6 abnormal and 4 normal videos for training, and leaves every other for testing', () => {
    const splits = ucsdSplits(videos)
    expect(splits).toHaveLength(10)
    for (const { train, test } of splits) {
      for (const [kind, drawn] of [
        ['normal', 4],
        ['abnormal', 6],
      ] as const) {
        expect(train[kind]).toHaveLength(drawn)
        const chosen = new Set(train[kind])
        expect(chosen.size).toBe(drawn)
        expect(test[kind]).toEqual(videos[kind].filter((name) => !chosen.has(name)))
        expect(train[kind]).toEqual(videos[kind].filter((name) => chosen.has(name)))
      }
    }
  })

  test('is the same for the same seed, and the first draws of more are the same', () => {
    expect(ucsdSplits(videos, { draws: 20, seed: 7 }).slice(0, 5)).toEqual(ucsdSplits(videos, { draws: 5, seed: 7 }))
    expect(ucsdSplits(videos, { seed: 7 })).not.toEqual(ucsdSplits(videos, { seed: 8 }))
    const drawn = ucsdSplits(videos).map(({ train }) => train.abnormal.join())
    expect(new Set(drawn).size).toBe(10)
  })

  test('draws every video about as often', () => {
    const times = new Map<string, number>()
    for (const { train } of ucsdSplits(videos, { draws: 10_000 })) {
      for (const name of [...train.normal, ...train.abnormal]) times.set(name, (times.get(name) ?? 0) + 1)
    }
    // Of a binomial 10,000 times 4/50 = 800 +- 27, and 6/48 = 1250 +- 33.
    for (const name of videos.normal) expect(Math.abs(times.get(name)! - 800)).toBeLessThan(140)
    for (const name of videos.abnormal) expect(Math.abs(times.get(name)! - 1250)).toBeLessThan(170)
  })

  test('hands on whatever stands for a video', () => {
    const objects = {
      normal: videos.normal.map((name) => ({ name })),
      abnormal: videos.abnormal.map((name) => ({ name })),
    }
    const [split] = ucsdSplits(objects, { draws: 1 })
    expect(objects.abnormal).toContain(split!.train.abnormal[0])
  })

  test('refuses too few videos, videos that are there twice, and other options', async () => {
    const four = { ...videos, normal: videos.normal.slice(0, 4) }
    await refuses('ERR_INVALID_ARGUMENT', /^normal: .*more than 4 videos/, () => ucsdSplits(four))
    const none = { normal: videos.normal } as any
    await refuses('ERR_INVALID_ARGUMENT', /^abnormal: .*more than 6 videos/, () => ucsdSplits(none))
    const twice = { ...videos, normal: [...videos.normal, 'abnormal3'] }
    await refuses('ERR_INVALID_ARGUMENT', /both normal and abnormal/, () => ucsdSplits(twice))
    await refuses('ERR_INVALID_ARGUMENT', /^draws: got 0/, () => ucsdSplits(videos, { draws: 0 }))
    await refuses('ERR_INVALID_ARGUMENT', /^seed: got 0\.5/, () => ucsdSplits(videos, { seed: 0.5 }))
    await refuses('ERR_INVALID_ARGUMENT', /^normal/, () => ucsdSplits(null as any))
  })
})
