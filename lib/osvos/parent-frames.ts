import { type DavisOptions, davis } from '../data/davis.ts'
import { FrameCache, readLabelledFrame } from '../data/frame-cache.ts'
import { randomFrom, shuffled } from '../data/random.ts'
import { describe, invalidArgument, TorchvidError } from '../errors.ts'
import type { NativeStills } from '../native.ts'
import type { ImageInput } from '../types.ts'

/** A video with a mask for every frame. Non-zero: the object; a mask may be empty. */
export interface ParentSequence {
  /** For messages and progress. Default: its place. */
  name?: string
  frames: ImageInput[]
  /** One for each frame, of its size. */
  masks: ImageInput[]
}

/**
 * Videos with masks: a folder of DAVIS (JPEGImages, Annotations, ImageSets) and which of its sequences, a list's (default
 * `'train'`) or by name; or sequences of your own.
 */
export type ParentData = { davis: string; split?: DavisOptions['sequences'] } | { sequences: ParentSequence[] }

/** One frame, not yet read. */
export interface ParentFrame {
  /** For messages. */
  what: string
  image: ImageInput
  mask: ImageInput
}

/** A sequence's frames. */
export interface ParentVideo {
  name: string
  frames: ParentFrame[]
}

/**
 * The frames of some videos; no picture is read.
 * @param what the argument's name, for messages
 * @throws TorchvidError ERR_INVALID_ARGUMENT; ERR_IO when a folder of DAVIS lacks something
 */
export async function openVideos(data: ParentData, what: string): Promise<ParentVideo[]> {
  if (typeof data !== 'object' || data === null || !('davis' in data || 'sequences' in data)) {
    throw invalidArgument(what, data, "{ davis: folder, split: 'train' } or { sequences: [{ frames, masks }] }")
  }
  if ('davis' in data) {
    const { davis: root, split = 'train' } = data
    return (await davis(root, { sequences: split })).map(toVideo)
  }
  const { sequences } = data
  if (!Array.isArray(sequences) || sequences.length === 0) {
    throw invalidArgument(`${what}.sequences`, sequences, 'at least one { frames, masks }')
  }
  for (const [i, sequence] of sequences.entries()) checkSequence(sequence, `${what}.sequences[${i}]`)
  return sequences.map(toVideo)
}

function checkSequence(sequence: ParentSequence, what: string): void {
  if (typeof sequence !== 'object' || sequence === null) throw invalidArgument(what, sequence, '{ frames, masks }')
  const { frames, masks } = sequence
  if (!Array.isArray(frames) || frames.length === 0) {
    throw invalidArgument(`${what}.frames`, frames, 'an array of at least one image')
  }
  if (!Array.isArray(masks)) throw invalidArgument(`${what}.masks`, masks, 'an array of images, one for each frame')
  if (masks.length === frames.length) return
  const given = `${what} has ${frames.length} frames and ${masks.length} masks`
  throw new TorchvidError('ERR_INVALID_ARGUMENT', `${given}. Wanted one mask for each frame.`)
}

function toVideo({ name, frames, masks }: ParentSequence, place: number): ParentVideo {
  const called = name ?? `sequence ${place}`
  const toFrame = (image: ImageInput, i: number) => ({
    what: `frame ${i} of ${describe(called)}`,
    image,
    mask: masks[i] as ImageInput,
  })
  return { name: called, frames: frames.map(toFrame) }
}

/** These frames, decoded as they are asked for; at most so many bytes of them are kept. */
export function cacheOf(frames: ParentFrame[], bytes: number): FrameCache {
  return new FrameCache(bytes, async (index) => {
    const { image, mask, what } = frames[index] as ParentFrame
    return await readLabelledFrame(image, mask, what)
  })
}

/** What random numbers are for: different streams of one seed. */
const ORDER = 1
const SIZE = 2

/** Numbers of one stream and place, from the seed alone. */
function randomAt(seed: number, stream: number, place: number): () => number {
  const mixed = randomFrom(Math.floor(randomFrom(seed)() * 2 ** 32) + stream)()
  return randomFrom(Math.floor(mixed * 2 ** 32) + place)
}

/** How a pass's sample is chosen. */
export interface SamplerSettings {
  seed: number
  /** A new order in each epoch, else the frames' own. */
  shuffle: boolean
  /** Heights that frames are scaled down to, drawn for each pass. */
  sizes: number[]
  /** Bytes of decoded frames to keep. */
  cache: number
}

/** A frame for every pass. Which one, and at which size, follows from the seed and the pass alone. */
export class ParentSampler {
  /** @internal For tests. */
  readonly cache: FrameCache
  private order: { epoch: number; frames: number[] } | undefined

  constructor(
    private readonly frames: ParentFrame[],
    private readonly settings: SamplerSettings,
  ) {
    this.cache = cacheOf(frames, settings.cache)
  }

  /** The sample of a pass, 0 for the first. */
  async sample(pass: number): Promise<NativeStills> {
    const frame = await this.cache.get(this.frameAt(pass))
    const { width, height } = frame.image
    const size = Math.min(this.sizeAt(pass), height)
    return { kind: 'stills', images: [frame], height: size, width: Math.max(1, Math.round((width * size) / height)) }
  }

  /** The place of the frame that a pass learns from. */
  frameAt(pass: number): number {
    const count = this.frames.length
    const epoch = Math.floor(pass / count)
    if (this.order?.epoch !== epoch) this.order = { epoch, frames: this.orderOf(epoch) }
    return this.order.frames[pass % count] as number
  }

  private orderOf(epoch: number): number[] {
    const places = [...this.frames.keys()]
    return this.settings.shuffle ? shuffled(places, randomAt(this.settings.seed, ORDER, epoch)) : places
  }

  private sizeAt(pass: number): number {
    const { sizes, seed } = this.settings
    return sizes[Math.floor(randomAt(seed, SIZE, pass)() * sizes.length)] as number
  }
}
