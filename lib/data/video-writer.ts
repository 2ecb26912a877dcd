import { rename, rm } from 'node:fs/promises'
import { dirname, extname } from 'node:path'
import { checkInteger, checkNumber, describe, invalidArgument, TorchvidError } from '../errors.ts'
import { askFfmpeg, type Ffmpeg, ffmpegPath, fileArgument, ioError, startFfmpeg } from './ffmpeg.ts'
import { makeFolder, temporaryName, writeError } from './files.ts'

/** The pictures of a video to be written. */
export interface VideoWriterOptions {
  /** Size of every picture in pixels; an odd size gets one more row or column, as H.264 wants even ones. */
  width: number
  height: number
  /** Pictures a second. Default 25. */
  fps?: number
}

/** Writes a video picture by picture. End it with `close` or `abort`; until `close` there is no file of that name. */
export interface VideoWriter {
  /** Adds a picture: RGB bytes, width x height x 3. Resolves when it is handed over and may be changed. */
  write(rgb: Uint8Array): Promise<void>
  /** Finishes the video and gives it its name. */
  close(): Promise<void>
  /** Gives up: ends ffmpeg and removes what was written. Never rejects. */
  abort(): Promise<void>
}

/**
 * Starts an MP4 video (H.264, or MPEG-4 where ffmpeg has no H.264 encoder) under a temporary name.
 *
 * @param path ends with `.mp4`, `.m4v` or `.mov`; its folder is made if it is missing
 * @throws `ERR_IO` when there is no ffmpeg or it cannot write there (from here, `write` or `close`);
 * `ERR_SHAPE` from `write` for a picture of another size.
 */
export async function createVideoWriter(path: string, options: VideoWriterOptions): Promise<VideoWriter> {
  const width = checkInteger('width', options.width, 1, 16384)
  const height = checkInteger('height', options.height, 1, 16384)
  const fps = checkNumber('fps', options.fps ?? 25, 0.01, 1000)
  if (!/^\.(mp4|m4v|mov)$/i.test(extname(path))) throw invalidArgument('path', path, 'a name that ends with .mp4')
  const program = ffmpegPath()
  const encoder = await chooseEncoder(program)
  await makeFolder(dirname(path))
  const temporary = temporaryName(path)
  // Players take HD pictures for BT.709 and without a tag guess: convert to it and say so.
  const filters = 'pad=ceil(iw/2)*2:ceil(ih/2)*2,scale=out_color_matrix=bt709:out_range=tv,format=yuv420p'
  const colours = ['-colorspace', 'bt709', '-color_primaries', 'bt709', '-color_trc', 'bt709', '-color_range', 'tv']
  const input = ['-f', 'rawvideo', '-pix_fmt', 'rgb24', '-s', `${width}x${height}`, '-r', String(fps), '-i', 'pipe:0']
  const output = ['-vf', filters, ...encoder, ...colours, '-movflags', '+faststart', '-f', 'mp4', '-y']
  const args = ['-v', 'error', '-nostdin', ...input, ...output, fileArgument(temporary)]
  return new FfmpegWriter(path, temporary, width * height * 3, startFfmpeg(args, 'pipe', 'ignore', program))
}

class FfmpegWriter implements VideoWriter {
  private count = 0
  private done = false
  private readonly path: string
  private readonly temporary: string
  private readonly size: number
  private readonly ffmpeg: Ffmpeg

  constructor(path: string, temporary: string, size: number, ffmpeg: Ffmpeg) {
    this.path = path
    this.temporary = temporary
    this.size = size
    this.ffmpeg = ffmpeg
    // A broken pipe is told by the write that meets it and by how ffmpeg ends.
    ffmpeg.child.stdin!.on('error', () => {})
  }

  async write(rgb: Uint8Array): Promise<void> {
    if (this.done) throw new TorchvidError('ERR_DISPOSED', `The video ${describe(this.path)} is already closed.`)
    if (rgb.length !== this.size) {
      throw new TorchvidError('ERR_SHAPE', `rgb: got ${rgb.length} bytes, wanted ${this.size}: width x height x 3.`)
    }
    const { stdin } = this.ffmpeg.child
    const written = new Promise<boolean>((resolve) => stdin!.write(rgb, (error) => resolve(!error)))
    if (!(await written)) throw await this.failure()
    this.count++
  }

  async close(): Promise<void> {
    if (this.done) return
    if (this.count === 0) {
      await this.abort()
      throw new TorchvidError(
        'ERR_INVALID_ARGUMENT',
        `The video ${describe(this.path)} got no picture: write one first.`,
      )
    }
    this.ffmpeg.child.stdin!.end()
    if ((await this.ffmpeg.ended) !== null) throw await this.failure()
    this.done = true
    try {
      await rename(this.temporary, this.path)
    } catch (error) {
      await rm(this.temporary, { force: true }).catch(() => {})
      throw writeError(this.path, error)
    }
  }

  async abort(): Promise<void> {
    if (this.done) return
    this.done = true
    this.ffmpeg.child.kill('SIGKILL')
    this.ffmpeg.child.stdin!.destroy()
    await this.ffmpeg.ended
    await rm(this.temporary, { force: true }).catch(() => {})
  }

  /** The error for an ffmpeg that gave up, after cleaning up behind it. */
  private async failure(): Promise<TorchvidError> {
    if (this.done) return ioError(`The video ${describe(this.path)} was given up.`)
    this.ffmpeg.child.stdin!.destroy()
    const end = await this.ffmpeg.ended
    const reason = this.ffmpeg.lines[0] ?? end ?? 'it gives no reason'
    await this.abort()
    const text = `The video ${describe(this.path)} could not be written: ffmpeg says ${describe(reason)}. Nothing was left of it.`
    return ioError(/no space left/i.test(reason) ? `The disk is full. ${text}` : text)
  }
}

const encoders = new Map<string, Promise<string[]>>()

/** The options of the best encoder that this ffmpeg has. */
function chooseEncoder(program: string): Promise<string[]> {
  let encoder = encoders.get(program)
  if (!encoder) {
    encoder = askFfmpeg(['-hide_banner', '-v', 'error', '-encoders'], program).then((text) =>
      /\blibx264\b/.test(text)
        ? ['-c:v', 'libx264', '-preset', 'veryfast', '-crf', '20']
        : ['-c:v', 'mpeg4', '-q:v', '3'],
    )
    encoders.set(program, encoder)
  }
  return encoder
}
