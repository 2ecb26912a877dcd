import sharp from 'sharp'
import { decodeBmp, isBmp } from '../data/bmp.ts'
import { checkRawImage, isRawImage, readEncoded, unreadable } from '../data/image.ts'
import { colourLabels } from '../data/mask-labels.ts'
import { decodeSamples, isPng, readPngHeader } from '../data/png.ts'
import { TorchvidError } from '../errors.ts'
import type { ImageInput } from '../types.ts'

/** The mark of what is background for certain. */
export const BACKGROUND_MARK = 255
/** More values than this are soft edges or a photograph. */
const MOST_VALUES = 32
/** A pixel less opaque than this is unmarked. */
const HALF_OPAQUE = 128
const WHITE = 0xff
const WANTED =
  'a drawing of hard-edged strokes on 0 or on nothing (a PNG with a palette, grey, or with alpha): 1 to 254 on objects, 255 or white on the background'

/** A size in pixels. */
interface Size {
  width: number
  height: number
}

/**
 * Reads a scribble: one byte a pixel, 0 where nothing is marked, 1 to 254 on that object, 255 on what is background for
 * certain. Palette images are read as indices and grey ones as values; in a colour image white is background, colours of
 * the DAVIS palette have their index as id, others the next free id. Transparent pixels are unmarked.
 * @param frame of the picture that the scribble was drawn on
 * @throws TorchvidError ERR_SHAPE when the sizes differ; ERR_INVALID_ARGUMENT when no object is marked, or it has soft edges
 *   or is a photograph; ERR_IO when the file cannot be read
 */
export async function readScribble(input: ImageInput, frame: Size): Promise<Uint8Array> {
  const marks = await readMarks(input, frame)
  const found = distinct(marks)
  if (found.size > MOST_VALUES) throw refused(`an image of ${found.size} values`)
  found.delete(0)
  if (found.size === 0) throw refused('one without a mark')
  if (found.size === 1 && found.has(BACKGROUND_MARK)) {
    const given = 'one whose only mark is 255 (white), which stands for background'
    throw refused(given, 'a mark on the object, of value 1 (or another up to 254)')
  }
  return marks
}

async function readMarks(input: ImageInput, frame: Size): Promise<Uint8Array> {
  if (isRawImage(input)) {
    const { data, channels, ...size } = checkRawImage(input, 'scribble')
    checkSize(size, frame)
    return marksOf(data, channels)
  }
  const bytes = await readEncoded(input, 'scribble')
  try {
    return await decodeMarks(bytes, frame)
  } catch (error) {
    throw error instanceof TorchvidError ? error : unreadable(input, 'scribble', error)
  }
}

async function decodeMarks(bytes: Uint8Array, frame: Size): Promise<Uint8Array> {
  if (isBmp(bytes)) {
    const { data, ...size } = decodeBmp(bytes)
    checkSize(size, frame)
    return marksOf(data, 3)
  }
  // The size is compared before decoding: a few bytes can claim gigabytes of pixels.
  const header = isPng(bytes) ? readPngHeader(bytes) : undefined
  if (header !== undefined) checkSize(header, frame)
  const image = sharp(bytes, { failOn: 'warning' }).autoOrient()
  const { depth, hasAlpha, autoOrient } = await image.metadata()
  checkSize(autoOrient, frame)
  if (depth !== 'uchar') throw refused('an image of 16 bits a channel', '8 bits a channel')
  if (header?.single) {
    const { data } = await decodeSamples(bytes)
    return hasAlpha ? withoutTransparent(data, await image.extractChannel('alpha').raw().toBuffer()) : data
  }
  const { data, info } = await image.toColourspace('srgb').raw().toBuffer({ resolveWithObject: true })
  if (info.channels !== 2) return marksOf(data, info.channels)
  const grey = data.filter((_, i) => i % 2 === 0)
  return withoutTransparent(
    grey,
    data.filter((_, i) => i % 2 === 1),
  )
}

function checkSize(size: Size, frame: Size): void {
  if (size.width === frame.width && size.height === frame.height) return
  const given = `the scribble is ${size.width} x ${size.height} pixels and its picture ${frame.width} x ${frame.height}`
  throw new TorchvidError('ERR_SHAPE', `scribble: ${given}. Wanted the same size: draw it over that picture.`)
}

/** Marks from pixels of 1 (values), 3 or 4 channels (colours). The result belongs to the caller. */
function marksOf(pixels: Uint8Array, channels: number): Uint8Array {
  if (channels === 1) return Uint8Array.from(pixels)
  const count = pixels.length / channels
  const opaque = (i: number) => channels === 3 || pixels[i * 4 + 3]! >= HALF_OPAQUE
  const levels = new Uint8Array(count)
  let grey = true
  for (let i = 0, at = 0; i < count; i++, at += channels) {
    if (!opaque(i)) continue
    levels[i] = pixels[at]!
    grey &&= pixels[at] === pixels[at + 1] && pixels[at] === pixels[at + 2]
  }
  return grey ? levels : colouredMarks(pixels, channels, opaque)
}

/** White is background; it is taken out before the other colours get their ids. */
function colouredMarks(pixels: Uint8Array, channels: number, opaque: (i: number) => boolean): Uint8Array {
  const colours = Uint8Array.from(pixels)
  const white: number[] = []
  for (let i = 0, at = 0; at < colours.length; i++, at += channels) {
    const isWhite = colours[at] === WHITE && colours[at + 1] === WHITE && colours[at + 2] === WHITE
    if (!isWhite || !opaque(i)) continue
    white.push(i)
    colours.fill(0, at, at + 3)
  }
  const { data } = labelled(colours, channels)
  for (const i of white) data[i] = BACKGROUND_MARK
  return data
}

function labelled(colours: Uint8Array, channels: number) {
  try {
    return colourLabels(colours, channels)
  } catch (cause) {
    throw refused(`a colour image of more than ${MOST_VALUES} colours`, WANTED, { cause })
  }
}

function refused(given: string, wanted = WANTED, options?: ErrorOptions): TorchvidError {
  return new TorchvidError('ERR_INVALID_ARGUMENT', `scribble: got ${given}, wanted ${wanted}.`, options)
}

function withoutTransparent(marks: Uint8Array, alpha: Uint8Array): Uint8Array {
  return marks.map((mark, i) => (alpha[i]! < HALF_OPAQUE ? 0 : mark))
}

function distinct(marks: Uint8Array): Set<number> {
  const seen = new Uint8Array(256)
  for (let i = 0; i < marks.length; i++) seen[marks[i]!] = 1
  return new Set([...seen.keys()].filter((value) => seen[value] === 1))
}
