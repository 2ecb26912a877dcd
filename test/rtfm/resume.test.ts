import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { data, RTFM, type RtfmFitOptions, type RtfmOptions, weights } from 'torchvid'
import { beforeAll, describe, expect, test } from 'vitest'
import { runModule } from '../helpers/child.ts'
import { failureOf, leftovers, refuses, scratch } from '../helpers/expect.ts'
import { bitsOf, testVideos, traced, videos, withDetector } from './helpers.ts'

const folder = scratch()

/** Labels the wrong way round: the better a detector gets, the worse its figure, and the best state is an early one. */
const wrongWay = () => {
  const { test, groundTruth } = testVideos(4, 4)
  return { test, groundTruth: groundTruth.map((labels) => labels.map((label) => 1 - label)), framesPerSegment: 1 }
}

/** A run from the detector's start: its records, result and weights. */
async function run(options: RtfmOptions, settings: RtfmFitOptions) {
  return await withDetector({ seed: 2, ...options }, async (rtfm) => {
    const { records, training } = await traced(rtfm.fit(videos(5, 4), { batchSize: 2, seed: 11, ...settings }))
    return {
      records: records.map(({ step, loss, losses, validation }) => ({ step, loss, losses, validation })),
      training,
      state: await bitsOf(rtfm.network),
    }
  })
}

describe.each([
  ['RTFM', { dropout: 0.5 }, {}],
  ['MIL ranking', { network: 'deepMil' }, {}],
  ['RTFM with the best state so far', { dropout: 0.5 }, { validation: { ...wrongWay(), every: 1 } }],
  [
    'MIL ranking with the best state so far',
    { network: 'deepMil' },
    { learningRate: 0.001, validation: { ...wrongWay(), every: 2 } },
  ],
] as [string, RtfmOptions, RtfmFitOptions][])('%s, interrupted', (name, options, settings) => {
  const steps = 7
  let whole: Awaited<ReturnType<typeof run>>
  beforeAll(async () => {
    whole = await run(options, { ...settings, steps })
    // An early state is the best one, so that a resumed run has to carry it.
    if (settings.validation) expect(whole.training.best!.step).toBeLessThan(6)
  })

  test.each([1, 4, 6])(
    'after step %i and resumed: the same losses, figures, result and weights, bit by bit',
    async (at) => {
      const path = join(folder, `${name} ${at}.safetensors`)
      await withDetector({ seed: 2, ...options }, async (rtfm) => {
        const cut = rtfm.fit(videos(5, 4), {
          ...{ batchSize: 2, seed: 11, ...settings, steps, checkpoint: { path, every: at } },
          onProgress: ({ step }) => step >= at && cut.abort('enough'),
        })
        expect(await failureOf(() => cut)).toBe('enough')
      })
      // The abort may come some steps later; the file says where it stands.
      const best = whole.training.validations
      const resumed = await run({ ...options, seed: 99 }, { ...settings, steps, resume: path })
      const first = resumed.records[0]?.step ?? steps + 1
      expect((first - 1) % at).toBe(0)
      expect(resumed.records).toEqual(whole.records.slice(first - 1))
      expect(resumed.state).toEqual(whole.state)
      expect(resumed.training.best).toEqual(whole.training.best)
      expect(resumed.training.validations).toEqual(best.filter(({ step }) => step >= first))
    },
  )

  test('at its end: nothing is left to do, and the result is the same', async () => {
    const path = join(folder, `${name} over.safetensors`)
    const done = await run(options, { ...settings, steps, checkpoint: { path, every: steps } })
    expect(done).toEqual(whole)
    const resumed = await run(options, { ...settings, steps, resume: path })
    expect(resumed.records).toEqual([])
    expect(resumed.state).toEqual(whole.state)
    expect(resumed.training.best).toEqual(whole.training.best)
  })
})

