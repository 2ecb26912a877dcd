import { copyFileSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Network, networks, OSVOS, weights } from 'torchvid'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { failureOf, leftovers, refuses, scratch } from '../helpers/expect.ts'
import { disk, draw } from '../helpers/pictures.ts'
import { differing } from '../helpers/tensors.ts'

const folder = scratch()
const { image, mask } = disk()
let models: Record<'mobilenet' | 'vgg16', OSVOS>
beforeAll(async () => {
  const create = (backbone: 'mobilenet' | 'vgg16') => OSVOS.create({ backbone, device: 'cpu', seed: 2 })
  models = { mobilenet: await create('mobilenet'), vgg16: await create('vgg16') }
})
afterAll(() => {
  for (const model of Object.values(models)) model.dispose()
})

describe.each([
  ['mobilenet', 'at an update', { accumulate: 2, iterations: 7 }, 4],
  ['mobilenet', 'between two updates', { accumulate: 3, iterations: 7 }, 4],
  ['mobilenet', 'after the first step', { accumulate: 1, iterations: 1 }, 1],
  ['vgg16', 'at an update', { accumulate: 2, iterations: 6, learningRate: 1e-6 }, 4],
  ['vgg16', 'between two updates', { accumulate: 3, iterations: 6, learningRate: 1e-6 }, 4],
] as const)('%s interrupted %s', (backbone, when, options, keep) => {
  test('and resumed comes to the weights of an uninterrupted run, bit by bit', async () => {
    const model = models[backbone]
    const settings = { ...options, seed: 11 }
    const path = join(folder, `${backbone} ${when}.safetensors`)
    // There is room for one checkpoint only, so it stays as it was at that step.
    const whole = model.fit(image, mask, { ...settings, checkpoint: { path, every: keep } })
    const wanted: number[] = []
    for await (const { loss } of whole) wanted.push(loss)
    const resumed = model.fit(image, mask, { ...settings, resume: path })
    const records: { step: number; loss: number }[] = []
    for await (const { step, loss } of resumed) records.push({ step, loss })
    expect(records).toEqual(wanted.map((loss, i) => ({ step: i + 1, loss })).slice(keep))
    const plain = await model.fit(image, mask, settings)
    expect(await differing((await resumed).network, plain.network)).toEqual([])
    expect(await differing((await whole).network, plain.network)).toEqual([])
    for (const each of [await resumed, await whole, plain]) each.dispose()
  })
})

test('an aborted run leaves a checkpoint that resumes to the same weights', async () => {
  const model = models.mobilenet
  const path = join(folder, 'aborted.safetensors')
  const settings = { iterations: 15, seed: 4 }
  const cut = model.fit(image, mask, { ...settings, checkpoint: { path, every: 1 } })
  const reason = await failureOf(async () => {
    for await (const { step } of cut) if (step === 3) cut.abort('enough')
  })
  expect(reason).toBe('enough')
  const resumed = model.fit(image, mask, { ...settings, resume: path })
  let first: number | undefined
  for await (const { step } of resumed) first ??= step
  expect(first).toBeGreaterThan(3)
  const whole = await model.fit(image, mask, settings)
  expect(await differing((await resumed).network, whole.network)).toEqual([])
  whole.dispose()
  ;(await resumed).dispose()
})

