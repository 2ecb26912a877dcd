import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { decode, encode } from 'fast-png'
import sharp from 'sharp'
import { describe, expect, test } from 'vitest'
import { readMask } from '../../lib/data/mask.ts'
import { davisPalette, encodeGrey, encodeGrey16, encodeIndexed } from '../../lib/data/png.ts'
import type { RawImage } from '../../lib/types.ts'
import { grey, refuses, scratch, shared } from './helpers.ts'

const folder = scratch()
const size = { width: 16, height: 8 }
/** A 16 x 8 mask whose columns have these values, spread evenly. */
const stripes = (...values: number[]) => grey(16, 8, (x) => values[Math.floor((x * values.length) / 16)]!)
/** What `stripes` of these ids gives. */
const labels = (...values: number[]) => [...stripes(...values).data]
const indexed = (...values: number[]) => encodeIndexed(stripes(...values).data, 16, 8, davisPalette())
const colours = (...values: number[][]): RawImage => {
  const data = new Uint8Array(16 * 8 * 3)
  for (const [i, which] of labels(...values.keys()).entries()) data.set(values[which]!, i * 3)
  return { data, width: 16, height: 8, channels: 3 }
}

describe('grey masks', () => {
  test.each([
    [0, 1],
    [0, 255],
    [30, 200],
    [0, 5],
  ])('of the two values %i and %i are one object', async (low, high) => {
    const raw = stripes(low, high)
    const png = await encodeGrey(raw.data, 16, 8)
    for (const input of [raw, png]) {
      const mask = await readMask(input, size)
      expect(mask).toMatchObject({ ids: [1], width: 16, height: 8, warnings: [] })
      expect([...mask.data]).toEqual(labels(0, 1))
    }
  })

  test('of several values up to 64 hold ids', async () => {
    const mask = await readMask(stripes(0, 2, 64, 7), size)
    expect(mask.ids).toEqual([2, 7, 64])
    expect([...mask.data]).toEqual(labels(0, 2, 64, 7))
  })

  test('with soft edges are thresholded at half, with a warning', async () => {
    const mask = await readMask(stripes(0, 127, 128, 255), size)
    expect(mask.ids).toEqual([1])
    expect([...mask.data]).toEqual(labels(0, 0, 1, 1))
    expect(mask.warnings).toEqual([expect.stringMatching(/soft-edged.*128/)])
  })

  test('of 16 bits are read at full depth', async () => {
    const ids = await encodeGrey16(Uint16Array.from(stripes(0, 1, 2, 3).data), 16, 8)
    expect((await readMask(ids, size)).ids).toEqual([1, 2, 3])
    const soft = await encodeGrey16(
      Uint16Array.from(labels(0, 0, 1, 2), (v) => v * 32767),
      16,
      8,
    )
    const mask = await readMask(soft, size)
    expect([...mask.data]).toEqual(labels(0, 0, 0, 1))
    expect(mask.warnings).toHaveLength(1)
  })

  test('of 4 bits are not stretched', async () => {
    const packed = Uint8Array.from({ length: 64 }, (_, i) => [0x00, 0x00, 0x22, 0x22, 0x99, 0x99, 0x99, 0x99][i % 8]!)
    const png = Buffer.from(encode({ ...size, depth: 4, channels: 1, data: packed }))
    expect((await readMask(png, size)).ids).toEqual([2, 9])
  })

  test('saved as a JPEG give one object and a warning', async () => {
    const raw = { raw: { width: 64, height: 64, channels: 1 } } as const
    const disc = grey(64, 64, (x, y) => ((x - 30) ** 2 + (y - 33) ** 2 < 300 ? 255 : 0))
    const jpeg = await sharp(disc.data, raw).jpeg({ quality: 80 }).toBuffer()
    const mask = await readMask(jpeg, { width: 64, height: 64 })
    expect([...mask.data]).toEqual(Array.from(disc.data, (v) => (v ? 1 : 0)))
    expect(mask.warnings).toHaveLength(1)
  })
})

