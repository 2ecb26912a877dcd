import { crc32 } from 'node:zlib'
import sharp from 'sharp'

/*
 * The two things sharp cannot do with PNGs: read a palette image as indices, and write one whose
 * indices are exactly ours. The scanlines of an indexed and of a grey image are the same bytes, so
 * both come down to changing the colour type in the header and adding or dropping the palette;
 * compression stays with sharp, which does it off the main thread.
 */

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
const GREY = 0
const INDEXED = 3

interface Chunk {
  type: string
  data: Buffer
}

/** A palette: red, green, blue (0 to 255) for each index, one after another; at most 256 colours. */
export type Palette = Uint8Array

/**
 * The 256 colours of the DAVIS and PASCAL VOC masks: the bits of the index, taken three at a time,
 * become the high bits of red, green and blue. Index 0 is black, 1 dark red, 2 dark green.
 */
export function davisPalette(): Palette {
  const palette = new Uint8Array(256 * 3)
  for (let index = 0; index < 256; index++) {
    for (let bit = 0; bit < 8; bit++) {
      const channel = bit % 3
      const weight = 7 - Math.floor(bit / 3)
      palette[index * 3 + channel]! |= ((index >> bit) & 1) << weight
    }
  }
  return palette
}

/** An 8-bit grey PNG of `width * height` values. */
export async function encodeGrey(data: Uint8Array, width: number, height: number): Promise<Buffer> {
  return await sharp(data, { raw: { width, height, channels: 1 } })
    .toColourspace('b-w')
    .png({ compressionLevel: 6 })
    .toBuffer()
}

/** A 16-bit grey PNG of `width * height` values. */
export async function encodeGrey16(data: Uint16Array, width: number, height: number): Promise<Buffer> {
  return await sharp(data, { raw: { width, height, channels: 1 } })
    .toColourspace('grey16')
    .png({ compressionLevel: 6 })
    .toBuffer()
}

/** An indexed PNG: pixel values are indices, written as they are, shown in the colours of `palette`. */
export async function encodeIndexed(
  data: Uint8Array,
  width: number,
  height: number,
  palette: Palette,
): Promise<Buffer> {
  const grey = readChunks(await encodeGrey(data, width, height))
  const header = withColourType(grey[0]!, INDEXED)
  const plte = { type: 'PLTE', data: Buffer.from(palette) }
  return writeChunks([header, plte, ...grey.filter((chunk) => chunk.type === 'IDAT' || chunk.type === 'IEND')])
}

/** What the header of a PNG says; `palette` is there for an indexed image. */
export interface PngHeader {
  width: number
  height: number
  /** Bits per sample: 1, 2, 4, 8 or 16. */
  depth: number
  /** True when there is one sample a pixel and no alpha: a grey or an indexed image. */
  single: boolean
  palette?: Palette
}

/** True when the bytes start like a PNG. */
export function isPng(bytes: Uint8Array): boolean {
  return SIGNATURE.equals(bytes.subarray(0, SIGNATURE.length))
}

/** The header of a PNG. Throws a plain `Error` when the file is cut or damaged. */
export function readPngHeader(bytes: Uint8Array): PngHeader {
  const chunks = readChunks(bytes)
  const header = chunks[0]!.data
  const colourType = header.readUInt8(9)
  const palette = colourType === INDEXED ? chunks.find((chunk) => chunk.type === 'PLTE')?.data : undefined
  if (colourType === INDEXED && !palette) throw new Error('an indexed PNG without a palette')
  return {
    width: header.readUInt32BE(0),
    height: header.readUInt32BE(4),
    depth: header.readUInt8(8),
    single: colourType === INDEXED || colourType === GREY,
    palette,
  }
}

/**
 * The samples of a grey or indexed PNG of at most 8 bits, one byte a pixel, as they are in the file:
 * palette indices, or grey values not stretched to 0..255. Throws a plain `Error` when the file is damaged.
 */
export async function decodeSamples(bytes: Uint8Array): Promise<{ data: Uint8Array; width: number; height: number }> {
  const chunks = readChunks(bytes)
  const header = withColourType(chunks[0]!, GREY)
  const depth = header.data.readUInt8(8)
  if (depth > 8) throw new Error(`a PNG of ${depth} bits a sample, where at most 8 were expected`)
  const grey = writeChunks([header, ...chunks.filter((chunk) => chunk.type === 'IDAT' || chunk.type === 'IEND')])
  const { data, info } = await sharp(grey, { failOn: 'warning' })
    .toColourspace('b-w')
    .raw()
    .toBuffer({ resolveWithObject: true })
  // Shallow samples come out stretched to 0..255, by a whole factor.
  const factor = 255 / (2 ** depth - 1)
  if (factor > 1) for (let i = 0; i < data.length; i++) data[i]! /= factor
  return { data, width: info.width, height: info.height }
}

function withColourType(header: Chunk, colourType: number): Chunk {
  const data = Buffer.from(header.data)
  data.writeUInt8(colourType, 9)
  return { type: header.type, data }
}

function readChunks(bytes: Uint8Array): Chunk[] {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (!isPng(buffer)) throw new Error('not a PNG')
  const chunks: Chunk[] = []
  let at = SIGNATURE.length
  while (at + 12 <= buffer.length) {
    const length = buffer.readUInt32BE(at)
    const end = at + 12 + length
    if (end > buffer.length) break
    const type = buffer.toString('latin1', at + 4, at + 8)
    const data = buffer.subarray(at + 8, at + 8 + length)
    if (crc32(buffer.subarray(at + 4, at + 8 + length)) !== buffer.readUInt32BE(end - 4)) {
      throw new Error(`a damaged PNG: the checksum of its ${JSON.stringify(type)} part is wrong`)
    }
    chunks.push({ type, data })
    if (type === 'IEND') break
    at = end
  }
  if (chunks[0]?.type !== 'IHDR' || chunks[0].data.length !== 13) throw new Error('a PNG without a header')
  if (chunks.at(-1)!.type !== 'IEND') throw new Error('a PNG that is cut short')
  return chunks
}

function writeChunks(chunks: Chunk[]): Buffer {
  const parts: Buffer[] = [SIGNATURE]
  for (const { type, data } of chunks) {
    const length = Buffer.alloc(4)
    length.writeUInt32BE(data.length)
    const body = Buffer.concat([Buffer.from(type, 'latin1'), data])
    const check = Buffer.alloc(4)
    check.writeUInt32BE(crc32(body))
    parts.push(length, body, check)
  }
  return Buffer.concat(parts)
}
