import { existsSync } from 'node:fs'
import { type DavisSequence, davis as readDavis } from '../data/davis.ts'
import { invalidArgument } from '../errors.ts'
import { OSVOS } from '../osvos/osvos.ts'
import type { ParentProgress } from '../osvos/parent.ts'
import type { ParentScore } from '../osvos/parent-validation.ts'
import * as runtime from '../runtime.ts'
import { Interrupted } from './interrupt.ts'
import { checkFile } from './places.ts'
import { createProgress, formatSeconds, type Progress } from './progress.ts'
import { printable, textTable } from './text-table.ts'
import type { TrainParentFlags } from './train-parent.ts'

const EVENT_EVERY_MS = 300

/** Everything that one call works with. */
interface Job {
  davis: string
  flags: TrainParentFlags
  signal: AbortSignal
  progress: Progress
  /** Prints an event, with `--json`. */
  emit(event: object): void
}

/** What there is to learn from, and to be measured on. */
interface Sets {
  train: DavisSequence[]
  validation: DavisSequence[]
}

/** How a training went. */
interface Outcome {
  last?: ParentProgress
  /** The best of what was measured in this run. */
  best?: ParentProgress & { validation: ParentScore }
  seconds: number
}

/**
 * Trains a parent on DAVIS and saves it. Progress goes to stderr, the summary (or with `--json` the events) to stdout.
 * @throws TorchvidError; `Interrupted` when the signal aborts
 */
export async function trainParentFromCommandLine(
  davis: string,
  flags: TrainParentFlags,
  signal: AbortSignal,
): Promise<void> {
  const emit = flags.json ? (event: object) => console.log(JSON.stringify(event)) : () => {}
  const job: Job = { davis, flags, signal, progress: createProgress(), emit }
  let model: OSVOS | undefined
  try {
    const sets = await readSets(job)
    for (const file of [flags.out, flags.checkpoint]) if (file !== undefined) await checkFile(file)
    if (flags.threads !== undefined) await runtime.setThreads(flags.threads)
    model = await createModel(job)
    const outcome = await train(job, model, sets)
    await model.network.save(flags.out, { precision: flags.precision })
    finish(job, outcome)
  } finally {
    job.progress.stop()
    model?.dispose()
  }
}

/** What is measured on is never learned from. */
async function readSets({ davis, flags, progress, emit }: Job): Promise<Sets> {
  const validation = flags.val === undefined ? [] : await readDavis(davis, { sequences: flags.val })
  const held = new Set(validation.map(({ name }) => name))
  const all = await readDavis(davis, { sequences: flags.train })
  const train = all.filter(({ name }) => !held.has(name))
  if (train.length === 0) {
    throw invalidArgument('--val', flags.val, 'sequences other than those of --train: none is left to learn from')
  }
  const frames = train.reduce((sum, sequence) => sum + sequence.frames.length, 0)
  const measured = validation.length === 0 ? '' : `; measured on ${validation.length} others`
  progress.message(`Data: ${frames} frames of ${train.length} sequences to learn from${measured}`)
  emit({ event: 'data', sequences: train.map(({ name }) => name), frames, validation: [...held] })
  return { train, validation }
}

async function createModel({ flags, progress }: Job): Promise<OSVOS> {
  const { backbone, weights, device, seed, resume } = flags
  if (weights === undefined && resume === undefined) {
    progress.message('Warning: without --weights the trunk starts from random weights; expect a poorer model.')
  }
  return await OSVOS.create({ backbone, pretrained: weights, device, seed })
}

async function train(job: Job, model: OSVOS, { train: sequences, validation }: Sets): Promise<Outcome> {
  const { flags, signal, progress, emit } = job
  const { epochs, steps, accumulate, learningRate, weightDecay, sizes, seed, device, resume, checkpoint, every } = flags
  const outcome: Outcome = { seconds: 0 }
  const started = performance.now()
  let emittedAt = 0
  try {
    const run = model.trainParent(
      { sequences },
      {
        ...{ epochs, steps, accumulate, learningRate, weightDecay, sizes, seed, device, resume, signal },
        ...(flags.augment ? {} : { augment: false }),
        ...(flags.cache === undefined ? {} : { cache: flags.cache * 1e6 }),
        ...(checkpoint === undefined ? {} : { checkpoint: { path: checkpoint, every } }),
        ...(validation.length === 0
          ? {}
          : { validation: { sequences: validation, every: flags.valEvery, frames: flags.valFrames } }),
      },
    )
    for await (const record of run) {
      outcome.last = record
      note(job, outcome, record)
      const { step, steps, epoch, epochs, loss, secondsLeft, validation } = record
      const text = `epoch ${epoch} of ${epochs}, step ${step} of ${steps}, loss ${loss.toPrecision(3)}, ${formatSeconds(secondsLeft)} left`
      progress.update({ label: 'Training', done: step, total: steps, text })
      if (step < steps && validation === undefined && performance.now() - emittedAt < EVENT_EVERY_MS) continue
      emittedAt = performance.now()
      emit({ event: 'train', step, steps, epoch, epochs, loss, secondsLeft, ...(validation && { validation }) })
    }
    await run
    outcome.seconds = (performance.now() - started) / 1000
    return outcome
  } catch (error) {
    if (!signal.aborted) throw error
    const { last } = outcome
    const at = last === undefined ? ' before the first step' : ` at step ${last.step} of ${last.steps}`
    const kept = checkpoint !== undefined && existsSync(checkpoint) ? ` Go on with --resume ${checkpoint}` : ''
    throw new Interrupted(`Interrupted${at}.${kept}`, { cause: error })
  } finally {
    progress.stop()
  }
}

const merit = ({ jaccard, contour }: ParentScore) => (jaccard + contour) / 2

/** Says what was measured; of equal states the latest is the best, as in the training. */
function note({ progress }: Job, outcome: Outcome, record: ParentProgress): void {
  const { validation, epoch } = record
  if (validation === undefined) return
  const { jaccard, contour } = validation
  progress.message(`After epoch ${epoch}: J ${jaccard.toFixed(3)}, F ${contour.toFixed(3)}`)
  if (outcome.best === undefined || merit(validation) >= merit(outcome.best.validation)) {
    outcome.best = { ...record, validation }
  }
}

function finish({ flags, emit }: Job, { last, best, seconds }: Outcome): void {
  const scores = best?.validation
  emit({
    event: 'done',
    steps: last?.steps ?? null,
    loss: last?.loss ?? null,
    seconds,
    best: best === undefined ? null : { step: best.step, epoch: best.epoch, validation: scores },
    peakMemory: process.resourceUsage().maxRSS * 1024,
    model: flags.out,
  })
  if (flags.json) return
  if (scores !== undefined) {
    const rows = [...scores.sequences, { name: 'mean', ...scores }].map(({ name, jaccard, contour }) => [
      printable(name),
      jaccard.toFixed(3),
      contour.toFixed(3),
    ])
    const columns = [{ title: 'sequence' }, { title: 'J', align: 'right' }, { title: 'F', align: 'right' }] as const
    console.log(`${textTable([...columns], rows)}\n`)
  }
  const results: [string, string][] = [
    ...(last === undefined
      ? []
      : [['Trained', `${last.steps} steps in ${formatSeconds(seconds)}`] as [string, string]]),
    ...(best === undefined ? [] : [['Best', `after epoch ${best.epoch}, step ${best.step}`] as [string, string]]),
    ['Model', flags.out],
  ]
  for (const [name, value] of results) console.log(`${name.padEnd(14)} ${value}`)
}
