import { RTFM, type RtfmFitOptions, type RtfmOptions } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { failureOf, refuses, scratch } from '../helpers/expect.ts'
import { differing, noise, tensor, withNetwork } from '../helpers/tensors.ts'
import { bitsOf, detector, type Features, testVideos, traced, video, videos, withDetector } from './helpers.ts'

const folder = scratch()

/** Few steps of a small detector, on the CPU. */
const few = { steps: 4, batchSize: 4, validation: false } as const

describe('learning', () => {
  test.each([
    ['milRanking', { network: 'deepMil', dropout: 0.3 }, { steps: 60, batchSize: 8 }, 0.95],
    ['reference', { dropout: 0.3 }, { steps: 25, batchSize: 6 }, 0.95],
    ['paper', { objective: 'paper', dropout: 0.3 }, { steps: 30, batchSize: 6 }, 0.75],
  ] as [string, RtfmOptions, RtfmFitOptions, number][])(
    '%s: finds the segments that differ, told only which videos have some',
    async (_, options, settings, least) => {
      await withDetector({ ...options, seed: 1 }, async (rtfm) => {
        const { test, groundTruth } = testVideos(8, 8)
        const judge = async () => await rtfm.evaluate(test, groundTruth, { framesPerSegment: 1 })
        const { losses, training } = await traced(rtfm.fit(videos(20, 20), { ...settings, seed: 1 }))
        const first = losses.slice(0, 5).reduce((a, b) => a + b) / 5
        const last = losses.slice(-5).reduce((a, b) => a + b) / 5
        expect(last).toBeLessThan(0.9 * first)
        expect((await judge()).rocAuc).toBeGreaterThan(least)
        expect(training.best?.value).toBeGreaterThan(0.9)
        expect(training.steps).toBe(settings.steps)
        expect(training.warnings).toEqual([])
      })
    },
  )

  test('a record per step, whose parts add up to its loss', async () => {
    for (const [options, names] of [
      [{ network: 'deepMil' }, ['hinge', 'smooth', 'sparse']],
      [{}, ['bce', 'magnitude', 'smooth', 'sparse']],
    ] as const) {
      await withDetector(options, async (rtfm) => {
        const { records } = await traced(rtfm.fit(videos(4, 4), { ...few, learningRate: 0.002 }))
        expect(records.map(({ step, steps }) => [step, steps])).toEqual([1, 2, 3, 4].map((step) => [step, 4]))
        for (const { loss, losses, learningRate, secondsPerStep, ...rest } of records) {
          expect(Object.keys(losses)).toEqual(names)
          const sum = Object.values(losses).reduce((a, b) => a + b)
          expect(Math.abs(sum - loss) / loss).toBeLessThan(1e-6)
          expect(learningRate).toBe(0.002)
          expect(secondsPerStep).toBeGreaterThan(0)
          expect(rest.validation).toBeUndefined()
        }
        expect(records.at(-1)?.secondsLeft).toBe(0)
      })
    }
  })

  test('epochs are those of the kind of which there are more batches', async () => {
    const stepsOf = async (options: RtfmOptions, normal: number, abnormal: number, settings: RtfmFitOptions) =>
      await withDetector(options, async (rtfm) => {
        const { validation } = few
        return (await rtfm.fit(videos(normal, abnormal), { validation, learningRate: 1e-6, ...settings })).steps
      })
    expect(await stepsOf({ network: 'deepMil' }, 7, 3, { epochs: 2, batchSize: 2 })).toBe(6)
    // Fewer videos than a batch are one batch; RTFM's losses take as many of both kinds.
    expect(await stepsOf({ network: 'deepMil' }, 3, 2, { epochs: 4 })).toBe(4)
    expect(await stepsOf({}, 5, 2, { epochs: 1, batchSize: 8 })).toBe(2)
    expect(await stepsOf({ objective: 'paper' }, 1, 1, {})).toBe(50)
  })
})

