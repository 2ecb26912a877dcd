import { join, parse } from 'node:path'
import type { DavisSequence } from '../data/davis.ts'
import type { OSVOS } from '../osvos/osvos.ts'
import * as runtime from '../runtime.ts'
import type { EvaluateFlags } from './evaluate-flags.ts'
import { type LabelMap, objectsOf, readLabelMap } from './evaluate-masks.ts'
import { segmentSequence, writeMasks } from './evaluate-model.ts'
import { folderOf, masksIn, type SequenceResult, writeResult } from './evaluate-results.ts'
import { measuredFrames, scoreFrames } from './evaluate-score.ts'
import { filesOf, type Settings } from './evaluate-settings.ts'

/** A sequence to evaluate, and all that is known of it before. */
export interface Task {
  sequence: DavisSequence
  measured: number[]
  /** The call's settings, and the sequence's files. */
  settings: Settings
}

/** What is being done to a sequence. */
export type Stage = 'fit' | 'segment' | 'measure'

/** What an evaluation works with. */
export interface Tools {
  flags: EvaluateFlags
  /** Where results go. */
  out: string
  /** Opened when it is first needed. */
  model(): Promise<OSVOS>
  signal: AbortSignal
  warn(message: string): void
  onStep(stage: Stage, done: number, total: number): void
}

/** What to do for a sequence; checks its files. */
export async function taskOf(sequence: DavisSequence, flags: EvaluateFlags, settings: Settings): Promise<Task> {
  const measured = measuredFrames(sequence, flags.every)
  const results = flags.masks === undefined ? [] : await masksOnDisk(flags.masks, sequence, measured)
  return { sequence, measured, settings: { ...settings, ...(await filesOf(sequence, results)) } }
}

/** Segments and measures a sequence, and writes its folder when all is done. */
export async function evaluateSequence(task: Task, tools: Tools): Promise<SequenceResult> {
  const { sequence, measured, settings } = task
  const { flags, signal, onStep } = tools
  const ids = await objectsOf(sequence.masks[0]!, flags.year)
  return await writeResult(tools.out, sequence.name, async (folder) => {
    const { masks, seconds } =
      maskPaths(task, flags) === undefined
        ? await segmentSequence(await tools.model(), { ...tools, sequence, ids })
        : { masks: undefined, seconds: { fit: null, frame: null } }
    if (masks !== undefined) await writeMasks(folder, sequence, masks, ids)
    const objects = await scoreFrames({
      ...{ sequence, measured, ids, year: flags.year, signal },
      maskOf: (frame) => masks?.[frame] ?? readMaskOf(task, flags, tools.out, ids, frame),
      onFrame: (done) => onStep('measure', done, measured.length),
    })
    const threads = masks === undefined ? null : (await runtime.info()).threads
    return { name: sequence.name, frames: sequence.frames.length, measured, objects, seconds, threads, settings }
  })
}

/** A frame's mask from disk: one of those scored, the first annotation, or what a model made and `out` keeps. */
export async function readMaskOf(
  task: Task,
  flags: EvaluateFlags,
  out: string,
  ids: number[],
  frame: number,
): Promise<LabelMap> {
  const { sequence } = task
  const kept = join(folderOf(out, sequence.name), `${nameOf(sequence, frame)}.png`)
  return await readLabelMap(maskPaths(task, flags)?.(frame) ?? kept, flags.year === 2016 ? undefined : ids)
}

/** Where masks are found, or undefined when a model makes them. */
function maskPaths({ sequence }: Task, { masks, copyFirst }: EvaluateFlags): ((frame: number) => string) | undefined {
  if (copyFirst) return () => sequence.masks[0]!
  if (masks === undefined) return undefined
  return (frame) => join(masks, sequence.name, `${nameOf(sequence, frame)}.png`)
}

async function masksOnDisk(folder: string, sequence: DavisSequence, measured: number[]): Promise<string[]> {
  return await masksIn(
    folder,
    sequence.name,
    measured.map((frame) => nameOf(sequence, frame)),
  )
}

function nameOf({ frames }: DavisSequence, frame: number): string {
  return parse(frames[frame]!).name
}
