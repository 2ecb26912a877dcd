#!/usr/bin/env node
import { Command, CommanderError } from 'commander'
import { TorchvidError } from '../errors.ts'
import { packageVersion } from '../libtorch/package.ts'
import { doctorCommand } from './doctor.ts'
import { evaluateCommand } from './evaluate.ts'
import { inspectCommand } from './inspect.ts'
import { INTERRUPTED, Interrupted } from './interrupt.ts'
import { rtfmCommand } from './rtfm.ts'
import { segmentCommand } from './segment.ts'
import { setupCommand } from './setup.ts'
import { slimCommand } from './slim.ts'
import { trainParentCommand } from './train-parent.ts'

/** Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. */
async function main(): Promise<void> {
  const program = new Command('torchvid')
    .description('train, slim and run video-understanding networks on LibTorch')
    .version(packageVersion())
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'ERR_INVALID_ARGUMENT: ')) })
  for (const make of [
    segmentCommand,
    trainParentCommand,
    evaluateCommand,
    slimCommand,
    rtfmCommand,
    inspectCommand,
    setupCommand,
    doctorCommand,
  ]) {
    const command = make().copyInheritedSettings(program)
    program.addCommand(command)
    for (const below of command.commands) below.copyInheritedSettings(command)
  }
  try {
    await program.parseAsync()
  } catch (error) {
    process.exitCode = report(error)
  }
}

/** Says what went wrong, on stderr and with `--json` on stdout too; returns the exit code. */
function report(error: unknown): number {
  if (error instanceof Interrupted) {
    console.error(error.message)
    printEvent({ event: 'interrupted', message: error.message })
    return INTERRUPTED
  }
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0
    // commander has written its message already.
    printEvent({ event: 'error', code: 'ERR_INVALID_ARGUMENT', message: error.message.replace(/^error: /, '') })
    return 2
  }
  const { code = 'ERR_INTERNAL', message } = error as { code?: string; message: string }
  printEvent({ event: 'error', code, message })
  if (!(error instanceof TorchvidError)) {
    console.error(error)
    return 1
  }
  console.error(`${code}: ${message}`)
  return code === 'ERR_INVALID_ARGUMENT' ? 2 : 1
}

function printEvent(event: object): void {
  if (process.argv.includes('--json')) console.log(JSON.stringify(event))
}

await main()
