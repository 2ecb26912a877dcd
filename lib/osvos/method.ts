import type { RunContext, TrainingProgress } from '../engine/run.ts'
import type { FrameSource, ImageInput } from '../types.ts'
import type { FitOptions, Head } from './fit.ts'
import type { SegmentedFrame, SegmentOptions } from './segment.ts'

/** How a model learns an object and finds it again; where its masks come from is its own business. */
export interface Method {
  /** One network per object; a model that was not fitted has one, for object 1. */
  readonly heads: readonly Head[]
  /** A method that knows the objects of `mask`; this one is unchanged. */
  fit(image: ImageInput, mask: ImageInput, options: FitOptions, context: RunContext<TrainingProgress>): Promise<Method>
  segment(frames: FrameSource, options: SegmentOptions): AsyncGenerator<SegmentedFrame, void, undefined>
}
