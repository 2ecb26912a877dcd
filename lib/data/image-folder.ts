import { readdir, realpath, stat } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { checkInteger, describe, invalidArgument, TorchvidError } from '../errors.ts'
import { damaged, quote } from './binary-file.ts'
import type { ImageSet } from './image-set.ts'
import { decodeSquare } from './image-square.ts'
import { allocate } from './memory.ts'

/** Settings of `imageFolder`. */
export interface ImageFolderOptions {
  /** Width and height of the images in memory, in pixels: the centre of what `resize` makes. */
  size: number
  /** The shorter side is scaled to this before the centre is cut out. Default `size * 256 / 224`, rounded. */
  resize?: number
  /** At most this many images of each class, the first in the order of their names. Default: all. */
  limit?: number
  /**
   * The classes' folders in the order of their labels. Give the training set's `classes` for a validation set that may
   * lack some. Default: all folders, sorted by name.
   */
  classes?: string[]
  /** What to do about a file that is no image or is damaged. Default `'fail'`; `'skip'` leaves it out with a warning. */
  broken?: 'fail' | 'skip'
  /** Hears of each file that was left out. Default: `process.emitWarning`. */
  onWarning?: (message: string) => void
  /** Hears how far it is, after each image. */
  onProgress?: (progress: { done: number; total: number }) => void
  signal?: AbortSignal
}

/** Of ImageNet's training images. */
const MEAN = [0.485, 0.456, 0.406]
const STD = [0.229, 0.224, 0.225]

const IMAGE = /\.(jpe?g|png|webp|bmp|tiff?|avif)$/i
const DESCRIBED = 'jpg, png, webp, bmp, tiff or avif'
/** Names that are splits of a set and hardly ever its classes. */
const SPLITS = ['train', 'training', 'val', 'valid', 'validation', 'test', 'testing']
const LARGEST_SIDE = 8192
const DEEPEST = 8

/**
 * Images in one folder per class (`root/class/name.jpg`, as ImageNet's), all in memory: 3 x size x size bytes each. Each
 * one is turned upright, made RGB, scaled so that its shorter side is `resize`, and cut to its centre. Folders inside a
 * class's folder are read too. ImageNet's mean (0.485, 0.456, 0.406) and std (0.229, 0.224, 0.225) are set, and as
 * augmentation a flip with probability 0.5 without padding: `{ ...set, augment: { pad: 4, flip: 0.5 } }` changes that.
 *
 * @param path the folder that holds the classes' folders (the split's folder where there are several)
 * @throws `ERR_IO` naming the file or folder that is missing or damaged; `ERR_INVALID_ARGUMENT` for an option, or when
 * the folder holds splits and not classes; `ERR_OUT_OF_MEMORY` before anything is decoded when the set would not fit.
 * The signal's reason when aborted.
 */
export async function imageFolder(path: string, options: ImageFolderOptions): Promise<ImageSet> {
  if (typeof path !== 'string') throw invalidArgument('path', path, 'a folder with one folder of images per class')
  if (typeof options !== 'object' || options === null) throw invalidArgument('options', options, '{ size, ... }')
  const { limit = Number.MAX_SAFE_INTEGER, broken = 'fail', signal } = options
  const size = checkInteger('size', options.size, 1, LARGEST_SIDE)
  const resize = checkInteger('resize', options.resize ?? Math.round((size * 256) / 224), size, 2 * LARGEST_SIDE)
  checkInteger('limit', limit, 1)
  if (broken !== 'fail' && broken !== 'skip') throw invalidArgument('broken', broken, "'fail' or 'skip'")
  signal?.throwIfAborted()
  const classes = await findClasses(path, options.classes)
  const files: { path: string; label: number }[] = []
  for (const [label, name] of classes.entries()) {
    signal?.throwIfAborted()
    for (const file of (await listImages(join(path, name))).slice(0, limit)) files.push({ path: file, label })
  }
  if (files.length === 0) {
    throw damaged(
      path,
      `has no images in its folders ${describe(classes)}`,
      `Looked for names that end in ${DESCRIBED}.`,
    )
  }
  const what = `${files.length} images of ${size} x ${size} from ${quote(path)}`
  const imageBytes = 3 * size * size
  const images = allocate(what, files.length * imageBytes, 'Give a smaller size, or a limit of images per class.')
  const warn = options.onWarning ?? ((message: string) => process.emitWarning(message))
  const isRead = new Uint8Array(files.length)
  let done = 0
  await inParallel(files.length, signal, async (i) => {
    const file = files[i]!
    const into = images.subarray(i * imageBytes, (i + 1) * imageBytes)
    try {
      await decodeSquare(file.path, resize, size, into)
      isRead[i] = 1
    } catch (error) {
      if (broken === 'fail' || !(error instanceof TorchvidError)) throw error
      warn(`${error.message} It was left out.`)
    }
    options.onProgress?.({ done: ++done, total: files.length })
  })
  const count = closeGaps(images, imageBytes, isRead)
  if (count === 0) throw damaged(path, `has ${files.length} files that end like images, and none can be decoded`)
  return {
    images: images.subarray(0, count * imageBytes),
    shape: [count, 3, size, size],
    labels: Int32Array.from(
      files.filter((_, i) => isRead[i] === 1),
      (file) => file.label,
    ),
    mean: [...MEAN],
    std: [...STD],
    augment: { pad: 0, flip: 0.5 },
    classes,
  }
}

