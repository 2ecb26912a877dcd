import { checkInteger, checkNumber, describe, invalidArgument, TorchvidError } from '../errors.ts'

/** Random changes made to each training image, in this order: crop, flip. */
export interface ImageAugmentation {
  /** Zeros put on each side before a random crop of the original size, in pixels. Default 4. */
  pad?: number
  /** Probability of a horizontal flip, 0 to 1. Default 0.5. */
  flip?: number
}

/**
 * Images of one size, all in memory, and the class of each. `data.cifar10` and its like return it; one made by hand
 * needs only `images`, `shape` and `labels`. What a network sees is `(images / 255 - mean) / std`, per channel.
 */
export interface ImageSet {
  /** Row-major (N, C, H, W): an image's channels one after the other, not interleaved. */
  images: Uint8Array
  shape: [n: number, channels: number, height: number, width: number]
  /** Each image's class: one whole number >= 0 per image. */
  labels: ArrayLike<number>
  /** Per channel, of images / 255. Default 0. */
  mean?: number[]
  /** Per channel, of images / 255; above 0. Default 1. */
  std?: number[]
  /** What training does to these images unless told otherwise; false: nothing. Testing never changes an image. */
  augment?: ImageAugmentation | false
  /** The classes' names, by label. */
  classes?: string[]
}

const WANTED =
  'an image set { images, shape: [n, channels, height, width], labels }, or one from a reader such as data.cifar10(path)'
const LARGEST_PAD = 65535

/**
 * The same set when its parts fit together.
 *
 * @param name the argument's name, for messages
 * @throws `ERR_INVALID_ARGUMENT` for a part of the wrong type or out of range; `ERR_SHAPE` when images, shape, labels,
 * mean and std do not fit each other.
 */
export function checkImageSet(name: string, value: unknown): ImageSet {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value))
    throw invalidArgument(name, value, WANTED)
  const set = value as ImageSet
  if (!('images' in set && 'shape' in set && 'labels' in set)) throw invalidArgument(name, value, WANTED)
  checkImages(name, set)
  checkLabels(name, set)
  checkNormalisation(name, set)
  checkAugmentation(`${name}.augment`, set.augment)
  return set
}

/** An augmentation whose numbers are in range, else `ERR_INVALID_ARGUMENT`; absent and false are fine. */
export function checkAugmentation(name: string, augment: unknown): void {
  if (augment === undefined || augment === false) return
  if (typeof augment !== 'object' || augment === null) {
    throw invalidArgument(name, augment, 'false or { pad: pixels, flip: probability }')
  }
  const { pad, flip } = augment as ImageAugmentation
  if (pad !== undefined) checkInteger(`${name}.pad`, pad, 0, LARGEST_PAD)
  if (flip !== undefined) checkNumber(`${name}.flip`, flip, 0, 1)
}

/**
 * Images `from` to `to` (not included), counted from 0: a view, nothing is copied. Mean, std, classes and augmentation
 * go with it.
 *
 * @param to default: the end
 * @throws `ERR_INVALID_ARGUMENT` when the range is empty or not inside the set; what `checkImageSet` throws.
 */
export function subset(set: ImageSet, from: number, to?: number): ImageSet {
  checkImageSet('set', set)
  const [count, ...image] = set.shape
  checkInteger('from', from, 0, count - 1)
  const end = to === undefined ? count : checkInteger('to', to, from + 1, count)
  const size = image[0] * image[1] * image[2]
  return {
    ...set,
    images: set.images.subarray(from * size, end * size),
    shape: [end - from, ...image],
    labels: ArrayBuffer.isView(set.labels)
      ? (set.labels as unknown as Uint8Array).subarray(from, end)
      : Array.prototype.slice.call(set.labels, from, end),
  }
}

function checkImages(name: string, { images, shape }: ImageSet): void {
  const isBytes = images instanceof Uint8Array || (images as unknown) instanceof Uint8ClampedArray
  if (!isBytes) throw invalidArgument(`${name}.images`, images, 'a Uint8Array of pixel values 0 to 255')
  if (!Array.isArray(shape) || shape.length !== 4) {
    throw invalidArgument(`${name}.shape`, shape, '[n, channels, height, width]')
  }
  const bytes = shape.reduce((product, side, i) => product * checkInteger(`${name}.shape[${i}]`, side, 1), 1)
  if (images.length === bytes) return
  const text = `${name}.images: got ${images.length} bytes, wanted ${bytes}: the product of ${name}.shape ${describe(shape)}.`
  throw new TorchvidError(
    'ERR_SHAPE',
    `${text} Mend the shape, or give images as one block of n x channels x height x width.`,
  )
}

function checkLabels(name: string, { labels, shape, classes }: ImageSet): void {
  const [count] = shape
  const isList = Array.isArray(labels) || (ArrayBuffer.isView(labels) && !(labels instanceof DataView))
  const isLike = typeof labels === 'object' && labels !== null && Number.isSafeInteger(labels.length)
  if (!isList && !isLike) throw invalidArgument(`${name}.labels`, labels, 'an array of whole numbers, one per image')
  if (labels.length !== count) {
    const text = `${name}.labels: got ${labels.length} labels for ${count} images, wanted one per image.`
    throw new TorchvidError('ERR_SHAPE', `${text} Mend labels or ${name}.shape.`)
  }
  if (classes !== undefined && (!Array.isArray(classes) || classes.some((text) => typeof text !== 'string'))) {
    throw invalidArgument(`${name}.classes`, classes, 'an array of names, by label')
  }
  const most = classes === undefined ? LARGEST_LABEL : classes.length - 1
  for (let i = 0; i < count; i++) {
    const label = labels[i]!
    // Not `checkInteger` for each: its message's name would be made a million times.
    if (!(label >= 0 && label <= most && Number.isInteger(label))) checkInteger(`${name}.labels[${i}]`, label, 0, most)
  }
}

/** Labels are handed to the trainer as 32-bit numbers. */
const LARGEST_LABEL = 2 ** 31 - 1

function checkNormalisation(name: string, { mean, std, shape }: ImageSet): void {
  for (const [part, values] of [['mean', mean] as const, ['std', std] as const]) {
    if (values === undefined) continue
    if (!Array.isArray(values)) throw invalidArgument(`${name}.${part}`, values, 'an array of numbers, one per channel')
    if (values.length !== shape[1]) {
      const text = `${name}.${part}: got ${values.length} numbers for ${shape[1]} channels, wanted one per channel.`
      throw new TorchvidError('ERR_SHAPE', text)
    }
    for (const [i, value] of values.entries()) {
      checkNumber(`${name}.${part}[${i}]`, value, part === 'std' ? Number.MIN_VALUE : -Number.MAX_VALUE)
    }
  }
}
