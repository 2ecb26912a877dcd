import { randomBytes } from 'node:crypto'
import { mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { describe, invalidArgument, TorchvidError } from '../errors.ts'

/** A fresh name in the folder of `path`, for what is renamed to `path` when it is whole. */
export function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path)}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`)
}

/**
 * Writes a whole file or none: under a temporary name in the same folder, then renamed. The folder is
 * made if it is missing. Bytes may come piece by piece.
 *
 * @throws `ERR_IO` when the folder cannot be written to or the disk is full, or what the pieces' source throws on
 *   purpose; nothing is left behind.
 */
export async function writeWhole(path: string, bytes: Uint8Array | AsyncIterable<Uint8Array>): Promise<void> {
  await makeFolder(dirname(path))
  const temporary = temporaryName(path)
  try {
    await writeFile(temporary, bytes, { flag: 'wx' })
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {})
    throw error instanceof TorchvidError ? error : writeError(path, error)
  }
}

/** Makes a folder and those above it; `ERR_IO` when that cannot be done. */
export async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true })
  } catch (error) {
    throw writeError(folder, error)
  }
}

/** `ERR_IO` for something that could not be written, with what to do about it. */
export function writeError(path: string, error: unknown): TorchvidError {
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    const text = `The disk is full: ${describe(path)} could not be written. Nothing was left of it; free some space or choose another folder.`
    return new TorchvidError('ERR_IO', text, { cause: error })
  }
  const text = `${describe(path)} could not be written (${message}). Check that its folder exists and may be written to, or choose another.`
  return new TorchvidError('ERR_IO', text, { cause: error })
}

/**
 * The path of `name` with `extension` directly in `folder`. Only the last part of `name` is used, so no
 * name leads out of the folder; `ERR_INVALID_ARGUMENT` when nothing is left of it.
 */
export function pathIn(folder: string, name: string, extension: string): string {
  const base = String(name).split(/[\\/]/).at(-1)!
  if (base === '' || base === '.' || base === '..' || base.includes('\0')) {
    throw invalidArgument('name', name, 'a file name without its folder')
  }
  return join(folder, `${base}${extension}`)
}
