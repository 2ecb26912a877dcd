import { join } from 'node:path'
import { invalidArgument } from '../errors.ts'
import { CHUNK, damaged, kindOf } from './binary-file.ts'
import type { ImageSet } from './image-set.ts'
import { type MatVariable, readMat } from './mat.ts'
import { allocate } from './memory.ts'

/** Settings of `svhn`. */
export interface SvhnOptions {
  /** `train_32x32.mat` (73,257 images), `test_32x32.mat` (26,032) or `extra_32x32.mat` (531,131). Default `'train'`. */
  split?: 'train' | 'test' | 'extra'
  signal?: AbortSignal
}

const SIDE = 32
const PLANE = SIDE * SIDE
const IMAGE = 3 * PLANE
const BATCH = Math.floor(CHUNK / IMAGE)
const MEAN = [0.4377, 0.4438, 0.4728]
const STD = [0.198, 0.201, 0.197]
const REMEDY =
  'Give train_32x32.mat, test_32x32.mat or extra_32x32.mat of SVHN (cropped digits), fetched again if need be.'

/**
 * SVHN, cropped digits ("format 2"): MATLAB files with `X` (32 x 32 x 3 x N bytes) and `y` (1 to 10, where 10 is the digit
 * 0, which becomes label 0). Mean and standard deviation of its training images are set, and no augmentation: digits
 * are not mirrored. Takes 3072 bytes of memory per image (1.6 GB for `extra`), and a few megabytes while it reads.
 * `concat([train, extra])` is the paper's training set.
 *
 * @param path the folder, or one of its .mat files
 * @throws `ERR_IO` naming the file when it is missing, damaged or no such file; `ERR_INVALID_ARGUMENT` for an option;
 * `ERR_OUT_OF_MEMORY`. The signal's reason when aborted.
 */
export async function svhn(path: string, options: SvhnOptions = {}): Promise<ImageSet> {
  const { split = 'train', signal } = options
  if (typeof path !== 'string') throw invalidArgument('path', path, 'the folder of SVHN, or one of its .mat files')
  if (!['train', 'test', 'extra'].includes(split)) throw invalidArgument('split', split, "'train', 'test' or 'extra'")
  signal?.throwIfAborted()
  const file = (await kindOf(path)) === 'folder' ? join(path, `${split}_32x32.mat`) : path
  let images: Uint8Array | undefined
  let labels: Uint8Array | undefined
  await readMat(
    file,
    async (variable) => {
      if (variable.name === 'X') images = await readImages(file, variable)
      else if (variable.name === 'y') labels = await readLabels(file, variable)
    },
    signal,
  )
  if (images === undefined || labels === undefined) {
    throw damaged(file, `has no variable ${images === undefined ? 'X' : 'y'}`, REMEDY)
  }
  const count = images.length / IMAGE
  if (labels.length !== count) throw damaged(file, `has ${labels.length} labels for ${count} images`, REMEDY)
  return {
    images,
    shape: [count, 3, SIDE, SIDE],
    labels,
    mean: [...MEAN],
    std: [...STD],
    augment: false,
    classes: Array.from({ length: 10 }, (_, digit) => String(digit)),
  }
}

async function readImages(path: string, variable: MatVariable): Promise<Uint8Array> {
  // MATLAB drops a last dimension of 1.
  const [height, width, channels, count = 1, ...more] = variable.dimensions
  const isSize = height === SIDE && width === SIDE && channels === 3 && count > 0 && more.length === 0
  if (!isSize || variable.storage !== 'uint8') {
    throw damaged(path, `has X of ${variable.dimensions.join(' x ')}, wanted 32 x 32 x 3 x N bytes`, REMEDY)
  }
  const images = allocate(
    `Reading ${count} images of ${path}`,
    count * IMAGE,
    "Free some memory, or read the split 'train'.",
  )
  const block = new Uint8Array(BATCH * IMAGE)
  for (let at = 0; at < count; at += BATCH) {
    const part = block.subarray(0, Math.min(BATCH, count - at) * IMAGE)
    await variable.readBytes(part)
    transposePlanes(part, images.subarray(at * IMAGE))
  }
  await variable.finish()
  return images
}

/** Column-major planes to row-major ones: both orders have the channels of an image one after the other. */
function transposePlanes(from: Uint8Array, to: Uint8Array): void {
  for (let plane = 0; plane < from.length; plane += PLANE) {
    for (let x = 0; x < SIDE; x++) {
      const column = plane + x * SIDE
      for (let y = 0; y < SIDE; y++) to[plane + y * SIDE + x] = from[column + y]!
    }
  }
}

/** More labels than any split has: what `y` may at most make the reader allocate. */
const MOST_LABELS = 10_000_000

async function readLabels(path: string, variable: MatVariable): Promise<Uint8Array> {
  const numbers = await variable.readNumbers(MOST_LABELS)
  await variable.finish()
  const wrong = numbers.findIndex((label) => !(label >= 1 && label <= 10 && Number.isInteger(label)))
  if (wrong >= 0) throw damaged(path, `has label ${numbers[wrong]} for image ${wrong}, wanted 1 to 10`, REMEDY)
  return Uint8Array.from(numbers, (label) => label % 10)
}
