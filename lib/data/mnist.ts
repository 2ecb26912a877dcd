import { readdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { describe, invalidArgument, TorchvidError } from '../errors.ts'
import { damaged, kindOf, quote } from './binary-file.ts'
import { readIdx } from './idx.ts'
import type { ImageSet } from './image-set.ts'

/** Settings of `mnist`. */
export interface MnistOptions {
  /** Files called `train-...` or `t10k-...` (or `test-...`). Default: the only pair in the folder, else `'train'`. */
  split?: 'train' | 'test'
  signal?: AbortSignal
}

const MEAN = 0.1307
const STD = 0.3081
const CLASSES = 10

/** `train-images-idx3-ubyte.gz`, `t10k-images.idx3-ubyte`, `images-idx3-ubyte.gz`... */
const IMAGES = /^(?:(train|t10k|test)[-_.])?images[-.]idx3-ubyte(?:\.gz)?$/i

/**
 * MNIST, or a set in its format such as Fashion-MNIST: IDX files, gzip or not, under their usual names
 * (`train-images-idx3-ubyte.gz`, `t10k-images.idx3-ubyte`, or `images-idx3-ubyte.gz` where there is one pair). Mean 0.1307
 * and standard deviation 0.3081 are set, and no augmentation: digits are not mirrored.
 *
 * Where a folder holds one pair for everything, cut a test set from it: `subset(all, 0, 60000)` and `subset(all, 60000)`
 * share its memory; `split` draws one at random.
 *
 * @param path the folder, or the images file; the labels file is found beside it
 * @throws `ERR_IO` naming the file when one is missing or damaged; `ERR_INVALID_ARGUMENT` for an option, or for a split
 * that the folder does not have; `ERR_OUT_OF_MEMORY`. The signal's reason when aborted.
 */
export async function mnist(path: string, options: MnistOptions = {}): Promise<ImageSet> {
  const { split, signal } = options
  if (typeof path !== 'string') throw invalidArgument('path', path, 'the folder of MNIST, or its images file')
  if (split !== undefined && split !== 'train' && split !== 'test') {
    throw invalidArgument('split', split, "'train' or 'test'")
  }
  signal?.throwIfAborted()
  const imagesPath = await findImages(path, split)
  const labelsPath = await findLabels(imagesPath)
  const images = await readIdx(imagesPath, 3, signal)
  const labels = await readIdx(labelsPath, 1, signal)
  const [count, height, width] = images.sizes as [number, number, number]
  if (labels.sizes[0] !== count) {
    const reason = `has ${labels.sizes[0]} labels for the ${count} images of ${quote(imagesPath)}`
    throw damaged(labelsPath, reason, 'Put the two files of one set beside each other.')
  }
  const wrong = labels.data.findIndex((label) => label >= CLASSES)
  if (wrong >= 0) throw damaged(labelsPath, `has label ${labels.data[wrong]} for image ${wrong}, wanted 0 to 9`)
  return {
    images: images.data,
    shape: [count, 1, height, width],
    labels: labels.data,
    mean: [MEAN],
    std: [STD],
    augment: false,
    classes: Array.from({ length: CLASSES }, (_, digit) => String(digit)),
  }
}

async function findImages(path: string, split: 'train' | 'test' | undefined): Promise<string> {
  const kind = await kindOf(path)
  if (kind === 'file') return path
  if (kind === undefined)
    throw new TorchvidError('ERR_IO', `mnist: there is no file or folder ${quote(path)}. Check the path.`)
  const names = (await listFolder(path)).sort()
  const found = names.flatMap((name) => {
    const match = IMAGES.exec(name)
    return match === null ? [] : [{ name, split: splitOf(match[1]) }]
  })
  const splits = new Set(found.map((file) => file.split))
  if (found.length === 0) {
    const text = `mnist: the folder ${quote(path)} has no images file of MNIST. Looked for train-images-idx3-ubyte, t10k-images-idx3-ubyte or images-idx3-ubyte, with .gz or without.`
    throw new TorchvidError('ERR_IO', text)
  }
  const wanted = split ?? (splits.size === 1 ? found[0]!.split : 'train')
  const file = found.find((candidate) => candidate.split === wanted)
  if (file !== undefined) return join(path, file.name)
  const text = `split: got ${describe(split)}, and the folder ${quote(path)} has only ${found.map((f) => f.name).join(', ')}. Leave split out and cut a test set with subset() or split().`
  throw new TorchvidError('ERR_INVALID_ARGUMENT', text)
}

function splitOf(prefix: string | undefined): 'train' | 'test' | undefined {
  if (prefix === undefined) return undefined
  return prefix.toLowerCase() === 'train' ? 'train' : 'test'
}

/** The labels file beside an images file: the same name with `labels` and `idx1`, either separator, gzip or not. */
async function findLabels(imagesPath: string): Promise<string> {
  const name = basename(imagesPath)
  const stem = name
    .replace(/\.gz$/i, '')
    .replace(/images/i, 'labels')
    .replace(/idx3/i, 'idx1')
  const dotted = stem.replace(/labels[-.]idx1/i, 'labels.idx1')
  const dashed = stem.replace(/labels[-.]idx1/i, 'labels-idx1')
  const candidates = [stem, dotted, dashed].flatMap((text) => [text, `${text}.gz`])
  for (const candidate of candidates) {
    const path = join(dirname(imagesPath), candidate)
    if (candidate !== name && (await kindOf(path)) === 'file') return path
  }
  const looked = [...new Set(candidates)].filter((candidate) => candidate !== name).join(', ')
  const text = `mnist: there is no labels file beside ${quote(imagesPath)}. Looked for ${looked}. Put it in the same folder.`
  throw new TorchvidError('ERR_IO', text)
}

async function listFolder(folder: string): Promise<string[]> {
  return await readdir(folder).catch((error) => {
    throw damaged(folder, `cannot be read (${error.message})`, 'Check the folder.', error)
  })
}
