import { Command } from 'commander'
import { formatBytes } from '../libtorch/disk.ts'
import { type SetupProgress, setupLibTorch } from '../libtorch/setup.ts'
import { Interrupted, withInterrupt } from './interrupt.ts'
import { createProgress } from './progress.ts'

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
    .action((flags: SetupFlags) => withInterrupt((signal) => setUp(flags, signal)))
}

async function setUp(flags: SetupFlags, signal: AbortSignal): Promise<void> {
  const progress = createProgress()
  try {
    const { libtorch, fetched } = await setupLibTorch({
      force: flags.force,
      signal,
      onMessage: (text) => progress.message(text),
      onProgress: ({ stage, received, total }) =>
        progress.update({ label: STAGES[stage], done: received, total, text: amount(received, total) }),
    })
    progress.stop()
    if (flags.json) console.log(JSON.stringify({ ...libtorch, fetched }))
  } catch (error) {
    throw signal.aborted ? new Interrupted('Interrupted; nothing was left behind.', { cause: error }) : error
  } finally {
    progress.stop()
  }
}

function amount(received: number, total: number | undefined): string {
  return total === undefined ? formatBytes(received) : `${formatBytes(received)} of ${formatBytes(total)}`
}
