import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { cifar10, cifar100 } from '../../lib/data/cifar.ts'
import { checkImageSet, type ImageSet } from '../../lib/data/image-set.ts'
import { TorchvidError } from '../../lib/errors.ts'
import { folderOf, refuses, scratch, shared } from './helpers.ts'
import { histogram, meanAndStd } from './image-sets.ts'

const folder = scratch()
const fixtures = join(import.meta.dirname, 'fixtures')

const newFolder = (files: Record<string, Uint8Array>) => folderOf(folder, files)

/** The pixel that every file here has at place `j` of image `i`, as in fixtures/make.py. */
const pixel = (i: number, j: number) => (i * 7 + j * 13) % 251

/** Records of the binary version: label bytes, then the image; `first` numbers the images on. */
function records(labels: number[][], first = 0): Buffer {
  const image = (i: number) => Uint8Array.from({ length: 3072 }, (_, j) => pixel(i, j))
  return Buffer.concat(labels.flatMap((bytes, i) => [Buffer.from(bytes), image(first + i)]))
}

function expectPixels(set: ImageSet): void {
  expect(set.images.length).toBe(set.shape[0] * 3072)
  const wrong = set.images.findIndex((value, at) => value !== pixel(Math.floor(at / 3072), at % 3072))
  expect(wrong).toBe(-1)
}

const binary10 = records([[9], [0], [4]])
const binary100 = records([
  [19, 99],
  [0, 0],
  [8, 42],
])

