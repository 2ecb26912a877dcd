import { describe, expect, test } from 'vitest'
import { checkImageSet, type ImageSet, subset } from '../../lib/data/image-set.ts'
import { concat, split } from '../../lib/data/image-set-parts.ts'
import { allocate, checkMemory, freeMemory } from '../../lib/data/memory.ts'
import { refuses } from './helpers.ts'

/** Images of 2 x 1 x 3 whose bytes say which image it is; classes 0, 1, 2 in turn. */
function numbered(count: number, more: Partial<ImageSet> = {}): ImageSet {
  const images = Uint8Array.from({ length: count * 6 }, (_, i) => Math.floor(i / 6))
  return { images, shape: [count, 2, 1, 3], labels: Array.from({ length: count }, (_, i) => i % 3), ...more }
}

const firstBytes = ({ images, shape }: ImageSet) => Array.from({ length: shape[0] }, (_, i) => images[i * 6])

describe('checkImageSet', () => {
  test('takes a sound set, whatever kind of array its labels are', () => {
    for (const labels of [[0, 1], Uint8Array.of(0, 1), Float32Array.of(0, 1), { length: 2, 0: 0, 1: 1 }]) {
      const set = numbered(2, { labels, mean: [0.5, 0.5], std: [1, 0.1], augment: { pad: 0 }, classes: ['a', 'b'] })
      expect(checkImageSet('train', set)).toBe(set)
    }
  })

  const wrong: [string, 'ERR_SHAPE' | 'ERR_INVALID_ARGUMENT', RegExp, unknown][] = [
    ['nothing', 'ERR_INVALID_ARGUMENT', /^train: got undefined/, undefined],
    ['a path', 'ERR_INVALID_ARGUMENT', /^train: got "cifar".*data\.cifar10/, 'cifar'],
    ['bytes alone', 'ERR_INVALID_ARGUMENT', /^train: /, new Uint8Array(3)],
    ['no labels', 'ERR_INVALID_ARGUMENT', /^train: /, { images: new Uint8Array(6), shape: [1, 2, 1, 3] }],
    ['floats', 'ERR_INVALID_ARGUMENT', /train\.images/, numbered(1, { images: new Float32Array(6) as any })],
    ['three dimensions', 'ERR_INVALID_ARGUMENT', /train\.shape/, numbered(1, { shape: [1, 2, 3] as any })],
    ['a side of 0', 'ERR_INVALID_ARGUMENT', /train\.shape\[2\]/, numbered(1, { shape: [1, 2, 0, 3] })],
    ['half a pixel', 'ERR_INVALID_ARGUMENT', /train\.shape\[3\]/, numbered(1, { shape: [1, 2, 1, 1.5] })],
    ['bytes that do not fit', 'ERR_SHAPE', /got 12 bytes, wanted 18/, { ...numbered(2), shape: [3, 2, 1, 3] }],
    ['too few labels', 'ERR_SHAPE', /got 1 labels for 2 images/, numbered(2, { labels: [0] })],
    ['no number', 'ERR_INVALID_ARGUMENT', /labels\[1\]: got NaN/, numbered(2, { labels: [0, Number.NaN] })],
    ['half a label', 'ERR_INVALID_ARGUMENT', /labels\[1\]: got 0\.5/, numbered(2, { labels: [0, 0.5] })],
    ['a negative label', 'ERR_INVALID_ARGUMENT', /labels\[0\]: got -1/, numbered(2, { labels: [-1, 0] })],
    ['a text', 'ERR_INVALID_ARGUMENT', /labels\[0\]: got "1"/, numbered(1, { labels: ['1'] as any })],
    ['labels past the names', 'ERR_INVALID_ARGUMENT', /labels\[1\].*0 to 0/, numbered(2, { classes: ['a'] })],
    ['a mean too few', 'ERR_SHAPE', /train\.mean: got 1 numbers for 2/, numbered(1, { mean: [0] })],
    ['a mean of text', 'ERR_INVALID_ARGUMENT', /train\.mean\[1\]/, numbered(1, { mean: [0, 'x'] as any })],
    ['a std of 0', 'ERR_INVALID_ARGUMENT', /train\.std\[1\]/, numbered(1, { std: [1, 0] })],
    ['half a pad', 'ERR_INVALID_ARGUMENT', /train\.augment\.pad/, numbered(1, { augment: { pad: 0.5 } })],
    ['a flip of 2', 'ERR_INVALID_ARGUMENT', /train\.augment\.flip/, numbered(1, { augment: { flip: 2 } })],
    ['augment: true', 'ERR_INVALID_ARGUMENT', /train\.augment/, numbered(1, { augment: true as any })],
  ]
  test.each(wrong)('refuses %s', async (_, code, message, value) => {
    await refuses(code, message, () => checkImageSet('train', value))
  })
})