/** The folders that are the classes, in the order of their labels. */
async function findClasses(path: string, wanted: string[] | undefined): Promise<string[]> {
  const found: string[] = []
  for (const name of (await list(path)).sort()) {
    if (!name.startsWith('.') && (await isFolder(join(path, name)))) found.push(name)
  }
  if (found.length === 0) {
    throw damaged(path, 'has no folders', 'Wanted one folder of images per class: root/class/name.jpg.')
  }
  if (wanted !== undefined) {
    const isNames = Array.isArray(wanted) && wanted.length > 0 && wanted.every((name) => typeof name === 'string')
    if (!isNames) throw invalidArgument('classes', wanted, 'an array of folder names')
    const extra = found.find((name) => !wanted.includes(name))
    if (extra === undefined) return [...wanted]
    throw invalidArgument('classes', wanted, `all folders of ${quote(path)}, which also has ${describe(extra)}`)
  }
  if (found.every((name) => SPLITS.includes(name.toLowerCase()))) {
    const text = `path: ${quote(path)} holds ${found.join(', ')}, which look like splits and not classes. Give one of them as the path; name them in "classes" if they are classes.`
    throw new TorchvidError('ERR_INVALID_ARGUMENT', text)
  }
  return found
}

/** All images in a class's folder and the folders in it, sorted; none when the folder is not there. */
async function listImages(folder: string, depth = 0, above: string[] = []): Promise<string[]> {
  if (!(await isFolder(folder))) return []
  const place = await realpath(folder)
  // A link to a folder above would go round for ever.
  if (above.includes(place) || depth > DEEPEST) return []
  const files: string[] = []
  for (const name of (await list(folder)).sort()) {
    if (name.startsWith('.')) continue
    const path = join(folder, name)
    if (IMAGE.test(name)) files.push(path)
    else files.push(...(await listImages(path, depth + 1, [...above, place])))
  }
  return files
}

async function list(folder: string): Promise<string[]> {
  return await readdir(folder).catch((error) => {
    throw damaged(folder, `cannot be read (${error.message})`, 'Check the path.', error)
  })
}

async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() ?? false
}

/**
 * Works on 0 to `count - 1`, several at once. Decoding uses Node's pool of threads (UV_THREADPOOL_SIZE, 4 by default), which
 * files and others need too, so one thread is left to them.
 */
async function inParallel(count: number, signal: AbortSignal | undefined, work: (i: number) => Promise<void>) {
  const threads = Math.max(1, Number.parseInt(process.env.UV_THREADPOOL_SIZE ?? '4', 10) || 4)
  const lanes = Math.max(1, Math.min(threads - 1, availableParallelism(), count))
  let next = 0
  let isFailed = false
  const lane = async () => {
    while (next < count && !isFailed) {
      signal?.throwIfAborted()
      await work(next++)
    }
  }
  const running = Array.from({ length: lanes }, () =>
    lane().catch((error) => {
      isFailed = true
      throw error
    }),
  )
  // All of them: nothing may write into the images after the first failure was reported.
  const ends = await Promise.allSettled(running)
  for (const end of ends) if (end.status === 'rejected') throw end.reason
}

/** Moves the images that were read together; their number. */
function closeGaps(images: Uint8Array, imageBytes: number, isRead: Uint8Array): number {
  let count = 0
  for (let i = 0; i < isRead.length; i++) {
    if (isRead[i] === 0) continue
    if (count < i) images.copyWithin(count * imageBytes, i * imageBytes, (i + 1) * imageBytes)
    count++
  }
  return count
}
