import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import { type FitOptions, metrics, OSVOS } from 'torchvid'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { failureOf, refuses, scratch } from '../helpers/expect.ts'
import { box, disk, draw } from '../helpers/pictures.ts'
import { differing, relative } from '../helpers/tensors.ts'

const folder = scratch()
const { image, mask } = disk()
let parent: OSVOS
beforeAll(async () => {
  parent = await OSVOS.create({ backbone: 'mobilenet', device: 'cpu', seed: 1 })
})
afterAll(() => parent.dispose())

/** The losses of a fit, and the fitted model. */
async function trace(options: FitOptions = {}, from = parent) {
  const run = from.fit(image, mask, { iterations: 6, ...options })
  const steps: number[] = []
  const rates: number[] = []
  for await (const { loss, learningRate } of run) {
    steps.push(loss)
    rates.push(learningRate)
  }
  const fitted = await run
  return { losses: steps, rates, fitted }
}

describe('reproducible', () => {
  test('the same seed gives the same weights bit by bit, even beside another run; another seed gives others', async () => {
    const first = await trace({ seed: 7 })
    const other = parent.fit(image, mask, { iterations: 100_000, seed: 99 })
    const again = await trace({ seed: 7 })
    other.abort('enough')
    await failureOf(() => other)
    const different = await trace({ seed: 8 })
    expect(again.losses).toEqual(first.losses)
    expect(await differing(first.fitted.network, again.fitted.network)).toEqual([])
    expect(different.losses).not.toEqual(first.losses)
    expect(await differing(first.fitted.network, different.fitted.network)).toContain('fuse.weight')
    for (const { fitted } of [first, again, different]) fitted.dispose()
  })

  test('the parent is unchanged, and so are frozen layers and running statistics', async () => {
    const before = await parent.network.clone()
    const { fitted } = await trace()
    expect(await differing(parent.network, before)).toEqual([])
    const moved = await differing(fitted.network, before)
    expect(moved).toContain('conv1.weight')
    expect(moved).toContain('conv1_bn.weight')
    expect(moved.filter((name) => /upscale|running_|num_batches|score_dsn/.test(name))).toEqual([])
    expect(fitted.network.graph).toEqual(parent.network.graph)
    before.dispose()
    fitted.dispose()
  })

  test('a fitted model can be fitted again, saved and opened', async () => {
    const { fitted } = await trace()
    const more = await trace({}, fitted)
    const file = join(folder, 'fitted.safetensors')
    await more.fitted.network.save(file)
    const opened = await OSVOS.open(file, { device: 'cpu' })
    expect(await differing(opened.network, more.fitted.network)).toEqual([])
    for (const model of [fitted, more.fitted, opened]) model.dispose()
  })
})

