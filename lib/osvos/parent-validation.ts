import { readLabelledFrame } from '../data/frame-cache.ts'
import { type NativeNetwork, type NativePixels, native } from '../native.ts'
import type { ParentFrame, ParentVideo } from './parent-frames.ts'

/** What a parent's masks are like, no frame of the video known to it. */
export interface ParentScore {
  /** Region similarity J, 0 to 1: the mean over sequences of the mean over frames. */
  jaccard: number
  /** Contour accuracy F, likewise. */
  contour: number
  sequences: { name: string; jaccard: number; contour: number }[]
}

/** At most `count` frames of a video, evenly spread. */
export function spread(frames: ParentFrame[], count: number): ParentFrame[] {
  if (frames.length <= count) return frames
  return Array.from({ length: count }, (_, i) => frames[Math.floor(((i + 0.5) * frames.length) / count)] as ParentFrame)
}

/** J and F of the network alone, at the frames' own size. */
export async function measureParent(
  network: NativeNetwork,
  pixels: NativePixels,
  videos: ParentVideo[],
  signal: AbortSignal,
): Promise<ParentScore> {
  const sequences: ParentScore['sequences'] = []
  for (const { name, frames } of videos) {
    const scores: { jaccard: number; contour: number }[] = []
    for (const frame of frames) {
      signal.throwIfAborted()
      scores.push(await measureFrame(network, pixels, frame))
    }
    sequences.push({ name, ...meanOf(scores) })
  }
  return { ...meanOf(sequences), sequences }
}

async function measureFrame(network: NativeNetwork, pixels: NativePixels, { image, mask, what }: ParentFrame) {
  const frame = await readLabelledFrame(image, mask, what)
  const { width, height } = frame.image
  const settings = { pixels, output: 'fuse', threshold: 0.5, maxSize: 0 }
  const { mask: data } = await native().segment([network], [1], frame.image, settings)
  const found = { data, width, height }
  const [jaccard, contour] = await Promise.all([
    native().jaccard(found, frame.mask),
    native().contour(found, frame.mask),
  ])
  return { jaccard, contour }
}

function meanOf(scores: { jaccard: number; contour: number }[]): { jaccard: number; contour: number } {
  const mean = (key: 'jaccard' | 'contour') => scores.reduce((sum, score) => sum + score[key], 0) / scores.length
  return { jaccard: mean('jaccard'), contour: mean('contour') }
}
