import sharp from 'sharp'
import { overlay } from '../data/overlay.ts'
import { davisPalette } from '../data/png.ts'
import type { SegmentedFrame } from '../osvos/segment.ts'
import type { RawImage } from '../types.ts'

/** A small picture of one frame with its objects tinted. */
export interface Tile {
  index: number
  name: string
  image: RawImage
}

const TILE_WIDTH = 320
/** Twice what is shown at most, so that what is left after thinning is still evenly spread. */
const MOST_TILES = 32

/** Brighter than the DAVIS palette, which starts with dark red: these are to be seen over a picture. */
const COLOURS = brightColours()

/** The frame with its objects tinted and outlined, RGB. */
export function tinted(frame: SegmentedFrame): RawImage {
  const { image, mask, width, height } = frame
  return { data: overlay(image, mask, { colours: COLOURS, opacity: 0.4 }), width, height, channels: 3 }
}

/**
 * Keeps small pictures evenly spread over frames whose number is not known beforehand: when there are too many, every
 * second one is dropped, and from then on only every second one is taken.
 */
export class TilePicker {
  private tiles: Tile[] = []
  private stride = 1
  private last: SegmentedFrame | undefined

  async add(frame: SegmentedFrame): Promise<void> {
    this.last = frame
    if (frame.index % this.stride !== 0) return
    this.tiles.push(await makeTile(frame))
    if (this.tiles.length < MOST_TILES) return
    this.stride *= 2
    this.tiles = this.tiles.filter((tile) => tile.index % this.stride === 0)
  }

  /** At most `count` tiles from the first frame to the last, in order. */
  async choose(count: number): Promise<Tile[]> {
    const { last, tiles } = this
    if (last === undefined) return []
    const all = tiles.at(-1)?.index === last.index ? tiles : [...tiles, await makeTile(last)]
    const chosen = new Set<Tile>()
    for (let i = 0; i < count; i++) {
      const target = count === 1 ? 0 : (i * last.index) / (count - 1)
      const nearest = all.reduce((a, b) => (Math.abs(b.index - target) < Math.abs(a.index - target) ? b : a))
      chosen.add(nearest)
    }
    return [...chosen]
  }
}

async function makeTile(frame: SegmentedFrame): Promise<Tile> {
  const { data, width, height } = tinted(frame)
  const small = sharp(data, { raw: { width, height, channels: 3 } }).resize(TILE_WIDTH)
  const { data: pixels, info } = await small.raw().toBuffer({ resolveWithObject: true })
  const image: RawImage = { data: pixels, width: info.width, height: info.height, channels: 3 }
  return { index: frame.index, name: frame.name, image }
}

function brightColours(): Uint8Array {
  const palette = davisPalette()
  for (let i = 3; i < palette.length; i += 3) {
    const brightest = Math.max(palette[i]!, palette[i + 1]!, palette[i + 2]!)
    for (let c = 0; c < 3; c++) palette[i + c] = Math.round((palette[i + c]! * 255) / brightest)
  }
  return palette
}
