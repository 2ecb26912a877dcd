import { checkInteger, checkNumber, invalidArgument } from '../errors.ts'
import type { NativeTraining } from '../native.ts'
import type { Network } from '../network.ts'
import { matcherDecoder, matcherEncoder } from '../networks/matcher.ts'
import { type ClipSettings, type ClipSource, drawClips } from './clip-sampler.ts'
import { pixelsOf } from './fit.ts'
import { measureMatcher } from './matcher-validation.ts'
import type { ParentOptions, ParentPlan } from './parent.ts'
import { cacheOf, type ParentVideo } from './parent-frames.ts'

/** Passes whose samples are made while one trains. */
export const AHEAD = 2

/** Clips are drawn and learnt from so. */
const recipe = {
  steps: 3600,
  learningRate: 1e-3,
  weightDecay: 1e-4,
  clips: { batchSize: 4, frames: 4, height: 240, width: 416 } satisfies ClipSettings,
}

/** Passes in which the learning rate rises, and the largest norm of the gradients. */
const WARMUP = 100
const CLIP = 2

/** What `trainParent` takes for other networks, and not for this one. */
const foreign = ['accumulate', 'momentum', 'augment', 'sizes', 'shuffle'] as const

/** A network of `networks.matcher`. */
export const isMatcher = (network: Network) => network.graph.labels?.backbone === 'matcher'

/** A matcher learns to follow objects through clips of these videos. */
export function matcherPlan(
  network: Network,
  videos: ParentVideo[],
  options: ParentOptions & { cache: number },
): ParentPlan {
  for (const name of foreign) {
    if (options[name] === undefined) continue
    throw invalidArgument(name, options[name], 'left out: the training of a matcher has no such setting')
  }
  const { seed = 0, cache, learningRate = recipe.learningRate } = options
  const { weightDecay = recipe.weightDecay, epochs, steps = recipe.steps } = options
  const frames = videos.reduce((sum, video) => sum + video.frames.length, 0)
  const perEpoch = Math.max(1, Math.round(frames / recipe.clips.batchSize))
  const passes =
    epochs !== undefined && options.steps === undefined
      ? checkInteger('epochs', epochs, 1) * perEpoch
      : checkInteger('steps', steps, 1)
  const source = clipSource(videos, cache)
  return {
    passes,
    perEpoch,
    training: {
      ...matcherTraining(
        passes,
        checkNumber('learningRate', learningRate, 0),
        checkNumber('weightDecay', weightDecay, 0),
      ),
      source: { kind: 'feed', ahead: AHEAD, pixels: pixelsOf(network), augment: null },
    },
    makeSample: (pass) => drawClips(source, recipe.clips, seed, pass),
    measure: measureMatcher,
  }
}

/** Clips of these videos; decoded frames are kept in at most `cache` bytes. */
function clipSource(videos: ParentVideo[], cache: number): ClipSource {
  const frames = videos.flatMap((video) => video.frames)
  const starts: number[] = []
  let count = 0
  for (const video of videos) {
    starts.push(count)
    count += video.frames.length
  }
  const kept = cacheOf(frames, cache)
  return {
    lengths: videos.map((video) => video.frames.length),
    read: (video, frame) => kept.get((starts[video] as number) + frame),
  }
}

/** The trainer's settings: the trunk keeps ImageNet's weights, all else learns. */
export function matcherTraining(
  passes: number,
  learningRate: number,
  weightDecay: number,
): Pick<NativeTraining, 'passes' | 'accumulate' | 'schedule' | 'optimizer' | 'objective'> {
  return {
    passes,
    accumulate: 1,
    schedule: { kind: 'cosine', warmup: Math.min(WARMUP, Math.floor(passes / 10)) },
    optimizer: {
      kind: 'adamw',
      momentum: 0,
      nesterov: false,
      clip: CLIP,
      groups: [
        { pattern: 'conv*', learningRate: 0, weightDecay: 0 },
        { pattern: '*', learningRate, weightDecay },
      ],
    },
    objective: { kind: 'propagation', encoder: matcherEncoder(), decoder: matcherDecoder() },
  }
}
