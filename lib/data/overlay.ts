import { extname } from 'node:path'
import sharp, { type OverlayOptions as Layer } from 'sharp'
import { checkInteger, checkNumber, invalidArgument, TorchvidError } from '../errors.ts'
import type { RawImage } from '../types.ts'
import { writeWhole } from './files.ts'
import { checkRawImage } from './image.ts'
import { davisPalette } from './png.ts'

/** How a mask is laid over its frame. */
export interface OverlayOptions {
  /** Red, green, blue (0 to 255) for each value of the mask, one after another; 0 is not drawn. Default: the DAVIS palette. */
  colours?: Uint8Array
  /** How much of the colour covers the object, 0 to 1. Default 0.5. */
  opacity?: number
  /** Draw a line of 2 pixels along the inner edge of every object. Default true. */
  outline?: boolean
}

const PALETTE = davisPalette()
const OUTLINE_WIDTH = 2

/**
 * The frame with its objects tinted and outlined, as RGB bytes (width x height x 3).
 * `mask` has one value a pixel, 0 for background. `ERR_SHAPE` when it does not fit the frame.
 */
export function overlay(image: RawImage, mask: Uint8Array, options: OverlayOptions = {}): Uint8Array {
  const { data, width, height, channels } = checkRawImage(image, 'image')
  const { colours = PALETTE, outline = true } = options
  const opacity = checkNumber('opacity', options.opacity ?? 0.5, 0, 1)
  if (mask.length !== width * height) {
    const wanted = `${width} x ${height} = ${width * height}`
    throw new TorchvidError('ERR_SHAPE', `mask: got ${mask.length} values, wanted ${wanted}, one for each pixel.`)
  }
  const rgb = new Uint8Array(width * height * 3)
  const step = channels === 1 ? 0 : 1
  for (let i = 0; i < mask.length; i++) {
    const id = mask[i]!
    const cover = id === 0 ? 0 : outline && isEdge(mask, i, width, height) ? 1 : opacity
    for (let c = 0; c < 3; c++) {
      const under = data[i * channels + c * step]!
      rgb[i * 3 + c] = cover === 0 ? under : Math.round(under + cover * ((colours[id * 3 + c] ?? 255) - under))
    }
  }
  return rgb
}

/** True when a pixel of another value is within the outline's width, straight up, down, left or right. */
function isEdge(mask: Uint8Array, i: number, width: number, height: number): boolean {
  const id = mask[i]!
  const x = i % width
  const y = (i - x) / width
  for (let d = 1; d <= OUTLINE_WIDTH; d++) {
    if (x >= d && mask[i - d] !== id) return true
    if (x + d < width && mask[i + d] !== id) return true
    if (y >= d && mask[i - d * width] !== id) return true
    if (y + d < height && mask[i + d * width] !== id) return true
  }
  return false
}

/** How an image strip is laid out. */
export interface StripOptions {
  /** Tiles in a row. Default 4. */
  columns?: number
  /** Width of a tile in pixels; the height follows from the first tile. Default 240. */
  tileWidth?: number
  /** A text for the corner of each tile. */
  labels?: string[]
}

const GAP = 4
const LABEL_HEIGHT = 18

/**
 * Writes pictures side by side as one PNG or JPEG (by the path's extension), whole or not at all.
 * `ERR_IO` when it cannot be written.
 */
export async function writeStrip(path: string, tiles: RawImage[], options: StripOptions = {}): Promise<void> {
  if (tiles.length === 0) throw invalidArgument('tiles', tiles, 'one image or more')
  const columns = Math.min(checkInteger('columns', options.columns ?? 4, 1, 1000), tiles.length)
  const width = checkInteger('tileWidth', options.tileWidth ?? 240, 8, 8192)
  const first = checkRawImage(tiles[0]!, 'tiles[0]')
  const height = Math.max(1, Math.round((width * first.height) / first.width))
  const rows = Math.ceil(tiles.length / columns)
  const layers: Layer[] = []
  for (const [i, tile] of tiles.entries()) {
    const left = GAP + (i % columns) * (width + GAP)
    const top = GAP + Math.floor(i / columns) * (height + GAP)
    const { data, ...raw } = checkRawImage(tile, `tiles[${i}]`)
    const input = await sharp(data, { raw }).resize(width, height, { fit: 'fill' }).png().toBuffer()
    layers.push({ input, left, top })
    const label = options.labels?.[i]
    if (label) layers.push({ input: labelImage(label, width), left, top: top + Math.max(0, height - LABEL_HEIGHT) })
  }
  const size = { width: GAP + columns * (width + GAP), height: GAP + rows * (height + GAP) }
  const canvas = sharp({ create: { ...size, channels: 3, background: '#202020' } }).composite(layers)
  const isJpeg = /^\.jpe?g$/i.test(extname(path))
  await writeWhole(path, await (isJpeg ? canvas.jpeg({ quality: 90 }) : canvas.png()).toBuffer())
}

function labelImage(text: string, width: number): Buffer {
  const escaped = text.replace(/[&<>]/g, (c) => `&#${c.charCodeAt(0)};`)
  const height = LABEL_HEIGHT
  return Buffer.from(
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"><rect width="${width}" height="${height}" fill="#000" fill-opacity="0.6"/><text x="5" y="13" font-family="sans-serif" font-size="12" fill="#fff">${escaped}</text></svg>`,
  )
}
