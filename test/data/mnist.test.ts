import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { checkImageSet, subset } from '../../lib/data/image-set.ts'
import { mnist } from '../../lib/data/mnist.ts'
import { folderOf, refuses, scratch, shared } from './helpers.ts'
import { histogram, meanAndStd } from './image-sets.ts'

const folder = scratch()

const newFolder = (files: Record<string, Uint8Array>) => folderOf(folder, files)

/** An IDX file; `announced` where the sizes lie. */
function idx(sizes: number[], values: number[], magic = 0x0800 + sizes.length): Buffer {
  const header = Buffer.alloc(4 + 4 * sizes.length)
  header.writeUInt32BE(magic)
  for (const [i, size] of sizes.entries()) header.writeUInt32BE(size, 4 + 4 * i)
  return Buffer.concat([header, Buffer.from(values)])
}

const pixels = Array.from({ length: 18 }, (_, i) => i * 10)
const images = idx([3, 2, 3], pixels)
const labels = idx([3], [5, 0, 9])

describe('mnist', () => {
  test.each([
    ['train-images-idx3-ubyte.gz', 'train-labels-idx1-ubyte.gz', true],
    ['train-images.idx3-ubyte', 'train-labels.idx1-ubyte', false],
    ['t10k-images-idx3-ubyte', 't10k-labels.idx1-ubyte', false],
    ['images-idx3-ubyte.gz', 'labels-idx1-ubyte', true],
  ])('reads %s with %s', async (imagesName, labelsName, isGzip) => {
    const path = newFolder({
      [imagesName]: isGzip ? gzipSync(images) : images,
      [labelsName]: labelsName.endsWith('.gz') ? gzipSync(labels) : labels,
    })
    for (const from of [path, join(path, imagesName)]) {
      const set = await mnist(from)
      checkImageSet('set', set)
      expect(set).toMatchObject({ shape: [3, 1, 2, 3], mean: [0.1307], std: [0.3081], augment: false })
      expect([[...set.images], Array.from(set.labels)]).toEqual([pixels, [5, 0, 9]])
    }
  })

  test('chooses the split by name', async () => {
    const path = newFolder({
      'train-images-idx3-ubyte': images,
      'train-labels-idx1-ubyte': labels,
      't10k-images-idx3-ubyte': idx([1, 2, 3], pixels.slice(6, 12)),
      't10k-labels-idx1-ubyte': idx([1], [7]),
    })
    const counts = await Promise.all(([undefined, 'train', 'test'] as const).map((split) => mnist(path, { split })))
    expect(counts.map((set) => set.shape[0])).toEqual([3, 3, 1])
    expect(counts[2]!.labels[0]).toBe(7)
  })

  test('refuses a split that is not there, and other nonsense', async () => {
    const path = newFolder({ 'images-idx3-ubyte': images, 'labels-idx1-ubyte': labels })
    const error = await refuses('ERR_INVALID_ARGUMENT', /^split: got "test"/, () => mnist(path, { split: 'test' }))
    expect(error.message).toMatch(/images-idx3-ubyte.*subset/)
    await refuses('ERR_INVALID_ARGUMENT', /^split/, () => mnist(path, { split: 'val' as any }))
    await refuses('ERR_INVALID_ARGUMENT', /^path/, () => mnist(7 as any))
    await refuses('ERR_IO', /no file or folder/, () => mnist(join(folder, 'nowhere')))
    await refuses('ERR_IO', /no images file of MNIST/, () => mnist(newFolder({ 'a.txt': labels })))
    await refuses('ERR_IO', /no labels file.*labels-idx1-ubyte\.gz/, () =>
      mnist(newFolder({ 'images-idx3-ubyte': images })),
    )
  })

  test('stops at once when aborted', async () => {
    const reason = new Error('enough')
    const path = newFolder({ 'images-idx3-ubyte': images, 'labels-idx1-ubyte': labels })
    await expect(mnist(path, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  })

  const zipped = gzipSync(images)
  const wrongSum = Buffer.from(zipped)
  wrongSum[zipped.length - 6]! ^= 0xff
  const damagedImages: [string, Uint8Array, RegExp][] = [
    ['an empty file', new Uint8Array(0), /has 0 bytes/],
    ['a wrong magic number', idx([3, 2, 3], pixels, 0x0801), /starts with 00000801, wanted 00000803/],
    ['floats', idx([3, 2, 3], pixels, 0x0d03), /not an IDX file of unsigned bytes/],
    ['a file cut short', images.subarray(0, -1), /announces 3 x 2 x 3 values/],
    ['a file cut in its header', images.subarray(0, 10), /cut short/],
    ['a file that goes on', Buffer.concat([images, labels]), /goes on after/],
    ['sizes that lie', idx([4294967295, 4294967295, 3], pixels), /cannot hold/],
    ['no images', idx([0, 2, 3], []), /announces 0 x 2 x 3/],
    ['gzip cut short', zipped.subarray(0, -9), /cut short/],
    ['gzip with a wrong checksum', wrongSum, /do not inflate/],
    ['gzip of too little', gzipSync(images.subarray(0, -2)), /cut short/],
    ['gzip of too much', gzipSync(Buffer.concat([images, labels])), /goes on after/],
    ['gzip whose sizes lie', gzipSync(idx([4294967295, 28, 28], pixels)), /cannot hold/],
    ['gzip that is none', Buffer.from([0x1f, 0x8b, 8, 7, 6, 5, 4, 3, 2, 1]), /do not inflate|cut short/],
  ]
  test.each(damagedImages)('refuses %s and names it', async (_, bytes, message) => {
    const path = newFolder({ 'images-idx3-ubyte': bytes, 'labels-idx1-ubyte': labels })
    const error = await refuses('ERR_IO', message, () => mnist(path))
    expect(error.message).toMatch(/images-idx3-ubyte/)
  })

  test('refuses labels that do not fit the images, and labels past 9', async () => {
    await refuses('ERR_IO', /labels-idx1-ubyte" has 2 labels for the 3 images/, () =>
      mnist(newFolder({ 'images-idx3-ubyte': images, 'labels-idx1-ubyte': idx([2], [1, 2]) })),
    )
    await refuses('ERR_IO', /labels-idx1-ubyte" has label 10 for image 1/, () =>
      mnist(newFolder({ 'images-idx3-ubyte': images, 'labels-idx1-ubyte': idx([3], [1, 10, 2]) })),
    )
  })

  const real = shared && join(shared, 'data/mnist')
  test.skipIf(!real)(`the real one${real ? '' : ' (skipped: no ../shared)'}`, async () => {
    const all = await mnist(real!)
    expect(all.shape).toEqual([63000, 1, 28, 28])
    const train = subset(all, 0, 60000)
    // The training set's known counts, and its known mean and standard deviation; what follows is the test set's start.
    expect(histogram(train)).toEqual([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949])
    const [[mean, std]] = meanAndStd(train) as [[number, number]]
    expect(mean).toBeCloseTo(0.1307, 4)
    expect(std).toBeCloseTo(0.3081, 4)
    expect([...(all.labels as Uint8Array).subarray(60000, 60010)]).toEqual([7, 2, 1, 0, 4, 1, 4, 9, 5, 9])
  })

  test.skipIf(!real)(`the real one cut short${real ? '' : ' (skipped: no ../shared)'}`, async () => {
    const path = newFolder({})
    const name = 'images-idx3-ubyte.gz'
    writeFileSync(join(path, 'labels-idx1-ubyte'), labels)
    writeFileSync(join(path, name), readFileSync(join(real!, name)).subarray(0, 5_000_000))
    await refuses('ERR_IO', /images-idx3-ubyte\.gz" is cut short/, () => mnist(path))
  })
})
