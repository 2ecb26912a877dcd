/** The work was stopped by the user (Ctrl-C, SIGTERM) or because nobody reads its output any more. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted'
}

/** The exit code of an interrupted command. */
export const INTERRUPTED = 130

/**
 * Runs `body` with a signal that aborts at the first SIGINT or SIGTERM, or when stdout's reader has left; the second
 * signal ends the process at once. Whatever `body` then throws, the caller gets an `Interrupted`: `body`'s own, if it is one.
 */
export async function withInterrupt<T>(body: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController()
  const interrupt = () => {
    if (controller.signal.aborted) process.exit(INTERRUPTED)
    controller.abort(new Interrupted('Interrupted.'))
  }
  const leave = () => {
    if (!controller.signal.aborted) controller.abort(new Interrupted('Stopped: the reader of the output has left.'))
  }
  process.on('SIGINT', interrupt)
  process.on('SIGTERM', interrupt)
  process.stdout.on('error', leave)
  try {
    return await body(controller.signal)
  } catch (error) {
    throw controller.signal.aborted && !(error instanceof Interrupted) ? controller.signal.reason : error
  } finally {
    process.removeListener('SIGINT', interrupt)
    process.removeListener('SIGTERM', interrupt)
    // The listener on stdout stays: a late EPIPE without one would end the process with a stack.
  }
}
