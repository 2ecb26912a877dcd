import type { DavisScores, DavisTable } from '../metrics/davis-table.ts'
import type { EvaluateFlags } from './evaluate-flags.ts'
import type { SequenceResult } from './evaluate-results.ts'
import type { Settings } from './evaluate-settings.ts'
import { formatSeconds } from './progress.ts'
import { formatCount, printable, textTable } from './text-table.ts'

/** A sequence's line. */
export function lineOf({ name, jaccard, contour }: DavisScores & { name: string }, result: SequenceResult): string {
  const times = [
    ...(result.seconds.fit === null ? [] : [`fit ${formatSeconds(result.seconds.fit)}`]),
    ...(result.seconds.frame === null ? [] : [`${formatSeconds(result.seconds.frame)} a frame`]),
  ]
  const figures = `J ${jaccard.mean.toFixed(3)} F ${contour.mean.toFixed(3)}`
  return [`${printable(name)}: ${figures}`, ...times].join(', ')
}

/** Means of what there is of a time; null where there is none. */
export function meanSeconds(results: SequenceResult[]): SequenceResult['seconds'] {
  const mean = (kind: 'fit' | 'frame') => {
    const all = results.map(({ seconds }) => seconds[kind]).filter((value) => value !== null)
    return all.length === 0 ? null : all.reduce((sum, value) => sum + value, 0) / all.length
  }
  return { fit: mean('fit'), frame: mean('frame') }
}

/** The table, and lines of what else there is to know. */
export function summaryOf(table: DavisTable, results: SequenceResult[], flags: EvaluateFlags): string {
  const times = (['fit', 'frame'] as const).filter((kind) => results.some(({ seconds }) => seconds[kind] !== null))
  const names = times.map((kind) => (kind === 'fit' ? 'fit' : 'a frame'))
  const titles = ['J mean', 'recall', 'decay', 'F mean', 'recall', 'decay', 'J&F', ...names]
  const rowOf = (name: string, scores: DavisScores, seconds: SequenceResult['seconds']) => [
    name,
    ...figuresOf(scores),
    ...times.map((kind) => (seconds[kind] === null ? '' : formatSeconds(seconds[kind]))),
  ]
  const columns = [{ title: 'sequence' }, ...titles.map((title) => ({ title, align: 'right' as const }))]
  const rows = table.sequences.map((row, i) => rowOf(printable(row.name), row, results[i]!.seconds))
  const lines: [string, string][] = [
    ['Measured', `${formatCount(measuredIn(results))} frames of ${formatCount(results.length)} sequences`],
    ...(flags.out === undefined ? [] : [['Results', flags.out] as [string, string]]),
    ...(flags.report === undefined ? [] : [['Report', flags.report] as [string, string]]),
  ]
  const mean = rowOf('mean', table, meanSeconds(results))
  return [textTable(columns, [...rows, mean]), '', ...lines.map(([name, value]) => `${name.padEnd(9)} ${value}`)].join(
    '\n',
  )
}

/** How many frames were measured in all. */
export function measuredIn(results: SequenceResult[]): number {
  return results.reduce((sum, { measured }) => sum + measured.length, 0)
}

function figuresOf({ jaccard, contour, jf }: DavisScores): string[] {
  const figures = [jaccard, contour].flatMap(({ mean, recall, decay }) => [mean, recall, decay])
  return [...figures, jf].map((value) => value.toFixed(3).replace(/^-0\.000$/, '0.000'))
}

/** The settings that all sequences share, for the report. */
export function reportSettings(
  settings: Settings,
  flags: EvaluateFlags,
  results: SequenceResult[],
): [string, string][] {
  const threads = [...new Set(results.map((result) => result.threads))].filter((value) => value !== null)
  const given = Object.entries(settings).filter(([name, value]) => value !== 'default' && name !== 'torchvid')
  const sequences = Array.isArray(flags.sequences) ? flags.sequences.join(', ') : flags.sequences
  return [
    ['DAVIS', flags.davis],
    ['sequences', sequences],
    ...given.map(([name, value]): [string, string] => [name.replace(/^--/, '').replaceAll('-', ' '), value]),
    ['jobs', String(flags.jobs)],
    ...(threads.length === 0 ? [] : [['threads of a job', threads.join(', ')] as [string, string]]),
  ]
}
