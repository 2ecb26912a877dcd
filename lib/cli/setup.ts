import { SingleBar } from 'cli-progress'
import { Command } from 'commander'
import { formatBytes } from '../libtorch/disk.ts'
import { type SetupProgress, setupLibTorch } from '../libtorch/setup.ts'

interface SetupFlags {
  json?: boolean
  force?: boolean
}

const STAGES: Record<SetupProgress['stage'], string> = {
  download: 'Fetching',
  extract: 'Unpacking',
  verify: 'Checking',
}

/**
 * `torchvid setup`: puts LibTorch in place and asks nothing. Progress goes to stderr, the result to stdout
 * (`--json`: one object `{ root, version, variant, source, fetched }`). Ctrl-C leaves nothing behind and exits 130.
 */
export function setupCommand(): Command {
  return new Command('setup')
    .description('fetch LibTorch if there is none, about 190 MB, into the cache folder')
    .option('--force', 'fetch it even when a good one is there')
    .option('--json', 'print the result as JSON on stdout')
    .action(runSetup)
}

async function runSetup(flags: SetupFlags): Promise<void> {
  const abort = new AbortController()
  const interrupt = () => abort.abort(new Error('interrupted'))
  process.once('SIGINT', interrupt)
  const display = process.stderr.isTTY ? new BarDisplay() : new LineDisplay()
  try {
    const { libtorch, fetched } = await setupLibTorch({
      force: flags.force,
      signal: abort.signal,
      onMessage: (text) => display.message(text),
      onProgress: (progress) => display.update(progress),
    })
    display.stop()
    if (flags.json) console.log(JSON.stringify({ ...libtorch, fetched }))
  } catch (error) {
    display.stop()
    if (!abort.signal.aborted) throw error
    console.error('Interrupted; nothing was left behind.')
    process.exitCode = 130
  } finally {
    process.removeListener('SIGINT', interrupt)
  }
}

interface Display {
  message(text: string): void
  update(progress: SetupProgress): void
  stop(): void
}

/** A bar for each stage, on a terminal. */
class BarDisplay implements Display {
  #bar: SingleBar | undefined
  #stage: SetupProgress['stage'] | undefined

  message(text: string): void {
    this.stop()
    console.error(text)
  }

  update({ stage, received, total }: SetupProgress): void {
    if (stage !== this.#stage) this.#start(stage)
    if (total !== undefined) this.#bar?.setTotal(total)
    this.#bar?.update(received, { done: amount({ stage, received, total }) })
  }

  stop(): void {
    this.#bar?.stop()
    this.#bar = undefined
    this.#stage = undefined
  }

  #start(stage: SetupProgress['stage']): void {
    this.stop()
    this.#stage = stage
    const format = `${STAGES[stage].padEnd(9)} {bar} {percentage}% {done}`
    this.#bar = new SingleBar({ format, stream: process.stderr, hideCursor: true, fps: 5 })
    this.#bar.start(Number.MAX_SAFE_INTEGER, 0, { done: '' })
  }
}

/** One line a second, for pipes and logs. */
class LineDisplay implements Display {
  #last = 0

  message(text: string): void {
    console.error(text)
  }

  update(progress: SetupProgress): void {
    const now = Date.now()
    if (now - this.#last < 1000) return
    this.#last = now
    console.error(`${STAGES[progress.stage]}: ${amount(progress)}`)
  }

  stop(): void {}
}

function amount({ received, total }: SetupProgress): string {
  return total === undefined ? formatBytes(received) : `${formatBytes(received)} of ${formatBytes(total)}`
}