describe('subset', () => {
  test('is a view, labels included', () => {
    const set = numbered(5, { mean: [0.1, 0.2], augment: { pad: 4 } })
    const part = subset(set, 1, 4)
    expect(part).toMatchObject({ shape: [3, 2, 1, 3], labels: [1, 2, 0], mean: [0.1, 0.2], augment: { pad: 4 } })
    expect(firstBytes(part)).toEqual([1, 2, 3])
    expect(part.images.buffer).toBe(set.images.buffer)
    expect(subset(set, 3).shape[0]).toBe(2)
    const typed = subset(numbered(5, { labels: Uint8Array.of(0, 1, 2, 0, 1) }), 3)
    expect(typed.labels).toEqual(Uint8Array.of(0, 1))
  })

  test.each([
    [5, undefined, /^from: got 5/],
    [-1, 2, /^from/],
    [2, 2, /^to: got 2/],
    [0, 6, /^to: got 6/],
    [0.5, 2, /^from/],
  ])('refuses %s to %s of 5', async (from, to, message) => {
    await refuses('ERR_INVALID_ARGUMENT', message, () => subset(numbered(5), from, to))
  })
})

describe('split', () => {
  test('draws from each class in proportion, loses nothing, and depends on the seed alone', async () => {
    const set = numbered(90, { augment: { pad: 4 } })
    const { train, test } = await split(set, { test: 0.2, seed: 3 })
    expect([train.shape[0], test.shape[0]]).toEqual([72, 18])
    expect([0, 1, 2].map((label) => Array.from(test.labels).filter((l) => l === label).length)).toEqual([6, 6, 6])
    expect([...firstBytes(train), ...firstBytes(test)].sort((a, b) => a! - b!)).toEqual(firstBytes(set))
    for (const part of [train, test]) expect(Array.from(part.labels)).toEqual(firstBytes(part).map((i) => i! % 3))
    expect([train.augment, test.augment]).toEqual([{ pad: 4 }, false])
    expect(firstBytes((await split(set, { test: 18, seed: 3 })).test)).toEqual(firstBytes(test))
    expect(firstBytes((await split(set, { test: 18, seed: 4 })).test)).not.toEqual(firstBytes(test))
  })

  test('gives the exact number where classes do not divide', async () => {
    for (const count of [1, 2, 5, 49]) expect((await split(numbered(50), { test: count })).test.shape[0]).toBe(count)
  })

  test('cuts the end off as a view without shuffling', async () => {
    const set = numbered(10)
    const { train, test } = await split(set, { test: 3, shuffle: false })
    expect([firstBytes(train).length, ...firstBytes(test)]).toEqual([7, 7, 8, 9])
    expect(test.images.buffer).toBe(set.images.buffer)
  })

  test.each([0, 10, 11, 1.5, 0.01, Number.NaN])('refuses a test set of %s out of 10', async (count) => {
    await refuses('ERR_INVALID_ARGUMENT', /^test/, () => split(numbered(10), { test: count }))
  })
})

describe('concat', () => {
  test('joins sets in order', async () => {
    const joined = await concat([subset(numbered(5), 3), numbered(2)])
    expect([joined.shape, firstBytes(joined), [...(joined.labels as Int32Array)]]).toEqual([
      [4, 2, 1, 3],
      [3, 4, 0, 1],
      [0, 1, 0, 1],
    ])
  })

  test('refuses sets that differ', async () => {
    await refuses('ERR_SHAPE', /sets\[1\]: got images of 2 x 3 x 1/, () =>
      concat([numbered(1), { ...numbered(1), shape: [1, 2, 3, 1] }]),
    )
    await refuses('ERR_INVALID_ARGUMENT', /sets\[1\]\.mean/, () => concat([numbered(1), numbered(1, { mean: [1, 1] })]))
    await refuses('ERR_INVALID_ARGUMENT', /^sets/, () => concat([]))
  })
})

describe('memory', () => {
  test('refuses what is not free, and what no array can hold, saying what to change', async () => {
    await refuses('ERR_OUT_OF_MEMORY', /^The set needs 900 MB.*1000 MB are free.*Take less\.$/, () =>
      checkMemory('The set', 900e6, 'Take less.', 1000e6),
    )
    checkMemory('The set', 700e6, 'Take less.', 1000e6)
    await refuses('ERR_OUT_OF_MEMORY', /in one array.*Take less\.$/, () => allocate('The set', 2 ** 50, 'Take less.'))
    expect(freeMemory()).toBeGreaterThan(0)
  })
})