describe('palette masks', () => {
  test('are read as indices, never as colours', async () => {
    const mask = await readMask(await indexed(0, 1, 2, 3), size)
    expect(mask.ids).toEqual([1, 2, 3])
    expect([...mask.data]).toEqual(labels(0, 1, 2, 3))
    expect((await readMask(await indexed(0, 5), size)).ids).toEqual([5])
  })

  test('of 4 bits are unpacked', async () => {
    const grey4 = encode({ ...size, depth: 4, channels: 1, data: new Uint8Array(64).fill(0x03, 8, 40) })
    // The same scanlines behind a palette: colour type 3 and 16 colours.
    const png = await asIndexed(Buffer.from(grey4), 16)
    expect(decode(png).depth).toBe(4)
    const mask = await readMask(png, size)
    expect(mask.ids).toEqual([3])
    expect([...mask.data]).toEqual(Array.from({ length: 128 }, (_, i) => (i % 2 === 1 && i >= 16 && i < 80 ? 3 : 0)))
  })

  test('take index 255 as background, with a warning, unless it is the object', async () => {
    const mask = await readMask(await indexed(0, 1, 255, 0), size)
    expect([...mask.data]).toEqual(labels(0, 1, 0, 0))
    expect(mask.ids).toEqual([1])
    expect(mask.warnings).toEqual([expect.stringMatching(/255.*background/)])
    expect((await readMask(await indexed(0, 255), size)).ids).toEqual([255])
    expect((await readMask(await indexed(0, 1, 255, 0), { ...size, objects: [255] })).ids).toEqual([255])
  })

  test('warn when index 0 is not black', async () => {
    const palette = davisPalette().map((v) => 255 - v)
    const mask = await readMask(await encodeIndexed(stripes(0, 1).data, 16, 8, palette), size)
    expect(mask.warnings).toEqual([expect.stringMatching(/index 0 is the colour \(255, 255, 255\)/)])
  })
})

describe('colour masks', () => {
  test('of equal channels are grey', async () => {
    const mask = await readMask(colours([0, 0, 0], [255, 255, 255]), size)
    expect([...mask.data]).toEqual(labels(0, 1))
    expect(mask.ids).toEqual([1])
  })

  test('give each colour an id: the DAVIS index, else the next free one', async () => {
    const image = colours([0, 0, 0], [250, 10, 10], [128, 0, 0], [10, 10, 250])
    const png = await sharp(image.data, { raw: { ...size, channels: 3 } })
      .png()
      .toBuffer()
    for (const input of [image, png]) {
      const mask = await readMask(input, size)
      expect([...mask.data]).toEqual(labels(0, 2, 1, 3))
      expect(mask.ids).toEqual([1, 2, 3])
    }
  })

  test('are background where they are transparent', async () => {
    const data = new Uint8Array(16 * 8 * 4).fill(255)
    for (let i = 0; i < 64; i++) data[i * 4 + 3] = 0
    const expected = Array.from({ length: 128 }, (_, i) => (i < 64 ? 0 : 1))
    const png = await sharp(data, { raw: { ...size, channels: 4 } })
      .png()
      .toBuffer()
    for (const input of [{ data, ...size, channels: 4 } as RawImage, png]) {
      expect([...(await readMask(input, size)).data]).toEqual(expected)
    }
  })

  test('of many colours are photographs, and refused', async () => {
    const data = Uint8Array.from({ length: 16 * 8 * 3 }, (_, i) => (i * 37) & 0xff)
    await refuses('ERR_INVALID_ARGUMENT', /more than 32 colours.*a mask/, () =>
      readMask({ data, ...size, channels: 3 }, size),
    )
  })
})

describe('objects', () => {
  test('choose among the ids; the rest is background', async () => {
    for (const input of [stripes(0, 1, 2, 3), await indexed(0, 1, 2, 3)]) {
      const mask = await readMask(input, { ...size, objects: [3, 1, 3] })
      expect(mask.ids).toEqual([1, 3])
      expect([...mask.data]).toEqual(labels(0, 1, 0, 3))
    }
  })

  test('name values of a two-valued mask, or its object 1', async () => {
    expect((await readMask(stripes(0, 5), { ...size, objects: [5] })).ids).toEqual([5])
    expect((await readMask(stripes(0, 255), { ...size, objects: [255] })).ids).toEqual([255])
    expect((await readMask(stripes(0, 255), { ...size, objects: [1] })).ids).toEqual([1])
  })

  test('that do not occur are refused, with the ids found', async () => {
    const options = { ...size, objects: [2, 9] }
    await refuses('ERR_INVALID_ARGUMENT', /\[9\].*are 1, 2, 3/, () => readMask(stripes(0, 1, 2, 3), options))
    for (const objects of [[], [0], [1.5], [256], 'x' as never]) {
      await refuses('ERR_INVALID_ARGUMENT', /objects/, () => readMask(stripes(0, 1), { ...size, objects }))
    }
  })
})