test('killed between two checkpoints, in another process: resumed to the same weights', async () => {
  const made = videos(5, 4)
  const paths = { normal: [] as string[], abnormal: [] as string[] }
  for (const kind of ['normal', 'abnormal'] as const) {
    for (const [i, features] of made[kind].entries()) {
      const path = join(folder, `${kind}${i}.npy`)
      await data.writeNpy(path, features)
      paths[kind].push(path)
    }
  }
  const path = join(folder, 'killed.safetensors')
  const best = join(folder, 'killed best.safetensors')
  const { test, groundTruth, framesPerSegment } = wrongWay()
  const tests = await Promise.all(
    test.map(async (features, i) => {
      const file = join(folder, `test${i}.npy`)
      await data.writeNpy(file, features)
      return file
    }),
  )
  const validation = { test: tests, groundTruth: groundTruth.map((labels) => [...labels]), framesPerSegment, every: 7 }
  const settings = { batchSize: 2, seed: 11, steps: 300, learningRate: 0.001, validation }
  const create = { featureSize: 16, network: 'deepMil', device: 'cpu', seed: 2 } as const
  const { signal, output } = await runModule(`
    import { RTFM } from 'torchvid'
    const rtfm = await RTFM.create(${JSON.stringify(create)})
    const settings = ${JSON.stringify({ ...settings, checkpoint: { path, every: 2, best } })}
    const run = rtfm.fit(${JSON.stringify(paths)}, { ...settings, onWarning() {} })
    for await (const { step } of run) if (step >= 20) process.kill(process.pid, 'SIGKILL')
  `)
  expect(signal, output).toBe('SIGKILL')
  const stood = (await weights.list(path)).some(({ name }) => name === 'torchvid.best')
  expect(stood).toBe(true)
  const whole = await withDetector({ network: 'deepMil', seed: 2 }, async (rtfm) => {
    const result = await rtfm.fit(made, { ...settings, validation: { ...validation, test } })
    return { result, state: await bitsOf(rtfm.network) }
  })
  const resumed = await withDetector({ network: 'deepMil', seed: 50 }, async (rtfm) => {
    const result = await rtfm.fit(paths, { ...settings, resume: path })
    return { result, state: await bitsOf(rtfm.network) }
  })
  expect(resumed.state).toEqual(whole.state)
  expect(resumed.result.best).toEqual(whole.result.best)
  ;(await RTFM.open(best, { device: 'cpu' })).dispose()
})

describe('checkpoints', () => {
  test('are detectors: they open, with their settings', async () => {
    const path = join(folder, 'opens.safetensors')
    const options = { network: 'deepMil', segments: 9, normalise: true, dropout: 0.25 } as const
    await run(options, { steps: 2, checkpoint: { path, every: 1 } })
    const opened = await RTFM.open(path, { device: 'cpu' })
    expect(opened.settings).toMatchObject({ ...options, objective: 'milRanking', featureSize: 16 })
    opened.dispose()
    expect(leftovers(folder)).toEqual([])
  })

  test('that do not fit are refused, and nothing is trained', async () => {
    const path = join(folder, 'fits.safetensors')
    const mil = { network: 'deepMil' } as const
    await run(mil, { steps: 4, checkpoint: { path, every: 4 } })
    await refuses('ERR_CHECKPOINT_MISMATCH', /step 4 of a run of 2/, () => run(mil, { steps: 2, resume: path }))
    await refuses('ERR_CHECKPOINT_MISMATCH', /./, () => run({}, { steps: 8, resume: path }))
    const plain = join(folder, 'plain.safetensors')
    await withDetector(mil, (rtfm) => rtfm.save(plain))
    await refuses('ERR_CHECKPOINT_MISMATCH', /no training checkpoint/, () => run(mil, { steps: 8, resume: plain }))
    await refuses('ERR_IO', /missing/, () => run(mil, { steps: 8, resume: join(folder, 'missing.safetensors') }))
  })

  test('that cannot be written end the run, and leave nothing half-written', async () => {
    const before = readdirSync(folder)
    await refuses('ERR_IO', /nowhere/, () =>
      run({ network: 'deepMil' }, { steps: 2, checkpoint: { path: join(folder, 'nowhere/c.safetensors'), every: 1 } }),
    )
    expect(readdirSync(folder)).toEqual(before)
  })
})
