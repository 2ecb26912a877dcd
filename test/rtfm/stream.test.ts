import type { TensorData } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { collect } from '../helpers/collect.ts'
import { failureOf, refuses } from '../helpers/expect.ts'
import { noise, relative, tensor } from '../helpers/tensors.ts'
import { type Features, video, videos, withDetector } from './helpers.ts'

/** Segment by segment: (crops, F), or (F) of one crop. */
function* segmentsOf({ data, shape }: Features, flat = false): Generator<TensorData> {
  const [segments, crops, size] = shape as [number, number, number]
  const row = crops * size
  for (let t = 0; t < segments; t++)
    yield { data: data.slice(t * row, (t + 1) * row), shape: flat ? [size] : [crops, size] }
}

/** Rows `from` to `to` (or the end) of a video. */
function rows({ data, shape }: Features, from: number, to: number): Features {
  const [segments, crops, size] = shape as [number, number, number]
  const end = Math.min(to, segments)
  return { data: data.slice(from * crops * size, end * crops * size), shape: [end - from, crops, size] }
}

describe('scoreStream', () => {
  test.each([
    ["the reference's window", { objective: 'reference' }, {}, 32, 0],
    ['a short one', { objective: 'paper' }, { window: 5 }, 5, 0],
    ['one of a single segment', {}, { window: 1 }, 1, 0],
    ['a delay', { objective: 'reference' }, { delay: 5 }, 32, 5],
    ['the longest delay', { network: 'deepMil' }, { window: 4, delay: 3 }, 4, 3],
  ] as const)(
    'with %s: each score is that of its place in the last segments',
    async (_, options, settings, window, delay) => {
      const features = video(2, { segments: 40, crops: 2 })
      await withDetector({ seed: 1, ...options }, async (rtfm) => {
        const found = await collect(rtfm.scoreStream(segmentsOf(features), settings))
        expect(found.map(({ index }) => index)).toEqual(Array.from({ length: 40 }, (_, i) => i))
        for (const { index, score } of found) {
          const end = Math.min(index + delay + 1, 40)
          const start = Math.max(0, end - window)
          const { scores } = await rtfm.score(rows(features, start, end))
          expect(relative([score], [scores[index - start]!]), `segment ${index}`).toBeLessThan(1e-6)
        }
      })
    },
  )

  test('scores come as soon as they can: at once, or after the delay', async () => {
    await withDetector({ seed: 1 }, async (rtfm) => {
      for (const delay of [0, 2]) {
        let given = 0
        const live = async function* () {
          for (const segment of segmentsOf(video(1, { segments: 6 }), true)) {
            given++
            yield segment
          }
        }
        const after: number[] = []
        for await (const _ of rtfm.scoreStream(live(), { delay })) after.push(given)
        expect(after).toEqual(delay === 0 ? [1, 2, 3, 4, 5, 6] : [3, 4, 5, 6, 6, 6])
      }
    })
  })

  test('fewer segments than the delay, and none', async () => {
    await withDetector({ seed: 1 }, async (rtfm) => {
      const features = video(1, { segments: 3 })
      const found = await collect(rtfm.scoreStream(segmentsOf(features), { delay: 7 }))
      expect(
        relative(
          found.map(({ score }) => score),
          (await rtfm.score(features)).scores,
        ),
      ).toBeLessThan(1e-6)
      expect(await collect(rtfm.scoreStream([]))).toEqual([])
    })
  })

  test('normalised as in training', async () => {
    await withDetector({ network: 'deepMil', normalise: true }, async (mil) => {
      const features = noise([4, 1, 16], 1)
      const found = await collect(mil.scoreStream(segmentsOf(features)))
      expect(
        relative(
          found.map(({ score }) => score),
          (await mil.score(features)).scores,
        ),
      ).toBeLessThan(1e-6)
    })
  })

  test.each([
    ['reference', { dropout: 0.3 }],
    ['paper', { objective: 'paper', dropout: 0.3 }],
    ['deepMil', { network: 'deepMil' }],
  ] as const)('%s, having learnt: near the scores of the whole video, nearer with a delay', async (_, options) => {
    await withDetector({ ...options, seed: 1 }, async (rtfm) => {
      // Norms like those of I3D's features.
      const louder = ({ data, shape }: Features): Features => ({ data: data.map((x) => 5 * x), shape })
      const { normal, abnormal } = videos(20, 20)
      const made = { normal: normal.map(louder), abnormal: abnormal.map(louder) }
      await rtfm.fit(made, { steps: 40, batchSize: 6, seed: 1 })
      const length = 150
      const difference = async (delay: number) => {
        const gaps: number[] = []
        for (let i = 0; i < 4; i++) {
          const features = louder(video(800 + i, { segments: length, event: [30 * i + 10, 30 * i + 18] }))
          const { scores } = await rtfm.score(features)
          const found = await collect(rtfm.scoreStream(segmentsOf(features), { delay }))
          gaps.push(...found.map(({ index, score }) => Math.abs(score - scores[index]!)))
        }
        return { mean: gaps.reduce((a, b) => a + b) / gaps.length, most: Math.max(...gaps) }
      }
      const [atOnce, later] = [await difference(0), await difference(5)]
      if ('network' in options) {
        // Each segment is scored by itself.
        expect(atOnce.most).toBeLessThan(1e-6)
        return
      }
      // docs/rtfm.md has these differences: 0.019 and 1e-5 (reference), 0.0006 and 3e-5 (paper).
      expect(atOnce.mean).toBeGreaterThan(1e-4)
      expect(atOnce.mean).toBeLessThan(0.1)
      expect(later.mean).toBeLessThan(atOnce.mean / 10)
      expect(later.most).toBeLessThan(0.01)
    })
  })

  test('whoever stops reading stops the source; an abort ends it', async () => {
    await withDetector({ seed: 1 }, async (rtfm) => {
      let closed = false
      const endless = function* () {
        try {
          for (;;) yield tensor([16], () => 0.5)
        } finally {
          closed = true
        }
      }
      for await (const { index } of rtfm.scoreStream(endless())) if (index === 3) break
      expect(closed).toBe(true)
      const controller = new AbortController()
      const failed = await failureOf(async () => {
        for await (const { index } of rtfm.scoreStream(endless(), { signal: controller.signal }))
          if (index === 2) controller.abort('enough')
      })
      expect(failed).toBe('enough')
    })
  })

  test('segments that are none, or differ, are refused by number', async () => {
    await withDetector({ seed: 1 }, async (rtfm) => {
      const stream = (segments: unknown, options = {}) =>
        collect(rtfm.scoreStream(segments as Iterable<TensorData>, options))
      const good = tensor([16], () => 0)
      await refuses('ERR_SHAPE', /segment 1 has shape \[2, 16\], those before it \[1, 16\]/, () =>
        stream([good, tensor([2, 16], () => 0)]),
      )
      await refuses('ERR_SHAPE', /segment 0.*8 numbers a segment, the network takes 16/, () =>
        stream([tensor([8], () => 0)]),
      )
      await refuses('ERR_SHAPE', /segment 1.*15 numbers/, () => stream([good, { ...good, data: new Float32Array(15) }]))
      await refuses('ERR_INVALID_ARGUMENT', /segment 1.*finite/, () =>
        stream([good, tensor([16], (i) => (i === 3 ? Number.NaN : 0))]),
      )
      for (const odd of [undefined, 5, {}, { shape: [16] }, tensor([1, 1, 16], () => 0)])
        await refuses('ERR_INVALID_ARGUMENT', /segment 0/, () => stream([odd]))
      await refuses('ERR_SHAPE', /segment 0.*nothing/, () => stream([tensor([0, 16], () => 0)]))
      for (const odd of [undefined, 5, {}]) await refuses('ERR_INVALID_ARGUMENT', /segments/, () => stream(odd))
      await refuses('ERR_INVALID_ARGUMENT', /window/, () => stream([good], { window: 0 }))
      await refuses('ERR_INVALID_ARGUMENT', /delay.*31/, () => stream([good], { delay: 32 }))
      rtfm.dispose()
      await refuses('ERR_DISPOSED', /disposed/, () => stream([good]))
    })
  })
})
