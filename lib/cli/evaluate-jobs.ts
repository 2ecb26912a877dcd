import { type ChildProcess, spawn } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { createInterface } from 'node:readline'
import { type ErrorCode, TorchvidError } from '../errors.ts'
import type { EvaluateFlags } from './evaluate-flags.ts'
import type { Stage } from './evaluate-sequence.ts'

/** Who hears of what the processes do. */
export interface JobListener {
  onStep(name: string, stage: Stage, done: number, total: number): void
  /** Its result is in the output folder. */
  onDone(name: string): Promise<void>
  warn(message: string): void
}

/** Threads of each of `jobs` processes. */
export function threadsEach({ threads }: Pick<EvaluateFlags, 'threads'>, jobs: number): number {
  const told = Number.parseInt(process.env.OMP_NUM_THREADS ?? '', 10)
  const all = threads ?? (told > 0 ? told : availableParallelism())
  return Math.max(1, Math.floor(all / jobs))
}

/**
 * Evaluates sequences in processes of this very command, `jobs` at a time; results lie in `out` when it is done. The first
 * failure ends them all, and so does the signal.
 * @throws TorchvidError what went wrong in a process; the signal's reason
 */
export async function evaluateInProcesses(
  names: string[],
  flags: EvaluateFlags & { out: string },
  listener: JobListener,
  signal: AbortSignal,
): Promise<void> {
  const jobs = Math.min(flags.jobs, names.length)
  const own = ['--jobs', '1', '--threads', String(threadsEach(flags, jobs)), '--out', flags.out, '--json', '--part']
  const waiting = [...names]
  const failure = new AbortController()
  const stop = AbortSignal.any([signal, failure.signal])
  const lane = async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      stop.throwIfAborted()
      // The last of an option that is given twice counts.
      await runPart(name, [...process.argv.slice(1), ...own, '--sequences', `${name},`], listener, stop)
      await listener.onDone(name)
    }
  }
  const lanes = Array.from({ length: jobs }, () =>
    lane().catch((error) => {
      failure.abort(error)
      throw error
    }),
  )
  // All of them: nobody should write when this is over.
  await Promise.allSettled(lanes)
  stop.throwIfAborted()
}

/** How a process ended. */
interface Ending {
  status: number | null
  killedBy: NodeJS.Signals | null
}

async function runPart(name: string, args: string[], listener: JobListener, signal: AbortSignal): Promise<void> {
  const child = spawn(process.execPath, [...process.execArgv, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    windowsHide: true,
    // In a group of its own a Ctrl-C does not reach it twice: from the terminal, and from here.
    detached: process.platform !== 'win32',
  })
  const kill = () => child.kill('SIGTERM')
  signal.addEventListener('abort', kill, { once: true })
  try {
    const [failed, stderr, ending] = await Promise.all([follow(child, name, listener), tailOf(child), endOf(child)])
    signal.throwIfAborted()
    if (ending.status !== 0) throw failureOf(name, failed, stderr, ending)
  } finally {
    signal.removeEventListener('abort', kill)
  }
}

/** Passes on what a process says; returns the error it ends with, if any. */
async function follow(
  { stdout }: ChildProcess,
  name: string,
  listener: JobListener,
): Promise<{ code: string; message: string } | undefined> {
  let failed: { code: string; message: string } | undefined
  for await (const line of createInterface({ input: stdout! })) {
    const event = eventIn(line)
    if (event?.event === 'step') listener.onStep(name, event.stage as Stage, Number(event.done), Number(event.total))
    if (event?.event === 'warning') listener.warn(String(event.message))
    if (event?.event === 'error') failed = { code: String(event.code), message: String(event.message) }
  }
  return failed
}

function eventIn(line: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}

const TAIL = 2000

async function tailOf({ stderr }: ChildProcess): Promise<string> {
  let tail = ''
  for await (const text of stderr!.setEncoding('utf8')) tail = `${tail}${text}`.slice(-TAIL)
  return tail
}

function endOf(child: ChildProcess): Promise<Ending> {
  return new Promise((done, fail) => {
    child.on('error', fail)
    child.on('close', (status, killedBy) => done({ status, killedBy }))
  })
}

function failureOf(
  name: string,
  failed: { code: string; message: string } | undefined,
  stderr: string,
  { status, killedBy }: Ending,
): Error {
  if (failed?.code.startsWith('ERR_') && failed.code !== 'ERR_INTERNAL') {
    return new TorchvidError(failed.code as ErrorCode, failed.message)
  }
  if (killedBy === 'SIGKILL') {
    const text = `The process that evaluated ${name} was killed, as happens where memory is short. Run again with fewer --jobs.`
    return new TorchvidError('ERR_OUT_OF_MEMORY', text)
  }
  return new Error(`The process that evaluated ${name} ended with ${killedBy ?? status}. ${stderr}`)
}
