import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { davis } from '../data/davis.ts'
import { type DavisTable, davisTable } from '../metrics/davis-table.ts'
import type { OSVOS } from '../osvos/osvos.ts'
import * as runtime from '../runtime.ts'
import type { EvaluateFlags } from './evaluate-flags.ts'
import { evaluateInProcesses } from './evaluate-jobs.ts'
import { writeEvaluationReport } from './evaluate-report.ts'
import { checkOut, readResult, type SequenceResult } from './evaluate-results.ts'
import { evaluateSequence, type Stage, type Task, taskOf } from './evaluate-sequence.ts'
import { type Settings, settingsOf } from './evaluate-settings.ts'
import { lineOf, meanSeconds, measuredIn, summaryOf } from './evaluate-summary.ts'
import { Interrupted } from './interrupt.ts'
import { openModel } from './osvos-model.ts'
import { checkFile } from './places.ts'
import { createProgress, type Progress } from './progress.ts'
import { printable } from './text-table.ts'

const EVENT_EVERY_MS = 300

/** Everything that one call works with. */
interface Job {
  flags: EvaluateFlags
  /** Where results lie: `--out`, or a folder that goes when the work is done. */
  out: string
  settings: Settings
  tasks: Task[]
  /** By name; those of earlier calls from the start. */
  results: Map<string, SequenceResult>
  signal: AbortSignal
  progress: Progress
  emit(event: object): void
  warn(message: string): void
}

/**
 * Evaluates a model, or masks on disk, on sequences of DAVIS. Progress goes to stderr, the table (or with `--json` the
 * events) to stdout.
 * @throws TorchvidError; `Interrupted` when the signal aborts
 */
export async function evaluateFromCommandLine(flags: EvaluateFlags, signal: AbortSignal): Promise<void> {
  const progress = createProgress()
  const emit = flags.json ? (event: object) => console.log(JSON.stringify(event)) : () => {}
  const warned = new Set<string>()
  const warn = (message: string) => {
    if (warned.has(message)) return
    warned.add(message)
    emit({ event: 'warning', message })
    progress.message(`Warning: ${message}`)
  }
  const temporary = flags.out === undefined ? await mkdtemp(join(tmpdir(), 'torchvid-evaluate-')) : undefined
  const job: Job = {
    ...{ flags, out: flags.out ?? temporary!, signal, progress, emit, warn },
    ...{ settings: {}, tasks: [], results: new Map() },
  }
  try {
    await prepare(job)
    await evaluateAll(job)
    if (!flags.part) await finish(job)
  } finally {
    progress.stop()
    if (temporary !== undefined) await rm(temporary, { recursive: true, force: true })
  }
}

/** Reads what there is to do and what is done, before any work begins. */
async function prepare(job: Job): Promise<void> {
  const { flags, out } = job
  const { sequences, year, resolution } = flags
  const found = await davis(flags.davis, { sequences, year, resolution })
  await checkOut(out, flags.davis)
  if (flags.report !== undefined && !flags.part) await checkFile(flags.report)
  job.settings = await settingsOf(flags)
  for (const sequence of found) {
    const task = await taskOf(sequence, flags, job.settings)
    job.tasks.push(task)
    const result = await readResult(out, sequence.name, task.settings)
    if (result === undefined) continue
    job.results.set(sequence.name, result)
    told(job, result, true)
  }
}

/** Says what a sequence came to. */
function told({ flags, emit, progress }: Job, result: SequenceResult, resumed: boolean): void {
  const { name, objects, seconds } = result
  const row = davisTable([{ name, objects }]).sequences[0]!
  const { jaccard, contour, jf } = row
  emit({ event: 'sequence', ...{ name, jaccard, contour, jf, seconds, measured: result.measured.length, resumed } })
  if (!flags.part) progress.message(`${lineOf(row, result)}${resumed ? ' (done before)' : ''}`)
}

