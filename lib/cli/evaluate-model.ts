import { parse } from 'node:path'
import type { DavisSequence } from '../data/davis.ts'
import { writeMask } from '../data/mask-files.ts'
import type { FitOptions } from '../osvos/fit.ts'
import type { OSVOS } from '../osvos/osvos.ts'
import type { RawImage } from '../types.ts'
import type { EvaluateFlags } from './evaluate-flags.ts'
import { type LabelMap, readLabelMap } from './evaluate-masks.ts'

/** What a model made of a sequence. */
export interface Segmented {
  /** One for every frame; the first is the one that was given. */
  masks: LabelMap[]
  /** Of the fit (null without one), and of one frame. */
  seconds: { fit: number | null; frame: number }
}

/** What to do with a model, and who hears of it. */
export interface SegmentJob {
  sequence: DavisSequence
  ids: number[]
  flags: EvaluateFlags
  signal: AbortSignal
  warn(message: string): void
  onStep(stage: 'fit' | 'segment', done: number, total: number): void
}

/**
 * Fits the objects of the first annotation, unless told not to, and segments every frame. Masks stay in memory until the
 * last one is there (half a megabyte each at 480p), so that writing and measuring them does not count as segmenting.
 */
export async function segmentSequence(parent: OSVOS, job: SegmentJob): Promise<Segmented> {
  const { sequence, ids, flags, signal, onStep } = job
  const first = await readLabelMap(sequence.masks[0]!, flags.year === 2016 ? undefined : ids)
  const started = performance.now()
  const model = flags.fit ? await fitFirst(parent, first, job) : parent
  const fitted = performance.now()
  try {
    const masks: LabelMap[] = []
    const { threshold, maxSize } = flags
    for await (const { mask, width, height } of model.segment(sequence.frames, { threshold, maxSize, signal })) {
      masks.push(masks.length === 0 ? first : { data: mask, width, height })
      onStep('segment', masks.length, sequence.frames.length)
    }
    const frame = (performance.now() - fitted) / 1000 / masks.length
    return { masks, seconds: { fit: flags.fit ? (fitted - started) / 1000 : null, frame } }
  } finally {
    if (model !== parent) model.dispose()
  }
}

async function fitFirst(parent: OSVOS, first: LabelMap, job: SegmentJob): Promise<OSVOS> {
  const { sequence, ids, flags, signal, warn, onStep } = job
  const { preset, iterations, learningRate, maxSize, seed, device, year } = flags
  const mask: RawImage = { ...first, channels: 1 }
  const options: FitOptions = {
    ...{ preset, iterations, learningRate, maxSize, seed, device, signal },
    ...(year === 2016 ? {} : { objects: ids }),
    onWarning: warn,
  }
  const run = parent.fit(sequence.frames[0]!, mask, options)
  for await (const { step, steps } of run) onStep('fit', step, steps)
  return await run
}

/** Writes all masks of a sequence under the names of its frames. */
export async function writeMasks(folder: string, sequence: DavisSequence, masks: LabelMap[], ids: number[]) {
  for (const [frame, { data, width, height }] of masks.entries()) {
    await writeMask(folder, parse(sequence.frames[frame]!).name, { mask: data, width, height }, ids)
  }
}