describe('everything random comes from the seed', () => {
  const run = async (options: RtfmFitOptions) =>
    await withDetector({ seed: 3 }, async (rtfm) => {
      const { losses } = await traced(rtfm.fit(videos(6, 6), { ...few, ...options }))
      return { losses, state: await bitsOf(rtfm.network) }
    })

  test('the same seed trains the same detector, another one another', async () => {
    const one = await run({ seed: 1 })
    expect(await run({ seed: 1 })).toEqual(one)
    const other = await run({ seed: 2 })
    expect(other.losses[0]).not.toBe(one.losses[0])
  })

  test('dropout alone too', async () => {
    const fixed = { shuffle: false, batchSize: 6 }
    const one = await run({ ...fixed, seed: 1 })
    const other = await run({ ...fixed, seed: 2 })
    expect(other.losses[0]).not.toBe(one.losses[0])
    const plain = async (seed: number) =>
      await withDetector({ dropout: 0 }, async (rtfm) => {
        return (await traced(rtfm.fit(videos(6, 6), { ...few, ...fixed, seed }))).losses
      })
    expect(await plain(1)).toEqual(await plain(2))
  })

  test('other work in the process changes nothing', async () => {
    const wanted = await run({ seed: 1 })
    const busy = new AbortController()
    const work = withNetwork((await detector({ dropout: 0.5 })).network.graph, async (network) => {
      for (let i = 0; !busy.signal.aborted; i++)
        await network.forward({ features: noise([1, 2, 8, 16], i) }, { training: true, seed: i })
    })
    const [found, other] = await Promise.all([run({ seed: 1 }), run({ seed: 7 })])
    busy.abort()
    await work
    expect(found).toEqual(wanted)
    expect(other.losses).not.toEqual(wanted.losses)
  })
})

describe('the detector', () => {
  test('is what it was after an abort, before, within and at the end of the run', async () => {
    await withDetector({}, async (rtfm) => {
      const before = await bitsOf(rtfm.network)
      const options = { ...few, steps: 1000 }
      const now = AbortSignal.abort(new Error('not even begun'))
      await refusesWith('not even begun', () => rtfm.fit(videos(4, 4), { ...options, signal: now }))
      const run = rtfm.fit(videos(4, 4), options)
      await refusesWith('enough', async () => {
        for await (const { step } of run) if (step === 2) run.abort(new Error('enough'))
      })
      const last = rtfm.fit(videos(4, 4), {
        ...few,
        onProgress: ({ step, steps }) => step === steps && last.abort(new Error('at the end')),
      })
      await refusesWith('at the end', () => last)
      expect(await bitsOf(rtfm.network)).toEqual(before)
      expect(rtfm.network.graph.labels).not.toHaveProperty('features')
    })
  })

  test('can score and be saved while it learns, as it was', async () => {
    await withDetector({}, async (rtfm) => {
      const before = await rtfm.score(video(1))
      const run = rtfm.fit(videos(4, 4), { ...few, steps: 6 })
      const seen: unknown[] = []
      for await (const { step } of run) if (step <= 3) seen.push((await rtfm.score(video(1))).scores)
      await run
      expect(seen.slice(0, 1)).toEqual([before.scores])
      expect((await rtfm.score(video(1))).scores).not.toEqual(before.scores)
    })
  })

  test('disposed of meanwhile: the run rejects, and nothing is left', async () => {
    const rtfm = await detector()
    const run = rtfm.fit(videos(2, 2), few)
    rtfm.dispose()
    await refuses('ERR_DISPOSED', /disposed/, () => run)
    await refuses('ERR_DISPOSED', /disposed/, () => rtfm.fit(videos(2, 2), few))
  })

  test('is unchanged by a training that diverges', async () => {
    await withDetector({}, async (rtfm) => {
      const before = await bitsOf(rtfm.network)
      await refuses('ERR_NOT_FINITE', /step \d+ of 50.*learning rate/s, () =>
        rtfm.fit(videos(4, 4), { ...few, steps: 50, learningRate: 1e30 }),
      )
      expect(await bitsOf(rtfm.network)).toEqual(before)
    })
  })

  test('created alike they are alike; its settings say what it is', async () => {
    const [one, same, other] = [await detector({ seed: 4 }), await detector({ seed: 4 }), await detector({ seed: 5 })]
    expect(await differing(one.network, same.network)).toEqual([])
    expect((await differing(one.network, other.network)).length).toBeGreaterThan(3)
    expect(one.settings).toEqual({
      ...{ network: 'rtfm', objective: 'reference', featureSize: 16 },
      ...{ dropout: 0.7, segments: 32, normalise: false },
    })
    for (const each of [one, same, other]) each.dispose()
    const mil = await RTFM.create({ objective: 'milRanking', device: 'cpu' })
    expect(mil.settings).toMatchObject({ network: 'deepMil', featureSize: 4096, dropout: 0.6 })
    mil.dispose()
  })
})

async function refusesWith(message: string, action: () => unknown) {
  const error = await failureOf(action)
  expect((error as Error).message).toBe(message)
}

