import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { metrics, RTFM, type RtfmFitOptions, type RtfmOptions, type RtfmTraining } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { refuses, scratch } from '../helpers/expect.ts'
import { bitsOf, detector, type Features, testVideos, traced, video, videos, withDetector } from './helpers.ts'

const folder = scratch()
const mil: RtfmOptions = { network: 'deepMil', dropout: 0.3, seed: 1 }

/** Where detectors of one segment's frame each are measured: labels the wrong way round, so that they get worse. */
const wrongWay = () => {
  const { test, groundTruth } = testVideos(4, 4)
  return { test, groundTruth: groundTruth.map((labels) => labels.map((label) => 1 - label)), framesPerSegment: 1 }
}

/** A figure of whole videos by the mean of their three highest scores, as a held-out part is judged. */
async function figureOf(
  rtfm: RTFM,
  { normal, abnormal }: { normal: Features[]; abnormal: Features[] },
  heldOut: NonNullable<RtfmTraining['heldOut']>,
  metric: 'rocAuc' | 'averagePrecision' = 'rocAuc',
): Promise<number> {
  const score = async (features: Features) => {
    const { scores } = await rtfm.score(features)
    return (
      [...scores]
        .sort((a, b) => b - a)
        .slice(0, 3)
        .reduce((a, b) => a + b) / 3
    )
  }
  // Videos in memory are named by their place.
  const place = (name: string) => Number(/\[(\d+)\]$/.exec(name)?.[1])
  const good = await Promise.all(heldOut.normal.map((name) => score(normal[place(name)]!)))
  const bad = await Promise.all(heldOut.abnormal.map((name) => score(abnormal[place(name)]!)))
  return await metrics[metric]([...good, ...bad], [...good.map(() => 0), ...bad.map(() => 1)])
}

describe('held-out videos', () => {
  test('by default a tenth of each kind, which is not trained on, and judged after the last step', async () => {
    await withDetector(mil, async (rtfm) => {
      const made = videos(31, 20)
      const { records, training } = await traced(rtfm.fit(made, { steps: 8, seed: 5 }))
      expect(training.heldOut?.normal).toHaveLength(3)
      expect(training.heldOut?.abnormal).toHaveLength(2)
      expect(records.map(({ validation }) => validation !== undefined)).toEqual([...Array(7).fill(false), true])
      const value = records.at(-1)!.validation!
      expect(training.validations).toEqual([{ step: 8, value }])
      expect(training.best).toEqual({ step: 8, value })
      expect(value).toBeCloseTo(await figureOf(rtfm, made, training.heldOut!), 12)
    })
  })

  test('are drawn by the seed', async () => {
    const drawn = async (seed: number) =>
      await withDetector(mil, async (rtfm) => (await rtfm.fit(videos(20, 20), { steps: 1, seed })).heldOut)
    expect(await drawn(1)).toEqual(await drawn(1))
    expect(await drawn(2)).not.toEqual(await drawn(1))
  })

  test.each([
    ['false', 20, 20, { validation: false }],
    ['fewer than ten videos of a kind', 20, 9, {}],
    ['fewer than ten videos of the other', 9, 20, {}],
    ['a run in the order given', 20, 20, { shuffle: false }],
  ] as [string, number, number, RtfmFitOptions][])('none with %s', async (_, normal, abnormal, options) => {
    await withDetector(mil, async (rtfm) => {
      const { records, training } = await traced(rtfm.fit(videos(normal, abnormal), { steps: 2, ...options }))
      expect(training).toEqual({ steps: 2, validations: [], warnings: [] })
      expect(records.every(({ validation }) => validation === undefined)).toBe(true)
    })
  })

  test("a share and a figure of one's own; the last of equal states is kept", async () => {
    await withDetector(mil, async (rtfm) => {
      const made = videos(6, 6)
      const validation = { holdOut: 0.34, every: 2, after: 3, metric: 'averagePrecision' } as const
      const { training } = await traced(rtfm.fit(made, { steps: 9, validation }))
      expect(training.heldOut?.normal).toHaveLength(2)
      expect(training.validations.map(({ step }) => step)).toEqual([4, 6, 8, 9])
      const best = Math.max(...training.validations.map(({ value }) => value))
      const last = training.validations.findLast(({ value }) => value === best)
      expect(training.best).toEqual(last)
      expect(best).toBeCloseTo(await figureOf(rtfm, made, training.heldOut!, 'averagePrecision'), 12)
    })
  })
})