describe('the binary version', () => {
  test('of CIFAR-10: a folder, what it was unpacked in, one file', async () => {
    const files = Object.fromEntries(
      [0, 1, 2, 3, 4].map((i) => [`data_batch_${i + 1}.bin`, records([[i], [9 - i]], 2 * i)]),
    )
    const path = newFolder({ ...files, 'test_batch.bin': binary10 })
    const train = await cifar10(path)
    checkImageSet('train', train)
    expectPixels(train)
    expect(train).toMatchObject({
      shape: [10, 3, 32, 32],
      mean: [0.4914, 0.4822, 0.4465],
      std: [0.2023, 0.1994, 0.201],
      augment: { pad: 4, flip: 0.5 },
    })
    expect(Array.from(train.labels)).toEqual([0, 9, 1, 8, 2, 7, 3, 6, 4, 5])
    expect([train.classes![0], train.classes!.length, train.classes![9]]).toEqual(['airplane', 10, 'truck'])
    const above = newFolder({ 'cifar-10-batches-bin/test_batch.bin': binary10 })
    const tests = [await cifar10(path, { split: 'test' }), await cifar10(join(path, 'test_batch.bin'))]
    for (const set of [...tests, await cifar10(above, { split: 'test' })]) {
      expectPixels(set)
      expect([Array.from(set.labels), set.augment]).toEqual([[9, 0, 4], false])
    }
    const asTrain = await cifar10(join(path, 'test_batch.bin'), { split: 'train' })
    expect(asTrain.augment).toEqual({ pad: 4, flip: 0.5 })
  })

  test('of CIFAR-100: fine and coarse labels', async () => {
    const path = newFolder({ 'train.bin': binary100, 'test.bin': binary100.subarray(0, 3074) })
    const fine = await cifar100(path)
    const coarse = await cifar100(path, { labels: 'coarse' })
    for (const set of [fine, coarse]) expectPixels(set)
    expect([Array.from(fine.labels), fine.classes!.length, fine.classes![99]]).toEqual([[99, 0, 42], 100, 'worm'])
    expect([Array.from(coarse.labels), coarse.classes!.length]).toEqual([[19, 0, 8], 20])
    expect([...coarse.classes!].sort()).toEqual(coarse.classes)
    expect([...fine.classes!].sort()).toEqual(fine.classes)
    expect(await cifar100(path, { split: 'test' })).toMatchObject({ shape: [1, 3, 32, 32], augment: false })
  })

  test('that is more than one block long keeps its order', async () => {
    const labels = Array.from({ length: 1000 }, (_, i) => [i % 10])
    const set = await cifar10(join(newFolder({ 'a.bin': records(labels) }), 'a.bin'))
    expectPixels(set)
    expect(Array.from(set.labels)).toEqual(labels.flat())
  })

  const damaged: [string, Uint8Array, RegExp][] = [
    ['an empty file', new Uint8Array(0), /is empty/],
    ['a file cut short', binary10.subarray(0, -1), /9218 bytes, no multiple of the 3073/],
    ['the other set', binary100, /no multiple of the 3073 of a record of cifar10.*cifar100/],
    ['a label past 9', records([[1], [10]]), /label 10 for image 1, wanted 0 to 9/],
  ]
  test.each(damaged)('refuses %s and names it', async (_, bytes, message) => {
    const error = await refuses('ERR_IO', message, () => cifar10(join(newFolder({ 'a.bin': bytes }), 'a.bin')))
    expect(error.message).toMatch(/a\.bin/)
  })

  test('refuses a coarse label past 19 even when fine ones are asked for', async () => {
    const path = newFolder({ 'train.bin': records([[20, 5]]) })
    await refuses('ERR_IO', /train\.bin" has label 20 for image 0, wanted 0 to 19/, () => cifar100(path))
  })

  test('says which files are missing', async () => {
    const path = newFolder({ 'data_batch_1.bin': binary10, 'data_batch_3.bin': binary10, 'data_batch_4.bin': binary10 })
    await refuses('ERR_IO', /lacks data_batch_2\.bin, data_batch_5\.bin of the split 'train'/, () => cifar10(path))
    await refuses('ERR_IO', /no files of the split 'test'.*test_batch\.bin/, () => cifar10(path, { split: 'test' }))
    await refuses('ERR_IO', /cifar100: there is no file or folder/, () => cifar100(join(path, 'nowhere')))
  })

  test('refuses other options', async () => {
    await refuses('ERR_INVALID_ARGUMENT', /^split: got "val"/, () => cifar10(folder, { split: 'val' as any }))
    await refuses('ERR_INVALID_ARGUMENT', /^labels: got "all"/, () => cifar100(folder, { labels: 'all' as any }))
    await refuses('ERR_INVALID_ARGUMENT', /^path: got undefined/, () => cifar10(undefined as any))
    const reason = new Error('enough')
    await expect(cifar10(folder, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  })
})

describe('the Python version', () => {
  const kinds = ['python2', 'protocol2', 'protocol4', 'protocol5', 'fortran']

  test.each(kinds)('written as %s', async (kind) => {
    const path = join(fixtures, `cifar_${kind}`)
    const [ten, fine, coarse] = await Promise.all([cifar10(path), cifar100(path), cifar100(path, { labels: 'coarse' })])
    for (const set of [ten, fine, coarse]) {
      checkImageSet('set', set)
      expectPixels(set)
    }
    expect([ten, fine, coarse].map((set) => Array.from(set.labels))).toEqual([
      [9, 0, 4],
      [99, 0, 42],
      [19, 0, 8],
    ])
  })

  test('in folders', async () => {
    const bytes = readFileSync(join(fixtures, 'cifar_python2'))
    const names = [1, 2, 3, 4, 5].map((i) => `cifar-10-batches-py/data_batch_${i}`)
    const path = newFolder(Object.fromEntries(names.map((name) => [name, bytes])))
    const train = await cifar10(path)
    expect(train.shape).toEqual([15, 3, 32, 32])
    expect(Array.from(train.labels).slice(0, 6)).toEqual([9, 0, 4, 9, 0, 4])
    expect(train.images.subarray(4 * 9216)).toEqual(train.images.subarray(0, 9216))
    const hundred = await cifar100(newFolder({ test: bytes }), { split: 'test' })
    expect(hundred).toMatchObject({ shape: [3, 3, 32, 32], augment: false })
  })

  const pickle = (body: string) => Buffer.from(`\x80\x02${body}.`, 'latin1')
  const hostile: [string, Uint8Array, RegExp][] = [
    ['a call of os.system', pickle("cos\nsystem\n(S'touch x'\ntR"), /os\.system.*nothing of it was executed/],
    ['a call of builtins.eval', pickle("c__builtin__\neval\n(S'1'\ntR"), /__builtin__\.eval/],
    ['something else than a dictionary', pickle(']'), /something else than a dictionary/],
    ['no images', pickle('}'), /has no array "data"/],
    ['images in a list', pickle('}U\x04data]s'), /has no array "data"/],
    ['an array without state', pickle('}U\x04datacnumpy.core.multiarray\n_reconstruct\n)Rs'), /has no array "data"/],
    [
      'an array of floats',
      pickle('cnumpy.core.multiarray\n_reconstruct\n)R(K\x01)cnumpy\ndtype\n(U\x02f4tR\x89U\x00tb'),
      /than bytes/,
    ],
  ]
  test.each(hostile)('refuses %s', async (_, bytes, message) => {
    const error = await refuses('ERR_IO', message, () => cifar10(join(newFolder({ batch: bytes }), 'batch')))
    expect(error.message).toMatch(/binary version|again/)
  })

  test('refuses counts that lie and labels that do not fit', async () => {
    const sound = readFileSync(join(fixtures, 'cifar_python2'))
    const change = (from: string, to: string) => {
      const text = sound.toString('latin1')
      expect(text).toContain(from)
      return join(newFolder({ batch: Buffer.from(text.replace(from, to), 'latin1') }), 'batch')
    }
    await refuses('ERR_IO', /batch" has images of 4 x 3072 in 9216 bytes/, () =>
      cifar10(change('(K\x01K\x03M\x00\x0c', '(K\x01K\x04M\x00\x0c')),
    )
    await refuses('ERR_IO', /batch" has images of 3 x 3073/, () => cifar10(change('M\x00\x0c', 'M\x01\x0c')))
    await refuses('ERR_IO', /has 2 labels for 3 images/, () => cifar10(change('K\tK\0K\x04', 'K\tK\0')))
    await refuses('ERR_IO', /has label 10 for image 0/, () => cifar10(change('K\tK\0', 'K\nK\0')))
    await refuses('ERR_IO', /has no list "labels".*cifar100/, () => cifar10(change('\x06labels', '\x06_abels')))
    await refuses('ERR_IO', /too early/, () => cifar10(join(newFolder({ b: sound.subarray(0, 500) }), 'b')))
  })

  test('never fails in another way, whatever byte is changed', async () => {
    const sound = readFileSync(join(fixtures, 'cifar_protocol4'))
    const path = join(newFolder({}), 'batch')
    // The pixels themselves may be anything.
    const places = Array.from({ length: 500 }, (_, i) => (i < 200 ? i : sound.length - 1 - (i - 200)))
    let refused = 0
    for (const [i, place] of places.entries()) {
      const bytes = Buffer.from(sound)
      bytes[place]! ^= 1 + ((i * 37) % 255)
      writeFileSync(path, bytes)
      const end = await cifar10(path).catch((error) => error)
      if (end instanceof Error) {
        expect(end).toBeInstanceOf(TorchvidError)
        expect((end as TorchvidError).code).toBe('ERR_IO')
        refused++
      } else checkImageSet('set', end)
    }
    expect(refused).toBeGreaterThan(100)
  })
})

describe('real images', () => {
  const path = shared && join(shared, 'data/cifar10/train_first4000_lossless.bin')
  test.skipIf(!path)(`CIFAR-10's first 4000${path ? '' : ' (skipped: no ../shared)'}`, async () => {
    const set = await cifar10(path!)
    expect(set.shape).toEqual([4000, 3, 32, 32])
    expect(histogram(set).every((count) => count > 350 && count < 450)).toBe(true)
    // Known of all 50,000: mean 0.4914, 0.4822, 0.4465, std 0.2470, 0.2435, 0.2616.
    for (const [channel, [mean, std]] of meanAndStd(set).entries()) {
      expect(Math.abs(mean - [0.4914, 0.4822, 0.4465][channel]!)).toBeLessThan(0.01)
      expect(Math.abs(std - [0.247, 0.2435, 0.2616][channel]!)).toBeLessThan(0.005)
    }
  })
})
