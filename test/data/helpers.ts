import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, expect } from 'vitest'
import type { ErrorCode } from '../../lib/errors.ts'
import { TorchvidError } from '../../lib/errors.ts'
import type { RawImage } from '../../lib/types.ts'

/** A folder for this test file, removed when it is done. */
export function scratch(): string {
  const folder = mkdtempSync(join(tmpdir(), 'torchvid-data-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** A new folder in `parent` with these files, whose names may hold folders. */
export function folderOf(parent: string, files: Record<string, Uint8Array>): string {
  const path = mkdtempSync(join(parent, 'set-'))
  for (const [name, bytes] of Object.entries(files)) {
    mkdirSync(join(path, name, '..'), { recursive: true })
    writeFileSync(join(path, name), bytes)
  }
  return path
}

/** Expects a rejection with this code whose message matches, and returns the error. */
export async function refuses(code: ErrorCode, message: RegExp, action: () => unknown): Promise<TorchvidError> {
  let error: unknown
  try {
    await action()
  } catch (caught) {
    error = caught
  }
  expect(error).toBeInstanceOf(TorchvidError)
  expect((error as TorchvidError).message).toMatch(message)
  expect((error as TorchvidError).code).toBe(code)
  return error as TorchvidError
}

/** An image whose pixels all differ from their neighbours; `shift` makes another one. */
export function picture(width: number, height: number, shift = 0): RawImage {
  const data = new Uint8Array(width * height * 3)
  for (let i = 0; i < data.length; i++) data[i] = (i * 7 + shift * 31 + Math.floor(i / (width * 3)) * 13) & 0xff
  return { data, width, height, channels: 3 }
}

/** A grey raw image from a function of the pixel. */
export function grey(width: number, height: number, value: (x: number, y: number) => number): RawImage {
  const data = Uint8Array.from({ length: width * height }, (_, i) => value(i % width, Math.floor(i / width)))
  return { data, width, height, channels: 1 }
}

/** Whether there is an ffmpeg on the PATH to make test videos with. */
export const hasFfmpeg = spawnSync('ffmpeg', ['-version']).status === 0

/** Makes a video with ffmpeg: `frames` pictures of 64 x 48 (or `size`) at 25 a second, each with its number in its colour. */
export function makeVideo(path: string, frames: number, options: { size?: string; extra?: string[] } = {}): void {
  const { size = '64x48', extra = [] } = options
  const source = `testsrc2=s=${size}:r=25:d=${frames / 25}`
  execFileSync('ffmpeg', ['-y', '-v', 'error', '-f', 'lavfi', '-i', source, '-pix_fmt', 'yuv420p', ...extra, path])
}

/** The folder of shared test data beside the repository (or TORCHVID_SHARED), or undefined. */
export const shared = [process.env.TORCHVID_SHARED, resolve(import.meta.dirname, '../../../shared')].find(
  (folder): folder is string => folder !== undefined && existsSync(folder),
)

/** Names of temporary files left in a folder; there should be none. */
export function leftovers(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.tmp')) : []
}
