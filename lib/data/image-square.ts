import sharp, { type Sharp } from 'sharp'
import { TorchvidError } from '../errors.ts'
import { isBmp } from './bmp.ts'
import { readEncoded, readImage, unreadable } from './image.ts'
import { isPng, readPngHeader } from './png.ts'

/**
 * Decodes a file, scales it so that its shorter side is `resize` and writes its centre of `size` x `size` to `into`: planes
 * of red, green and blue. Grey becomes RGB, alpha is dropped, EXIF's orientation is applied.
 *
 * @throws `ERR_IO` when the file cannot be read, is no image or is damaged
 */
export async function decodeSquare(path: string, resize: number, size: number, into: Uint8Array): Promise<void> {
  const bytes = await readEncoded(path, 'image')
  try {
    if (isPng(bytes)) readPngHeader(bytes)
    const { image, from } = await open(path, bytes)
    const scale = resize / Math.min(from.width, from.height)
    const width = Math.max(resize, Math.round(from.width * scale))
    const height = Math.max(resize, Math.round(from.height * scale))
    const { data, info } = await image
      .autoOrient()
      .toColourspace('srgb')
      .resize(width, height, { fit: 'fill' })
      .extract({ left: (width - size) >> 1, top: (height - size) >> 1, width: size, height: size })
      .raw()
      .toBuffer({ resolveWithObject: true })
    toPlanes(data, info.channels, into)
  } catch (error) {
    if (error instanceof TorchvidError) throw error
    throw unreadable(path, 'image', error)
  }
}

/** The image, not yet decoded where sharp can do that, and its upright size. */
async function open(
  path: string,
  bytes: Uint8Array,
): Promise<{ image: Sharp; from: { width: number; height: number } }> {
  if (!isBmp(bytes)) {
    const image = sharp(bytes, { failOn: 'warning' })
    const { autoOrient, hasAlpha } = await image.metadata()
    if (!hasAlpha) return { image, from: autoOrient }
  }
  // Scaling weighs colours by their alpha: it must be gone before, or what is transparent turns black.
  const { data, width, height, channels } = await readImage(path, 'image')
  return { image: sharp(data, { raw: { width, height, channels } }), from: { width, height } }
}

/** Interleaved pixels to planes; a single channel goes to all three. */
function toPlanes(data: Uint8Array, channels: number, into: Uint8Array): void {
  const plane = into.length / 3
  for (let channel = 0; channel < 3; channel++) {
    const start = channel * plane
    let from = channels === 3 ? channel : 0
    for (let i = 0; i < plane; i++, from += channels) into[start + i] = data[from]!
  }
}
