import { readImage } from '../data/image.ts'
import type { DavisTable } from '../metrics/davis-table.ts'
import { stripFrames, worstFrame, worstSequences } from '../report/davis-data.ts'
import { type PicturedSequence, WORST, writeDavisReport } from '../report/davis-report.ts'
import { type Thumbnail, thumbnailOf } from '../report/davis-thumbnail.ts'
import type { EvaluateFlags } from './evaluate-flags.ts'
import { readLabelMap } from './evaluate-masks.ts'
import type { SequenceResult } from './evaluate-results.ts'
import { readMaskOf, type Task } from './evaluate-sequence.ts'
import type { Settings } from './evaluate-settings.ts'
import { reportSettings } from './evaluate-summary.ts'
import { programLines } from './rtfm-summary.ts'

/** What a report is made from. */
export interface Evaluated {
  flags: EvaluateFlags
  out: string
  settings: Settings
  tasks: Task[]
  /** Of the tasks, in their order. */
  results: SequenceResult[]
  table: DavisTable
}

/**
 * Writes the report of an evaluation, with pictures from the masks on disk.
 * @throws TorchvidError ERR_IO; the signal's reason
 */
export async function writeEvaluationReport(path: string, evaluated: Evaluated, signal: AbortSignal): Promise<void> {
  const { flags, settings, tasks, results, table } = evaluated
  const sequences: PicturedSequence[] = []
  const worst = worstSequences(table, WORST)
  for (const [i, result] of results.entries()) {
    const pictures = new Map<number, Thumbnail>()
    const frames = stripFrames(result.measured)
    for (const frame of new Set(worst.includes(i) ? [...frames, worstFrame(result).frame] : frames)) {
      signal.throwIfAborted()
      pictures.set(frame, await pictureOf(frame, tasks[i]!, result, evaluated))
    }
    sequences.push({ ...result, pictures })
  }
  await writeDavisReport(path, {
    ...{ table, sequences },
    title: `torchvid evaluate: DAVIS, masks ${settings.masks}`,
    settings: [...reportSettings(settings, flags, results), ...(await programLines())],
  })
}

async function pictureOf(frame: number, task: Task, result: SequenceResult, evaluated: Evaluated): Promise<Thumbnail> {
  const { flags, out } = evaluated
  const { frames, masks } = task.sequence
  const ids = result.objects.map(({ id }) => id)
  const [image, truth] = await Promise.all([
    readImage(frames[frame]!, `frame ${frame}`),
    readLabelMap(masks[frame]!, flags.year === 2016 ? undefined : ids),
  ])
  // The first frame's mask is the annotation, whatever a folder of masks says.
  const mask = frame === 0 ? truth : await readMaskOf(task, flags, out, ids, frame)
  return await thumbnailOf(image, { mask: mask.data, truth: truth.data })
}
