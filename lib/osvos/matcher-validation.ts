import { readLabelledFrame } from '../data/frame-cache.ts'
import type { NativeNetwork, NativePropagation } from '../native.ts'
import { mobilenetPixels } from '../networks/mobilenet.ts'
import type { ParentFrame, ParentVideo } from './parent-frames.ts'
import { type FrameScore, meanOf, type ParentScore, scoreMask } from './parent-validation.ts'
import { openPropagation } from './propagation.ts'

/** Measured at a smaller size than DAVIS's own 480: it is done often. */
const SIDE = 288

/** J and F of a matcher that follows the object of each video's first frame with one; videos without any do not count. */
export async function measureMatcher(
  network: NativeNetwork,
  videos: ParentVideo[],
  signal: AbortSignal,
): Promise<ParentScore> {
  const sequences: ParentScore['sequences'] = []
  for (const { name, frames } of videos) {
    const scores = await follow(network, frames, signal)
    if (scores.length > 0) sequences.push({ name, ...meanOf(scores) })
  }
  return { ...meanOf(sequences), sequences }
}

async function follow(network: NativeNetwork, frames: ParentFrame[], signal: AbortSignal): Promise<FrameScore[]> {
  const scores: FrameScore[] = []
  let video: NativePropagation | undefined
  try {
    for (const { image, mask, what } of frames) {
      signal.throwIfAborted()
      const frame = await readLabelledFrame(image, mask, what)
      if (video !== undefined) {
        scores.push(await scoreMask((await video.next(frame.image)).mask, frame))
      } else if (frame.mask.data.includes(1)) {
        const options = { pixels: mobilenetPixels, side: SIDE, maxSize: 0, threshold: 0.5, flip: false }
        video = await openPropagation(network, { ...frame, ids: [1] }, options)
      }
    }
    return scores
  } finally {
    video?.close()
  }
}
