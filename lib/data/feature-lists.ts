import { readdir } from 'node:fs/promises'
import { dirname, isAbsolute, join, win32 } from 'node:path'
import { describe, invalidArgument, TorchvidError } from '../errors.ts'
import { damaged, quote } from './binary-file.ts'
import { cropOf, isFeatureFile, lastPart, videoName } from './feature-names.ts'
import type { FeatureInput } from './features.ts'
import { type Line, readLines } from './text-lines.ts'

/** A video of a list. */
export interface FeatureVideo {
  /** Without folder, ending and crop number. */
  name: string
  features: FeatureInput
  /** Undefined where the list does not tell. */
  abnormal?: boolean
}

/** The data sets whose lists are known; `'other'`: no rule says which videos are abnormal. */
export type FeatureDataset = 'shanghaitech' | 'ucf-crime' | 'xd-violence' | 'other'

/** Settings of `featureList`. */
export interface FeatureListOptions {
  /** Whose list it is. Default: told by the names of all its videos. */
  dataset?: FeatureDataset
  /**
   * `'train'`: where names do not tell, the places in RTFM's training lists do (ShanghaiTech's first 63 of 238, UCF-Crime's
   * first 810 of 1,610 are abnormal). Default: names alone.
   */
  split?: 'train' | 'test'
  /**
   * The folder that holds the features: it replaces the folders of the list's paths, which are other people's. Default: paths
   * as they are, relative ones from the list's own folder.
   */
  root?: string
}

interface Rules {
  /** Whether a name is one of the data set's. */
  known: RegExp
  /** Of those that are: whether it is of an abnormal video. */
  abnormal(name: string): boolean
  /** RTFM's training list: its videos, the first of which are abnormal. */
  train?: { videos: number; abnormal: number }
}

const rules: Record<Exclude<FeatureDataset, 'other'>, Rules> = {
  // Scene (of 13) and number: three digits for the original training set, which is normal, four for the test set, which is not.
  shanghaitech: {
    known: /^(?:0[1-9]|1[0-3])_\d{3,4}$/,
    abnormal: (name) => /_\d{4}$/.test(name),
    train: { videos: 238, abnormal: 63 },
  },
  'ucf-crime': {
    known:
      /^(?:Abuse|Arrest|Arson|Assault|Burglary|Explosion|Fighting|RoadAccidents|Robbery|Shooting|Shoplifting|Stealing|Vandalism|Normal_Videos)_?\d+/,
    abnormal: (name) => !name.includes('Normal'),
    train: { videos: 1610, abnormal: 810 },
  },
  // label_A is normal; label_B1-0-0, label_G-B2-0... name kinds of violence.
  'xd-violence': { known: /label_[ABG]\d?(?![A-Za-z])/, abnormal: (name) => !name.includes('label_A') },
}

/**
 * The videos of a list file: one path of a .npy or .txt file a line, or one name of a video, whose file is then looked for
 * under `NAME.npy`, `NAME_i3d.npy`, `NAME.txt` and `NAME__0.npy` and following. Files of one crop each
 * (`NAME__0.npy`...) are put together. Which videos are abnormal the names tell: ShanghaiTech's have four digits then (as in
 * Zhong et al.'s split, CVPR 2019), UCF-Crime's lack `Normal`, XD-Violence's lack `label_A`. That the features are there is
 * not checked: opening them does.
 *
 * @param file such as RTFM's shanghai-i3d-train-10crop.list, ucf-i3d.list or SH_Train.txt
 * @throws TorchvidError ERR_INVALID_ARGUMENT, also when the data set cannot be told; ERR_IO naming file and line when it
 * cannot be read, is empty, or a video's crops are incomplete
 */
export async function featureList(file: string, options: FeatureListOptions = {}): Promise<FeatureVideo[]> {
  const { dataset, split, root } = options
  checkOptions(file, options)
  const lines = await readLines(file, 'a list of files of features, one a line')
  if (lines.length === 0) throw damaged(file, 'is empty', 'Give a list of files of features, one a line.')
  const folders = new Folders()
  const paths = await Promise.all(lines.map((line) => locate(file, line, root, folders)))
  if (root !== undefined) checkUnique(file, paths.flat(), root)
  const videos = grouped(file, paths)
  const set = dataset ?? guess(file, videos)
  if (set === 'other') return videos
  const { known, abnormal, train } = rules[set]
  const byPlace = split === 'train' && videos.length === train?.videos ? train.abnormal : undefined
  return videos.map((video, i) => {
    if (known.test(video.name)) return { ...video, abnormal: abnormal(video.name) }
    return byPlace === undefined ? video : { ...video, abnormal: i < byPlace }
  })
}

