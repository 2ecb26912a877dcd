import { join } from 'node:path'
import { metrics, OSVOS, type RawImage, type TensorData } from 'torchvid'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { collect } from '../helpers/collect.ts'
import { failureOf, refuses, scratch } from '../helpers/expect.ts'
import { disk, draw } from '../helpers/pictures.ts'
import { differing, noise } from '../helpers/tensors.ts'

const folder = scratch()
const width = 96
const height = 64
const cells = { columns: width / 8, rows: height / 8 }
const count = cells.columns * cells.rows

let model: OSVOS
beforeAll(async () => {
  model = await OSVOS.create({ backbone: 'matcher', device: 'cpu', seed: 4 })
})
afterAll(() => model.dispose())

/** A frame as the network takes it. */
function pixels({ data }: RawImage): TensorData {
  const image = new Float32Array(data.length)
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) image[c * width * height + i] = (data[i * 3 + c] as number) / 127.5 - 1
  }
  return { data: image, shape: [1, 3, height, width] }
}

/** What share of each cell is the object's. */
function shares(mask: ArrayLike<number>): Float32Array {
  const share = new Float32Array(count)
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++)
      share[Math.floor(y / 8) * cells.columns + Math.floor(x / 8)]! += (mask[y * width + x] as number) / 64
  }
  return share
}

/** Every pair's cosine: unit keys (1, C, rows, columns). */
function cosine(a: TensorData, i: number, b: TensorData, j: number): number {
  let sum = 0
  for (let c = 0; c < 64; c++) sum += Number(a.data[c * count + i]) * Number(b.data[c * count + j])
  return sum
}

/** The cues that the network's doc comment tells of, one cell after the other, for a previous frame that is the first. */
function cuesOf(key: TensorData, first: TensorData, share: Float32Array): TensorData {
  const data = new Float32Array(7 * count)
  for (let i = 0; i < count; i++) {
    const best = [-1, -1, -1, -1]
    for (let j = 0; j < count; j++) {
      const value = cosine(key, i, first, j)
      const side = share[j]! >= 0.5 ? 0 : 1
      best[side] = Math.max(best[side]!, value)
      const down = Math.abs(Math.floor(i / cells.columns) - Math.floor(j / cells.columns))
      const across = Math.abs((i % cells.columns) - (j % cells.columns))
      const near = share[j]! > 0.5 ? 2 : 3
      if (Math.max(down, across) <= 6) best[near] = Math.max(best[near]!, value)
    }
    const row = [best[0]!, best[1]!, best[0]!, best[1]!, best[2]!, best[3]!, share[i]!]
    for (const [cue, value] of row.entries()) data[cue * count + i] = value
  }
  return { data, shape: [1, 7, cells.rows, cells.columns] }
}

test('the frame after the first: matching and decoding as described', async () => {
  const first = disk(width, height)
  const next = disk(width, height, 9)
  const fitted = await model.fit(first.image, first.mask, { preset: 'fast' })
  const [, found] = await collect(fitted.segment([first.image, next.image]))
  const none = { data: new Float32Array(7 * count), shape: [1, 7, cells.rows, cells.columns] }
  const keyOf = async (image: RawImage) => (await model.network.forward({ image: pixels(image), cues: none })).key!
  const [key, firstKey] = [await keyOf(next.image), await keyOf(first.image)]
  const cues = cuesOf(key, firstKey, shares(first.mask.data.map((value) => +(value > 0))))
  const { logits } = await model.network.forward({ image: pixels(next.image), cues })
  const probability = Array.from(logits!.data as Float32Array, (logit) => 1 / (1 + Math.exp(-logit)))
  const difference = Math.max(...probability.map((p, i) => Math.abs(p - found!.probability[i]!)))
  expect(difference).toBeLessThan(1e-4)
  expect(Math.max(...probability) - Math.min(...probability)).toBeGreaterThan(1e-3)
  fitted.dispose()
})

test('keys have unit length', async () => {
  const image = noise([2, 3, 32, 48])
  const cues = { data: new Float32Array(2 * 7 * 4 * 6), shape: [2, 7, 4, 6] }
  const { key, logits } = await model.network.forward({ image, cues })
  expect(key!.shape).toEqual([2, 64, 4, 6])
  expect(logits!.shape).toEqual([2, 1, 32, 48])
  for (let i = 0; i < 24; i++) {
    expect(Math.hypot(...Array.from({ length: 64 }, (_, c) => Number(key!.data[c * 24 + i])))).toBeCloseTo(1, 5)
  }
})

