import { readdir } from 'node:fs/promises'
import { join, parse } from 'node:path'
import { kindOf, quote } from '../data/binary-file.ts'
import { type FeatureDataset, type FeatureVideo, featureList } from '../data/feature-lists.ts'
import { cropOf, isFeatureFile, videoName } from '../data/feature-names.ts'
import { TorchvidError } from '../errors.ts'

/** How a list is read. */
export interface ListSettings {
  dataset?: FeatureDataset
  split?: 'train' | 'test'
  root?: string
}

/**
 * The videos of a folder of feature files, or of a list of them, one a line.
 * @param what the option, for messages
 * @throws TorchvidError ERR_IO when nothing is there, what a list names is damaged, or a video lacks a crop
 */
export async function readVideos(path: string, what: string, settings: ListSettings = {}): Promise<FeatureVideo[]> {
  const kind = await kindOf(path)
  if (kind === 'folder') return await videosOfFolder(path, what)
  if (kind === undefined) throw new TorchvidError('ERR_IO', `${what}: there is no file or folder ${quote(path)}.`)
  if (/\.npy$/i.test(path)) return [{ name: videoName(path), features: path }]
  return await featureList(path, settings)
}

/**
 * As `readVideos`, for lists whose names need not tell normal videos from abnormal ones: where they do, ground truth may leave
 * out the normal ones.
 */
export async function readTestVideos(path: string, what: string, settings: ListSettings): Promise<FeatureVideo[]> {
  const options = { ...settings, split: 'test' as const }
  try {
    return await readVideos(path, what, options)
  } catch (error) {
    const isUnknown = error instanceof TorchvidError && error.code === 'ERR_INVALID_ARGUMENT'
    if (!isUnknown || settings.dataset !== undefined) throw error
    return await readVideos(path, what, { ...options, dataset: 'other' })
  }
}

/** The feature files that lie in a folder, in natural order, as videos. */
export async function videosOfFolder(folder: string, what: string): Promise<FeatureVideo[]> {
  const { compare } = new Intl.Collator('en', { numeric: true })
  const names = (await readdir(folder)).filter((name) => isFeatureFile(name) && !name.startsWith('.'))
  if (names.length > 0) return groupedVideos(names.sort(compare).map((name) => join(folder, name)))
  const text = `${what}: the folder ${quote(folder)} has no features. Wanted .npy files of (T, crops, F) or (T, F), or .txt files of one row a line; torchvid rtfm extract makes them from videos.`
  throw new TorchvidError('ERR_IO', text)
}

/**
 * Files as videos: those of one crop each (`NAME__0.npy`, `NAME__1.npy`...) together, the others by themselves.
 * @throws TorchvidError ERR_IO when crops are missing
 */
export function groupedVideos(paths: string[]): FeatureVideo[] {
  const videos = new Map<string, { name: string; crops: string[]; single: boolean }>()
  for (const path of paths) {
    const isCrop = cropOf(path) !== undefined
    const key = isCrop ? join(parse(path).dir, videoName(path)) : `${videos.size}:${path}`
    const video = videos.get(key)
    if (video === undefined) videos.set(key, { name: videoName(path), crops: [path], single: !isCrop })
    else video.crops.push(path)
  }
  return [...videos.values()].map(({ name, crops, single }) => {
    if (single) return { name, features: crops[0]! }
    const sorted = crops.sort((a, b) => cropOf(a)! - cropOf(b)!)
    const missing = sorted.findIndex((path, crop) => cropOf(path) !== crop)
    if (missing < 0) return { name, features: sorted.length === 1 ? sorted[0]! : sorted }
    const text = `${quote(name)}: there is no file of crop ${missing}, and there is ${quote(sorted.at(-1)!)}. Wanted ${name}__0.npy and following, one for each crop.`
    throw new TorchvidError('ERR_IO', text)
  })
}
