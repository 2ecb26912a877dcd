import { readdir, realpath, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { isDynamicPattern } from 'tinyglobby'
import { kindOf, quote } from '../data/binary-file.ts'
import { featureList } from '../data/feature-lists.ts'
import { isFeatureFile, lastPart } from '../data/feature-names.ts'
import type { FeatureSettings } from '../data/feature-settings.ts'
import type { FeatureInput } from '../data/features.ts'
import { TorchvidError } from '../errors.ts'
import { uniqueNames, videoFileName } from './rtfm-backbone.ts'
import { groupedVideos, videosOfFolder } from './rtfm-inputs.ts'

/** Something to score: features, or a video to make them from. */
export interface ScoreInput {
  name: string
  /** Absent: to be made from `video`. */
  features?: FeatureInput
  /** The video itself, where it is known. */
  video?: string
}

/**
 * What the arguments of `torchvid rtfm score` are: feature files (those of one crop each together), folders and lists of
 * them, and videos.
 * @throws TorchvidError ERR_IO when something is not there; ERR_INVALID_ARGUMENT when two have one name
 */
export async function scoreInputs(paths: string[]): Promise<ScoreInput[]> {
  const inputs: ScoreInput[] = []
  const files = groupedVideos(paths.filter(isFeatureFile))
  for (const path of paths) {
    const kind = await kindOf(path)
    if (kind === undefined && !isDynamicPattern(path)) {
      throw new TorchvidError('ERR_IO', `There is no file or folder ${quote(path)} to score. Check the path.`)
    }
    if (kind === 'file' && isFeatureFile(path)) {
      const file = files.find(({ features }) => filesOf(features)[0] === path)
      if (file !== undefined) inputs.push(file)
    } else if (kind === 'file' && /\.list$/i.test(path)) {
      inputs.push(...(await featureList(path, { dataset: 'other' })))
    } else if (kind === 'folder' && (await holdsFeatures(path))) {
      inputs.push(...(await videosOfFolder(path, 'score')))
    } else {
      inputs.push({ name: videoFileName(path), video: path })
    }
  }
  uniqueNames(inputs, ({ name }) => name)
  return inputs
}

/**
 * Refuses to write what is named after a video over what it is read from.
 * @throws TorchvidError ERR_INVALID_ARGUMENT
 */
export async function checkNothingLost(inputs: ScoreInput[], folder: string, endings: string[]): Promise<void> {
  for (const { name, features, video } of inputs) {
    const sources = new Set(
      await Promise.all([...filesOf(features), ...(video === undefined ? [] : [video])].map(real)),
    )
    for (const ending of endings) {
      const path = join(folder, `${name}${ending}`)
      if (!sources.has(await real(path))) continue
      const text = `--out: ${quote(path)} would be written over, and is what is to be scored. Wanted another folder.`
      throw new TorchvidError('ERR_INVALID_ARGUMENT', text)
    }
  }
}

/** The files of features; none of those in memory. */
export function filesOf(features?: FeatureInput): string[] {
  if (typeof features === 'string') return [features]
  return Array.isArray(features) ? features : []
}

/** A folder of a video's images may hold a text file too. */
async function holdsFeatures(folder: string): Promise<boolean> {
  const names = await readdir(folder)
  const hasImages = names.some((name) => /\.(jpe?g|png|webp|bmp|tiff?|avif)$/i.test(name))
  return names.some((name) => /\.npy$/i.test(name) || (isFeatureFile(name) && !hasImages))
}

async function real(path: string): Promise<string> {
  return await realpath(path).catch(() => resolve(path))
}

/** The video beside a file of features that says it was made from it. */
export async function videoBeside(features: FeatureInput, settings?: FeatureSettings): Promise<string | undefined> {
  const [file] = filesOf(features)
  if (settings?.video === undefined || file === undefined) return undefined
  // A name alone: what a file says must lead nowhere else.
  const path = join(dirname(file), lastPart(settings.video))
  const found = await stat(path).catch(() => undefined)
  return found?.isFile() ? path : undefined
}
