import { invalidArgument, TorchvidError } from '../errors.ts'
import type { ImageInput, RawImage } from '../types.ts'
import { checkRawImage, isRawImage, readEncoded, readImage, unreadable } from './image.ts'
import { readMask } from './mask.ts'
import { decodeSamples, isPng, readPngHeader } from './png.ts'

/** A picture and where its object is: non-zero. Both of one size. */
export interface LabelledFrame {
  image: RawImage
  mask: { data: Uint8Array; width: number; height: number }
}

/**
 * Decoded frames by number, at most so many bytes of them: the least recently used ones go first. Whoever asks for a frame
 * that is being decoded waits for that one.
 */
export class FrameCache {
  /** Frames that were decoded so far. */
  decoded = 0
  /** Of the frames that are kept. */
  bytes = 0
  private readonly frames = new Map<number, LabelledFrame>()
  private readonly pending = new Map<number, Promise<LabelledFrame>>()

  /**
   * @param limit bytes; 0: nothing is kept
   * @param decode reads a frame
   */
  constructor(
    private readonly limit: number,
    private readonly decode: (index: number) => Promise<LabelledFrame>,
  ) {}

  /** A frame; rejects with what `decode` throws, and tries anew the next time. */
  async get(index: number): Promise<LabelledFrame> {
    const kept = this.frames.get(index)
    if (kept !== undefined) {
      // A map keeps the order in which things were put in: the first is the least recently used one.
      this.frames.delete(index)
      this.frames.set(index, kept)
      return kept
    }
    let frame = this.pending.get(index)
    if (frame === undefined) {
      frame = this.load(index).finally(() => this.pending.delete(index))
      this.pending.set(index, frame)
    }
    return await frame
  }

  private async load(index: number): Promise<LabelledFrame> {
    const frame = await this.decode(index)
    this.decoded++
    this.frames.set(index, frame)
    this.bytes += bytesOf(frame)
    for (const [oldest, old] of this.frames) {
      if (this.bytes <= this.limit) break
      this.frames.delete(oldest)
      this.bytes -= bytesOf(old)
    }
    return frame
  }
}

function bytesOf({ image, mask }: LabelledFrame): number {
  return image.data.byteLength + mask.data.byteLength
}

/** The largest value of a grey picture that is taken for ids; above, half of 255 and more is the object. */
const LARGEST_GREY_ID = 64
const HALF = 128
/** "Void" in palettes that have other ids as well. */
const VOID = 255

/**
 * A picture and its annotation. Unlike the mask of a first frame an annotation may be empty: the object is not in sight.
 * Every id above 0 is the object (255 of a palette is "void" where there are others); a colour picture must show one.
 * @param what the frame's name, for messages
 * @throws TorchvidError ERR_IO, ERR_INVALID_ARGUMENT, ERR_SHAPE when the sizes differ
 */
export async function readLabelledFrame(image: ImageInput, mask: ImageInput, what: string): Promise<LabelledFrame> {
  const picture = await readImage(image, what)
  const { width, height } = picture
  const checkSize = (size: { width: number; height: number }) => {
    if (size.width === width && size.height === height) return
    const given = `its picture is ${width} x ${height} pixels, its mask ${size.width} x ${size.height}`
    throw new TorchvidError('ERR_SHAPE', `${what}: ${given}. Wanted the same size.`)
  }
  const samples = await readSamples(mask, `mask of ${what}`, checkSize)
  const data = samples === undefined ? (await readMask(mask, { width, height })).data : objectOf(samples)
  return { image: picture, mask: { data, width, height } }
}

interface Samples {
  data: Uint8Array
  palette: boolean
}

/** The values of a mask with one channel of at most 8 bits; nothing for any other. */
async function readSamples(
  mask: ImageInput,
  what: string,
  checkSize: (size: { width: number; height: number }) => void,
): Promise<Samples | undefined> {
  if (isRawImage(mask)) {
    checkSize(checkRawImage(mask, what))
    return mask.channels === 1 ? { data: mask.data, palette: false } : undefined
  }
  if (typeof mask !== 'string' && !(mask instanceof Uint8Array)) {
    throw invalidArgument(what, mask, 'a path, an encoded image or { data, width, height, channels }')
  }
  const bytes = await readEncoded(mask, what)
  try {
    if (!isPng(bytes)) return undefined
    const header = readPngHeader(bytes)
    // Before decoding: a few bytes can claim gigabytes of pixels.
    checkSize(header)
    if (!header.single || header.depth > 8) return undefined
    const { data } = await decodeSamples(bytes)
    return { data, palette: header.palette !== undefined }
  } catch (error) {
    throw error instanceof TorchvidError ? error : unreadable(mask, what, error)
  }
}

/** 1 where the object is. */
function objectOf({ data, palette }: Samples): Uint8Array {
  const seen = new Uint8Array(256)
  for (let i = 0; i < data.length; i++) seen[data[i]!] = 1
  const values = [...seen.keys()].filter((value) => value > 0 && seen[value] === 1)
  const isVoid = (value: number) => palette && value === VOID && values.length > 1
  const areIds = palette || values.length < 2 || values.at(-1)! <= LARGEST_GREY_ID
  const object = values.filter((value) => !isVoid(value) && value >= (areIds ? 1 : HALF))
  const table = new Uint8Array(256)
  for (const value of object) table[value] = 1
  // Not `map`: a call for each pixel takes five times as long.
  const mask = new Uint8Array(data.length)
  for (let i = 0; i < data.length; i++) mask[i] = table[data[i]!]!
  return mask
}
