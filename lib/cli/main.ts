#!/usr/bin/env node
import { Command, CommanderError } from 'commander'
import { TorchvidError } from '../errors.ts'
import { packageVersion } from '../libtorch/package.ts'
import { doctorCommand } from './doctor.ts'
import { segmentCommand } from './segment.ts'
import { setupCommand } from './setup.ts'

/** Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. */
async function main(): Promise<void> {
  const program = new Command('torchvid')
    .description('train and run video-understanding networks on LibTorch')
    .version(packageVersion())
    .exitOverride()
  for (const command of [segmentCommand(), setupCommand(), doctorCommand()]) {
    command.exitOverride()
    program.addCommand(command)
  }
  try {
    await program.parseAsync()
  } catch (error) {
    process.exitCode = report(error)
  }
}

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
  if (error instanceof TorchvidError) {
    console.error(`${error.code}: ${error.message}`)
    return error.code === 'ERR_INVALID_ARGUMENT' ? 2 : 1
  }
  console.error(error)
  return 1
}

await main()
