import { readdir } from 'node:fs/promises'
import { basename, dirname, extname, join, parse } from 'node:path'
import { describe, invalidArgument } from '../errors.ts'
import { damaged, kindOf } from './binary-file.ts'
import { readLines } from './text-lines.ts'

/** What to read of a DAVIS folder. */
export interface DavisOptions {
  /** `'train'` or `'val'`: the set's own list; or names of sequences, in any order. Default: all there are, sorted. */
  sequences?: 'train' | 'val' | string[]
  /** Whose lists of names count, where there are several (`ImageSets/2016`, `ImageSets/2017`). Default 2016. */
  year?: 2016 | 2017
  /** Folder below `JPEGImages` and `Annotations`. Default `'480p'`. */
  resolution?: string
}

/** A video of DAVIS: one mask for every frame. */
export interface DavisSequence {
  name: string
  /** Paths of the pictures, in order. */
  frames: string[]
  /** Paths of the annotations: index 0 is background, every other an object. One for each frame. */
  masks: string[]
}

const REMEDY =
  'Give the folder of DAVIS that holds JPEGImages, Annotations and ImageSets, as the archives of davischallenge.org unpack to.'

/**
 * The sequences of DAVIS (Perazzi et al., CVPR 2016; Pont-Tuset et al., 2017), as its archives unpack to:
 * `JPEGImages/480p/NAME/00000.jpg`, `Annotations/480p/NAME/00000.png`, and lists in `ImageSets`, with a frame a line
 * (`ImageSets/480p/val.txt`) or a sequence a line (`ImageSets/2017/val.txt`). No picture is read.
 *
 * @param root the folder that holds `JPEGImages`, `Annotations` and `ImageSets` (needed for `'train'` and `'val'` only)
 * @returns `{ name, frames, masks }` for each, in the list's order
 * @throws TorchvidError ERR_IO naming the folder, list, frame or mask that is missing; ERR_INVALID_ARGUMENT for an option,
 *   or a name that is no sequence of this folder
 */
export async function davis(root: string, options: DavisOptions = {}): Promise<DavisSequence[]> {
  if (typeof root !== 'string' || root === '') throw invalidArgument('root', root, 'the folder of DAVIS')
  if (typeof options !== 'object' || options === null) throw invalidArgument('options', options, 'an object')
  const { year = 2016, resolution = '480p' } = options
  if (year !== 2016 && year !== 2017) throw invalidArgument('year', year, '2016 or 2017')
  if (!isName(resolution)) throw invalidArgument('resolution', resolution, "a folder's name, such as '480p'")
  const place = {
    lists: [join(root, 'ImageSets', resolution), join(root, 'ImageSets', String(year))],
    frames: join(root, 'JPEGImages', resolution),
    masks: join(root, 'Annotations', resolution),
  }
  for (const folder of [root, place.frames, place.masks]) {
    if ((await kindOf(folder)) !== 'folder') throw damaged(folder, 'is no folder', REMEDY)
  }
  const found: DavisSequence[] = []
  for (const wanted of await wantedOf(options.sequences, place)) found.push(await readSequence(wanted, place))
  return found
}

interface Place {
  lists: string[]
  frames: string
  masks: string
}

/** A sequence to read, and its frames where the list names them. */
interface Wanted {
  name: string
  files?: string[]
}

async function wantedOf(sequences: DavisOptions['sequences'], place: Place): Promise<Wanted[]> {
  if (sequences === 'train' || sequences === 'val') return await readList(sequences, place)
  const present = (await namesIn(place.frames)).sort()
  if (sequences === undefined) return present.map((name) => ({ name }))
  const wanted = "'train', 'val' or the names of sequences"
  const isList = Array.isArray(sequences) && sequences.length > 0 && sequences.every((name) => typeof name === 'string')
  if (!isList) throw invalidArgument('sequences', sequences, wanted)
  const unknown = sequences.find((name) => !present.includes(name))
  if (unknown !== undefined) {
    throw invalidArgument('sequences', unknown, `names of folders in ${describe(place.frames)}: ${few(present)}`)
  }
  return [...new Set(sequences)].map((name) => ({ name }))
}