async function evaluateAll(job: Job): Promise<void> {
  const { flags, tasks, results, signal } = job
  const left = tasks.filter(({ sequence }) => !results.has(sequence.name))
  const steps = followSteps(job)
  try {
    if (flags.jobs === 1 || left.length < 2) await evaluateHere(job, left, steps)
    else await evaluateElsewhere(job, left, steps)
  } catch (error) {
    if (!signal.aborted) throw error
    throw new Interrupted(stoppedText(job), { cause: error })
  } finally {
    job.progress.stop()
  }
}

function stoppedText({ flags, tasks, results }: Job): string {
  const done = `${results.size} of ${tasks.length} sequences are done`
  if (flags.out === undefined) return `Interrupted: ${done}, and nothing was kept (--out keeps it).`
  return `Interrupted: ${done} and kept in ${flags.out}. The same command goes on from there.`
}

type Steps = (name: string, stage: Stage, done: number, total: number) => void

/** Shows what is done of which sequence, and tells of it now and then. */
function followSteps({ tasks, results, progress, emit }: Job): Steps {
  const doing: Record<Stage, string> = { fit: 'fitting, step', segment: 'frame', measure: 'measuring, frame' }
  let emittedAt = 0
  return (name, stage, done, total) => {
    const count = `${results.size} of ${tasks.length} sequences`
    const text = `${count}; ${printable(name)}: ${doing[stage]} ${done} of ${total}`
    progress.update({ label: 'Evaluating', done: results.size, total: tasks.length, text })
    if (performance.now() - emittedAt < EVENT_EVERY_MS) return
    emittedAt = performance.now()
    emit({ event: 'step', sequence: name, stage, done, total })
  }
}

async function evaluateHere(job: Job, tasks: Task[], steps: Steps): Promise<void> {
  const { flags, out, signal, warn } = job
  if (flags.threads !== undefined && tasks.length > 0) await runtime.setThreads(flags.threads)
  let opened: OSVOS | undefined
  const model = async () => {
    opened ??= await openModel(flags, warn)
    return opened
  }
  try {
    for (const task of tasks) {
      const { name } = task.sequence
      const onStep = (stage: Stage, done: number, total: number) => steps(name, stage, done, total)
      const result = await evaluateSequence(task, { flags, out, model, signal, warn, onStep })
      job.results.set(name, result)
      told(job, result, false)
    }
  } finally {
    opened?.dispose()
  }
}

async function evaluateElsewhere(job: Job, tasks: Task[], onStep: Steps): Promise<void> {
  const { flags, out, signal, warn } = job
  const byName = new Map(tasks.map((task) => [task.sequence.name, task]))
  const onDone = async (name: string) => {
    const result = await readResult(out, name, byName.get(name)!.settings)
    if (result === undefined) throw new Error(`The process that evaluated ${name} left no result.`)
    job.results.set(name, result)
    told(job, result, false)
  }
  await evaluateInProcesses([...byName.keys()], { ...flags, out }, { onStep, onDone, warn }, signal)
}

async function finish(job: Job): Promise<void> {
  const { flags, tasks, signal } = job
  const results = tasks.map(({ sequence }) => job.results.get(sequence.name)!)
  const table = davisTable(results.map(({ name, objects }) => ({ name, objects })))
  if (flags.report !== undefined) await writeEvaluationReport(flags.report, { ...job, table, results }, signal)
  emitDone(job, table, results)
  if (!flags.json) console.log(summaryOf(table, results, flags))
}

function emitDone({ flags, emit, settings }: Job, { sequences, ...all }: DavisTable, results: SequenceResult[]): void {
  emit({
    event: 'done',
    ...all,
    seconds: meanSeconds(results),
    frames: measuredIn(results),
    sequences: sequences.map(({ objects, ...row }, i) => ({
      ...{ ...row, objects: objects.length, seconds: results[i]!.seconds, measured: results[i]!.measured.length },
    })),
    settings,
    peakMemory: process.resourceUsage().maxRSS * 1024,
    ...{ out: flags.out ?? null, report: flags.report ?? null },
  })
}
