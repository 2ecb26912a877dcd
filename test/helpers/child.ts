import { spawn } from 'node:child_process'
import { resolve } from 'node:path'

/** The repository's root: `import 'torchvid'` finds the built package from here. */
export const root = resolve(import.meta.dirname, '../..')

/** How a process ended. */
export interface Ending {
  code: number | null
  signal: NodeJS.Signals | null
  output: string
}

/** Runs a program to its end; one that does not end in a minute is killed, and shows as signal SIGKILL. */
export function runProgram(command: string, args: string[], options: { cwd?: string } = {}): Promise<Ending> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: options.cwd ?? root,
      env: { ...process.env, PREBUILDS_ONLY: '1' },
    })
    const timer = setTimeout(() => child.kill('SIGKILL'), 60_000)
    let output = ''
    const collect = (chunk: Buffer) => {
      output += chunk
    }
    child.stdout.on('data', collect)
    child.stderr.on('data', collect)
    child.on('error', reject)
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      resolve({ code, signal, output })
    })
  })
}

/** Pictures for programs that run in a process of their own. */
export const programStart = `
import { OSVOS, Network, networks } from 'torchvid'
const width = 64, height = 48
const image = { data: new Uint8Array(width * height * 3).fill(90), width, height, channels: 3 }
const mask = { data: Uint8Array.from({ length: width * height }, (_, i) => (i % width > 20 && i % width < 40 ? 255 : 0)), width, height, channels: 1 }
`

/** Runs an ES module as a process of its own, from the repository's root, after `programStart`. */
export function runModule(code: string): Promise<Ending> {
  return runProgram(process.execPath, ['--input-type=module', '-e', programStart + code])
}
