import type { DavisSequence } from '../data/davis.ts'
import { TorchvidError } from '../errors.ts'
import { contour, jaccard } from '../metrics/index.ts'
import { type LabelMap, readLabelMap } from './evaluate-masks.ts'
import type { SequenceResult } from './evaluate-results.ts'

/**
 * The frames that are measured, from 0: DAVIS leaves out the first, which is given, and the last; of the others every nth.
 * @throws TorchvidError ERR_INVALID_ARGUMENT when none is left
 */
export function measuredFrames({ name, frames }: DavisSequence, every: number): number[] {
  const measured: number[] = []
  for (let frame = 1; frame < frames.length - 1; frame += every) measured.push(frame)
  if (measured.length > 0) return measured
  const text = `${name} has ${frames.length} frames, of which the first and the last do not count. Wanted at least three.`
  throw new TorchvidError('ERR_INVALID_ARGUMENT', text)
}

/** What to measure, and how to get at it. */
export interface Scoring {
  sequence: DavisSequence
  measured: number[]
  /** The objects; [1] where all are one. */
  ids: number[]
  year: 2016 | 2017
  /** A frame's mask. */
  maskOf(frame: number): LabelMap | Promise<LabelMap>
  onFrame(done: number): void
  signal: AbortSignal
}

/**
 * J and F of every measured frame, by object.
 * @throws TorchvidError ERR_SHAPE when a mask has not its annotation's size; ERR_IO; the signal's reason
 */
export async function scoreFrames({
  sequence,
  measured,
  ids,
  year,
  maskOf,
  onFrame,
  signal,
}: Scoring): Promise<SequenceResult['objects']> {
  const objects = ids.map((id) => ({ id, jaccard: [] as number[], contour: [] as number[] }))
  for (const [done, frame] of measured.entries()) {
    signal.throwIfAborted()
    const path = sequence.masks[frame]!
    const [truth, mask] = await Promise.all([readLabelMap(path, year === 2016 ? undefined : ids), maskOf(frame)])
    if (mask.width !== truth.width || mask.height !== truth.height) {
      const sizes = `the mask of frame ${frame} is ${mask.width} x ${mask.height} pixels and its annotation ${truth.width} x ${truth.height}`
      throw new TorchvidError('ERR_SHAPE', `${sequence.name}: ${sizes}. Wanted masks of the annotations' size.`)
    }
    for (const object of objects) {
      const [m, t] = [onlyObject(mask, object.id), onlyObject(truth, object.id)]
      const [j, f] = await Promise.all([jaccard(m, t), contour(m, t)])
      object.jaccard.push(j)
      object.contour.push(f)
    }
    onFrame(done + 1)
  }
  return objects
}

function onlyObject({ data, width, height }: LabelMap, id: number): LabelMap {
  const only = new Uint8Array(data.length)
  for (let i = 0; i < only.length; i++) only[i] = data[i] === id ? 1 : 0
  return { data: only, width, height }
}