describe('checkpoints', () => {
  test('are models: they open, and hold what the run needs besides', async () => {
    const path = join(folder, 'whole.safetensors')
    ;(
      await models.mobilenet.fit(image, mask, { iterations: 4, accumulate: 3, checkpoint: { path, every: 2 } })
    ).dispose()
    const opened = await OSVOS.open(path, { device: 'cpu' })
    expect(opened.network.parameters()).toEqual(models.mobilenet.network.parameters())
    const names = (await weights.list(path)).map(({ name }) => name)
    expect(names).toContain('torchvid.random')
    expect(names.some((name) => name.startsWith('torchvid.optimizer.'))).toBe(true)
    expect(leftovers(folder)).toEqual([])
    const network = await Network.create(networks.osvos({ backbone: 'mobilenet' }), { device: 'cpu' })
    expect((await network.load(path)).unexpected).toEqual([])
    network.dispose()
    opened.dispose()
  })

  test('a run that was over resumes to its end at once', async () => {
    const path = join(folder, 'over.safetensors')
    const done = await models.mobilenet.fit(image, mask, { iterations: 4, checkpoint: { path, every: 2 } })
    const run = models.mobilenet.fit(image, mask, { iterations: 4, resume: path })
    const records = []
    for await (const record of run) records.push(record)
    expect(records).toEqual([])
    expect(await differing((await run).network, done.network)).toEqual([])
    done.dispose()
    ;(await run).dispose()
  })

  test('that do not fit are refused, and nothing is trained', async () => {
    const model = models.mobilenet
    const path = join(folder, 'fits.safetensors')
    ;(await model.fit(image, mask, { iterations: 4, checkpoint: { path, every: 2 } })).dispose()
    const resume =
      (from: OSVOS, file: string, iterations = 8) =>
      async () =>
        (await from.fit(image, mask, { iterations, resume: file })).dispose()
    await refuses('ERR_CHECKPOINT_MISMATCH', /step 4 of a run of 2/, resume(model, path, 2))
    await refuses('ERR_CHECKPOINT_MISMATCH', /./, resume(models.vgg16, path))
    const plain = join(folder, 'plain.safetensors')
    await model.network.save(plain)
    await refuses('ERR_CHECKPOINT_MISMATCH', /no training checkpoint/, resume(model, plain))
    await refuses('ERR_IO', /missing/, resume(model, join(folder, 'missing.safetensors')))
    writeFileSync(plain, 'not a file of weights')
    await refuses('ERR_CHECKPOINT_FORMAT', /plain/, resume(model, plain))
  })

  test('that cannot be written end the run with ERR_IO, and nothing half-written is left', async () => {
    const place = join(folder, 'taken')
    mkdirSync(join(place, 'c.safetensors', 'inside'), { recursive: true })
    const train = (path: string) => async () =>
      await models.mobilenet.fit(image, mask, { iterations: 4, checkpoint: { path, every: 1 } })
    await refuses('ERR_IO', /c\.safetensors/, train(join(place, 'c.safetensors')))
    expect(readdirSync(place)).toEqual(['c.safetensors'])
    await refuses('ERR_IO', /No such file/, train(join(folder, 'nowhere', 'c.safetensors')))
  })
})

describe('several objects', () => {
  const two = draw(64, 48, (x, y) => [y < 12 || y > 36 ? 0 : x < 20 ? 1 : x > 44 ? 2 : 0])
  const settings = { iterations: 4, seed: 5 }
  const headsOf = async (wanted: OSVOS, found: OSVOS) => {
    expect(found.heads.map(({ id }) => id)).toEqual(wanted.heads.map(({ id }) => id))
    for (const [i, head] of wanted.heads.entries())
      expect(await differing(head.network, found.heads[i]!.network)).toEqual([])
  }

  test.each([
    ['in the second', 7],
    ['in the first', 3],
  ])('interrupted %s object and resumed: the same networks', async (_, stop) => {
    const model = models.mobilenet
    const whole = await model.fit(image, two, settings)
    const path = join(folder, `two-${stop}.safetensors`)
    const cut = model.fit(image, two, {
      ...settings,
      iterations: 4,
      checkpoint: { path, every: 1 },
      onProgress: ({ step }) => step >= stop && cut.abort('interrupted'),
    })
    await cut.result.then(
      (fitted) => fitted.dispose(),
      () => {},
    )
    const files = readdirSync(folder).filter((name) => name.startsWith(`two-${stop}`))
    expect(files).toContain(`two-${stop}-object1.safetensors`)
    const resumed = await model.fit(image, two, { ...settings, resume: path })
    await headsOf(whole, resumed)
    whole.dispose()
    resumed.dispose()
  })

  test('interrupted before the second object has a checkpoint: resuming begins it', async () => {
    const model = models.mobilenet
    const whole = await model.fit(image, two, settings)
    const path = join(folder, 'one-of-two.safetensors')
    // As an interruption in the first object leaves it.
    const all = await model.fit(image, two, {
      ...settings,
      checkpoint: { path: join(folder, 'all.safetensors'), every: 4 },
    })
    copyFileSync(join(folder, 'all-object1.safetensors'), join(folder, 'one-of-two-object1.safetensors'))
    const resumed = await model.fit(image, two, { ...settings, resume: path })
    await headsOf(whole, resumed)
    for (const each of [whole, all, resumed]) each.dispose()
  })
})