describe('a fitted model', () => {
  const first = disk(width, height)

  test('gives the first frame its mask back, and masks of every frame at its own size', async () => {
    const fitted = await model.fit(first.image, first.mask, { preset: 'fast' })
    const frames = await collect(fitted.segment([first.image, disk(width, height, 3).image]))
    expect(Array.from(frames[0]!.mask)).toEqual(Array.from(first.mask.data, (value) => +(value > 0)))
    expect(frames.map(({ index, mask, probability }) => [index, mask.length, probability.length])).toEqual([
      [0, width * height, width * height],
      [1, width * height, width * height],
    ])
    fitted.dispose()
  })

  test('begins anew with each video, and gives the same again', async () => {
    const fitted = await model.fit(first.image, first.mask, { preset: 'fast' })
    const frames = [1, 2, 3].map((shift) => disk(width, height, shift).image)
    const [once, again] = [await collect(fitted.segment(frames)), await collect(fitted.segment(frames))]
    expect(again.map(({ probability }) => probability)).toEqual(once.map(({ probability }) => probability))
    fitted.dispose()
  })

  test('outlives its parent', async () => {
    const parent = await OSVOS.create({ backbone: 'matcher', device: 'cpu', seed: 4 })
    const fitted = await parent.fit(first.image, first.mask, { preset: 'fast' })
    parent.dispose()
    expect(await collect(fitted.segment([first.image]))).toHaveLength(1)
    fitted.dispose()
    await refuses('ERR_DISPOSED', /./, () => collect(fitted.segment([first.image])))
  })

  test('follows several objects at once under their own ids', async () => {
    const mask = draw(width, height, (x, y) => [y > 20 && y < 44 ? (x < 40 ? 3 : x >= 56 ? 7 : 0) : 0])
    const fitted = await model.fit(first.image, mask, { preset: 'fast' })
    expect(fitted.heads.map(({ id }) => id)).toEqual([3, 7])
    const frames = await collect(fitted.segment([first.image, disk(width, height, 2).image], { threshold: 0 }))
    expect(Array.from(frames[0]!.mask)).toEqual(Array.from(mask.data, (id) => id || 3))
    expect([...new Set(frames[1]!.mask)].every((id) => id === 3 || id === 7)).toBe(true)
    fitted.dispose()
  })

  test("looks at each frame in a mirror too with 'best'", async () => {
    const frames = [disk(width, height, 5).image]
    const fast = await model.fit(first.image, first.mask, { preset: 'fast' })
    const best = await model.fit(first.image, first.mask, { preset: 'best', iterations: 0 })
    const [[plain], [both]] = [await collect(fast.segment(frames)), await collect(best.segment(frames))]
    expect(both!.probability).not.toEqual(plain!.probability)
    const mirrored = ({ data, channels }: RawImage) =>
      draw(width, height, (x, y) => {
        const from = (y * width + width - 1 - x) * channels
        return Array.from(data.slice(from, from + channels))
      })
    const other = await model.fit(mirrored(first.image), mirrored(first.mask), { preset: 'best', iterations: 0 })
    const [seen] = await collect(other.segment(frames.map(mirrored)))
    const back = Array.from(seen!.probability, (_, i) => {
      return seen!.probability[Math.floor(i / width) * width + width - 1 - (i % width)]!
    })
    expect(Math.max(...back.map((p, i) => Math.abs(p - both!.probability[i]!)))).toBeLessThan(1e-5)
    for (const fitted of [fast, best, other]) fitted.dispose()
  })

  test('bounds the size at which frames are processed by maxSize', async () => {
    const fitted = await model.fit(first.image, first.mask, { preset: 'fast' })
    const [frame] = await collect(fitted.segment([disk(width, height, 1).image], { maxSize: 48 }))
    expect(frame!.probability).toHaveLength(width * height)
    fitted.dispose()
  })
})

describe('what is wrong is told', () => {
  const { image, mask } = disk(width, height)

  test('a model that was not fitted', async () => {
    await refuses('ERR_INVALID_ARGUMENT', /not fitted/, () => collect(model.segment([image])))
  })

  test('a preset that there is not, or of a model that has none', async () => {
    const slow = { preset: 'slow' as 'fast' }
    await refuses('ERR_INVALID_ARGUMENT', /preset.*'fast', 'balanced' or 'best'/, () => model.fit(image, mask, slow))
    const plain = await OSVOS.create({ backbone: 'mobilenet', device: 'cpu' })
    await refuses('ERR_INVALID_ARGUMENT', /preset.*iterations/, () => plain.fit(image, mask, { preset: 'fast' }))
    plain.dispose()
  })

  test('a video whose frames change their shape', async () => {
    const fitted = await model.fit(image, mask, { preset: 'fast' })
    const frames = fitted.segment([image, disk(64, 96).image])
    const failure = await failureOf(() => collect(frames))
    expect(failure).toMatchObject({ code: 'ERR_SHAPE', message: expect.stringContaining('one shape') })
    fitted.dispose()
  })
})

test('learning the first frame: the trunk stays, all else moves; resumed, bit by bit the same', async () => {
  const { image, mask } = disk(width, height)
  const path = join(folder, 'first.safetensors')
  const options = { preset: 'balanced' as const, iterations: 3, learningRate: 1e-3, seed: 6 }
  const losses: number[] = []
  const run = model.fit(image, mask, { ...options, checkpoint: { path, every: 2 } })
  for await (const { step, steps, loss } of run) {
    expect(steps).toBe(3)
    expect(step).toBe(losses.push(loss))
  }
  const fitted = await run
  expect((await differing(fitted.network, model.network)).filter((name) => name.startsWith('conv'))).toEqual([])
  expect(await differing(fitted.network, model.network)).not.toEqual([])
  const resumed = await model.fit(image, mask, { ...options, resume: path })
  expect(await differing(resumed.network, fitted.network)).toEqual([])
  for (const each of [fitted, resumed]) each.dispose()
})

test('the default model opens as it was installed, and knows its object in the next frame', async () => {
  const shipped = await OSVOS.open('default', { device: 'cpu' })
  const first = disk(160, 128)
  const next = disk(160, 128, 12)
  const fitted = await shipped.fit(first.image, first.mask, { preset: 'fast' })
  const frames = await collect(fitted.segment([first.image, next.image]))
  const truth = { ...next.mask, data: next.mask.data }
  expect(await metrics.jaccard({ data: frames[1]!.mask, width: 160, height: 128 }, truth)).toBeGreaterThan(0.7)
  for (const each of [shipped, fitted]) each.dispose()
})
