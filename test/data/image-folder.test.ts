import { symlinkSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import { describe, expect, test } from 'vitest'
import { imageFolder } from '../../lib/data/image-folder.ts'
import { checkImageSet } from '../../lib/data/image-set.ts'
import { folderOf, picture, refuses, scratch } from './helpers.ts'

const folder = scratch()

const newFolder = (files: Record<string, Uint8Array>) => folderOf(folder, files)

/** A PNG of one colour. */
async function plain(colour: [number, number, number], width = 20, height = 10): Promise<Buffer> {
  const [r, g, b] = colour
  return await sharp({ create: { width, height, channels: 3, background: { r, g, b } } })
    .png()
    .toBuffer()
}

/** A BMP of 4 x 4 pixels of one colour. */
function bmp([r, g, b]: [number, number, number]): Buffer {
  const header = Buffer.alloc(54)
  header.write('BM')
  header.writeUInt32LE(54, 10)
  header.writeUInt32LE(40, 14)
  header.writeInt32LE(4, 18)
  header.writeInt32LE(4, 22)
  header.writeUInt16LE(1, 26)
  header.writeUInt16LE(24, 28)
  return Buffer.concat([header, ...Array(16).fill(Uint8Array.of(b, g, r))])
}

const red = await plain([200, 10, 20])
const green = await plain([30, 210, 40])
const blue = await plain([50, 60, 220])
const jpeg = await sharp(picture(64, 64).data, { raw: { width: 64, height: 64, channels: 3 } })
  .jpeg()
  .toBuffer()

describe('imageFolder', () => {
  test('reads classes in sorted order, images by name, as planes', async () => {
    const path = newFolder({
      'b/2.png': red,
      'b/10.png': green,
      'a/deep/er/x.PNG': blue,
      'a/notes.txt': red,
      '.git/c.png': red,
    })
    const set = await imageFolder(path, { size: 8 })
    checkImageSet('set', set)
    expect(set).toMatchObject({ shape: [3, 3, 8, 8], classes: ['a', 'b'], augment: { pad: 0, flip: 0.5 } })
    expect(set).toMatchObject({ mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] })
    expect(Array.from(set.labels)).toEqual([0, 1, 1])
    const planes = Array.from({ length: 9 }, (_, i) => set.images.subarray(i * 64, (i + 1) * 64))
    expect(planes.map((plane) => plane[0])).toEqual([50, 60, 220, 30, 210, 40, 200, 10, 20])
    for (const plane of planes) expect(plane.every((value) => value === plane[0])).toBe(true)
  })

  test('cuts the centre out of the scaled image', async () => {
    const { data, width, height } = picture(40, 24)
    const png = await sharp(data, { raw: { width, height, channels: 3 } })
      .png()
      .toBuffer()
    const path = newFolder({ 'a/x.png': png })
    // The shorter side stays 24, so pixels are the file's own, from x 12 and y 4 on.
    const set = await imageFolder(path, { size: 16, resize: 24 })
    const wanted = Uint8Array.from({ length: 3 * 256 }, (_, i) => {
      const [x, y, channel] = [i % 16, (i >> 4) % 16, i >> 8]
      return data[((y + 4) * 40 + x + 12) * 3 + channel]!
    })
    expect(set.images).toEqual(wanted)
    // By default the shorter side becomes 256 / 224 of the size.
    const scaled = await sharp(png).resize(27, 16, { fit: 'fill' }).extract({ left: 6, top: 1, width: 14, height: 14 })
    const pixels = await scaled.raw().toBuffer()
    const byDefault = await imageFolder(path, { size: 14 })
    expect(byDefault.images).toEqual(Uint8Array.from(pixels, (_, i) => pixels[(i % 196) * 3 + Math.floor(i / 196)]!))
  })

  test('takes JPEG, WebP, grey, transparent, turned, tiny and very long images', async () => {
    const colour = sharp(await plain([200, 10, 20], 40, 30))
    const path = newFolder({
      'a/1.jpg': await colour.clone().jpeg({ quality: 100, chromaSubsampling: '4:4:4' }).toBuffer(),
      'a/2.webp': await colour.clone().webp({ lossless: true }).toBuffer(),
      'a/3.png': await colour.clone().ensureAlpha(0).png().toBuffer(),
      'a/4.png': await plain([200, 10, 20], 1, 1),
      'a/5.png': await plain([200, 10, 20], 2000, 3),
      'a/6.bmp': bmp([200, 10, 20]),
      'b/grey.png': await sharp(new Uint8Array(100).fill(77), { raw: { width: 10, height: 10, channels: 1 } })
        .toColourspace('b-w')
        .png()
        .toBuffer(),
    })
    const { images, shape } = await imageFolder(path, { size: 12 })
    expect(shape[0]).toBe(7)
    const colours = Array.from({ length: 7 }, (_, i) => [0, 1, 2].map((c) => images[(i * 3 + c) * 144 + 70]!))
    for (const [i, [r, g, b]] of colours.slice(0, 6).entries()) {
      expect(Math.abs(r! - 200) + Math.abs(g! - 10) + Math.abs(b! - 20), `image ${i}`).toBeLessThan(6)
    }
    expect(colours[6]).toEqual([77, 77, 77])
    const lying = await sharp({ create: { width: 20, height: 10, channels: 3, background: 'black' } })
      .composite([{ input: await plain([255, 255, 255], 10, 10), left: 0, top: 0 }])
      .png()
      .toBuffer()
    const turned = await sharp(lying).withMetadata({ orientation: 6 }).jpeg({ quality: 100 }).toBuffer()
    const set = await imageFolder(newFolder({ 'a/t.jpg': turned }), { size: 10, resize: 10 })
    // Upright it is white above and black below.
    expect(set.images[15]).toBeGreaterThan(240)
    expect(set.images[95]).toBeLessThan(15)
  })

  test('keeps the order of many images and tells how far it is', async () => {
    const files: Record<string, Uint8Array> = {}
    for (let i = 0; i < 40; i++)
      files[`${i < 20 ? 'a' : 'b'}/${100 + i}.png`] = await plain([i, 0, 0], 8 + (i % 5) * 40, 8)
    const seen: number[] = []
    const set = await imageFolder(newFolder(files), {
      size: 8,
      onProgress: ({ done, total }) => seen.push(done / total),
    })
    expect(Array.from({ length: 40 }, (_, i) => set.images[i * 192])).toEqual([...Array(40).keys()])
    expect([seen.length, seen.at(-1)]).toEqual([40, 1])
  })

  test('takes at most so many of each class', async () => {
    const path = newFolder({ 'a/1.png': red, 'a/2.png': green, 'b/1.png': blue })
    const set = await imageFolder(path, { size: 4, limit: 1 })
    expect([Array.from(set.labels), set.images[0]]).toEqual([[0, 1], 200])
  })

  test('gives a validation set the labels of the training set', async () => {
    const path = newFolder({ 'c/1.png': red, 'a/1.png': blue })
    const set = await imageFolder(path, { size: 4, classes: ['a', 'b', 'c'] })
    expect([Array.from(set.labels), set.classes]).toEqual([
      [0, 2],
      ['a', 'b', 'c'],
    ])
    await refuses('ERR_INVALID_ARGUMENT', /^classes.*also has "c"/, () =>
      imageFolder(path, { size: 4, classes: ['a'] }),
    )
  })

  test('follows links, and not in circles', async () => {
    const path = newFolder({ 'a/1.png': red })
    symlinkSync(newFolder({ '1.png': blue }), join(path, 'b'))
    symlinkSync(path, join(path, 'a/round'))
    const set = await imageFolder(path, { size: 4 })
    expect([set.classes, set.labels.length]).toEqual([['a', 'b'], 3])
  })

  const broken: [string, Uint8Array][] = [
    ['text', Buffer.from('hello')],
    ['nothing', new Uint8Array(0)],
    ['a JPEG cut short', jpeg.subarray(0, jpeg.length / 2)],
    ['a PNG cut short', red.subarray(0, -20)],
  ]
  test.each(broken)('names a file that holds %s, or leaves it out', async (_, bytes) => {
    const path = newFolder({ 'a/1.png': red, 'b/bad.jpg': bytes, 'b/good.png': green, 'c/1.png': blue })
    await refuses('ERR_IO', /bad\.jpg" is not an image, or is damaged/, () => imageFolder(path, { size: 4 }))
    const warnings: string[] = []
    const onWarning = (message: string) => warnings.push(message)
    const set = await imageFolder(path, { size: 4, broken: 'skip', onWarning })
    expect(warnings).toEqual([expect.stringMatching(/bad\.jpg.*left out/)])
    expect([set.shape, Array.from(set.labels)]).toEqual([
      [3, 3, 4, 4],
      [0, 1, 2],
    ])
    expect([0, 1, 2].map((i) => set.images[i * 48])).toEqual([200, 30, 50])
    checkImageSet('set', set)
  })

  test('refuses what it can know beforehand, before decoding', async () => {
    const path = newFolder({ 'a/1.png': red })
    const refused = (message: RegExp, options: any, where = path) =>
      refuses('ERR_INVALID_ARGUMENT', message, () => imageFolder(where, options))
    await refused(/^options/, undefined)
    await refused(/^size: got undefined/, {})
    await refused(/^resize: got 3/, { size: 4, resize: 3 })
    await refused(/^limit/, { size: 4, limit: 0 })
    await refused(/^broken/, { size: 4, broken: true })
    await refused(/^classes/, { size: 4, classes: [] })
    await refused(/^path/, { size: 4 }, 5 as any)
    await refused(
      /train, val, which look like splits/,
      { size: 4 },
      newFolder({ 'train/a/1.png': red, 'val/a/1.png': red }),
    )
    await refuses('ERR_IO', /cannot be read/, () => imageFolder(join(path, 'nowhere'), { size: 4 }))
    await refuses('ERR_IO', /has no folders/, () => imageFolder(newFolder({ '1.png': red }), { size: 4 }))
    await refuses('ERR_IO', /has no images/, () => imageFolder(newFolder({ 'a/1.txt': red }), { size: 4 }))
    const many = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`a/${i}.png`, new Uint8Array(0)]))
    const error = await refuses('ERR_OUT_OF_MEMORY', /1000 images of 8192 x 8192/, () =>
      imageFolder(newFolder(many), { size: 8192 }),
    )
    expect(error.message).toMatch(/needs 201327 MB.*smaller size, or a limit/)
  })

  test('stops when aborted', async () => {
    const path = newFolder(Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`a/${i}.png`, red])))
    const controller = new AbortController()
    const reason = new Error('enough')
    let last = 0
    const onProgress = ({ done }: { done: number }) => {
      last = done
      if (done === 5) controller.abort(reason)
    }
    await expect(imageFolder(path, { size: 4, onProgress, signal: controller.signal })).rejects.toBe(reason)
    expect(last).toBeLessThan(15)
  })
})