/** The list of the resolution, or else of the year. */
async function readList(split: string, { lists }: Place): Promise<Wanted[]> {
  const files = lists.map((folder) => join(folder, `${split}.txt`))
  for (const file of files) if ((await kindOf(file)) === 'file') return await parseList(file)
  const others = `Looked for ${files.map((file) => describe(file)).join(' and ')}.`
  throw damaged(dirname(dirname(files[0]!)), `has no list ${split}.txt`, `${others} ${REMEDY}`)
}

/** Lines of "picture annotation", or of a sequence's name each. */
async function parseList(file: string): Promise<Wanted[]> {
  const found = new Map<string, string[] | undefined>()
  for (const { text, number } of await readLines(file, 'a list of DAVIS')) {
    const [first = '', second] = text.split(/\s+/)
    const [name, frame] = second === undefined ? [first] : [basename(dirname(first)), basename(first)]
    if (!isName(name) || (frame !== undefined && !IMAGE.test(frame))) {
      const remedy = "Wanted a sequence's name, or a picture and its annotation, on every line."
      throw damaged(file, `line ${number}: ${describe(text.slice(0, 60))} names no frame of a sequence`, remedy)
    }
    if (frame === undefined) found.set(name, undefined)
    else found.set(name, [...(found.get(name) ?? []), frame])
  }
  if (found.size === 0) throw damaged(file, 'names no sequence', 'Fetch the list again.')
  return [...found].map(([name, files]) => ({ name, files }))
}

const IMAGE = /\.(jpe?g|png)$/i

async function readSequence({ name, files }: Wanted, place: Place): Promise<DavisSequence> {
  const folders = { frames: join(place.frames, name), masks: join(place.masks, name) }
  const present = await imagesIn(folders.frames)
  const masks = new Map((await imagesIn(folders.masks)).map((file) => [parse(file).name, file]))
  const chosen = files ?? present
  if (chosen.length === 0) throw damaged(folders.frames, 'has no pictures (.jpg, .png)', REMEDY)
  checkAll(
    folders.frames,
    chosen.filter((file) => !present.includes(file)),
    chosen.length,
  )
  const lacking = chosen.filter((file) => !masks.has(parse(file).name)).map((file) => `${parse(file).name}.png`)
  checkAll(folders.masks, lacking, chosen.length)
  return {
    name,
    frames: chosen.map((file) => join(folders.frames, file)),
    masks: chosen.map((file) => join(folders.masks, masks.get(parse(file).name)!)),
  }
}

function checkAll(folder: string, lacking: string[], of: number): void {
  if (lacking.length === 0) return
  const remedy = 'Unpack the archive again; wanted a picture and an annotation for every frame.'
  throw damaged(folder, `lacks ${few(lacking)} (${lacking.length} of ${of})`, remedy)
}

async function imagesIn(folder: string): Promise<string[]> {
  const { compare } = new Intl.Collator('en', { numeric: true })
  return (await namesIn(folder)).filter((name) => IMAGE.test(extname(name))).sort(compare)
}

/** What lies in a folder, without hidden files: some systems' archives put one beside every picture. */
async function namesIn(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((error) => {
    throw damaged(folder, `cannot be read (${error.message})`, REMEDY, error)
  })
  return names.filter((name) => !name.startsWith('.'))
}

/** A name that stays in its folder. */
function isName(name: unknown): name is string {
  return typeof name === 'string' && /^[^./\\\0][^/\\\0]*$/.test(name)
}

function few(names: string[]): string {
  return `${names.slice(0, 5).join(', ')}${names.length > 5 ? ` and ${names.length - 5} more` : ''}`
}
