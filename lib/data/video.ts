import { stat } from 'node:fs/promises'
import { describe } from '../errors.ts'
import type { RawImage } from '../types.ts'
import { askFfmpeg, type Ffmpeg, ffmpegPath, fileArgument, ioError, startFfmpeg } from './ffmpeg.ts'
import { PpmParser } from './ppm.ts'

/** What a video file says of itself. */
export interface VideoInfo {
  /** Size of a frame as shown (rotation applied), in pixels. */
  width: number
  height: number
  /** Frames a second, when it says. */
  fps?: number
  /** About how many frames it has (duration times frames a second), when it says. */
  frames?: number
}

/**
 * Size, rate and length of a video, read from its header.
 * `ERR_IO` when the file is missing or is no video, or when there is no ffmpeg.
 */
export async function videoInfo(path: string): Promise<VideoInfo> {
  await checkFile(path)
  // Without an output ffmpeg prints what the file is and stops.
  const text = await askFfmpeg(['-hide_banner', '-nostdin', '-i', fileArgument(path)])
  const stream = text.split('\n').find((line) => /Stream #.*Video: /.test(line) && !line.includes('(attached pic)'))
  const size = stream?.match(/, (\d+)x(\d+)/)
  if (!stream || !size) throw notVideo(path, lastLine(text))
  const turned = Math.abs(Number(text.match(/rotation of (-?[\d.]+) degrees/)?.[1] ?? 0)) % 180 === 90
  const [width, height] = [Number(size[turned ? 2 : 1]), Number(size[turned ? 1 : 2])]
  const fps = Number(stream.match(/([\d.]+) fps/)?.[1]) || undefined
  const time = text.match(/Duration: (\d+):(\d+):([\d.]+)/)
  const seconds = time ? Number(time[1]) * 3600 + Number(time[2]) * 60 + Number(time[3]) : 0
  const frames = fps && seconds > 0 ? Math.max(1, Math.round(seconds * fps)) : undefined
  return { width, height, fps, frames }
}

/** Lines that ffmpeg calls errors though every frame comes out whole. */
const HARMLESS = /non.?monoton|co located POCs unavailable|mmco: unref short failure|number of reference frames/i

/**
 * Every frame of a video as RGB, in order, none repeated or left out. Frames are decoded as they are
 * asked for: ffmpeg waits while nobody reads, and is ended when the loop is left.
 *
 * @throws `ERR_IO` when the file is missing or no video, or when there is no ffmpeg; and, after the frames
 * that could be decoded, when the file is cut short or damaged (a cut exactly between two frames leaves no
 * trace in kinds without an index, such as MPEG-TS and AVI). The signal's reason when aborted.
 */
export async function* readVideo(path: string, options: { signal?: AbortSignal } = {}): AsyncGenerator<RawImage> {
  const { signal } = options
  signal?.throwIfAborted()
  const program = ffmpegPath()
  await checkFile(path)
  const keepEveryFrame = await passthroughOption(program)
  signal?.throwIfAborted()
  // PPM carries its size, so a rotation, which ffmpeg applies by itself, needs no second program to know it.
  const input = ['-v', 'error', '-nostdin', '-i', fileArgument(path), '-map', '0:V:0', ...keepEveryFrame]
  const output = ['-f', 'image2pipe', '-c:v', 'ppm', '-pix_fmt', 'rgb24', 'pipe:1']
  const ffmpeg = startFfmpeg([...input, ...output], 'ignore', 'pipe', program)
  const stop = () => ffmpeg.child.kill('SIGKILL')
  signal?.addEventListener('abort', stop, { once: true })
  let count = 0
  try {
    const parser = new PpmParser()
    for await (const chunk of ffmpeg.child.stdout!) {
      for (const frame of parser.push(chunk as Buffer)) {
        if (signal?.aborted) break
        count++
        // A reader that is dropped without being closed must not keep the process from ending.
        holdProcess(ffmpeg, false)
        yield frame
        holdProcess(ffmpeg, true)
      }
      if (signal?.aborted) break
    }
    const failure = await ffmpeg.ended
    signal?.throwIfAborted()
    checkEnd(path, count, failure, ffmpeg.lines, parser.pending)
  } finally {
    signal?.removeEventListener('abort', stop)
    holdProcess(ffmpeg, true)
    stop()
    ffmpeg.child.stdout!.destroy()
    await ffmpeg.ended
  }
}

function checkEnd(path: string, count: number, failure: string | null, lines: string[], cut: boolean): void {
  const complaint = lines.find((line) => !HARMLESS.test(line))
  const reason = complaint ?? failure ?? (cut ? 'the last frame is cut short' : undefined)
  if (count === 0) throw notVideo(path, reason ?? 'it has no frames')
  if (reason === undefined) return
  const text = `${describe(path)} is cut short or damaged: ${count} frames were decoded, and ffmpeg says ${describe(reason)}. Copy or download the file again, or cut off the damaged part.`
  throw ioError(text)
}

async function checkFile(path: string): Promise<void> {
  try {
    if (!(await stat(path)).isDirectory()) return
  } catch (error) {
    throw ioError(`There is no video file ${describe(path)} that can be read. Check the path.`, error)
  }
  throw ioError(`${describe(path)} is a folder, wanted a video file.`)
}

function notVideo(path: string, reason: string): Error {
  return ioError(
    `${describe(path)} is not a video that ffmpeg can decode (${reason}). Wanted a video file such as MP4, MKV, WebM or AVI.`,
  )
}

function lastLine(text: string): string {
  const lines = text.split('\n').filter((line) => line.trim() !== '' && !/At least one output/.test(line))
  return lines.at(-1) ?? 'ffmpeg gives no reason'
}

function holdProcess({ child }: Ffmpeg, hold: boolean): void {
  const method = hold ? 'ref' : 'unref'
  child[method]()
  for (const pipe of [child.stdout, child.stderr]) (pipe as { ref?(): void; unref?(): void } | null)?.[method]?.()
}

const passthroughOptions = new Map<string, Promise<string[]>>()

/**
 * The option that gives each decoded frame once; otherwise ffmpeg repeats and drops frames to even out
 * the rate. It has another name since libavutil 57.28 (FFmpeg 5.1).
 */
function passthroughOption(program: string): Promise<string[]> {
  let option = passthroughOptions.get(program)
  if (!option) {
    option = askFfmpeg(['-version'], program).then((text) => {
      const [major, minor] = (text.match(/libavutil\s+(\d+)\.\s*(\d+)/) ?? []).slice(1).map(Number)
      const isOld = major !== undefined && (major < 57 || (major === 57 && minor! < 28))
      return [isOld ? '-vsync' : '-fps_mode', 'passthrough']
    })
    passthroughOptions.set(program, option)
  }
  return option
}
