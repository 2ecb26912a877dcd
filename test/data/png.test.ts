import { decode, encode } from 'fast-png'
import sharp from 'sharp'
import { describe, expect, test } from 'vitest'
import {
  davisPalette,
  decodeSamples,
  encodeGrey,
  encodeGrey16,
  encodeIndexed,
  readPngHeader,
} from '../../lib/data/png.ts'

const indices = Uint8Array.from({ length: 37 * 11 }, (_, i) => (i * i) & 0xff)

describe('davisPalette', () => {
  test('has the colours of the PASCAL VOC map', () => {
    const palette = davisPalette()
    const colour = (id: number) => [...palette.subarray(id * 3, id * 3 + 3)]
    expect(palette).toHaveLength(768)
    expect([0, 1, 2, 3, 4, 7, 8, 20, 255].map(colour)).toEqual([
      [0, 0, 0],
      [128, 0, 0],
      [0, 128, 0],
      [128, 128, 0],
      [0, 0, 128],
      [128, 128, 128],
      [64, 0, 0],
      [0, 64, 128],
      [224, 224, 192],
    ])
  })
})

describe('encoding', () => {
  test('an indexed PNG holds the indices as they are, and sharp shows their colours', async () => {
    const palette = davisPalette()
    const png = await encodeIndexed(indices, 37, 11, palette)
    const image = decode(png, { checkCrc: true })
    expect(image).toMatchObject({ width: 37, height: 11, depth: 8, channels: 1 })
    expect(Buffer.compare(image.data as Uint8Array, indices)).toBe(0)
    expect(image.palette?.flat()).toEqual([...palette])
    const { data, info } = await sharp(png).raw().toBuffer({ resolveWithObject: true })
    expect(info.channels).toBe(3)
    for (let i = 0; i < indices.length; i++) {
      expect([...data.subarray(i * 3, i * 3 + 3)]).toEqual([...palette.subarray(indices[i]! * 3, indices[i]! * 3 + 3)])
    }
  })

  test('grey PNGs of 8 and 16 bits have one channel and the exact values', async () => {
    const eight = decode(await encodeGrey(indices, 37, 11))
    expect(eight).toMatchObject({ depth: 8, channels: 1 })
    expect(eight.palette).toBeUndefined()
    expect([...eight.data]).toEqual([...indices])
    const values = Uint16Array.from(indices, (v) => v * 257 - (v > 128 ? 3 : 0))
    const sixteen = decode(await encodeGrey16(values, 37, 11))
    expect(sixteen).toMatchObject({ depth: 16, channels: 1 })
    expect([...sixteen.data]).toEqual([...values])
  })
})

describe('decodeSamples', () => {
  test('gives indices back, and the header tells the palette', async () => {
    const png = await encodeIndexed(indices, 37, 11, davisPalette())
    expect([...(await decodeSamples(png)).data]).toEqual([...indices])
    expect(readPngHeader(png)).toMatchObject({ width: 37, height: 11, depth: 8, single: true })
    expect(readPngHeader(png).palette).toHaveLength(768)
  })

  test.each([1, 2, 4] as const)(
    'unpacks samples of %i bits, in rows that do not fill their last byte',
    async (depth) => {
      const width = 11
      const height = 3
      const values = Uint8Array.from({ length: width * height }, (_, i) => (i * 5 + 1) % 2 ** depth)
      const stride = Math.ceil((width * depth) / 8)
      const packed = new Uint8Array(stride * height)
      values.forEach((value, i) => {
        const bit = (i % width) * depth
        packed[Math.floor(i / width) * stride + (bit >> 3)]! |= value << (8 - depth - (bit & 7))
      })
      const png = Buffer.from(encode({ width, height, depth, channels: 1, data: packed }))
      expect([...(await decodeSamples(png)).data]).toEqual([...values])
    },
  )

  test('reads an interlaced palette image of few colours', async () => {
    const pixels = Uint8Array.from({ length: 9 * 7 * 3 }, (_, i) => (Math.floor(i / 3) % 9 < 4 ? 255 : 0))
    const source = sharp(pixels, { raw: { width: 9, height: 7, channels: 3 } })
    const png = await source.png({ palette: true, colours: 4, progressive: true }).toBuffer()
    const { palette } = readPngHeader(png)
    const { data } = await decodeSamples(png)
    expect(data).toHaveLength(63)
    for (const [i, index] of data.entries()) expect(palette![index * 3]).toBe(pixels[i * 3])
  })

  test('refuses what is cut short or damaged', async () => {
    const png = await encodeIndexed(indices, 37, 11, davisPalette())
    expect(() => readPngHeader(png.subarray(0, png.length - 20))).toThrow(/cut short/)
    expect(() => readPngHeader(Buffer.from('not a picture'))).toThrow(/not a PNG/)
    const damaged = Buffer.from(png)
    damaged[png.length - 40]! ^= 0x55
    await expect(decodeSamples(damaged)).rejects.toThrow(/checksum/)
  })
})
