import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import sharp from 'sharp'
import { afterAll } from 'vitest'

export const root = resolve(import.meta.dirname, '../..')
const cli = join(root, 'dist', 'cli.mjs')

export const WIDTH = 64
export const HEIGHT = 48

/** A folder for this test file, removed when it is done. */
export function scratch(): string {
  const folder = mkdtempSync(join(tmpdir(), 'torchvid-cli-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** How a run of the command line ended. `status` is null when a signal ended it. */
export interface Outcome {
  status: number | null
  stdout: string
  stderr: string
}

/** The events of `--json`; throws when a line is not JSON. */
export function eventsOf({ stdout }: Outcome): Record<string, any>[] {
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
}

/**
 * Runs `torchvid` as a user's shell would, with its output in pipes. `watch` sees the process and all that it has
 * written so far, whenever it writes something.
 */
export function torchvid(args: string[], watch?: (child: ChildProcess, text: string) => void): Promise<Outcome> {
  // One thread: many small processes on few cores only wait for each other otherwise.
  const env = { ...process.env, PREBUILDS_ONLY: '1', OMP_NUM_THREADS: '1' }
  const child = spawn(process.execPath, [cli, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  const outcome = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      outcome[name] += text
      watch?.(child, outcome.stdout + outcome.stderr)
    })
  }
  return new Promise((done, fail) => {
    child.on('error', fail)
    child.on('close', (status) => done({ status, ...outcome }))
  })
}

/** A folder of JPEG frames in which a bright square moves over a dark ground. */
export async function makeFrames(folder: string, names: string[], size = { width: WIDTH, height: HEIGHT }) {
  mkdirSync(folder, { recursive: true })
  for (const [i, name] of names.entries()) {
    const data = pixels(size, 3, (x, y) => (inSquare(x - i, y) ? 220 : 40 + ((x * 7 + y * 13) % 32)))
    await sharp(data, { raw: { ...size, channels: 3 } })
      .jpeg()
      .toFile(join(folder, `${name}.jpg`))
  }
}

/** The mask of the first of those frames. */
export async function makeMask(file: string, size = { width: WIDTH, height: HEIGHT }) {
  const data = pixels(size, 1, (x, y) => (inSquare(x, y) ? 255 : 0))
  await sharp(data, { raw: { ...size, channels: 1 } })
    .toColourspace('b-w')
    .png()
    .toFile(file)
}

function inSquare(x: number, y: number): boolean {
  return x >= 10 && x < 34 && y >= 10 && y < 36
}

function pixels(size: { width: number; height: number }, channels: number, value: (x: number, y: number) => number) {
  const data = Buffer.alloc(size.width * size.height * channels)
  for (let i = 0; i < data.length; i++) {
    const pixel = Math.floor(i / channels)
    data[i] = value(pixel % size.width, Math.floor(pixel / size.width))
  }
  return data
}

/** All files below a folder, hidden ones too, as paths in it; none when there is no folder. */
export function filesBelow(folder: string): string[] {
  if (!existsSync(folder)) return []
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => !entry.isDirectory())
  return files.map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1)).sort()
}