function checkOptions(file: unknown, { dataset, split, root }: FeatureListOptions): void {
  if (typeof file !== 'string' || file === '') throw invalidArgument('file', file, 'the path of a list')
  const sets = [...Object.keys(rules), 'other']
  if (dataset !== undefined && !sets.includes(dataset)) {
    throw invalidArgument('dataset', dataset, sets.map((set) => `'${set}'`).join(', '))
  }
  if (split !== undefined && split !== 'train' && split !== 'test') {
    throw invalidArgument('split', split, "'train' or 'test'")
  }
  if (root !== undefined && (typeof root !== 'string' || root === '')) {
    throw invalidArgument('root', root, 'the folder of the features')
  }
}

function guess(file: string, videos: FeatureVideo[]): FeatureDataset {
  for (const [set, { known }] of Object.entries(rules)) {
    if (videos.every(({ name }) => known.test(name))) return set as FeatureDataset
  }
  const names = videos.slice(0, 3).map(({ name }) => name)
  const text = `dataset: the names in ${quote(file)}, such as ${describe(names)}, do not tell whose list it is. Give dataset: 'shanghaitech', 'ucf-crime', 'xd-violence', or 'other' for a list of your own, which does not say what is abnormal.`
  throw new TorchvidError('ERR_INVALID_ARGUMENT', text)
}

/** Where a line's file is; the files of a name. */
async function locate(list: string, line: Line, root: string | undefined, folders: Folders): Promise<string[]> {
  const { text, number } = line
  const last = lastPart(text)
  if (last === '' || last === '.' || last === '..') {
    throw damaged(list, `line ${number}: "${text.slice(0, 80)}" names no file`, 'Give one file or video a line.')
  }
  const path = root === undefined ? fromList(list, text) : join(root, last)
  return isFeatureFile(last) ? [path] : await filesOf(folders, dirname(path), videoName(last))
}

/** A path as a list has it. Other systems' absolute paths stay as they are, so that messages show them. */
function fromList(list: string, text: string): string {
  if (isAbsolute(text) || win32.isAbsolute(text)) return text
  return join(dirname(list), text.includes('/') ? text : text.replaceAll('\\', '/'))
}

/** The files of a video that is named without its ending; its most usual one when there is none. */
async function filesOf(folders: Folders, folder: string, name: string): Promise<string[]> {
  const there = await folders.names(folder)
  const whole = [`${name}.npy`, `${name}_i3d.npy`, `${name}.txt`].find((file) => there.has(file))
  if (whole !== undefined) return [join(folder, whole)]
  const crops: string[] = []
  while (there.has(`${name}__${crops.length}.npy`)) crops.push(join(folder, `${name}__${crops.length}.npy`))
  return crops.length > 0 ? crops : [join(folder, `${name}.npy`)]
}

/** What folders hold, each read once; one that is not there holds nothing. */
class Folders {
  private readonly read = new Map<string, Promise<Set<string>>>()

  names(folder: string): Promise<Set<string>> {
    let names = this.read.get(folder)
    if (names === undefined) {
      names = readdir(folder).then(
        (found) => new Set(found),
        () => new Set<string>(),
      )
      this.read.set(folder, names)
    }
    return names
  }
}

function checkUnique(file: string, paths: string[], root: string): void {
  const seen = new Set<string>()
  for (const path of paths) {
    if (!seen.has(path)) {
      seen.add(path)
      continue
    }
    const text = `root: ${quote(file)} holds two files called ${quote(lastPart(path))}, which would both be the one in ${quote(root)}. Leave root out and correct the list's folders instead.`
    throw new TorchvidError('ERR_INVALID_ARGUMENT', text)
  }
}

/** Files of one crop each under their video, in the order of the list; the rest one by one. */
function grouped(file: string, lines: string[][]): FeatureVideo[] {
  const videos = new Map<string, { name: string; paths: string[] }>()
  for (const paths of lines) {
    const [path] = paths as [string, ...string[]]
    const folder = path.slice(0, path.length - lastPart(path).length)
    const key = cropOf(path) === undefined ? `whole ${videos.size}` : `crops ${folder}${videoName(path)}`
    const video = videos.get(key)
    if (video === undefined) videos.set(key, { name: videoName(path), paths: [...paths] })
    else video.paths.push(...paths)
  }
  const most = [...videos.values()].reduce((crops, { paths }) => Math.max(crops, paths.length), 1)
  return [...videos.values()].map(({ name, paths }) => {
    if (paths.length < most) throw incomplete(file, name, paths, most)
    return { name, features: most === 1 ? paths[0]! : inOrder(file, name, paths) }
  })
}

function inOrder(file: string, name: string, paths: string[]): string[] {
  const sorted = [...paths].sort((a, b) => cropOf(a)! - cropOf(b)!)
  if (sorted.some((path, crop) => cropOf(path) !== crop)) throw incomplete(file, name, paths, paths.length)
  return sorted
}

function incomplete(file: string, name: string, paths: string[], crops: number): TorchvidError {
  const has = paths.map((path) => cropOf(path) ?? lastPart(path)).join(', ')
  const wants = `crops 0 to ${crops - 1}`
  return damaged(
    file,
    `lists ${quote(name)} with crop ${has}, and others with ${crops} files`,
    `Wanted ${wants} of each video, once.`,
  )
}