describe('bad input', () => {
  const train = async (given: unknown, options: object = {}, detectorOptions: RtfmOptions = {}) =>
    await withDetector(detectorOptions, async (rtfm) => await rtfm.fit(given as never, { ...few, ...options }))
  const holed = (value: number): Features => {
    const made = video(1)
    made.data[200] = value
    return made
  }

  test('videos that are none, or do not fit together, are named', async () => {
    const { normal, abnormal } = videos(2, 2)
    await refuses('ERR_INVALID_ARGUMENT', /videos\.normal.*undefined/, () => train(undefined))
    await refuses('ERR_INVALID_ARGUMENT', /videos\.abnormal.*\[\]/, () => train({ normal, abnormal: [] }))
    await refuses('ERR_INVALID_ARGUMENT', /videos\.normal/, () => train({ normal: normal[0], abnormal }))
    await refuses('ERR_INVALID_ARGUMENT', /normal\[1\]/, () => train({ normal: [normal[0], 5], abnormal }))
    await refuses('ERR_IO', /missing\.npy/, () => train({ normal: [`${folder}/missing.npy`], abnormal }))
    await refuses('ERR_SHAPE', /normal\[0\] has 1 crop of 16 numbers, and normal\[1\] 2 crops/, () =>
      train({ normal: [normal[0], video(1, { crops: 2 })], abnormal }),
    )
    await refuses('ERR_SHAPE', /abnormal\[0\].*2 crops.*normal\[0\]/, () =>
      train({ normal, abnormal: [video(1, { crops: 2 }), video(2, { crops: 2 })] }),
    )
    await refuses('ERR_SHAPE', /normal\[0\].*8 numbers a segment.*takes 16/, () =>
      train({ normal: [video(1, { size: 8 })], abnormal }),
    )
    await refuses('ERR_SHAPE', /abnormal\[0\].*8 numbers a segment.*takes 16/, () =>
      train({ normal, abnormal: [video(1, { size: 8 })] }),
    )
    await refuses('ERR_SHAPE', /normal\[0\].*\(16\)/, () => train({ normal: [tensor([16], () => 0)], abnormal }))
    await refuses('ERR_SHAPE', /normal\[0\].*nothing/, () => train({ normal: [tensor([0, 16], () => 0)], abnormal }))
  })

  test.each([Number.NaN, Number.POSITIVE_INFINITY])('features that hold %s are refused', async (value) => {
    const { normal, abnormal } = videos(2, 2)
    await refuses('ERR_INVALID_ARGUMENT', /normal\[1\].*finite/, () =>
      train({ normal: [normal[0], holed(value)], abnormal }),
    )
    await refuses('ERR_INVALID_ARGUMENT', /abnormal\[0\].*finite/, () => train({ normal, abnormal: [holed(value)] }))
  })

  test('options out of range are named', async () => {
    for (const [name, value] of Object.entries({
      steps: 0,
      epochs: 0.5,
      batchSize: 0,
      learningRate: 0,
      weightDecay: -1,
      shuffle: 1,
      top: 33,
      margin: -1,
      magnitude: Number.NaN,
      smoothness: -1,
      sparsity: '1',
      seed: -1,
      precision: 'half',
      resume: 5,
      checkpoint: 'path',
      onProgress: 5,
      onWarning: 5,
    })) {
      const options = { ...(name === 'epochs' && { steps: undefined }), [name]: value }
      const message = new RegExp(name)
      await refuses('ERR_INVALID_ARGUMENT', message, async () => ({ name, ...(await train(videos(2, 2), options)) }))
    }
    await refuses('ERR_INVALID_ARGUMENT', /epochs.*not both/, () => train(videos(2, 2), { epochs: 3 }))
    await refuses('ERR_INVALID_ARGUMENT', /checkpoint\.every/, () =>
      train(videos(2, 2), { checkpoint: { path: 'x', every: 0 } }),
    )
    const path = `${folder}/never.safetensors`
    await refuses('ERR_INVALID_ARGUMENT', /checkpoint\.best/, () =>
      train(videos(2, 2), { checkpoint: { path, every: 1, best: 5 } }),
    )
    await refuses('ERR_INVALID_ARGUMENT', /checkpoint\.best.*validation/, () =>
      train(videos(2, 2), { checkpoint: { path, every: 1, best: path } }),
    )
  })

  test('a detector of impossible settings is refused', async () => {
    for (const [name, value] of Object.entries({
      featureSize: 0,
      network: 'x',
      objective: 'x',
      dropout: 1,
      segments: 1,
      normalise: 1,
      seed: -1,
    }))
      await refuses('ERR_INVALID_ARGUMENT', new RegExp(name), () => detector({ [name]: value }))
    await refuses('ERR_INVALID_ARGUMENT', /'milRanking' with the network 'deepMil'/, () =>
      detector({ network: 'deepMil', objective: 'paper' }),
    )
  })
})
