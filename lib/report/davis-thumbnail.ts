import sharp from 'sharp'
import { overlay } from '../data/overlay.ts'
import { davisPalette } from '../data/png.ts'
import { TorchvidError } from '../errors.ts'
import type { RawImage } from '../types.ts'

/** A small JPEG. */
export interface Thumbnail {
  jpeg: Buffer
  width: number
  height: number
}

/** The colours, red, green, blue: of the first object, and of the truth's outline. */
export const MASK_COLOUR = [255, 122, 0] as const
export const TRUTH_COLOUR = [0, 229, 255] as const

const WIDTH = 320
// With colours at half the resolution, as is usual, a line of one pixel would hardly be seen.
const QUALITY = 68
const COLOURS = Uint8Array.from([0, 0, 0, ...MASK_COLOUR, ...davisPalette().subarray(6)])

/**
 * A frame in small, its mask's objects tinted and the outline of the truth drawn over them.
 * @param mask one id a pixel, 0 for background; left out, nothing is tinted
 * @param truth as `mask`
 * @throws TorchvidError ERR_SHAPE when mask or truth have not the picture's size
 */
export async function thumbnailOf(
  image: RawImage,
  { mask, truth }: { mask?: Uint8Array; truth: Uint8Array },
): Promise<Thumbnail> {
  const { data, ...raw } = image
  for (const labels of [mask ?? truth, truth]) {
    if (labels.length === raw.width * raw.height) continue
    const text = `A mask has ${labels.length} pixels and its picture ${raw.width} x ${raw.height}. Wanted the same size.`
    throw new TorchvidError('ERR_SHAPE', text)
  }
  const width = Math.min(WIDTH, raw.width)
  const height = Math.max(1, Math.round((raw.height * width) / raw.width))
  const small = await sharp(data, { raw }).resize(width, height, { fit: 'fill' }).removeAlpha().raw().toBuffer()
  const shrink = (labels: Uint8Array) => shrunk(labels, raw.width, raw.height, width, height)
  const picture: RawImage = { data: small, width, height, channels: 3 }
  const tinted =
    mask === undefined
      ? picture.data
      : overlay(picture, shrink(mask), { colours: COLOURS, opacity: 0.5, outline: false })
  drawOutline(tinted, shrink(truth), width, height)
  const jpeg = await sharp(tinted, { raw: { width, height, channels: 3 } })
    .jpeg({ quality: QUALITY, chromaSubsampling: '4:4:4' })
    .toBuffer()
  return { jpeg, width, height }
}

/** The nearest pixel of each: ids cannot be averaged. */
function shrunk(labels: Uint8Array, width: number, height: number, toWidth: number, toHeight: number): Uint8Array {
  const out = new Uint8Array(toWidth * toHeight)
  for (let y = 0; y < toHeight; y++) {
    const row = Math.floor(((y + 0.5) * height) / toHeight) * width
    for (let x = 0; x < toWidth; x++) out[y * toWidth + x] = labels[row + Math.floor(((x + 0.5) * width) / toWidth)]!
  }
  return out
}

/** Colours the pixels at which an object ends, just inside it. */
function drawOutline(rgb: Uint8Array, labels: Uint8Array, width: number, height: number): void {
  for (let i = 0; i < labels.length; i++) {
    const id = labels[i]!
    if (id === 0) continue
    const x = i % width
    const ends =
      (x > 0 && labels[i - 1] !== id) ||
      (x + 1 < width && labels[i + 1] !== id) ||
      (i >= width && labels[i - width] !== id) ||
      (i + width < width * height && labels[i + width] !== id)
    if (ends) rgb.set(TRUTH_COLOUR, i * 3)
  }
}
