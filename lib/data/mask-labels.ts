import { invalidArgument } from '../errors.ts'
import { davisPalette, type Palette } from './png.ts'

/** The largest value that a grey image of several values may have to be read as ids. */
const LARGEST_GREY_ID = 64
/** More colours than this are no mask but a photograph. */
const MOST_COLOURS = 32
/** A pixel less opaque than this is background. */
const HALF_OPAQUE = 128

/** A mask's pixels as ids, before objects are chosen. `data` belongs to the caller. */
export interface Labels {
  data: Uint8Array
  warnings: string[]
  /** Whether 255 is a "void" label here and not an object. */
  voidIsBackground: boolean
}

/** Ids from palette indices. `indices` is used as it is, not copied. */
export function paletteLabels(indices: Uint8Array, palette: Palette): Labels {
  const warnings: string[] = []
  const first = palette.subarray(0, 3)
  if (first.some((value) => value > 0)) {
    warnings.push(
      `The mask is a palette image whose index 0 is the colour (${first.join(', ')}), not black: indices are ids and 0 is background, whatever the colours. Check that the object was learned and not the background.`,
    )
  }
  return { data: indices, warnings, voidIsBackground: true }
}

/**
 * Ids from grey values (copied): two values are background and object 1, several up to 64 are ids, and
 * anything else is a soft mask, thresholded at half of `maximum`. Values are ids as they are when
 * `objects` names them.
 */
export function greyLabels(values: Uint8Array | Uint16Array, maximum: number, objects?: number[]): Labels {
  const found = distinctValues(values, maximum)
  const largest = found.at(-1)!
  const areIds = objects ? areNamedIds(found, objects) : found.length !== 2 && largest <= LARGEST_GREY_ID
  if (areIds) return labels(Uint8Array.from(values))
  if (found.length <= 2) return labels(threshold(values, largest || 1))
  const half = (maximum + 1) / 2
  const warning = `The mask is soft-edged (${found.length} grey values from ${found[0]} to ${largest}): it was thresholded at half, and pixels of ${half} and more are the object.`
  return labels(threshold(values, half), [warning])
}

/**
 * Ids from colours (3 or 4 channels). Equal channels are read as grey. Black and transparent pixels are
 * background; a colour of the DAVIS palette has its index as id, others the next free id in order of
 * first appearance. `ERR_INVALID_ARGUMENT` when there are more than 32 colours.
 */
export function colourLabels(pixels: Uint8Array, channels: number, objects?: number[]): Labels {
  const packed = packColours(pixels, channels)
  if (packed.every((colour) => colour % 0x010101 === 0)) {
    return greyLabels(
      Uint8Array.from(packed, (colour) => colour & 0xff),
      255,
      objects,
    )
  }
  const ids = numberColours(distinctColours(packed))
  return { data: Uint8Array.from(packed, (colour) => ids.get(colour)!), warnings: [], voidIsBackground: true }
}

function labels(data: Uint8Array, warnings: string[] = []): Labels {
  return { data, warnings, voidIsBackground: false }
}

function areNamedIds(found: number[], objects: number[]): boolean {
  const largest = found.at(-1)!
  return (
    largest <= LARGEST_GREY_ID || (found.length === 2 && largest <= 255 && objects.every((id) => found.includes(id)))
  )
}

function threshold(values: Uint8Array | Uint16Array, least: number): Uint8Array {
  const data = new Uint8Array(values.length)
  for (let i = 0; i < data.length; i++) data[i] = values[i]! >= least ? 1 : 0
  return data
}

function distinctValues(values: Uint8Array | Uint16Array, maximum: number): number[] {
  const seen = new Uint8Array(maximum + 1)
  for (let i = 0; i < values.length; i++) seen[values[i]!] = 1
  const found: number[] = []
  for (let value = 0; value <= maximum; value++) if (seen[value]) found.push(value)
  return found
}

/** 0xRRGGBB for every pixel; 0 where it is transparent. */
function packColours(pixels: Uint8Array, channels: number): Uint32Array {
  const packed = new Uint32Array(pixels.length / channels)
  for (let i = 0, at = 0; i < packed.length; i++, at += channels) {
    if (channels === 4 && pixels[at + 3]! < HALF_OPAQUE) continue
    packed[i] = (pixels[at]! << 16) | (pixels[at + 1]! << 8) | pixels[at + 2]!
  }
  return packed
}

/** The colours other than black, in order of first appearance. */
function distinctColours(packed: Uint32Array): number[] {
  const colours = new Set<number>()
  let last = 0
  for (const colour of packed) {
    if (colour === last) continue
    last = colour
    if (colour === 0) continue
    colours.add(colour)
    if (colours.size > MOST_COLOURS) {
      const given = `a colour image of more than ${MOST_COLOURS} colours`
      const wanted =
        'a mask: grey, palette, or one plain colour per object on black (PNG, not JPEG, without soft edges)'
      throw invalidArgument('mask', given, wanted)
    }
  }
  return [...colours]
}

function numberColours(colours: number[]): Map<number, number> {
  const ids = new Map<number, number>([[0, 0]])
  const palette = davisPalette()
  for (let id = 1; id < 256; id++) {
    if (id > LARGEST_GREY_ID && id !== 255) continue
    const colour = (palette[id * 3]! << 16) | (palette[id * 3 + 1]! << 8) | palette[id * 3 + 2]!
    if (colours.includes(colour)) ids.set(colour, id)
  }
  const taken = new Set(ids.values())
  let next = 1
  for (const colour of colours) {
    if (ids.has(colour)) continue
    while (taken.has(next)) next++
    ids.set(colour, next++)
  }
  return ids
}
