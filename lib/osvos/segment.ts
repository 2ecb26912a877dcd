import { type Frame, openFrames } from '../data/frames.ts'
import { checkInteger, checkNumber } from '../errors.ts'
import type { FrameSource, RawImage } from '../types.ts'

/** Settings of `OSVOS.segment`. */
export interface SegmentOptions {
  /** Least probability of the object, 0 to 1. Default 0.5. */
  threshold?: number
  /** The longer side is scaled down to this many pixels for the network; masks keep the frame's size. Default: as it is. */
  maxSize?: number
  /** Ends the loop with the signal's reason. */
  signal?: AbortSignal
}

/** One frame's result. */
export interface SegmentedFrame {
  /** Place in the source, from 0. */
  index: number
  /** The input file's name without its ending, or the index in 5 digits. */
  name: string
  width: number
  height: number
  /** Per pixel: 0, or the object's id (1 when there is one object). */
  mask: Uint8Array
  /** Per pixel, 0 to 1: of the object, or of the most probable one. */
  probability: Float32Array
  /** The frame itself, RGB. */
  image: RawImage
}

/** The options with their defaults. */
export function checkSegmentOptions(options: SegmentOptions): { threshold: number; maxSize: number } {
  const { threshold = 0.5, maxSize = 0 } = options
  checkNumber('threshold', threshold, 0, 1)
  if (maxSize !== 0) checkInteger('maxSize', maxSize, 16)
  return { threshold, maxSize }
}

/**
 * One result per frame, of what `segmentOne` makes of it; it is called in the frames' order. The next frame is in the
 * engine while the caller works on the last one; no more than that is held, so memory does not grow with the video.
 */
export async function* segmentEach(
  frames: FrameSource,
  { signal }: SegmentOptions,
  segmentOne: (frame: Frame) => Promise<Pick<SegmentedFrame, 'mask' | 'probability'>>,
): AsyncGenerator<SegmentedFrame, void, undefined> {
  const segmented = async (frame: Frame): Promise<SegmentedFrame> => {
    const { mask, probability } = await segmentOne(frame)
    const { index, name, image } = frame
    return { index, name, width: image.width, height: image.height, mask, probability, image }
  }
  let pending: Promise<SegmentedFrame> | undefined
  let failure: { error: unknown } | undefined
  try {
    for await (const frame of await openFrames(frames, { signal })) {
      const next = segmented(frame)
      next.catch(() => {}) // reported when it is its turn, or dropped with a loop that was left
      if (pending !== undefined) yield await pending
      signal?.throwIfAborted()
      pending = next
    }
  } catch (error) {
    failure = { error }
  }
  // A source that fails does not take the last good frame with it.
  if (pending !== undefined && !signal?.aborted) yield await pending
  if (failure !== undefined) throw failure.error
}
