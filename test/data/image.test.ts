import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import { describe, expect, test } from 'vitest'
import { readImage } from '../../lib/data/image.ts'
import type { RawImage } from '../../lib/types.ts'
import { picture, refuses, scratch } from './helpers.ts'

const folder = scratch()
const raw = ({ width, height, channels }: RawImage) => ({ raw: { width, height, channels } })
const photo = picture(60, 40)
const png = await sharp(photo.data, raw(photo)).png().toBuffer()
const jpeg = await sharp(photo.data, raw(photo)).jpeg({ quality: 95 }).toBuffer()

describe('readImage', () => {
  test('gives the pixels of a PNG in memory and in a file', async () => {
    const path = join(folder, 'photo.png')
    writeFileSync(path, png)
    for (const input of [png, path]) {
      const image = await readImage(input, 'image')
      expect(image).toMatchObject({ width: 60, height: 40, channels: 3 })
      expect(Buffer.compare(image.data, photo.data)).toBe(0)
    }
  })

  test('reads a file again after it was rewritten', async () => {
    const path = join(folder, 'changing.png')
    writeFileSync(path, png)
    await readImage(path, 'image')
    const other = picture(60, 40, 1)
    writeFileSync(path, await sharp(other.data, raw(other)).png().toBuffer())
    expect(Buffer.compare((await readImage(path, 'image')).data, other.data)).toBe(0)
  })

  test('expands grey, drops alpha, reduces 16 bits', async () => {
    const values = Uint8Array.of(0, 10, 200, 255)
    const greyPng = await sharp(values, { raw: { width: 2, height: 2, channels: 1 } })
      .toColourspace('b-w')
      .png()
      .toBuffer()
    expect([...(await readImage(greyPng, 'image')).data]).toEqual([0, 0, 0, 10, 10, 10, 200, 200, 200, 255, 255, 255])
    const rgba = Uint8Array.of(1, 2, 3, 0, 4, 5, 6, 128)
    const rgbaPng = await sharp(rgba, { raw: { width: 2, height: 1, channels: 4 } })
      .png()
      .toBuffer()
    expect([...(await readImage(rgbaPng, 'image')).data]).toEqual([1, 2, 3, 4, 5, 6])
    const deep = new Uint16Array([0x1234, 0x8000, 0xffff])
    const deepPng = await sharp(deep, { raw: { width: 1, height: 1, channels: 3 } })
      .toColourspace('rgb16')
      .png()
      .toBuffer()
    expect([...(await readImage(deepPng, 'image')).data]).toEqual([0x12, 0x80, 0xff])
  })

  test('turns an image upright as its EXIF says', async () => {
    const lying = await sharp(photo.data, raw(photo)).withMetadata({ orientation: 6 }).png().toBuffer()
    const image = await readImage(lying, 'image')
    expect([image.width, image.height]).toEqual([40, 60])
    // A quarter turn clockwise: the top right pixel was the top left one.
    expect([...image.data.subarray(39 * 3, 40 * 3)]).toEqual([...photo.data.subarray(0, 3)])
  })

  test('reads plain BMPs, bottom up and top down', async () => {
    for (const rows of [2, -2]) {
      const bmp = Buffer.alloc(54 + 16)
      bmp.write('BM')
      bmp.writeUInt32LE(54, 10)
      bmp.writeUInt32LE(40, 14)
      bmp.writeInt32LE(2, 18)
      bmp.writeInt32LE(rows, 22)
      bmp.writeUInt16LE(1, 26)
      bmp.writeUInt16LE(24, 28)
      bmp.set([3, 2, 1, 6, 5, 4], 54)
      bmp.set([9, 8, 7, 12, 11, 10], 62)
      const down = [1, 2, 3, 4, 5, 6]
      const up = [7, 8, 9, 10, 11, 12]
      expect([...(await readImage(bmp, 'image')).data]).toEqual(rows > 0 ? [...up, ...down] : [...down, ...up])
      await refuses('ERR_INVALID_ARGUMENT', /cut short/, () => readImage(bmp.subarray(0, 60), 'image'))
    }
  })

  test('returns raw RGB without copying, and expands raw grey and RGBA', async () => {
    expect((await readImage(photo, 'image')).data).toBe(photo.data)
    const one: RawImage = { data: Uint8Array.of(7), width: 1, height: 1, channels: 1 }
    expect([...(await readImage(one, 'image')).data]).toEqual([7, 7, 7])
    const four: RawImage = { data: Uint8Array.of(7, 8, 9, 0), width: 1, height: 1, channels: 4 }
    expect([...(await readImage(four, 'image')).data]).toEqual([7, 8, 9])
  })

  test('refuses a missing file, a folder and a text file, with their names', async () => {
    const text = join(folder, 'text.jpg')
    writeFileSync(text, 'hello world')
    await refuses('ERR_IO', /frame 3: there is no file ".*none\.jpg"/, () =>
      readImage(join(folder, 'none.jpg'), 'frame 3'),
    )
    await refuses('ERR_IO', /is a folder/, () => readImage(folder, 'image'))
    await refuses('ERR_IO', /text\.jpg.* is not an image/, () => readImage(text, 'image'))
    await refuses('ERR_INVALID_ARGUMENT', /not an image/, () => readImage(Buffer.from('hello world'), 'image'))
    await refuses('ERR_INVALID_ARGUMENT', /wanted an encoded image/, () => readImage(Buffer.alloc(0), 'image'))
    await refuses('ERR_INVALID_ARGUMENT', /wanted a path/, () => readImage(42 as never, 'image'))
  })

  test('refuses a JPEG or PNG that is cut short or damaged, never half grey', async () => {
    const path = join(folder, 'cut.jpg')
    for (const part of [0.3, 0.7, 0.98]) {
      writeFileSync(path, jpeg.subarray(0, Math.floor(jpeg.length * part)))
      await refuses('ERR_IO', /cut\.jpg.*cut short/, () => readImage(path, 'image'))
      await refuses('ERR_INVALID_ARGUMENT', /cut short/, () => readImage(png.subarray(0, png.length * part), 'image'))
    }
    const damaged = Buffer.from(jpeg)
    damaged.fill(0xff, jpeg.length / 2, jpeg.length / 2 + 60)
    await refuses('ERR_INVALID_ARGUMENT', /damaged/, () => readImage(damaged, 'image'))
  })

  test('refuses raw pixels that do not fit their size', async () => {
    const image = (fields: object) => readImage({ ...photo, ...fields } as RawImage, 'image')
    await refuses('ERR_INVALID_ARGUMENT', /60 x 40 x 3 = 7200 bytes/, () => image({ data: new Uint8Array(10) }))
    await refuses('ERR_INVALID_ARGUMENT', /image\.data/, () => image({ data: new Float32Array(7200) }))
    await refuses('ERR_INVALID_ARGUMENT', /image\.width/, () => image({ width: 60.5 }))
    await refuses('ERR_INVALID_ARGUMENT', /image\.height/, () => image({ height: 0 }))
    await refuses('ERR_INVALID_ARGUMENT', /image\.channels/, () => image({ channels: 2 }))
  })
})
