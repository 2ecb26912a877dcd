import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { RunOptions } from '../engine/run.ts'
import { checkpointOf, type MakeSample, resumeOf, runTraining } from '../engine/training.ts'
import { TorchvidError } from '../errors.ts'
import type { NativeNetwork, NativeRecord, NativeTraining } from '../native.ts'
import type { Network } from '../network.ts'
import { readTable } from '../weights/table.ts'

/** How a network in training is measured. */
export interface RoundMeasure<Score> {
  /** Passes between two measurements. There is one after the last pass too. */
  every: number
  measure(network: NativeNetwork): Promise<Score>
  /** What is largest for the best state; of equal ones the latest counts. */
  merit(score: Score): number
}

/** A training in rounds: what it is given. */
export interface RoundOptions<Score> extends Pick<RunOptions<never>, 'checkpoint' | 'resume'> {
  makeSample: MakeSample
  /** Absent: there is one round, and the last state is the result. */
  validation?: RoundMeasure<Score>
  /** One record of each pass, in order; with the score, where the state after it was measured. */
  report(records: { record: NativeRecord; score?: Score }[]): void
  signal: AbortSignal
}

/** The state that is the result, and what it scored. */
export interface RoundResult<Score> {
  handle: NativeNetwork
  best?: Best<Score>
}

/** A measured state. */
interface Best<Score> {
  step: number
  score: Score
}

/** Step and score of the best state in a checkpoint's metadata; its tensors have names that begin so. */
const bestKey = 'torchvid.best'
const bestPrefix = `${bestKey}.`

/** Never, for a checkpoint that is written at the end of a round alone. */
const NEVER = Number.MAX_SAFE_INTEGER

/**
 * Trains a copy of `network` in rounds, measures it after each, and gives its best state. A round goes on exactly where the
 * last one stopped, from a checkpoint, in which the best state so far is kept too: a run that was killed and resumed comes
 * to the same state as one that was not.
 * @throws TorchvidError what the training throws, and `measure`
 */
export async function trainInRounds<Score>(
  network: Network,
  training: NativeTraining,
  options: RoundOptions<Score>,
): Promise<RoundResult<Score>> {
  const { validation } = options
  if (validation === undefined) {
    const { checkpoint, resume } = options
    const settings = {
      ...training,
      ...(checkpoint !== undefined && { checkpoint: checkpointOf(network, checkpoint) }),
      ...(resume !== undefined && { resume: await resumeOf(resume) }),
    }
    const onRecords = (records: NativeRecord[]) => options.report(records.map((record) => ({ record })))
    return { handle: await runTraining(network, settings, onRecords, options.signal, options.makeSample) }
  }
  const folder = options.checkpoint === undefined ? await mkdtemp(join(tmpdir(), 'torchvid-')) : undefined
  const checkpoint = options.checkpoint ?? { path: join(folder as string, 'round.safetensors'), every: NEVER }
  try {
    return await new Rounds(network, training, { ...options, checkpoint, validation }).run()
  } finally {
    if (folder !== undefined) await rm(folder, { recursive: true, force: true })
  }
}

type Settings<Score> = RoundOptions<Score> & Required<Pick<RoundOptions<Score>, 'checkpoint' | 'validation'>>

class Rounds<Score> {
  private best: (Best<Score> & { handle: NativeNetwork }) | undefined

  constructor(
    private readonly network: Network,
    private readonly training: NativeTraining,
    private readonly settings: Settings<Score>,
  ) {}

  async run(): Promise<RoundResult<Score>> {
    const { passes } = this.training
    const { every } = this.settings.validation
    const nextEnd = (step: number) => Math.min(passes, (Math.floor(step / every) + 1) * every)
    try {
      let resume = await this.restore()
      // What a checkpoint holds at a round's end had not been measured when it was written.
      const step = resume?.step ?? 0
      let until = step > 0 && (step % every === 0 || step >= passes) ? step : nextEnd(step)
      for (;;) {
        await this.round(until, resume)
        if (until >= passes) break
        // A round without passes writes no checkpoint.
        if (until > (resume?.step ?? 0)) resume = await resumeOf(this.settings.checkpoint.path)
        until = nextEnd(until)
      }
    } catch (error) {
      this.best?.handle.dispose()
      throw error
    }
    const { handle, ...best } = this.best as Best<Score> & { handle: NativeNetwork }
    return { handle, best }
  }

  /** Trains up to a pass, and measures. */
  private async round(until: number, resume: NativeTraining['resume']): Promise<void> {
    const { signal, makeSample, report, validation } = this.settings
    const training = { ...this.training, until, checkpoint: this.checkpoint(), resume }
    let last: NativeRecord | undefined
    const onRecords = (records: NativeRecord[]) => {
      // The last one waits for its score.
      if (records.at(-1)?.step === until) last = records.pop()
      report(records.map((record) => ({ record })))
    }
    const handle = await runTraining(this.network, training, onRecords, signal, makeSample)
    let score: Score | undefined
    try {
      score = await validation.measure(handle)
    } finally {
      if (last !== undefined) report([{ record: last, ...(score !== undefined && { score }) }])
      if (score === undefined) handle.dispose()
    }
    this.compare({ step: until, score, handle })
  }

  private compare(state: Best<Score> & { handle: NativeNetwork }): void {
    const { merit } = this.settings.validation
    const worse = this.best !== undefined && merit(this.best.score) > merit(state.score)
    const loser = worse ? state : this.best
    loser?.handle.dispose()
    if (!worse) this.best = state
  }

  private checkpoint(): NonNullable<NativeTraining['checkpoint']> {
    const checkpoint = checkpointOf(this.network, this.settings.checkpoint)
    if (this.best === undefined) return checkpoint
    const { step, score, handle } = this.best
    const metadata = { ...checkpoint.metadata, [bestKey]: JSON.stringify({ step, score }) }
    return { ...checkpoint, metadata, bestSoFar: handle }
  }

  /** Where to go on, with the best state of then. */
  private async restore(): Promise<NativeTraining['resume']> {
    const { resume: path } = this.settings
    if (path === undefined) return undefined
    const resume = await resumeOf(path)
    const { tensors, metadata } = await readTable(path)
    const text = metadata[bestKey]
    if (text === undefined) return resume
    const { step, score } = parseBest<Score>(text, path)
    const rows = tensors.filter(({ name }) => name.startsWith(bestPrefix))
    const named = rows.map((tensor) => ({ name: tensor.name.slice(bestPrefix.length), tensor }))
    const names = new Set(this.network.parameters().map(({ name }) => name))
    if (named.length !== names.size || named.some(({ name }) => !names.has(name))) throw foreign(path)
    const handle = await this.network.handle.clone()
    this.best = { step, score, handle }
    await handle.load(path, named)
    return resume
  }
}

function parseBest<Score>(text: string, path: string): Best<Score> {
  try {
    const best = JSON.parse(text) as Best<Score>
    if (Number.isSafeInteger(best.step) && typeof best.score === 'object' && best.score !== null) return best
  } catch {}
  throw foreign(path)
}

function foreign(path: string): TorchvidError {
  const message = `${path}: its best state is of another network or training. Give the checkpoint of the same run.`
  return new TorchvidError('ERR_CHECKPOINT_MISMATCH', message)
}
