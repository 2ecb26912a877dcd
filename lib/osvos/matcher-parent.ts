import { FrameCache, readLabelledFrame } from '../data/frame-cache.ts'
import type { NativeTraining } from '../native.ts'
import { matcherDecoder, matcherEncoder } from '../networks/matcher.ts'
import { type ClipSettings, type ClipSource, drawClips } from './clip-sampler.ts'
import type { ParentVideo } from './parent-frames.ts'

/** Clips of these videos; decoded frames are kept in at most `cache` bytes. */
export function clipSource(videos: ParentVideo[], cache: number): ClipSource {
  const frames = videos.flatMap((video) => video.frames)
  const starts: number[] = []
  let count = 0
  for (const video of videos) {
    starts.push(count)
    count += video.frames.length
  }
  const kept = new FrameCache(cache, async (index) => {
    const { image, mask, what } = frames[index] as ParentVideo['frames'][number]
    return await readLabelledFrame(image, mask, what)
  })
  return {
    lengths: videos.map((video) => video.frames.length),
    read: (video, frame) => kept.get((starts[video] as number) + frame),
  }
}

/** How clips are drawn and what is learnt from them, chosen on training sequences held back: docs/results.md. */
export const matcherRecipe = {
  steps: 3000,
  learningRate: 1e-3,
  weightDecay: 1e-4,
  warmup: 100,
  clip: 2,
  clips: { batchSize: 4, frames: 4, height: 240, width: 416 } satisfies ClipSettings,
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
    schedule: { kind: 'cosine', warmup: Math.min(matcherRecipe.warmup, Math.floor(passes / 10)) },
    optimizer: {
      kind: 'adamw',
      momentum: 0,
      nesterov: false,
      clip: matcherRecipe.clip,
      groups: [
        { pattern: 'conv*', learningRate: 0, weightDecay: 0 },
        { pattern: '*', learningRate, weightDecay },
      ],
    },
    objective: { kind: 'propagation', encoder: matcherEncoder(), decoder: matcherDecoder() },
  }
}

/** The sample of each pass, from the seed and the pass alone. */
export function clipSampler(videos: ParentVideo[], settings: ClipSettings, seed: number, cache: number) {
  const source = clipSource(videos, cache)
  return (pass: number) => drawClips(source, settings, seed, pass)
}
