import { mkdir, readdir, readFile, realpath, rename, rm, rmdir, writeFile } from 'node:fs/promises'
import { join, resolve, sep } from 'node:path'
import { damaged, kindOf } from '../data/binary-file.ts'
import { makeFolder, temporaryName, writeError } from '../data/files.ts'
import { describe, TorchvidError } from '../errors.ts'
import type { Settings } from './evaluate-settings.ts'

/** What is known of a sequence when it is done: the contents of OUT/SEQUENCE/scores.json. */
export interface SequenceResult {
  name: string
  /** Frames of the sequence. */
  frames: number
  /** The frames that were measured, from 0. */
  measured: number[]
  /** One value for each of those, of each object. */
  objects: { id: number; jaccard: number[]; contour: number[] }[]
  /** Of the fit, and of segmenting one frame; null where nothing of the kind was done. */
  seconds: { fit: number | null; frame: number | null }
  /** LibTorch's; null where no model was used. */
  threads: number | null
  settings: Settings
}

const FILE = 'scores.json'

/** A sequence's folder in `out`. */
export function folderOf(out: string, name: string): string {
  return join(out, name)
}

/**
 * What an earlier call left of a sequence, or undefined.
 * @throws TorchvidError ERR_CHECKPOINT_MISMATCH naming the setting that differs; ERR_CHECKPOINT_FORMAT when it is damaged;
 *   ERR_INVALID_ARGUMENT when the folder is somebody else's
 */
export async function readResult(out: string, name: string, settings: Settings): Promise<SequenceResult | undefined> {
  const folder = folderOf(out, name)
  const kind = await kindOf(folder)
  if (kind === undefined) return undefined
  const names = kind === 'folder' ? await readdir(folder) : ['']
  if (names.length === 0) return undefined
  if (!names.includes(FILE)) {
    const text = `--out: ${describe(folder)} is there and holds no ${FILE}, so it is not of this command, and its files could be written over. Give another --out.`
    throw new TorchvidError('ERR_INVALID_ARGUMENT', text)
  }
  const file = join(folder, FILE)
  const result = parseResult(file, await readFile(file, 'utf8'))
  checkSame(file, result.settings, settings)
  return result
}

function parseResult(file: string, text: string): SequenceResult {
  try {
    const result = JSON.parse(text) as SequenceResult
    const { measured, objects, settings, seconds } = result
    const isWhole =
      Array.isArray(measured) && objects.length > 0 && typeof settings === 'object' && typeof seconds === 'object'
    const fits = ({ jaccard, contour }: SequenceResult['objects'][number]) =>
      jaccard.length === measured.length && contour.length === measured.length
    if (isWhole && settings !== null && seconds !== null && objects.every(fits)) return result
  } catch {
    // said below
  }
  const message = `${describe(file)} is damaged or of another program. Remove its folder, and the sequence is evaluated again.`
  throw new TorchvidError('ERR_CHECKPOINT_FORMAT', message)
}

function checkSame(file: string, before: Settings, now: Settings): void {
  const names = [...new Set([...Object.keys(now), ...Object.keys(before)])]
  const other = names.find((name) => before[name] !== now[name])
  if (other === undefined) return
  const given = (settings: Settings) => settings[other] ?? 'none'
  const text = `${describe(file)} was made with other settings: ${other} was ${given(before)} and is ${given(now)} now. Give another --out, or what was given then; or remove the folder to evaluate anew.`
  throw new TorchvidError('ERR_CHECKPOINT_MISMATCH', text)
}

/**
 * Makes a sequence's folder whole or not at all: `fill` writes into a folder of another name, which then takes its place.
 * @throws TorchvidError ERR_IO; what `fill` throws
 */
export async function writeResult(
  out: string,
  name: string,
  fill: (folder: string) => Promise<SequenceResult>,
): Promise<SequenceResult> {
  const folder = folderOf(out, name)
  const temporary = temporaryName(folder)
  await makeFolder(out)
  try {
    await mkdir(temporary)
    const result = await fill(temporary)
    await writeFile(join(temporary, FILE), `${JSON.stringify(result)}\n`)
    // Not every system replaces a folder, even an empty one.
    await rmdir(folder).catch(() => {})
    await rename(temporary, folder)
    return result
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => {})
    throw (error as NodeJS.ErrnoException).syscall === undefined ? error : writeError(folder, error)
  }
}

/**
 * Refuses a place for results where pictures and annotations of DAVIS could be written over.
 * @throws TorchvidError ERR_INVALID_ARGUMENT
 */
export async function checkOut(out: string, davis: string): Promise<void> {
  const place = await realpath(out).catch(() => resolve(out))
  for (const kind of ['JPEGImages', 'Annotations']) {
    const folder = await realpath(join(davis, kind)).catch(() => undefined)
    if (folder === undefined || (place !== folder && !place.startsWith(folder + sep))) continue
    const text = `--out: ${describe(out)} lies in DAVIS's ${kind}. Wanted another place: masks have the names of annotations.`
    throw new TorchvidError('ERR_INVALID_ARGUMENT', text)
  }
}

/**
 * Paths of masks on disk, in a folder of masks by sequence.
 * @param frames names of the frames that need one, without ending
 * @throws TorchvidError ERR_IO naming what is missing
 */
export async function masksIn(folder: string, name: string, frames: string[]): Promise<string[]> {
  const place = join(folder, name)
  const present = await readdir(place).catch((error) => {
    const remedy = `Wanted ${join(folder, name, `${frames[0]}.png`)} and one for every other frame.`
    throw damaged(place, `cannot be read (${error.message})`, remedy, error)
  })
  const found = new Set(present)
  const lacking = frames.filter((frame) => !found.has(`${frame}.png`)).map((frame) => `${frame}.png`)
  if (lacking.length === 0) return frames.map((frame) => join(place, `${frame}.png`))
  const few = `${lacking.slice(0, 5).join(', ')} (${lacking.length} of ${frames.length} masks)`
  throw damaged(place, `lacks ${few}`, 'Wanted a mask for every frame that counts.')
}
