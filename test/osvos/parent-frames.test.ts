import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import { describe, expect, test } from 'vitest'
import { FrameCache, type LabelledFrame, readLabelledFrame } from '../../lib/data/frame-cache.ts'
import { davisPalette, encodeIndexed } from '../../lib/data/png.ts'
import { openVideos, ParentSampler, type SamplerSettings } from '../../lib/osvos/parent-frames.ts'
import type { RawImage } from '../../lib/types.ts'
import { failureOf, scratch } from '../helpers/expect.ts'
import { disk, draw } from '../helpers/pictures.ts'

const folder = scratch()

/** A frame of so many pixels, 4 bytes each with its mask. */
const frameOf = (pixels: number): LabelledFrame => ({
  image: { data: new Uint8Array(3 * pixels), width: pixels, height: 1, channels: 3 },
  mask: { data: new Uint8Array(pixels), width: pixels, height: 1 },
})

describe('the cache of decoded frames', () => {
  test('decodes each frame of a set that fits once, also when it is asked for twice at once', async () => {
    const decoded: number[] = []
    const cache = new FrameCache(1000, async (index) => {
      decoded.push(index)
      return frameOf(10)
    })
    const all = await Promise.all([0, 1, 0, 2, 1].map((index) => cache.get(index)))
    expect(all[0]).toBe(all[2])
    for (const index of [2, 0, 1]) await cache.get(index)
    expect(decoded).toEqual([0, 1, 2])
    expect(cache).toMatchObject({ decoded: 3, bytes: 120 })
  })

  test('drops the least recently used frames, and never keeps more bytes than it may', async () => {
    const decoded: number[] = []
    const cache = new FrameCache(100, async (index) => {
      decoded.push(index)
      return frameOf(10)
    })
    for (const index of [0, 1, 0, 2]) {
      await cache.get(index)
      expect(cache.bytes).toBeLessThanOrEqual(100)
    }
    await cache.get(0) // used after 1, so 1 had to go
    expect(decoded).toEqual([0, 1, 2])
    await cache.get(1)
    expect(decoded).toEqual([0, 1, 2, 1])
    expect(cache.bytes).toBe(80)
  })

  test('keeps nothing when it may not, nor a frame that is too large', async () => {
    const none = new FrameCache(0, async () => frameOf(10))
    await none.get(0)
    expect(none.bytes).toBe(0)
    const small = new FrameCache(50, async (index) => frameOf(index === 7 ? 100 : 10))
    await small.get(7)
    await small.get(1)
    expect(small.bytes).toBe(40)
  })

  test('tries a frame anew that could not be read', async () => {
    let failures = 1
    const cache = new FrameCache(100, async () => {
      if (failures-- > 0) throw new Error('not yet')
      return frameOf(10)
    })
    await expect(cache.get(0)).rejects.toThrow('not yet')
    expect(await cache.get(0)).toMatchObject({ image: { width: 10 } })
  })
})

const black = draw(8, 6, () => [0, 0, 0])
const maskOf = (values: number[]): RawImage => draw(8, 6, (x) => [values[Math.floor(x / 2)]!])
const columns = ({ mask }: LabelledFrame) => [0, 2, 4, 6].map((x) => mask.data[x])

describe('annotations', () => {
  test.each([
    ['0 and 255', [0, 255, 0, 0], [0, 1, 0, 0]],
    ['0 and 100', [0, 100, 0, 0], [0, 1, 0, 0]],
    ['ids, all one object', [0, 1, 2, 3], [0, 1, 1, 1]],
    ['soft edges: half and more', [0, 100, 200, 255], [0, 0, 1, 1]],
    ['empty', [0, 0, 0, 0], [0, 0, 0, 0]],
    ['full', [9, 9, 9, 9], [1, 1, 1, 1]],
  ])('grey values: %s', async (_, values, wanted) => {
    expect(columns(await readLabelledFrame(black, maskOf(values), 'frame'))).toEqual(wanted)
    const file = join(folder, 'grey.png')
    const { data, width, height } = maskOf(values)
    await sharp(data, { raw: { width, height, channels: 1 } })
      .toColourspace('b-w')
      .png()
      .toFile(file)
    expect(columns(await readLabelledFrame(black, file, 'frame'))).toEqual(wanted)
  })

  test.each([
    ['ids', [0, 1, 2, 0], [0, 1, 1, 0]],
    ['255 is void beside others', [0, 1, 255, 0], [0, 1, 0, 0]],
    ['255 alone is the object', [0, 0, 255, 0], [0, 0, 1, 0]],
    ['empty', [0, 0, 0, 0], [0, 0, 0, 0]],
  ])('palette indices: %s', async (_, values, wanted) => {
    const { data, width, height } = maskOf(values)
    const encoded = await encodeIndexed(data, width, height, davisPalette())
    expect(columns(await readLabelledFrame(black, encoded, 'frame'))).toEqual(wanted)
  })

  test('colours: all but black', async () => {
    const mask = draw(8, 6, (x) => (x < 4 ? [0, 0, 0] : [128, 0, 0]))
    expect(columns(await readLabelledFrame(black, mask, 'frame'))).toEqual([0, 0, 1, 1])
  })

  test.each([
    ['of another size', draw(7, 6, () => [1]), 'ERR_SHAPE', /frame 3 of "bear".*8 x 6 pixels, its mask 7 x 6/],
    ['no image', Buffer.from('no image'), 'ERR_INVALID_ARGUMENT', /./],
    ['missing', join(folder, 'missing.png'), 'ERR_IO', /mask of frame 3 of "bear".*missing\.png/],
    ['a number', 7 as unknown as string, 'ERR_INVALID_ARGUMENT', /mask of frame 3/],
  ])('that are %s are refused', async (_, mask, code, message) => {
    const failure = await failureOf(() => readLabelledFrame(black, mask, 'frame 3 of "bear"'))
    expect(failure).toMatchObject({ code, message: expect.stringMatching(message) })
  })
})

