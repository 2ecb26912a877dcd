import type { RunContext, TrainingProgress } from '../engine/run.ts'
import { invalidArgument } from '../errors.ts'
import { native } from '../native.ts'
import type { FrameSource, ImageInput } from '../types.ts'
import { type FitOptions, fitHeads, type Head, pixelsOf } from './fit.ts'
import type { Method } from './method.ts'
import { checkSegmentOptions, type SegmentedFrame, type SegmentOptions, segmentEach } from './segment.ts'

/** OSVOS as published: a network is trained on, per object, and then looks at each frame by itself. */
export class FineTuning implements Method {
  readonly heads: readonly Head[]

  constructor(heads: readonly Head[]) {
    this.heads = heads
  }

  async fit(
    image: ImageInput,
    mask: ImageInput,
    options: FitOptions,
    context: RunContext<TrainingProgress>,
  ): Promise<FineTuning> {
    if (options.preset !== undefined) {
      const wanted = "no preset for a model that is fine-tuned (say iterations); presets are for OSVOS.open('default')"
      throw invalidArgument('preset', options.preset, wanted)
    }
    return new FineTuning(await fitHeads((this.heads[0] as Head).network, image, mask, options, context))
  }

  segment(frames: FrameSource, options: SegmentOptions): AsyncGenerator<SegmentedFrame, void, undefined> {
    const { threshold, maxSize } = checkSegmentOptions(options)
    const networks = this.heads.map((head) => head.network.handle)
    const ids = this.heads.map((head) => head.id)
    const settings = { pixels: pixelsOf((this.heads[0] as Head).network), output: 'fuse', threshold, maxSize }
    return segmentEach(frames, options, ({ image }) => native().segment(networks, ids, image, settings))
  }
}
