import { type ChildProcess, spawn } from 'node:child_process'
import { accessSync, constants, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { describe, TorchvidError } from '../errors.ts'

const HOW_TO_GET_IT =
  'Install it ("apt install ffmpeg" on Debian and Ubuntu, "brew install ffmpeg" on macOS, "winget install ffmpeg" on Windows) or set FFMPEG_PATH to the program. A folder of images needs no ffmpeg.'

/**
 * The path of the `ffmpeg` program: `FFMPEG_PATH` when it is set, else the first one on the PATH.
 * `ERR_IO` saying how to get it when there is none.
 */
export function ffmpegPath(): string {
  const set = process.env.FFMPEG_PATH
  if (set) {
    if (isProgram(set)) return set
    throw ioError(`FFMPEG_PATH is ${describe(set)}, which is not a program that can be run. ${HOW_TO_GET_IT}`)
  }
  const name = process.platform === 'win32' ? 'ffmpeg.exe' : 'ffmpeg'
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    if (folder !== '' && isProgram(join(folder, name))) return join(folder, name)
  }
  throw ioError(`Video files need the ffmpeg program, and there is none on the PATH. ${HOW_TO_GET_IT}`)
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}

/** A running ffmpeg: its process, the first lines it wrote to its error output, and its end. */
export interface Ffmpeg {
  child: ChildProcess
  /** The first lines of the error output, as they come. */
  lines: string[]
  /** Resolves when it has ended and its outputs are closed: null when it ended well, else the reason. Never rejects. */
  ended: Promise<string | null>
}

const LONGEST_LINE = 500

/** Starts ffmpeg, without a shell. `stdin` and `stdout` are `'pipe'` or `'ignore'`. */
export function startFfmpeg(
  args: string[],
  stdin: 'pipe' | 'ignore',
  stdout: 'pipe' | 'ignore',
  program: string = ffmpegPath(),
  mostLines = 50,
): Ffmpeg {
  const child = spawn(program, args, { stdio: [stdin, stdout, 'pipe'], windowsHide: true })
  const lines: string[] = []
  let rest = ''
  const add = (line: string) => {
    if (line.trim() !== '' && lines.length < mostLines) lines.push(line.trimEnd().slice(0, LONGEST_LINE))
  }
  child.stderr!.setEncoding('utf8')
  child.stderr!.on('data', (text: string) => {
    const parts = (rest + text).split(/\r?\n/)
    rest = parts.pop()!.slice(0, LONGEST_LINE)
    parts.forEach(add)
  })
  const ended = new Promise<string | null>((resolve) => {
    child.on('error', (error) => resolve(`${program} cannot be run: ${error.message}`))
    child.on('close', (status, signal) => {
      add(rest)
      resolve(status === 0 ? null : `ffmpeg ended with ${signal ? `signal ${signal}` : `status ${status}`}`)
    })
  })
  return { child, lines, ended }
}

/** Runs ffmpeg to its end and returns what it wrote to its outputs. The exit status is not looked at. */
export async function askFfmpeg(args: string[], program: string = ffmpegPath()): Promise<string> {
  const { child, lines, ended } = startFfmpeg(args, 'ignore', 'pipe', program, 10000)
  let out = ''
  child.stdout!.setEncoding('utf8')
  child.stdout!.on('data', (text: string) => {
    out += text
  })
  await ended
  return `${lines.join('\n')}\n${out}`
}

/**
 * A file's name for ffmpeg. The prefix keeps it from being read as an option (`-x.mp4`) or as an
 * address (`concat:a|b`, `http:...`).
 */
export function fileArgument(path: string): string {
  return `file:${path}`
}

/** An `ERR_IO`. */
export function ioError(message: string, cause?: unknown): TorchvidError {
  return new TorchvidError('ERR_IO', message, cause === undefined ? undefined : { cause })
}