/** Frames of 40 x 32 pixels, the disk at a place that tells which frame it is. */
async function samplerOf(count: number, settings: Partial<SamplerSettings> = {}) {
  const pictures = Array.from({ length: count }, (_, i) => disk(40, 32, i - 4))
  const sequences = [{ frames: pictures.map(({ image }) => image), masks: pictures.map(({ mask }) => mask) }]
  const frames = (await openVideos({ sequences }, 'data')).flatMap((video) => video.frames)
  const defaults = { seed: 1, shuffle: true, sizes: [16, 24, 32], cache: 2 ** 20 }
  return new ParentSampler(frames, { ...defaults, ...settings })
}

const passes = (count: number) => [...Array(count).keys()]

describe('the samples of the passes', () => {
  test('are all frames once in every epoch, each time in another order', async () => {
    const sampler = await samplerOf(9)
    const epochs = [0, 1, 2].map((epoch) => passes(9).map((pass) => sampler.frameAt(9 * epoch + pass)))
    for (const epoch of epochs) expect([...epoch].sort()).toEqual(passes(9))
    expect(new Set(epochs.map(String)).size).toBe(3)
  })

  test('follow from the seed and the pass alone', async () => {
    const [forth, back] = [await samplerOf(9), await samplerOf(9)]
    const wanted = []
    for (const pass of passes(20)) wanted.push(await forth.sample(pass))
    for (const pass of passes(20).reverse()) expect(await back.sample(pass)).toEqual(wanted[pass])
    const other = await samplerOf(9, { seed: 2 })
    expect(passes(9).map((pass) => other.frameAt(pass))).not.toEqual(passes(9).map((pass) => forth.frameAt(pass)))
    const far = await samplerOf(9, { seed: 1 + 2 ** 32 })
    expect(passes(9).map((pass) => far.frameAt(pass))).not.toEqual(passes(9).map((pass) => forth.frameAt(pass)))
  })

  test('come in the order given when they are not shuffled', async () => {
    const sampler = await samplerOf(3, { shuffle: false })
    expect(passes(7).map((pass) => sampler.frameAt(pass))).toEqual([0, 1, 2, 0, 1, 2, 0])
  })

  test('have all the heights that were asked for, keep their shape and are never enlarged', async () => {
    const sampler = await samplerOf(5, { sizes: [16, 24, 500] })
    const sizes = new Set<string>()
    for (const pass of passes(30)) {
      const { width, height } = await sampler.sample(pass)
      sizes.add(`${width}x${height}`)
    }
    expect([...sizes].sort()).toEqual(['20x16', '30x24', '40x32'])
  })

  test('are decoded once where they fit into memory', async () => {
    const fits = await samplerOf(5)
    for (const pass of passes(20)) await fits.sample(pass)
    expect(fits.cache.decoded).toBe(5)
    const bytes = 40 * 32 * 4
    const tight = await samplerOf(5, { cache: 2 * bytes, shuffle: false })
    for (const pass of passes(20)) {
      await tight.sample(pass)
      expect(tight.cache.bytes).toBeLessThanOrEqual(2 * bytes)
    }
    expect(tight.cache.decoded).toBe(20)
  })
})

describe('data that is wrong is explained', () => {
  const { image, mask } = disk(40, 32)
  test.each([
    ['nothing', undefined, /data: got undefined/],
    ['an empty list', { sequences: [] }, /data\.sequences/],
    ['no frames', { sequences: [{ frames: [], masks: [] }] }, /data\.sequences\[0\]\.frames/],
    ['no masks', { sequences: [{ frames: [image] }] }, /data\.sequences\[0\]\.masks/],
    ['too few masks', { sequences: [{ frames: [image, image], masks: [mask] }] }, /2 frames and 1 masks/],
    ['no sequence', { sequences: [null] }, /data\.sequences\[0\]: got null/],
  ])('%s', async (_, data, message) => {
    const failure = await failureOf(() => openVideos(data as never, 'data'))
    expect(failure).toMatchObject({ code: 'ERR_INVALID_ARGUMENT', message: expect.stringMatching(message) })
  })

  test('a folder that is no DAVIS', async () => {
    writeFileSync(join(folder, 'file'), '')
    for (const root of [join(folder, 'nowhere'), join(folder, 'file'), folder]) {
      const failure = await failureOf(() => openVideos({ davis: root }, 'data'))
      expect(failure).toMatchObject({ code: 'ERR_IO', message: expect.stringMatching(/DAVIS/) })
    }
  })
})