describe('settings', () => {
  test('augmentation off: every pass sees the same picture; on: another one each time', async () => {
    const still = { learningRate: 1e-30, iterations: 5 } // nothing is learned, so only the picture can change the loss
    const off = await trace({ ...still, augment: false })
    expect(new Set(off.losses).size).toBe(1)
    const on = await trace(still)
    expect(new Set(on.losses).size).toBe(5)
    const none = await trace({ ...still, augment: { flip: 0, rotation: 0, scale: [1, 1] } })
    expect(relative(none.losses, off.losses)).toBeLessThan(1e-3)
    const flipped = await trace({ ...still, augment: { flip: 1, rotation: 0, scale: [1, 1] } })
    expect(new Set(flipped.losses).size).toBe(1)
    expect(relative(flipped.losses, off.losses)).toBeGreaterThan(1e-6)
    for (const { fitted } of [off, on, none, flipped]) fitted.dispose()
  })

  test('accumulate: that many passes make one update, the last ones too', async () => {
    const { losses, fitted } = await trace({ augment: false, accumulate: 3, iterations: 8 })
    const groups = [losses.slice(0, 3), losses.slice(3, 6), losses.slice(6)]
    for (const group of groups) expect(new Set(group).size).toBe(1)
    expect(new Set(losses).size).toBe(3)
    const five = await trace({ augment: false, accumulate: 3, iterations: 6 })
    expect(await differing(five.fitted.network, fitted.network)).toContain('fuse.weight')
    fitted.dispose()
    five.fitted.dispose()
  })

  test('maxSize: a large picture is fitted as a small one, and costs as little', async () => {
    const large = disk(256, 192)
    const run = parent.fit(large.image, large.mask, { iterations: 3, augment: false, maxSize: 64 })
    const losses: number[] = []
    for await (const { loss } of run) losses.push(loss)
    const half = await sharp(Buffer.from(large.image.data), { raw: { width: 256, height: 192, channels: 3 } })
      .resize(64, 48, { kernel: 'linear' })
      .raw()
      .toBuffer()
    const small = await parent.fit({ data: half, width: 64, height: 48, channels: 3 }, disk(64, 48).mask, {
      iterations: 1,
      augment: false,
      onProgress: ({ loss }) => losses.push(loss),
    })
    expect(Math.abs(losses.at(-1)! - losses[0]!) / losses[0]!).toBeLessThan(0.1)
    small.dispose()
    ;(await run).dispose()
  })

  test('the learning rate is what was asked for', async () => {
    const { rates, fitted } = await trace({ learningRate: 0.5e-3 })
    expect(rates[0]).toBeCloseTo(0.5e-3, 10)
    fitted.dispose()
  })

  test('bfloat16 comes close to float32', async () => {
    const exact = await trace({ augment: false, iterations: 8 })
    const short = await trace({ augment: false, iterations: 8, precision: 'bfloat16' })
    expect(short.losses).not.toEqual(exact.losses)
    expect(Math.abs(short.losses[0]! - exact.losses[0]!) / exact.losses[0]!).toBeLessThan(0.02)
    expect(Math.abs(short.losses.at(-1)! - exact.losses.at(-1)!) / exact.losses.at(-1)!).toBeLessThan(0.2)
    expect((await short.fitted.network.tensor('fuse.weight')).data).toBeInstanceOf(Float32Array)
    exact.fitted.dispose()
    short.fitted.dispose()
  })

  test.each([
    ['iterations', 0],
    ['iterations', -1],
    ['iterations', 1.5],
    ['iterations', '5'],
    ['accumulate', 0],
    ['learningRate', Number.NaN],
    ['learningRate', -1],
    ['learningRate', Number.POSITIVE_INFINITY],
    ['momentum', 1.1],
    ['weightDecay', -1],
    ['seed', -1],
    ['seed', 0.5],
    ['maxSize', 3],
    ['precision', 'float16'],
    ['augment', 5],
    ['augment', { flip: 2 }],
    ['augment', { rotation: -1 }],
    ['augment', { scale: [2, 1] }],
    ['augment', { scale: [0, 1] }],
    ['augment', { scale: 1 }],
    ['checkpoint', { path: join(folder, 'c'), every: 0 }],
    ['checkpoint', { every: 5 }],
    ['checkpoint', 'file'],
    ['resume', 5],
    ['onProgress', 'log'],
    ['objects', []],
    ['objects', [9]],
    ['objects', 1],
  ])('%s: %j is refused', async (option, value) => {
    await refuses(
      'ERR_INVALID_ARGUMENT',
      new RegExp(`${option}|path`),
      async () => await parent.fit(image, mask, { iterations: 1, [option]: value }),
    )
  })

  test('options that are no object, a device that is not there', async () => {
    await refuses('ERR_INVALID_ARGUMENT', /options/, async () => await parent.fit(image, mask, null as any))
    await refuses('ERR_DEVICE_UNAVAILABLE', /cuda:7/, async () => await parent.fit(image, mask, { device: 'cuda:7' }))
    await refuses('ERR_DEVICE_UNAVAILABLE', /cuda:7/, () => OSVOS.create({ device: 'cuda:7' }))
    await refuses('ERR_DEVICE_UNAVAILABLE', /tpu/, () => OSVOS.create({ device: 'tpu' as any }))
  })
})

