import { stat } from 'node:fs/promises'
import { fileArgument, startFfmpeg } from '../data/ffmpeg.ts'
import { openFrames } from '../data/frames.ts'
import { PpmParser } from '../data/ppm.ts'
import type { RawImage } from '../types.ts'

/** A picture of a video; without one where that frame could not be had. */
export interface Thumbnail {
  frame: number
  image?: RawImage
}

const WIDTH = 240
/** Videos of fewer frames are read through, which takes less than starting ffmpeg for every picture. */
const SHORT = 400

/**
 * Pictures of a video at these frames, in order. A long video file whose rate is known is sought through, so that hours take
 * no longer than minutes; its frames are then right to within the rounding of its time stamps. Anything else is read up to
 * the last of them.
 * @throws TorchvidError ERR_IO when there is nothing to read; the signal's reason
 */
export async function readThumbnails(
  video: string,
  frames: number[],
  { fps, signal }: { fps?: number; signal?: AbortSignal } = {},
): Promise<Thumbnail[]> {
  const found = await stat(video).catch(() => undefined)
  const reader = await openFrames(video, { signal })
  if (found?.isFile() && reader.fps !== undefined && (reader.count ?? SHORT) >= SHORT) {
    const rate = fps ?? reader.fps
    const thumbnails: Thumbnail[] = []
    for (const frame of frames) thumbnails.push({ frame, image: await frameAt(video, (frame + 0.5) / rate, signal) })
    return thumbnails
  }
  const wanted = new Map(frames.map((frame): [number, Thumbnail] => [frame, { frame }]))
  let left = wanted.size
  for await (const { index, image } of reader) {
    const thumbnail = wanted.get(index)
    if (thumbnail === undefined) continue
    thumbnail.image = image
    if (--left === 0) break
  }
  return [...wanted.values()]
}

/** The picture shown at this second, small; undefined when there is none. */
async function frameAt(video: string, seconds: number, signal?: AbortSignal): Promise<RawImage | undefined> {
  signal?.throwIfAborted()
  const input = ['-v', 'error', '-nostdin', '-ss', seconds.toFixed(3), '-i', fileArgument(video), '-map', '0:V:0']
  const output = ['-frames:v', '1', '-vf', `scale=${WIDTH}:-2`, '-pix_fmt', 'rgb24', '-c:v', 'ppm']
  const ffmpeg = startFfmpeg([...input, ...output, '-f', 'image2pipe', 'pipe:1'], 'ignore', 'pipe')
  const stop = () => ffmpeg.child.kill('SIGKILL')
  signal?.addEventListener('abort', stop, { once: true })
  let picture: RawImage | undefined
  try {
    const parser = new PpmParser()
    for await (const chunk of ffmpeg.child.stdout!) for (const image of parser.push(chunk as Buffer)) picture ??= image
    await ffmpeg.ended
    signal?.throwIfAborted()
    return picture
  } finally {
    signal?.removeEventListener('abort', stop)
    stop()
  }
}
