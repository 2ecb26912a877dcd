import { setImmediate as turn } from 'node:timers/promises'
import { checkInteger, checkNumber, invalidArgument, TorchvidError } from '../errors.ts'
import { checkImageSet, type ImageSet, subset } from './image-set.ts'
import { allocate } from './memory.ts'
import { randomFrom, shuffled } from './random.ts'

/** Settings of `split`. */
export interface SplitOptions {
  /** Images for the test set: a number of them (from 1), or a part of all (below 1). Default 0.1. */
  test?: number
  /**
   * Default true: images are drawn at random, from each class in proportion, and both sets are copies. False: the last
   * images are the test set, and both sets share the memory of `set`, as with `subset`.
   */
  shuffle?: boolean
  /** The draw depends on nothing else. A whole number from 0. Default 0. */
  seed?: number
}

/** Bytes copied at a time, between which others get their turn. */
const COPY = 16e6

/**
 * Cuts a set in two. The order of the images stays as it was, and the test set has no augmentation.
 *
 * @throws `ERR_INVALID_ARGUMENT` when one of the two would be empty, or an option is out of range; `ERR_OUT_OF_MEMORY`;
 * what `checkImageSet` throws.
 */
export async function split(set: ImageSet, options: SplitOptions = {}): Promise<{ train: ImageSet; test: ImageSet }> {
  const { test = 0.1, shuffle = true, seed = 0 } = options
  checkImageSet('set', set)
  const total = set.shape[0]
  checkNumber('test', test, 0)
  checkInteger('seed', seed, 0)
  const count = test < 1 ? Math.round(test * total) : checkInteger('test', test, 1)
  if (count < 1 || count >= total) {
    throw invalidArgument('test', test, `a part or a number that leaves images on both sides of ${total}`)
  }
  if (!shuffle) {
    return { train: subset(set, 0, total - count), test: { ...subset(set, total - count), augment: false } }
  }
  const isTest = draw(set.labels, total, count, seed)
  const places = Uint32Array.from({ length: total }, (_, i) => i)
  return {
    train: await gather(
      set,
      places.filter((i) => isTest[i] === 0),
    ),
    test: {
      ...(await gather(
        set,
        places.filter((i) => isTest[i] === 1),
      )),
      augment: false,
    },
  }
}

/**
 * Several sets as one, in order: a copy. Mean, std, classes and augmentation are the first one's.
 *
 * @throws `ERR_SHAPE` when their images differ in size; `ERR_INVALID_ARGUMENT` when there is none, or when their mean, std
 * or classes differ; `ERR_OUT_OF_MEMORY`; what `checkImageSet` throws.
 */
export async function concat(sets: ImageSet[]): Promise<ImageSet> {
  if (!Array.isArray(sets) || sets.length === 0) throw invalidArgument('sets', sets, 'an array of image sets')
  for (const [i, set] of sets.entries()) checkImageSet(`sets[${i}]`, set)
  const first = sets[0]!
  for (const [i, set] of sets.entries()) {
    if (`${set.shape.slice(1)}` !== `${first.shape.slice(1)}`) {
      const text = `sets[${i}]: got images of ${set.shape.slice(1).join(' x ')}, wanted ${first.shape.slice(1).join(' x ')} as in sets[0].`
      throw new TorchvidError('ERR_SHAPE', text)
    }
    for (const part of ['mean', 'std', 'classes'] as const) {
      if (`${set[part] ?? ''}` !== `${first[part] ?? ''}`) {
        throw invalidArgument(`sets[${i}].${part}`, set[part], `the same as in sets[0]; set it to that if it should be`)
      }
    }
  }
  const [, channels, height, width] = first.shape
  const count = sets.reduce((sum, set) => sum + set.shape[0], 0)
  const size = channels * height * width
  const images = allocate(`Joining ${count} images`, count * size, 'Join fewer.')
  const labels = new Int32Array(count)
  let at = 0
  for (const set of sets) {
    labels.set(set.labels, at)
    for (let from = 0; from < set.images.length; from += COPY) {
      images.set(set.images.subarray(from, from + COPY), at * size + from)
      await turn()
    }
    at += set.shape[0]
  }
  return { ...first, images, labels, shape: [count, channels, height, width] }
}

/** 1 for each image of the test set: `count` of them, from each class in proportion. */
function draw(labels: ArrayLike<number>, total: number, count: number, seed: number): Uint8Array {
  const byClass = new Map<number, number[]>()
  for (let i = 0; i < total; i++) {
    const places = byClass.get(labels[i]!)
    if (places === undefined) byClass.set(labels[i]!, [i])
    else places.push(i)
  }
  const random = randomFrom(seed)
  const classes = [...byClass.keys()].sort((a, b) => a - b).map((label) => shuffled(byClass.get(label)!, random))
  const isTest = new Uint8Array(total)
  let seen = 0
  let drawn = 0
  for (const places of shuffled(classes, random)) {
    // What rounding takes from one class the next one gives, so the sum is exact.
    seen += places.length
    const wanted = Math.round((count * seen) / total) - drawn
    for (const place of places.slice(0, wanted)) isTest[place] = 1
    drawn += wanted
  }
  return isTest
}

async function gather(set: ImageSet, places: Uint32Array): Promise<ImageSet> {
  const [, channels, height, width] = set.shape
  const size = channels * height * width
  const images = allocate(`Copying ${places.length} images`, places.length * size, "Use 'shuffle: false', or subset().")
  const batch = Math.max(1, Math.floor(COPY / size))
  for (let i = 0; i < places.length; i++) {
    const from = places[i]! * size
    images.set(set.images.subarray(from, from + size), i * size)
    if (i % batch === batch - 1) await turn()
  }
  const labels = Int32Array.from(places, (place) => set.labels[place]!)
  return { ...set, images, labels, shape: [places.length, channels, height, width] }
}
