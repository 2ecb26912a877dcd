import { readFile } from 'node:fs/promises'
import sharp from 'sharp'
import { checkInteger, describe, invalidArgument, TorchvidError } from '../errors.ts'
import type { ImageInput, RawImage } from '../types.ts'
import { decodeBmp, isBmp } from './bmp.ts'
import { isPng, readPngHeader } from './png.ts'

/** The longest side of an image that is accepted. */
const MAXIMUM_SIDE = 65535

/**
 * Reads any image as RGB: 3 channels, 8 bits, sRGB, upright (EXIF orientation applied). Grey is
 * expanded, alpha is dropped, 16 bits are reduced to 8. Raw pixels of 3 channels come back uncopied.
 *
 * @param input a file's path, an encoded image, or raw pixels
 * @param what the name of the argument, for error messages (`'image'`, `'frame 3'`)
 * @throws `ERR_IO` when the file is missing, is no image or is damaged (a truncated JPEG is refused,
 * never half grey); `ERR_INVALID_ARGUMENT` when the bytes in memory are no image, or raw pixels do
 * not have the size they claim.
 */
export async function readImage(input: ImageInput, what: string): Promise<RawImage> {
  if (isRawImage(input)) return toRgb(checkRawImage(input, what))
  const bytes = await readEncoded(input, what)
  try {
    if (isBmp(bytes)) return decodeBmp(bytes)
    // libpng does not mind a PNG whose pixels are all there and whose end is not.
    if (isPng(bytes)) readPngHeader(bytes)
    const { data, info } = await sharp(bytes, { failOn: 'warning' })
      .autoOrient()
      .removeAlpha()
      .toColourspace('srgb')
      .raw()
      .toBuffer({ resolveWithObject: true })
    return toRgb({ data, width: info.width, height: info.height, channels: info.channels as 1 | 3 | 4 })
  } catch (error) {
    throw unreadable(input, what, error)
  }
}

/** True for an object of raw pixels, whether or not its fields are right (see `checkRawImage`). */
export function isRawImage(input: unknown): input is RawImage {
  return typeof input === 'object' && input !== null && !ArrayBuffer.isView(input) && 'data' in input
}

/** The same image when its fields fit together, else `ERR_INVALID_ARGUMENT`. */
export function checkRawImage(image: RawImage, what: string): RawImage {
  const { data, channels } = image
  const width = checkInteger(`${what}.width`, image.width, 1, MAXIMUM_SIDE)
  const height = checkInteger(`${what}.height`, image.height, 1, MAXIMUM_SIDE)
  if (channels !== 1 && channels !== 3 && channels !== 4) {
    throw invalidArgument(`${what}.channels`, channels, '1 (grey), 3 (RGB) or 4 (RGBA)')
  }
  const isBytes = data instanceof Uint8Array || (data as unknown) instanceof Uint8ClampedArray
  const length = width * height * channels
  if (!isBytes || data.length !== length) {
    const wanted = `a Uint8Array of ${width} x ${height} x ${channels} = ${length} bytes`
    throw invalidArgument(`${what}.data`, data, wanted)
  }
  return image
}

/**
 * The bytes of an encoded image: the file's, or those given. Files are read here and not by sharp,
 * whose cache may answer with what a path held earlier.
 */
export async function readEncoded(input: string | Uint8Array, what: string): Promise<Uint8Array> {
  if (input instanceof Uint8Array) {
    if (input.length > 0) return input
    throw invalidArgument(what, input, 'an encoded image (JPEG, PNG, WebP...)')
  }
  if (typeof input !== 'string') {
    throw invalidArgument(what, input, 'a path, an encoded image or { data, width, height, channels }')
  }
  try {
    return await readFile(input)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOENT') throw ioError(`${what}: there is no file ${describe(input)}. Check the path.`, error)
    if (code === 'EISDIR') throw ioError(`${what}: ${describe(input)} is a folder, wanted an image file.`, error)
    throw ioError(`${what}: ${describe(input)} cannot be read (${(error as Error).message}).`, error)
  }
}

/** The error for an image that does not decode: `ERR_IO` for a file, `ERR_INVALID_ARGUMENT` for bytes in memory. */
export function unreadable(input: string | Uint8Array, what: string, error: unknown): TorchvidError {
  const reason = (error as Error).message.replace(/^Input (buffer|file)/, 'it')
  const code = typeof input === 'string' ? 'ERR_IO' : 'ERR_INVALID_ARGUMENT'
  const message = `${what}: ${describe(input)} is not an image, or is damaged or cut short (${reason}). Wanted a whole JPEG, PNG, WebP, TIFF, AVIF or BMP image.`
  return new TorchvidError(code, message, { cause: error })
}

function ioError(message: string, cause: unknown): TorchvidError {
  return new TorchvidError('ERR_IO', message, { cause })
}

function toRgb(image: RawImage): RawImage {
  const { data, width, height, channels } = image
  if (channels === 3) return image
  const pixels = width * height
  const rgb = new Uint8Array(pixels * 3)
  const [green, blue] = channels === 1 ? [0, 0] : [1, 2]
  for (let i = 0; i < pixels; i++) {
    rgb[i * 3] = data[i * channels]!
    rgb[i * 3 + 1] = data[i * channels + green]!
    rgb[i * 3 + 2] = data[i * channels + blue]!
  }
  return { data: rgb, width, height, channels: 3 }
}
