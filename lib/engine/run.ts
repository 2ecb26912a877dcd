import { invalidArgument } from '../errors.ts'
import type { Device, Precision } from '../types.ts'

/** What a step of training reports. */
export interface TrainingProgress {
  /** 1 for the first step. */
  step: number
  /** Steps in all. */
  steps: number
  /** The loss, before this step's update. */
  loss: number
  /** Its parts by name. */
  losses: Record<string, number>
  learningRate: number
  /** Mean over the last steps. */
  secondsPerStep: number
  /** Estimated time to the end, seconds. */
  secondsLeft: number
}

/** What every long operation takes. */
export interface RunOptions<P> {
  /** Aborts the run: it rejects with the signal's reason. */
  signal?: AbortSignal
  /** Gets the latest record, at most 20 times a second, and always the last one. */
  onProgress?: (progress: P) => void
  /** Everything random in the run comes from this number. Default 0. */
  seed?: number
  /** Default: where the network is. */
  device?: Device
  /** Default `'auto'`. */
  precision?: Precision
  /** Writes all that `resume` needs to `path`, every `every` steps, over the last one. */
  checkpoint?: { path: string; every: number }
  /** A checkpoint of the same run, to go on from exactly there. */
  resume?: string
}

/**
 * A long operation under way. `await run` gives the result; `for await (const p of run)` gives one record per step, in
 * order and none lost, to one reader; leaving that loop early does not stop the run, `abort` does.
 */
export interface Run<T, P> extends PromiseLike<T>, AsyncIterable<P> {
  readonly result: Promise<T>
  /** Stops the run; it rejects with `reason` (default: an `AbortError`). No effect once it is over. */
  abort(reason?: unknown): void
}

/** What a run's body works with. */
export interface RunContext<P> {
  signal: AbortSignal
  /** Hands over records, oldest first. */
  report(records: P[]): void
}

/** Starts `body` as a Run. What `onProgress` throws aborts the run with that error. */
export function startRun<T, P>(
  options: Pick<RunOptions<P>, 'signal' | 'onProgress'>,
  body: (context: RunContext<P>) => Promise<T>,
): Run<T, P> {
  const { signal, onProgress } = options
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw invalidArgument('onProgress', onProgress, 'a function')
  }
  if (signal !== undefined && !(signal instanceof AbortSignal))
    throw invalidArgument('signal', signal, 'an AbortSignal')
  const controller = new AbortController()
  const records = new RecordQueue<P>()
  const follow = () => controller.abort(signal?.reason)
  if (signal?.aborted) follow()
  else signal?.addEventListener('abort', follow, { once: true })

  const report = (batch: P[]) => {
    const last = batch.at(-1)
    if (last === undefined) return
    records.push(batch)
    try {
      onProgress?.(last)
    } catch (error) {
      controller.abort(error)
    }
  }
  const execute = async () => {
    try {
      controller.signal.throwIfAborted()
      const result = await body({ signal: controller.signal, report })
      controller.signal.throwIfAborted()
      records.end()
      return result
    } catch (error) {
      const reason = controller.signal.aborted ? controller.signal.reason : error
      records.end(reason)
      throw reason
    } finally {
      signal?.removeEventListener('abort', follow)
    }
  }
  const result = execute()
  // Whoever only iterates learns of a failure there; it must not end the process as unhandled too.
  result.catch(() => {})
  return {
    result,
    // biome-ignore lint/suspicious/noThenProperty: a Run is awaited like a promise
    then: (onFulfilled, onRejected) => result.then(onFulfilled, onRejected),
    abort: (reason) => controller.abort(reason),
    [Symbol.asyncIterator]: () => records.iterate(),
  }
}

/** Records that wait for their one reader. */
class RecordQueue<P> {
  private readonly waiting: P[] = []
  private ended = false
  private failure: { reason: unknown } | undefined
  private wake: () => void = () => {}

  push(batch: P[]): void {
    this.waiting.push(...batch)
    this.wake()
  }

  end(...failure: [] | [unknown]): void {
    this.ended = true
    if (failure.length > 0) this.failure = { reason: failure[0] }
    this.wake()
  }

  async *iterate(): AsyncGenerator<P, void, undefined> {
    while (true) {
      while (this.waiting.length > 0) yield this.waiting.shift() as P
      if (this.failure) throw this.failure.reason
      if (this.ended) return
      await new Promise<void>((resolve) => {
        this.wake = resolve
      })
    }
  }
}
