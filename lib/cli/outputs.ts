import { join } from 'node:path'
import sharp from 'sharp'
import { writeMask, writeProbability } from '../data/mask-files.ts'
import { writeStrip } from '../data/overlay.ts'
import { createVideoWriter, type VideoWriter } from '../data/video-writer.ts'
import type { SegmentedFrame } from '../osvos/segment.ts'
import type { RawImage } from '../types.ts'
import { type Tile, TilePicker, tinted } from './tiles.ts'

/** What is written of the frames, and where. */
export interface OutputOptions {
  folder: string
  /** The objects' ids. */
  ids: number[]
  probabilities: boolean
  /** The overlay video; left out, there is none. */
  video?: { path: string; fps: number; required: boolean }
  warn(message: string): void
}

/** The pictures that were made besides the masks. */
export interface Pictures {
  strip: string
  video?: string
}

const STRIP_TILES = 8

/** Writes what `segment` finds, frame by frame. End it with `finish`, or with `abort`, which leaves only whole files. */
export class Outputs {
  /** Frames written so far. */
  count = 0
  private readonly options: OutputOptions
  private readonly picker = new TilePicker()
  private video: { writer: VideoWriter; width: number; height: number } | undefined
  private videoFailed = false
  private stripName = 'strip'

  constructor(options: OutputOptions) {
    this.options = options
  }

  /** Writes one frame's files and returns the mask's path. */
  async add(frame: SegmentedFrame): Promise<string> {
    const { folder, ids, probabilities } = this.options
    const { name, width, height, probability } = frame
    const file = await writeMask(folder, name, frame, ids)
    if (probabilities) await writeProbability(join(folder, 'probabilities'), name, probability, width, height)
    await this.picker.add(frame)
    await this.addToVideo(frame)
    // A frame of that name has a mask of that name, which the strip must not replace.
    if (name.toLowerCase() === this.stripName) this.stripName += '-of-frames'
    this.count++
    return file
  }

  /** Evenly spread small pictures, for the strip and the report. */
  async tiles(count: number): Promise<Tile[]> {
    return await this.picker.choose(count)
  }

  /** Finishes the video and writes the strip. */
  async finish(): Promise<Pictures> {
    const tiles = await this.tiles(STRIP_TILES)
    const strip = join(this.options.folder, `${this.stripName}.png`)
    const labels = tiles.map((tile) => `frame ${tile.index}`)
    await writeStrip(
      strip,
      tiles.map((tile) => tile.image),
      { labels, tileWidth: tiles[0]?.image.width },
    )
    if (this.video !== undefined) await this.guardVideo(() => this.video?.writer.close())
    const written = this.video !== undefined && !this.videoFailed
    return { strip, ...(written ? { video: this.options.video?.path } : {}) }
  }

  /** Removes what is half-written. Harmless after `finish`. */
  async abort(): Promise<void> {
    await this.video?.writer.abort()
  }

  private async addToVideo(frame: SegmentedFrame): Promise<void> {
    const { video } = this.options
    if (video === undefined || this.videoFailed) return
    await this.guardVideo(async () => {
      const { width, height } = frame
      this.video ??= { writer: await createVideoWriter(video.path, { width, height, fps: video.fps }), width, height }
      await this.video.writer.write(await fitInto(tinted(frame), this.video.width, this.video.height))
    })
  }

  /** A video nobody asked for must not cost the masks. */
  private async guardVideo(work: () => Promise<void> | undefined): Promise<void> {
    try {
      await work()
    } catch (error) {
      await this.abort()
      if (this.options.video?.required) throw error
      this.videoFailed = true
      this.options.warn(`There will be no overlay video: ${(error as Error).message}`)
    }
  }
}

/** A picture of the size of the video, with black bars where the frame has another shape than the first. */
async function fitInto(image: RawImage, width: number, height: number): Promise<Uint8Array> {
  if (image.width === width && image.height === height) return image.data
  const raw = { width: image.width, height: image.height, channels: image.channels }
  return await sharp(image.data, { raw }).resize(width, height, { fit: 'contain', background: '#000' }).raw().toBuffer()
}
