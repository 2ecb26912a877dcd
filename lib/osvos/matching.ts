import type { LabelledFrame } from '../data/frame-cache.ts'
import type { ObjectMask } from '../data/mask.ts'
import type { RunContext, TrainingProgress } from '../engine/run.ts'
import { checkFiles, checkpointOf, ProgressTracker, resumeOf, runTraining, trainingBasics } from '../engine/training.ts'
import { checkInteger, checkNumber, invalidArgument } from '../errors.ts'
import type { NativeNetwork, NativeTraining } from '../native.ts'
import { Network } from '../network.ts'
import type { FrameSource, ImageInput, RawImage } from '../types.ts'
import { type ClipSettings, drawClips } from './clip-sampler.ts'
import { type FitOptions, type Head, type Preset, pixelsOf, readFirst } from './fit.ts'
import { AHEAD, matcherTraining } from './matcher-parent.ts'
import type { Method } from './method.ts'
import { openPropagation } from './propagation.ts'
import { checkSegmentOptions, type SegmentedFrame, type SegmentOptions, segmentEach } from './segment.ts'

/** What a preset means. */
interface PresetSettings {
  /** Frames are scaled down to this shorter side, pixels. */
  side: number
  /** Each frame is looked at in a mirror too. */
  flip: boolean
  /** Steps of training on clips made of the first frame. */
  iterations: number
}

/** Chosen on training sequences held back: docs/results.md. */
const presets: Record<Preset, PresetSettings> = {
  fast: { side: 360, flip: false, iterations: 0 },
  balanced: { side: 480, flip: false, iterations: 40 },
  best: { side: 480, flip: true, iterations: 80 },
}

const LEARNING_RATE = 1e-4

/** What `fit` of a model that is fine-tuned takes, and this one does not. */
const foreign = ['accumulate', 'momentum', 'augment'] as const

/** Clips of one frame, moved as if time had passed. */
const clips: ClipSettings = { batchSize: 2, frames: 4, height: 240, width: 416, motion: 3 }

/** The frame that was fitted and its objects. */
interface First {
  image: RawImage
  mask: ObjectMask
  settings: PresetSettings
}

/** Objects are followed from frame to frame by matching (networks.matcher). */
export class Matching implements Method {
  readonly heads: readonly Head[]
  private readonly first: First | undefined

  constructor(network: Network, first?: First) {
    this.heads = (first?.mask.ids ?? [1]).map((id) => ({ id, network }))
    this.first = first
  }

  private get network(): Network {
    return (this.heads[0] as Head).network
  }

  async fit(
    image: ImageInput,
    mask: ImageInput,
    options: FitOptions,
    context: RunContext<TrainingProgress>,
  ): Promise<Matching> {
    const { preset = 'fast' } = options
    const settings = presets[preset]
    if (settings === undefined) throw invalidArgument('preset', preset, "'fast', 'balanced' or 'best'")
    for (const name of foreign) {
      if (options[name] !== undefined)
        throw invalidArgument(name, options[name], 'left out: this model has no such setting')
    }
    const iterations = checkInteger('iterations', options.iterations ?? settings.iterations, 0)
    const { picture, objects } = await readFirst(image, mask, options)
    const first = { image: picture, mask: objects, settings }
    context.signal.throwIfAborted()
    const handle =
      iterations > 0
        ? await learnFirst(this.network, first, { ...options, iterations }, context)
        : await this.network.handle.clone()
    return new Matching(new Network(this.network.graph, handle), first)
  }

  async *segment(frames: FrameSource, options: SegmentOptions): AsyncGenerator<SegmentedFrame, void, undefined> {
    const { threshold, maxSize } = checkSegmentOptions(options)
    if (this.first === undefined) {
      throw invalidArgument(
        'model',
        'one that was not fitted',
        'one that knows its object: (await model.fit(image, mask))',
      )
    }
    const { image, mask, settings } = this.first
    const { side, flip } = settings
    const video = await openPropagation(
      this.network.handle,
      { image, mask: { data: mask.data, width: mask.width, height: mask.height }, ids: mask.ids },
      { pixels: pixelsOf(this.network), side, maxSize, threshold, flip },
    )
    try {
      yield* segmentEach(frames, options, ({ image }) => video.next(image))
    } finally {
      video.close()
    }
  }
}

/** A copy of the network that has learnt clips made of the first frame, of each of its objects. */
async function learnFirst(
  network: Network,
  { image, mask }: First,
  options: FitOptions & { iterations: number },
  { signal, report }: RunContext<TrainingProgress>,
): Promise<NativeNetwork> {
  const { iterations, learningRate = LEARNING_RATE, weightDecay = 0, checkpoint, resume } = options
  checkFiles(options)
  const basics = trainingBasics(options)
  const frames = mask.ids.map((id) => ({ image, mask: { ...mask, data: mask.data.map((value) => +(value === id)) } }))
  const source = { lengths: frames.map(() => 1), read: async (video: number) => frames[video] as LabelledFrame }
  const training: NativeTraining = {
    ...basics,
    ...matcherTraining(
      iterations,
      checkNumber('learningRate', learningRate, 0),
      checkNumber('weightDecay', weightDecay, 0),
    ),
    source: { kind: 'feed', ahead: AHEAD, pixels: pixelsOf(network), augment: null },
    ...(checkpoint !== undefined && { checkpoint: checkpointOf(network, checkpoint) }),
    ...(resume !== undefined && { resume: await resumeOf(resume) }),
  }
  const tracker = new ProgressTracker(iterations)
  return await runTraining(
    network,
    training,
    (records) => report(records.map((record) => tracker.progress(record))),
    signal,
    (pass) => drawClips(source, clips, basics.seed, pass),
  )
}