describe('pictures and masks', () => {
  const train = (picture: any, object: any) => async () =>
    (await parent.fit(picture, object, { iterations: 1 })).dispose()

  test('an empty, a full and another mask', async () => {
    await refuses(
      'ERR_INVALID_ARGUMENT',
      /empty/,
      train(
        image,
        draw(64, 48, () => [0]),
      ),
    )
    await refuses(
      'ERR_INVALID_ARGUMENT',
      /full/,
      train(
        image,
        draw(64, 48, () => [255]),
      ),
    )
    await refuses(
      'ERR_SHAPE',
      /64 x 40.*64 x 48/,
      train(
        image,
        draw(64, 40, (x) => [x > 20 ? 255 : 0]),
      ),
    )
  })

  test('a corrupt, a cut and a missing picture, and none at all', async () => {
    const jpeg = await sharp(Buffer.from(image.data), { raw: { width: 64, height: 48, channels: 3 } })
      .jpeg()
      .toBuffer()
    const file = join(folder, 'cut.jpg')
    writeFileSync(file, jpeg.subarray(0, jpeg.length / 2))
    await refuses('ERR_IO', /cut\.jpg/, train(file, mask))
    await refuses('ERR_INVALID_ARGUMENT', /image/, train(jpeg.subarray(0, jpeg.length / 2), mask))
    await refuses('ERR_INVALID_ARGUMENT', /image/, train(Buffer.from('hello world, this is no image'), mask))
    await refuses('ERR_IO', /nowhere/, train(join(folder, 'nowhere.jpg'), mask))
    for (const nothing of [undefined, null, 5, {}]) await refuses('ERR_INVALID_ARGUMENT', /image/, train(nothing, mask))
    await refuses('ERR_INVALID_ARGUMENT', /mask/, train(image, undefined))
    await refuses('ERR_INVALID_ARGUMENT', /bytes/, train({ ...image, data: new Uint8Array(10) }, mask))
    await train(jpeg, mask)() // the whole one is good
  })

  test('a soft mask is thresholded at half, with a warning', async () => {
    const warnings: string[] = []
    const soft = draw(64, 48, (x) => [Math.min(255, x * 4)])
    const hard = draw(64, 48, (x) => [x * 4 >= 128 ? 255 : 0])
    const options = { iterations: 2, augment: false as const, onWarning: (message: string) => warnings.push(message) }
    const [one, other] = [await parent.fit(image, soft, options), await parent.fit(image, hard, options)]
    expect(warnings).toHaveLength(1)
    expect(warnings[0]).toMatch(/soft|half|threshold/i)
    expect(await differing(one.network, other.network)).toEqual([])
    one.dispose()
    other.dispose()
  })

  test.each([1, 7, 128, 255])('a mask of 0 and %i is one object', async (value) => {
    const fitted = await parent.fit(image, box(64, 48, value), { iterations: 1, augment: false })
    const same = await parent.fit(image, box(64, 48, 255), { iterations: 1, augment: false })
    expect(fitted.heads.map(({ id }) => id)).toEqual([1])
    expect(await differing(fitted.network, same.network)).toEqual([])
    fitted.dispose()
    same.dispose()
  })

  test('pictures of one pixel, one row and odd sizes are fitted or refused, never a crash', async () => {
    for (const [width, height] of [
      [2, 1],
      [1, 2],
      [33, 1],
      [17, 31],
    ] as const) {
      const picture = draw(width, height, (x, y) => [x * 7, y * 9, 30])
      const half = draw(width, height, (x, y) => [x + y === 0 ? 255 : 0])
      await train(picture, half)().catch((error) => expect(error.code).toMatch(/^ERR_(SHAPE|INVALID_ARGUMENT)$/))
    }
    await refuses(
      'ERR_INVALID_ARGUMENT',
      /full/,
      train(
        draw(1, 1, () => [1, 2, 3]),
        draw(1, 1, () => [255]),
      ),
    )
  })
})

describe('several objects', () => {
  /** Ids 1 and 2: a red disk on the left, a blue one on the right. */
  const radius = 9
  const which = (x: number, y: number) =>
    Math.hypot(x - 16, y - 24) < radius ? 1 : Math.hypot(x - 48, y - 24) < radius ? 2 : 0
  const picture = draw(64, 48, (x, y) =>
    [
      [40, 110, 50],
      [220, 40, 40],
      [40, 60, 230],
    ][which(x, y)]!.map((v) => v + ((x * 7 + y * 13) % 20)),
  )
  const ids = draw(64, 48, (x, y) => [which(x, y)])

  test('one network per id; masks hold ids, the more probable one', async () => {
    const records: number[] = []
    const run = parent.fit(picture, ids, { iterations: 40, augment: false, learningRate: 3e-3 })
    for await (const { step, steps } of run) {
      records.push(step)
      expect(steps).toBe(80)
    }
    expect(records).toEqual(Array.from({ length: 80 }, (_, i) => i + 1))
    const fitted = await run
    expect(fitted.heads.map(({ id }) => id)).toEqual([1, 2])
    const alone = await Promise.all(
      fitted.heads.map(async ({ id, network }) => {
        const path = join(folder, `object ${id}.safetensors`)
        await network.save(path)
        const head = await OSVOS.open(path, { device: 'cpu' })
        for await (const { probability } of head.segment([picture])) return probability
      }),
    )
    for await (const { mask: found, probability } of fitted.segment([picture])) {
      expect(new Set(found)).toEqual(new Set([0, 1, 2]))
      for (const id of [1, 2]) {
        const size = { width: 64, height: 48 }
        const j = await metrics.jaccard(
          { data: found.map((v) => (v === id ? 1 : 0)), ...size },
          { data: ids.data.map((v) => (v === id ? 1 : 0)), ...size },
        )
        expect(j, `object ${id}`).toBeGreaterThan(0.7)
      }
      for (let i = 0; i < found.length; i++) {
        const [a, b] = [alone[0]![i]!, alone[1]![i]!]
        expect(probability[i]).toBe(Math.max(a, b))
        expect(found[i]).toBe(Math.max(a, b) < 0.5 ? 0 : b > a ? 2 : 1)
      }
    }
    fitted.dispose()
  })

  test('objects picks ids', async () => {
    const fitted = await parent.fit(picture, ids, { iterations: 2, objects: [2] })
    expect(fitted.heads.map(({ id }) => id)).toEqual([2])
    for await (const { mask: found } of fitted.segment([picture], { threshold: 0 }))
      expect(new Set(found)).toEqual(new Set([2]))
    fitted.dispose()
    await refuses(
      'ERR_INVALID_ARGUMENT',
      /3/,
      async () => await parent.fit(picture, ids, { iterations: 1, objects: [3] }),
    )
  })
})
