import type { RunContext, RunOptions, TrainingProgress } from '../engine/run.ts'
import { checkFiles, type MakeSample, ProgressTracker, trainingBasics } from '../engine/training.ts'
import { checkInteger, invalidArgument } from '../errors.ts'
import type { NativeNetwork, NativeTraining } from '../native.ts'
import type { Network } from '../network.ts'
import { type Augmentation, checkAugment } from './augmentation.ts'
import { pixelsOf } from './fit.ts'
import { isMatcher, matcherPlan } from './matcher-parent.ts'
import { openVideos, type ParentData, ParentSampler, type ParentVideo } from './parent-frames.ts'
import { parentSettings } from './parent-recipe.ts'
import { type RoundMeasure, trainInRounds } from './parent-rounds.ts'
import { measureParent, type ParentScore, spread } from './parent-validation.ts'

/** What a pass of a parent's training reports; `losses` has each output's own, not weighted. */
export interface ParentProgress extends TrainingProgress {
  /** 1 for the first. */
  epoch: number
  epochs: number
  /** J and F after this pass's update, where they were measured. */
  validation?: ParentScore
}

/** What a parent in training is measured on: videos that it does not learn from. */
export type ParentValidation = ParentData & {
  /** Epochs between two measurements. Default 1. There is one after the last pass too. */
  every?: number
  /** At most so many frames of each sequence, evenly spread. Default 8. */
  frames?: number
}

/**
 * Settings of `OSVOS.trainParent`. Defaults are the trunk's own: VGG16's are those of the paper's code; MobileNet's are
 * values in common use, not tuned by experiment. A matcher (`backbone: 'matcher'`) learns from clips of 4 frames, 4 a pass;
 * of the settings here `epochs` or `steps` (default 3600), `learningRate` (1e-3), `weightDecay` (1e-4), `cache` and
 * `validation` are its.
 */
export interface ParentOptions extends RunOptions<ParentProgress> {
  /** Times every frame is seen, one frame a pass. Default 240 (VGG16), 12 (MobileNet). */
  epochs?: number
  /** Passes in all, instead of `epochs` times the frames; VGG16's side losses fade with the epochs all the same. */
  steps?: number
  /** Passes whose averaged gradients make one update. Default 10 (VGG16), 4 (MobileNet). */
  accumulate?: number
  /**
   * Default 1e-8 on summed losses (VGG16, SGD; biases twice that, side scores a tenth, `fuse` a hundredth); 1e-4 on mean
   * losses (MobileNet, AdamW; the head five times that; it rises in the first 3 % of the passes, then falls to 0 along a cosine).
   */
  learningRate?: number
  /** Of SGD. Default 0.9. */
  momentum?: number
  /** Of weights. Default 2e-4 (VGG16), 1e-4 apart from the gradient (MobileNet). */
  weightDecay?: number
  /** Default: all of `Augmentation`'s defaults; false: none. */
  augment?: Augmentation | false
  /**
   * Heights in pixels: for each pass one is drawn, and the frame scaled down to it, never up. Default [480] (VGG16),
   * [240, 320, 400, 480] (MobileNet).
   */
  sizes?: number[]
  /** A new order of the frames in each epoch; false: as they are given. Default true. */
  shuffle?: boolean
  /** Bytes of decoded frames that are kept in memory, the least recently used ones dropped. Default 2^30 (1 GiB). */
  cache?: number
  /** Measures J and F during the training; the result then is the best state (by their mean), else the last. */
  validation?: ParentValidation
}

/** What sets the training of one kind of parent apart from another's. */
export interface ParentPlan {
  passes: number
  /** Passes in which every frame is seen about once. */
  perEpoch: number
  training: Pick<NativeTraining, 'passes' | 'accumulate' | 'schedule' | 'optimizer' | 'objective' | 'source'>
  makeSample: MakeSample
  measure(network: NativeNetwork, videos: ParentVideo[], signal: AbortSignal): Promise<ParentScore>
}

/** Passes whose samples are made while one trains. */
const AHEAD = 3

const DEFAULT_CACHE = 2 ** 30

/**
 * Trains `network` as an OSVOS parent (Caelles et al., CVPR 2017, section 3.3): one pass a frame, the loss the
 * class-balanced cross-entropy of the fused map plus that of the side maps with a weight that falls to 0. The network is
 * changed at success only.
 */
export async function trainParent(
  network: Network,
  data: ParentData,
  options: ParentOptions,
  { signal, report }: RunContext<ParentProgress>,
): Promise<void> {
  const basics = trainingBasics(options)
  checkFiles(options)
  const cache = checkInteger('cache', options.cache ?? DEFAULT_CACHE, 0)
  const videos = await openVideos(data, 'data')
  const planOf = isMatcher(network) ? matcherPlan : stillsPlan
  const plan = planOf(network, videos, { ...options, cache })
  const { passes, perEpoch } = plan
  const validation = await validationOf(plan, options.validation, signal)
  const whole: NativeTraining = { ...basics, ...plan.training }
  const tracker = new ProgressTracker(passes)
  const { handle } = await trainInRounds(network, whole, {
    checkpoint: options.checkpoint,
    resume: options.resume,
    makeSample: plan.makeSample,
    validation,
    report: (records) =>
      report(
        records.map(({ record, score }) => ({
          ...tracker.progress(record),
          epoch: Math.ceil(record.step / perEpoch),
          epochs: Math.ceil(passes / perEpoch),
          ...(score !== undefined && { validation: score }),
        })),
      ),
    signal,
  })
  if (signal.aborted) {
    handle.dispose()
    throw signal.reason
  }
  network.adopt(handle)
}

/** OSVOS as published: a network that looks at each frame by itself learns from single frames. */
function stillsPlan(network: Network, videos: ParentVideo[], options: ParentOptions & { cache: number }): ParentPlan {
  if (network.graph.outputs.fuse === undefined) {
    const outputs = Object.keys(network.graph.outputs).join(', ')
    throw invalidArgument(
      'trainParent',
      `a network with outputs ${outputs}`,
      'one with an output fuse (networks.osvos)',
    )
  }
  const { shuffle = true, cache, seed = 0 } = options
  if (typeof shuffle !== 'boolean') throw invalidArgument('shuffle', shuffle, 'true or false')
  const augment = checkAugment(options.augment)
  const pixels = pixelsOf(network)
  const frames = videos.flatMap((video) => video.frames)
  const { passes, sizes, training } = parentSettings(network, options, frames.length)
  const sampler = new ParentSampler(frames, { seed, shuffle, sizes, cache })
  return {
    passes,
    perEpoch: frames.length,
    training: { ...training, source: { kind: 'feed', ahead: AHEAD, pixels, augment } },
    makeSample: (pass) => sampler.sample(pass),
    measure: (handle, chosen, signal) => measureParent(handle, pixels, chosen, signal),
  }
}

async function validationOf(
  { perEpoch, measure }: ParentPlan,
  validation: ParentValidation | undefined,
  signal: AbortSignal,
): Promise<RoundMeasure<ParentScore> | undefined> {
  if (validation === undefined) return undefined
  const videos = await openVideos(validation, 'validation')
  const every = checkInteger('validation.every', validation.every ?? 1, 1)
  const count = checkInteger('validation.frames', validation.frames ?? 8, 1)
  const chosen: ParentVideo[] = videos.map(({ name, frames }) => ({ name, frames: spread(frames, count) }))
  return {
    every: every * perEpoch,
    measure: (handle) => measure(handle, chosen, signal),
    merit: ({ jaccard, contour }) => (jaccard + contour) / 2,
  }
}
