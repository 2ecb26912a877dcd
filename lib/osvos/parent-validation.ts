import { type LabelledFrame, readLabelledFrame } from '../data/frame-cache.ts'
import { type NativeNetwork, type NativePixels, native } from '../native.ts'
import type { ParentFrame, ParentVideo } from './parent-frames.ts'

/** J and F of one frame, or means of them. */
export interface FrameScore {
  jaccard: number
  contour: number
}

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
    const scores: FrameScore[] = []
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
  const settings = { pixels, output: 'fuse', threshold: 0.5, maxSize: 0 }
  const { mask: found } = await native().segment([network], [1], frame.image, settings)
  return await scoreMask(found, frame)
}

/** J and F of a frame's mask. */
export async function scoreMask(found: Uint8Array, { mask }: LabelledFrame): Promise<FrameScore> {
  const { width, height } = mask
  const given = { data: found, width, height }
  const [jaccard, contour] = await Promise.all([native().jaccard(given, mask), native().contour(given, mask)])
  return { jaccard, contour }
}

/** The means of J and of F; 0 of none. */
export function meanOf(scores: FrameScore[]): FrameScore {
  if (scores.length === 0) return { jaccard: 0, contour: 0 }
  const mean = (key: 'jaccard' | 'contour') => scores.reduce((sum, score) => sum + score[key], 0) / scores.length
  return { jaccard: mean('jaccard'), contour: mean('contour') }
}
