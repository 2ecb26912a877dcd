import { basename, join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { invalidArgument, TorchvidError } from '../errors.ts'
import { ByteReader, CHUNK, damaged, kindOf, openFile, quote, readAt } from './binary-file.ts'
import { CIFAR10, CIFAR100_COARSE, CIFAR100_FINE } from './cifar-classes.ts'
import { type CifarPart, readPickledBatch } from './cifar-pickle.ts'
import type { ImageSet } from './image-set.ts'
import { allocate } from './memory.ts'

/** Settings of `cifar10`. */
export interface Cifar10Options {
  /** Default `'train'`; for a single file whose name starts with "test", `'test'`. */
  split?: 'train' | 'test'
  signal?: AbortSignal
}

/** Settings of `cifar100`. */
export interface Cifar100Options extends Cifar10Options {
  /** `'fine'`: 100 classes; `'coarse'`: 20 groups of five. Default `'fine'`. */
  labels?: 'fine' | 'coarse'
}

const SIDE = 32
const IMAGE = 3 * SIDE * SIDE
/** The values of network slimming's code, for both sets. */
const MEAN = [0.4914, 0.4822, 0.4465]
const STD = [0.2023, 0.1994, 0.201]

/** How one of the two sets lies in its files. */
interface Layout {
  name: 'cifar10' | 'cifar100'
  /** The most that each label byte before an image may be, plus 1. */
  labelBytes: number[]
  /** Which of them is the label. */
  labelAt: number
  /** Its name in the Python version. */
  labelKey: string
  classes: string[]
  /** Files of each split, without the binary version's ending. */
  files: { train: string[]; test: string[] }
  /** Folders that the archives unpack to. */
  folders: string[]
}

const FILES10 = { train: [1, 2, 3, 4, 5].map((i) => `data_batch_${i}`), test: ['test_batch'] }
const FILES100 = { train: ['train'], test: ['test'] }

/**
 * CIFAR-10: 50,000 images of 32 x 32 for training and 10,000 for testing, of 10 classes. Reads the binary version and the
 * Python version (nothing in its pickles is executed). The normalisation of network slimming's code is set (mean 0.4914,
 * 0.4822, 0.4465; std 0.2023, 0.1994, 0.2010); the training images also get its augmentation (zero-pad 4, random crop,
 * flip 0.5).
 *
 * @param path the folder with the batches, the folder that the archive was unpacked in, or a single file of either version
 * @throws `ERR_IO` naming the file when one is missing or damaged; `ERR_INVALID_ARGUMENT` for an option;
 * `ERR_OUT_OF_MEMORY`. The signal's reason when aborted.
 */
export async function cifar10(path: string, options: Cifar10Options = {}): Promise<ImageSet> {
  const layout: Layout = {
    name: 'cifar10',
    labelBytes: [10],
    labelAt: 0,
    labelKey: 'labels',
    classes: CIFAR10,
    files: FILES10,
    folders: ['cifar-10-batches-bin', 'cifar-10-batches-py'],
  }
  return await readCifar(path, layout, options)
}

/**
 * CIFAR-100: as CIFAR-10, with 100 classes in 20 groups.
 *
 * @param path the folder, the folder that the archive was unpacked in, or a single file, binary or Python version
 * @throws what `cifar10` throws
 */
export async function cifar100(path: string, options: Cifar100Options = {}): Promise<ImageSet> {
  const { labels = 'fine' } = options
  if (labels !== 'fine' && labels !== 'coarse') throw invalidArgument('labels', labels, "'fine' or 'coarse'")
  const isFine = labels === 'fine'
  const layout: Layout = {
    name: 'cifar100',
    labelBytes: [20, 100],
    labelAt: isFine ? 1 : 0,
    labelKey: `${labels}_labels`,
    classes: isFine ? CIFAR100_FINE : CIFAR100_COARSE,
    files: FILES100,
    folders: ['cifar-100-binary', 'cifar-100-python'],
  }
  return await readCifar(path, layout, options)
}

async function readCifar(path: string, layout: Layout, options: Cifar10Options): Promise<ImageSet> {
  const { signal } = options
  if (typeof path !== 'string') throw invalidArgument('path', path, `the folder of ${layout.name}, or one of its files`)
  if (options.split !== undefined && options.split !== 'train' && options.split !== 'test') {
    throw invalidArgument('split', options.split, "'train' or 'test'")
  }
  signal?.throwIfAborted()
  const kind = await kindOf(path)
  if (kind === undefined) {
    throw new TorchvidError('ERR_IO', `${layout.name}: there is no file or folder ${quote(path)}. Check the path.`)
  }
  const isTestFile = kind === 'file' && /^test/i.test(basename(path))
  const split = options.split ?? (isTestFile ? 'test' : 'train')
  const parts: CifarPart[] = []
  for (const file of kind === 'file' ? [path] : await findFiles(path, layout, split)) {
    signal?.throwIfAborted()
    parts.push(await readPart(file, layout, signal))
  }
  const { images, labels } = await joinParts(parts)
  return {
    images,
    shape: [labels.length, 3, SIDE, SIDE],
    labels,
    mean: [...MEAN],
    std: [...STD],
    augment: split === 'train' ? { pad: 4, flip: 0.5 } : false,
    classes: [...layout.classes],
  }
}

/** All files of a split, of the binary version where it is there. */
async function findFiles(path: string, layout: Layout, split: 'train' | 'test'): Promise<string[]> {
  const names = layout.files[split]
  const missing: string[] = []
  for (const folder of [path, ...layout.folders.map((name) => join(path, name))]) {
    for (const ending of ['.bin', '']) {
      const files = names.map((name) => join(folder, name + ending))
      const kinds = await Promise.all(files.map(kindOf))
      if (kinds.every((kind) => kind === 'file')) return files
      if (kinds.includes('file')) missing.push(...files.filter((_, i) => kinds[i] !== 'file'))
    }
  }
  if (missing.length > 0) {
    const text = `${layout.name}: ${quote(path)} lacks ${missing.map((file) => basename(file)).join(', ')} of the split '${split}'.`
    throw new TorchvidError('ERR_IO', `${text} Unpack the archive again, or give a single file as the path.`)
  }
  const wanted = names.map((name) => `${name}.bin`).join(', ')
  const text = `${layout.name}: the folder ${quote(path)} has no files of the split '${split}'. Looked for ${wanted}, the same without ".bin", and the folders ${layout.folders.join(' and ')}.`
  throw new TorchvidError('ERR_IO', `${text} Give that folder, or a single file.`)
}

/** Pickles begin with the byte 0x80 (protocol 2 and later), "(" or "}"; no label is that large. */
const PICKLE_STARTS = [0x80, 0x28, 0x7d]

async function readPart(path: string, layout: Layout, signal: AbortSignal | undefined): Promise<CifarPart> {
  const { file, size } = await openFile(path)
  let first: number
  try {
    if (size === 0) throw damaged(path, 'is empty')
    const start = new Uint8Array(1)
    await readAt(path, file, start, 0)
    first = start[0]!
  } finally {
    await file.close()
  }
  const isPickle = !path.endsWith('.bin') && PICKLE_STARTS.includes(first)
  if (isPickle) return await readPickledBatch(path, size, IMAGE, layout.labelKey, layout.classes.length)
  return await readRecords(path, size, layout, signal)
}

/** The binary version: for each image its label bytes, then red, green and blue planes. */
async function readRecords(
  path: string,
  size: number,
  { name, labelBytes, labelAt }: Layout,
  signal: AbortSignal | undefined,
): Promise<CifarPart> {
  const record = labelBytes.length + IMAGE
  const count = size / record
  if (!Number.isInteger(count)) {
    const reason = `has ${size} bytes, no multiple of the ${record} of a record of ${name}`
    throw damaged(path, reason, 'Fetch it again, and use cifar10 for CIFAR-10 and cifar100 for CIFAR-100.')
  }
  const images = allocate(`Reading ${count} images of ${path}`, count * IMAGE, 'Free some memory.')
  const labels = new Uint8Array(count)
  const batch = Math.floor(CHUNK / record)
  const block = new Uint8Array(batch * record)
  const reader = new ByteReader({ path, signal })
  try {
    for (let at = 0; at < count; at += batch) {
      const most = Math.min(batch, count - at)
      await reader.read(block.subarray(0, most * record))
      for (let i = 0; i < most; i++) {
        const from = i * record
        const wrong = labelBytes.findIndex((limit, place) => block[from + place]! >= limit)
        if (wrong >= 0) {
          const reason = `has label ${block[from + wrong]} for image ${at + i}, wanted 0 to ${labelBytes[wrong]! - 1}`
          throw damaged(path, reason, 'Fetch it again, and use cifar10 for CIFAR-10 and cifar100 for CIFAR-100.')
        }
        labels[at + i] = block[from + labelAt]!
        images.set(block.subarray(from + labelBytes.length, from + record), (at + i) * IMAGE)
      }
    }
    await reader.expectEnd()
  } finally {
    await reader.close()
  }
  return { images, labels }
}

/** The parts as one; a single one as it is. */
async function joinParts(parts: CifarPart[]): Promise<CifarPart> {
  if (parts.length === 1) return parts[0]!
  const count = parts.reduce((sum, part) => sum + part.labels.length, 0)
  const images = allocate(`Joining ${count} images`, count * IMAGE, 'Free some memory.')
  const labels = new Uint8Array(count)
  let at = 0
  for (const part of parts) {
    images.set(part.images, at * IMAGE)
    labels.set(part.labels, at)
    at += part.labels.length
    await turn()
  }
  return { images, labels }
}