describe('test videos', () => {
  test('the result, and the file of the best, are the best state, not the last', async () => {
    await withDetector({ network: 'deepMil', seed: 2 }, async (rtfm) => {
      const validation = { ...wrongWay(), every: 3, after: 2 }
      const settings = { steps: 30, batchSize: 2, seed: 11, learningRate: 0.001, validation }
      const checkpoint = { path: join(folder, 'run.safetensors'), every: 30, best: join(folder, 'best.safetensors') }
      const { records, training } = await traced(rtfm.fit(videos(5, 4), { ...settings, checkpoint }))
      const steps = Array.from({ length: 10 }, (_, i) => 3 * (i + 1))
      expect(training.validations.map(({ step }) => step)).toEqual(steps)
      expect(records.filter((record) => record.validation !== undefined).map(({ step }) => step)).toEqual(steps)
      expect(training.heldOut).toBeUndefined()
      const { best } = training
      expect(best!.value).toBe(Math.max(...training.validations.map(({ value }) => value)))
      expect(best!.step).toBeLessThan(30)
      expect(training.validations.at(-1)!.value).toBeLessThan(best!.value - 0.1)

      const { test, groundTruth, framesPerSegment } = validation
      const figure = async (of: RTFM) => (await of.evaluate(test, groundTruth, { framesPerSegment })).rocAuc
      expect(await figure(rtfm)).toBeCloseTo(best!.value, 12)
      const opened = await RTFM.open(checkpoint.best, { device: 'cpu' })
      expect(opened.settings).toEqual(rtfm.settings)
      expect(await bitsOf(opened.network)).toEqual(await bitsOf(rtfm.network))
      // The checkpoint goes on from the last state instead.
      const last = await RTFM.open(checkpoint.path, { device: 'cpu' })
      expect(await figure(last)).toBeCloseTo(training.validations.at(-1)!.value, 12)
      opened.dispose()
      last.dispose()
    })
  })

  test('measuring does not change what is trained', async () => {
    const run = async (validation: RtfmFitOptions['validation']) =>
      await withDetector({ seed: 2, dropout: 0.5 }, async (rtfm) => {
        return (await traced(rtfm.fit(videos(4, 4), { steps: 5, validation }))).losses
      })
    expect(await run({ ...wrongWay(), every: 1 })).toEqual(await run(false))
  })

  test('frames of segments, crops, videos of any length, every figure', async () => {
    const lengths = [1, 2, 40, 7]
    const test = lengths.map((segments, i) => video(70 + i, { segments, crops: 2, event: [0, i] }))
    const groundTruth = lengths.map((segments, i) =>
      Uint8Array.from({ length: segments * 16 }, (_, k) => +(k < 16 * i)),
    )
    for (const metric of ['rocAuc', 'prAuc', 'averagePrecision'] as const) {
      await withDetector({ seed: 2 }, async (rtfm) => {
        const { best } = await rtfm.fit(videos(2, 2, { crops: 2 }), {
          steps: 2,
          validation: { test, groundTruth, metric },
          onWarning() {},
        })
        expect((await rtfm.evaluate(test, groundTruth))[metric]).toBeCloseTo(best!.value, 6)
      })
    }
  })

  test('settings that make no sense are refused before anything is trained', async () => {
    const { test, groundTruth } = testVideos(2, 2)
    const best = join(folder, 'none.safetensors')
    const train = async (validation: unknown) =>
      await withDetector(mil, async (rtfm) => {
        const checkpoint = { path: `${best}.run`, every: 1, best }
        return await rtfm.fit(videos(4, 4), { steps: 2, validation: validation as never, checkpoint })
      })
    for (const [message, validation] of [
      [/validation.*object.*false/, true],
      [/validation\.every/, { every: 0 }],
      [/validation\.after/, { after: -1 }],
      [/validation\.metric/, { metric: 'auc' }],
      [/validation\.holdOut/, { holdOut: 0 }],
      [/validation\.holdOut.*of 4 normal/, { holdOut: 1 }],
      [/validation\.test/, { groundTruth }],
      [/validation\.groundTruth/, { test }],
      [/validation\.test.*8 numbers.*16/, { test: [video(1, { size: 8 })], groundTruth: [new Uint8Array(384)] }],
    ] as [RegExp, unknown][])
      await refuses('ERR_INVALID_ARGUMENT', message, () => train(validation))
    await refuses('ERR_SHAPE', /validation\.test\[0\].*24 segments of 16/, () => train({ test, groundTruth }))
    const silent = { test, groundTruth: groundTruth.map((labels) => labels.map(() => 0)), framesPerSegment: 1 }
    await refuses('ERR_INVALID_ARGUMENT', /all are negative/, () => train(silent))
    expect(existsSync(best)).toBe(false)
  })

  test('a training that diverges says so when it is measured', async () => {
    const rtfm = await detector(mil)
    const validation = { ...wrongWay(), every: 1 }
    await refuses('ERR_NOT_FINITE', /learning rate/, () =>
      rtfm.fit(videos(4, 4), { steps: 3, learningRate: 1e38, validation }),
    )
    rtfm.dispose()
  })
})
