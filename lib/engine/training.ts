import { checkInteger, invalidArgument, TorchvidError } from '../errors.ts'
import {
  abortedCode,
  type NativeJob,
  type NativeRecord,
  type NativeSample,
  type NativeTraining,
  type NativeTrainingJob,
  native,
} from '../native.ts'
import type { Network } from '../network.ts'
import { readTable } from '../weights/table.ts'
import type { RunOptions, TrainingProgress } from './run.ts'

/** The options that every training has, checked, in the trainer's terms. */
export function trainingBasics(
  options: Pick<RunOptions<never>, 'seed' | 'device' | 'precision'>,
): Pick<NativeTraining, 'seed' | 'device' | 'bfloat16'> {
  const { precision = 'auto', seed = 0, device = 'auto' } = options
  checkInteger('seed', seed, 0)
  if (!['float32', 'bfloat16', 'auto'].includes(precision)) {
    throw invalidArgument('precision', precision, "'float32', 'bfloat16' or 'auto'")
  }
  return { seed, device, bfloat16: precision === 'auto' ? 'auto' : precision === 'bfloat16' }
}

/** `ERR_INVALID_ARGUMENT` unless `checkpoint` and `resume` are of the right form. */
export function checkFiles({ checkpoint, resume }: Pick<RunOptions<never>, 'checkpoint' | 'resume'>): void {
  if (resume !== undefined && typeof resume !== 'string')
    throw invalidArgument('resume', resume, 'the path of a checkpoint')
  if (checkpoint === undefined) return
  if (typeof checkpoint?.path !== 'string') {
    throw invalidArgument('checkpoint', checkpoint, 'an object { path, every }')
  }
  checkInteger('checkpoint.every', checkpoint.every, 1)
}

/** The trainer's part of `checkpoint`. */
export function checkpointOf(network: Network, { path, every }: { path: string; every: number }) {
  return { path, every, metadata: network.metadata() }
}

/**
 * The trainer's part of `resume`: where the run stood and its tensors.
 * @throws TorchvidError ERR_IO, ERR_CHECKPOINT_FORMAT, ERR_CHECKPOINT_MISMATCH when it is no training checkpoint
 */
export async function resumeOf(path: string): Promise<NonNullable<NativeTraining['resume']>> {
  const { tensors, metadata } = await readTable(path)
  const step = Number(metadata['torchvid.step'] ?? Number.NaN)
  if (!Number.isSafeInteger(step)) {
    const message = `${path} is no training checkpoint: it does not say at which step it stands. Give the file that checkpoint wrote.`
    throw new TorchvidError('ERR_CHECKPOINT_MISMATCH', message)
  }
  return { path, step, tensors }
}

/** Makes the sample of a pass, 0 for the first. Several are made at once; what it throws ends the training. */
export type MakeSample = (pass: number) => Promise<NativeSample>

/**
 * Trains a copy of `network`, and gives its handle. An abort rejects with the signal's reason.
 * @param makeSample for a source of kind `'feed'`
 */
export async function runTraining(
  network: Network,
  training: NativeTraining,
  onRecords: (records: NativeRecord[]) => void,
  signal: AbortSignal,
  makeSample?: MakeSample,
) {
  let job: NativeTrainingJob
  const supply = async (pass: number) => {
    try {
      const sample = await makeSample?.(pass)
      if (!signal.aborted) job.supply(pass, sample as NativeSample)
    } catch (error) {
      job.fail(error)
    }
  }
  // Asked for on a later turn of the event loop, so `job` is there by then.
  job = native().train(network.handle, settled(training, network), onRecords, supply)
  return await finish(job, signal)
}

/** With what depends on where the network is: it is trained there, and in `'auto'` precision in bfloat16 on a GPU. */
function settled(training: NativeTraining, network: Network): NativeTraining {
  const place = network.handle.device()
  const { device, bfloat16 } = training
  return {
    ...training,
    device: device === 'auto' ? place : device,
    bfloat16: bfloat16 === 'auto' ? place !== 'cpu' : bfloat16,
  }
}

/** What a native job resolves with; an abort of `signal` ends it, and rejects with the signal's reason. */
export async function finish<T>(job: NativeJob<T>, signal: AbortSignal | undefined): Promise<T> {
  const abort = () => job.abort()
  if (signal?.aborted) abort()
  signal?.addEventListener('abort', abort, { once: true })
  try {
    return await job.promise
  } catch (error) {
    throw signal !== undefined && (error as { code?: string } | undefined)?.code === abortedCode ? signal.reason : error
  } finally {
    signal?.removeEventListener('abort', abort)
  }
}

/** Steps over which `secondsPerStep` is meaned. */
const WINDOW = 20

/** Turns the trainer's records into progress, of a run of one training or of several after one another. */
export class ProgressTracker {
  private readonly recent: number[] = []

  /**
   * @param steps of the whole run
   * @param before steps of the trainings before this one
   */
  constructor(
    private readonly steps: number,
    private readonly before = 0,
  ) {}

  progress({ step, loss, losses, learningRate, seconds }: NativeRecord): TrainingProgress {
    this.recent.push(seconds)
    if (this.recent.length > WINDOW) this.recent.shift()
    const secondsPerStep = this.recent.reduce((a, b) => a + b, 0) / this.recent.length
    const done = this.before + step
    const secondsLeft = (this.steps - done) * secondsPerStep
    return { step: done, steps: this.steps, loss, losses, learningRate, secondsPerStep, secondsLeft }
  }
}
