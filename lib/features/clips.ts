import type { Frame } from '../data/frames.ts'
import { TorchvidError } from '../errors.ts'
import { native } from '../native.ts'
import type { RawImage } from '../types.ts'
import { resizedSize } from './frame-size.ts'
import type { ExtractSettings } from './settings.ts'

/** So many frames of a video, resized. */
export interface Clip {
  /** Those that the network sees: every `frameStep`-th, filled up in a last clip that is short. */
  frames: RawImage[]
  /** Frames of the video up to the end of this clip. */
  end: number
}

/** Cuts a video into clips. It holds the frames of the clip that is being made, already resized, and no other. */
export class ClipReader {
  /** Frames read so far: all, once the iteration is over. */
  frames = 0
  /** Size of the first frame as it came, and of all frames once resized. */
  first: { width: number; height: number } | undefined
  resized: { width: number; height: number } | undefined

  constructor(
    private readonly video: AsyncIterable<Frame>,
    private readonly settings: ExtractSettings,
  ) {}

  /** @throws TorchvidError ERR_SHAPE when a frame is smaller than the crop, or frames differ in size */
  async *clips(): AsyncGenerator<Clip, void, undefined> {
    const { every, frameStep, tail } = this.settings
    let frames: RawImage[] = []
    for await (const { image } of this.video) {
      const index = this.frames++
      if ((index % every) % frameStep === 0) frames.push(await this.prepare(image, index))
      if (this.frames % every !== 0) continue
      yield { frames, end: this.frames }
      frames = []
    }
    if (frames.length === 0 || tail === 'drop') return
    yield { frames: filled(frames, Math.ceil(every / frameStep), tail), end: this.frames }
  }

  private async prepare(image: RawImage, index: number): Promise<RawImage> {
    const { width, height } = image
    const { resize, crop } = this.settings
    const size = resizedSize(image, resize)
    this.first ??= { width, height }
    if (this.resized === undefined) {
      checkCrop(crop, size, this.first)
      this.resized = size
    }
    if (size.width !== this.resized.width || size.height !== this.resized.height) {
      throw changedSize(index, { width, height }, this.first)
    }
    return size.width === width && size.height === height ? image : await native().resizeImage(image, size)
  }
}

/** The frames of a clip that is short: over again from its start, or its last one again and again. */
function filled(frames: RawImage[], count: number, tail: 'loop' | 'repeat'): RawImage[] {
  const place = (i: number) => (tail === 'loop' ? i % frames.length : Math.min(i, frames.length - 1))
  return Array.from({ length: count }, (_, i) => frames[place(i)] as RawImage)
}

interface Size {
  width: number
  height: number
}

function checkCrop(crop: number, size: Size, frame: Size): void {
  if (Math.min(size.width, size.height) >= crop) return
  const same = size.width === frame.width && size.height === frame.height
  const given = same ? '' : ` (${frame.width} x ${frame.height} before resizing)`
  const text = `The frames are ${size.width} x ${size.height}${given}, smaller than the crop of ${crop}. Resize them to at least that (resize: ${crop} for the shorter side) or take a smaller crop.`
  throw new TorchvidError('ERR_SHAPE', text)
}

function changedSize(index: number, size: Size, first: Size): TorchvidError {
  const text = `Frame ${index} is ${size.width} x ${size.height}, the first one ${first.width} x ${first.height}: the crops would not show the same place. Give resize: [width, height] to bring all frames to one size.`
  return new TorchvidError('ERR_SHAPE', text)
}