describe('bad masks', () => {
  test('empty and full ones are refused', async () => {
    for (const input of [stripes(0), await indexed(0), colours([0, 0, 0])]) {
      await refuses('ERR_INVALID_ARGUMENT', /empty/, () => readMask(input, size))
    }
    for (const input of [stripes(255), stripes(1), stripes(1, 2, 3, 4), await indexed(1, 2), colours([9, 0, 0])]) {
      await refuses('ERR_INVALID_ARGUMENT', /full/, () => readMask(input, size))
    }
  })

  test('another size than the frame is refused, naming both', async () => {
    const frame = { width: 16, height: 9 }
    for (const input of [
      stripes(0, 1),
      await indexed(0, 1),
      await sharp(await indexed(0, 1))
        .jpeg()
        .toBuffer(),
    ]) {
      await refuses('ERR_SHAPE', /16 x 8 .*16 x 9/, () => readMask(input, frame))
    }
  })

  test('files that are missing, cut short or no image are refused', async () => {
    const path = join(folder, 'mask.png')
    const png = await indexed(0, 1)
    await refuses('ERR_IO', /mask: there is no file ".*mask\.png"/, () => readMask(path, size))
    writeFileSync(path, png.subarray(0, png.length - 16))
    await refuses('ERR_IO', /mask\.png.*cut short/, () => readMask(path, size))
    writeFileSync(path, 'no image')
    await refuses('ERR_IO', /mask\.png.*not an image/, () => readMask(path, size))
    await refuses('ERR_INVALID_ARGUMENT', /128 bytes/, () =>
      readMask({ data: new Uint8Array(3), ...size, channels: 1 }, size),
    )
  })
})

const davis = shared && join(shared, 'data/davis-2016/Annotations/480p')
const results = shared && join(shared, 'golden/davis-metrics/osvos-masks')

describe('real masks', () => {
  test.skipIf(!davis || !existsSync(davis))('DAVIS annotations (skipped without the shared data)', async () => {
    for (const sequence of readdirSync(davis!)) {
      const path = join(davis!, sequence, '00000.png')
      const { width, height } = await sharp(path).metadata()
      const { data } = await sharp(path).raw().toBuffer({ resolveWithObject: true })
      const mask = await readMask(path, { width, height })
      expect(mask.warnings).toEqual([])
      // Two-valued: black and white in colours as well as in indices.
      expect(mask.ids).toHaveLength(1)
      const step = data.length / mask.data.length
      expect(mask.data.every((id, i) => id > 0 === data[i * step]! > 0)).toBe(true)
    }
  })

  test.skipIf(!results || !existsSync(results))('OSVOS result masks (skipped without the shared data)', async () => {
    for (const sequence of readdirSync(results!)) {
      const path = join(results!, sequence, '00000.png')
      const { width, height } = await sharp(path).metadata()
      const mask = await readMask(path, { width, height })
      const plain = await sharp(path).raw().toBuffer()
      expect(mask.ids[0]).toBe(1)
      expect(mask.data.every((id, i) => id > 0 === (plain[i * 3]! | plain[i * 3 + 1]! | plain[i * 3 + 2]!) > 0)).toBe(
        true,
      )
    }
  })
})

async function asIndexed(png: Buffer, entries: number): Promise<Buffer> {
  const { crc32 } = await import('node:zlib')
  const chunk = (type: string, data: Uint8Array) => {
    const body = Buffer.concat([Buffer.from(type), data])
    const out = Buffer.alloc(body.length + 8)
    out.writeUInt32BE(data.length)
    body.copy(out, 4)
    out.writeUInt32BE(crc32(body), body.length + 4)
    return out
  }
  const header = Buffer.from(png.subarray(16, 29))
  header[9] = 3
  const palette = davisPalette().subarray(0, entries * 3)
  return Buffer.concat([png.subarray(0, 8), chunk('IHDR', header), chunk('PLTE', palette), png.subarray(33)])
}
