import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { kindOf, quote } from '../data/binary-file.ts'
import { cifar10, cifar100, type ImageSet, imageFolder, mnist, split, svhn } from '../data/index.ts'
import { TorchvidError } from '../errors.ts'

/** The kinds of data that are read. */
export type DatasetName = 'cifar10' | 'cifar100' | 'svhn' | 'mnist' | 'images'

/** Where data lie. */
export interface Found {
  dataset: DatasetName
  /** The path for the reader; of images: of the training images' folder. */
  path: string
  /** Whether the reader has a test split; of images: that folder. */
  test: boolean | string
}

/** Images to learn from and, perhaps, to be measured by. */
export interface Images {
  dataset: DatasetName
  train: ImageSet
  test?: ImageSet
  /** True when `test` was held out of the training images. */
  heldOut: boolean
}

/** Settings of `readImages`. */
export interface ReadSettings {
  dataset?: DatasetName
  /** Share or number of training images to hold out when there are no test images; 0: none. */
  testSplit: number
  /** Side of the pictures of a folder of images. */
  imageSize: number
  seed: number
  signal: AbortSignal
  onProgress(progress: { done: number; total: number }): void
  onWarning(message: string): void
}

/**
 * Reads the images of `path`.
 * @throws TorchvidError ERR_INVALID_ARGUMENT when nothing there is recognised; what the readers throw
 */
export async function readImages(path: string, settings: ReadSettings): Promise<Images> {
  const { testSplit, seed } = settings
  const found = await findData(path, settings.dataset)
  const all = await readPart(found, 'train', settings)
  if (found.test !== false) {
    const test = { ...(await readPart(found, 'test', settings, all.classes)), augment: false as const }
    return { dataset: found.dataset, train: all, test, heldOut: false }
  }
  if (testSplit === 0) return { dataset: found.dataset, train: all, heldOut: false }
  return { dataset: found.dataset, ...(await split(all, { test: testSplit, seed })), heldOut: true }
}

async function readPart(
  found: Found,
  part: 'train' | 'test',
  settings: ReadSettings,
  classes?: string[],
): Promise<ImageSet> {
  const { dataset, path, test } = found
  const { signal, onProgress, onWarning, imageSize: size } = settings
  // A single file, or a pair without a test set: the reader's own default is the split that is there.
  const options = { signal, ...(test === false ? {} : { split: part }) }
  switch (dataset) {
    case 'cifar10':
      return await cifar10(path, options)
    case 'cifar100':
      return await cifar100(path, options)
    case 'svhn':
      return await svhn(path, options)
    case 'mnist':
      return await mnist(path, options)
    default: {
      const folder = part === 'test' && typeof test === 'string' ? test : path
      return await imageFolder(folder, { size, classes, broken: 'skip', signal, onProgress, onWarning })
    }
  }
}

/** What lies at `path`, or `ERR_INVALID_ARGUMENT` with what was looked for. */
export async function findData(path: string, wanted?: DatasetName): Promise<Found> {
  const kind = await kindOf(path)
  if (kind === undefined) throw notThere(path)
  const found = kind === 'file' ? fileOf(path, wanted) : await folderOf(path, wanted)
  if (found !== undefined) return found
  const what = wanted === undefined ? 'no data that are recognised' : `no ${wanted}`
  const text = `--data: ${quote(path)} has ${what}. Wanted the unpacked folder of CIFAR-10 or CIFAR-100, SVHN's train_32x32.mat, MNIST's images-idx3-ubyte files, a folder with one folder of images per class (or train and val with those), or one file of a data set with --dataset.`
  throw new TorchvidError('ERR_INVALID_ARGUMENT', text)
}

function notThere(path: string): TorchvidError {
  return new TorchvidError('ERR_IO', `--data: there is no file or folder ${quote(path)}. Check the path.`)
}

/** One file by its name, unless it is said what it is. */
function fileOf(path: string, wanted: DatasetName | undefined): Found | undefined {
  const guessed = (Object.keys(FILES) as (keyof typeof FILES)[]).find((name) => FILES[name].test(path))
  const dataset = wanted ?? guessed
  return dataset === undefined || dataset === 'images' ? undefined : { dataset, path, test: false }
}

const FILES = {
  cifar10: /(^|[\\/])(data_batch_\d|test_batch)(\.bin)?$/i,
  svhn: /\.mat$/i,
  mnist: /idx3-ubyte(\.gz)?$/i,
}

/** Names of files by which a data set is known: those for training, and those for testing. */
const MARKS: { dataset: DatasetName; folders: string[]; train: RegExp; test: RegExp }[] = [
  {
    dataset: 'cifar10',
    folders: ['', 'cifar-10-batches-bin', 'cifar-10-batches-py'],
    train: /^data_batch_1(\.bin)?$/,
    test: /^test_batch(\.bin)?$/,
  },
  {
    dataset: 'cifar100',
    folders: ['', 'cifar-100-binary', 'cifar-100-python'],
    train: /^train(\.bin)?$/,
    test: /^test(\.bin)?$/,
  },
  { dataset: 'svhn', folders: [''], train: /^train_32x32\.mat$/, test: /^test_32x32\.mat$/ },
  {
    dataset: 'mnist',
    folders: [''],
    train: /^(train[-_.])?images[-.]idx3-ubyte(\.gz)?$/i,
    test: /^(t10k|test)[-_.]images[-.]idx3-ubyte(\.gz)?$/i,
  },
]

async function folderOf(path: string, wanted: DatasetName | undefined): Promise<Found | undefined> {
  for (const { dataset, folders, train, test } of MARKS) {
    if (wanted !== undefined && wanted !== dataset) continue
    for (const folder of folders) {
      const files = await namesIn(join(path, folder), 'file')
      if (files.some((name) => train.test(name))) return { dataset, path, test: files.some((name) => test.test(name)) }
    }
  }
  if (wanted !== undefined && wanted !== 'images') return undefined
  return await imagesOf(path)
}

/** Folders of images by class, or of splits with those. */
async function imagesOf(path: string): Promise<Found | undefined> {
  const folders = await namesIn(path, 'folder')
  if (folders.length === 0) return undefined
  const first = (names: string[]) =>
    names.flatMap((name) => folders.find((folder) => folder.toLowerCase() === name) ?? [])[0]
  const train = first(['train', 'training'])
  if (train === undefined) return { dataset: 'images', path, test: false }
  // Where there are both, those for validation: test images often come without classes.
  const test = first(['val', 'valid', 'validation', 'test', 'testing'])
  return { dataset: 'images', path: join(path, train), test: test === undefined ? false : join(path, test) }
}

async function namesIn(folder: string, kind: 'file' | 'folder'): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  const names: string[] = []
  for (const entry of entries) {
    const own = entry.isFile() ? 'file' : entry.isDirectory() ? 'folder' : undefined
    const { name } = entry
    if (!name.startsWith('.') && (own ?? (await kindOf(join(folder, name)))) === kind) names.push(name)
  }
  return names
}
