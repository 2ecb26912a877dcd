import { realpath, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { glob, isDynamicPattern } from 'tinyglobby'
import { ffmpegPath } from '../data/ffmpeg.ts'
import { makeFolder, temporaryName, writeError } from '../data/files.ts'
import { describe, TorchvidError } from '../errors.ts'
import type { SegmentFlags } from './flags.ts'

/**
 * Checks, before any long work, that everything can be written where it should go, and that nothing of the user's would
 * be written over. Makes the folders.
 * @throws `ERR_IO` for a place that cannot be written to; `ERR_INVALID_ARGUMENT` when frames or mask lie in the output
 * folder; `ERR_IO` when an overlay video was asked for and there is no ffmpeg.
 */
export async function checkPlaces(frames: string, flags: SegmentFlags): Promise<void> {
  await checkOverwriting(frames, flags)
  if (flags.overlayVideo !== undefined) ffmpegPath()
  await checkFolder(flags.out)
  for (const file of [flags.checkpoint, flags.saveModel, flags.overlayVideo]) {
    if (file !== undefined) await checkFile(file)
  }
}

/** Masks are named after the frames, so in one folder they could replace them. */
async function checkOverwriting(frames: string, flags: SegmentFlags): Promise<void> {
  const out = await real(flags.out)
  const refuse = (what: string, path: string, flag: string) => {
    const message = `${flag}: ${describe(path)} holds the ${what}, which could be written over. Wanted another place.`
    throw new TorchvidError('ERR_INVALID_ARGUMENT', message)
  }
  for (const folder of await foldersOf(frames)) if (folder === out) refuse('frames', flags.out, '--out')
  for (const file of [flags.mask, flags.scribble]) {
    if (file !== undefined && dirname(await real(file)) === out) refuse('mask', flags.out, '--out')
  }
  if (flags.overlayVideo !== undefined && (await real(flags.overlayVideo)) === (await real(frames))) {
    refuse('frames', flags.overlayVideo, '--overlay-video')
  }
}

/** The folders that the source's images lie in; none for a video. */
async function foldersOf(frames: string): Promise<Set<string>> {
  const found = await stat(frames).catch(() => undefined)
  if (found?.isDirectory()) return new Set([await real(frames)])
  if (found !== undefined || !isDynamicPattern(frames)) return new Set()
  const pattern = process.platform === 'win32' ? frames.replaceAll('\\', '/') : frames
  const files = await glob(pattern, { absolute: true, onlyFiles: true, expandDirectories: false })
  const folders = new Set<string>()
  for (const folder of new Set(files.map((file) => dirname(file)))) folders.add(await real(folder))
  return folders
}

async function real(path: string): Promise<string> {
  return await realpath(path).catch(() => resolve(path))
}

async function checkFolder(folder: string): Promise<void> {
  await makeFolder(folder)
  // Only writing tells: access rights say nothing of read-only disks, quotas and the like.
  const probe = temporaryName(join(folder, 'probe'))
  try {
    await writeFile(probe, '')
  } catch (error) {
    throw writeError(folder, error)
  } finally {
    await rm(probe, { force: true }).catch(() => {})
  }
}

/** That a file can be written there; makes its folder. */
export async function checkFile(file: string): Promise<void> {
  const found = await stat(file).catch(() => undefined)
  if (found?.isDirectory())
    throw new TorchvidError('ERR_IO', `${describe(file)} is a folder, wanted the name of a file.`)
  await checkFolder(dirname(resolve(file)))
}
