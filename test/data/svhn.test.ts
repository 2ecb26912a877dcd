import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { deflateSync, inflateSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { checkImageSet, type ImageSet } from '../../lib/data/image-set.ts'
import { svhn } from '../../lib/data/svhn.ts'
import { TorchvidError } from '../../lib/errors.ts'
import { refuses, scratch } from './helpers.ts'

const folder = scratch()
const fixtures = join(import.meta.dirname, 'fixtures')
let files = 0

function newFile(bytes: Uint8Array): string {
  const path = join(folder, `${files++}.mat`)
  writeFileSync(path, bytes)
  return path
}

/** The pixel that every file here has, as in fixtures/make.py. */
const pixel = (image: number, channel: number, y: number, x: number) => (y + 3 * x + 50 * channel + 11 * image) & 0xff

/** The planes in MATLAB's order: y varies fastest. */
function columns(count: number): Uint8Array {
  return Uint8Array.from({ length: count * 3072 }, (_, i) => {
    const [y, x, channel, image] = [i % 32, (i >> 5) % 32, Math.floor(i / 1024) % 3, Math.floor(i / 3072)]
    return pixel(image, channel, y, x)
  })
}

function expectPixels({ images, shape }: ImageSet): void {
  expect(images.length).toBe(shape[0] * 3072)
  const wrong = images.findIndex((value, i) => {
    const [x, y, channel, image] = [i % 32, (i >> 5) % 32, Math.floor(i / 1024) % 3, Math.floor(i / 3072)]
    return value !== pixel(image, channel, y, x)
  })
  expect(wrong).toBe(-1)
}

/** Writes MAT-files of level 5 in either order of bytes. */
class Writer {
  constructor(private readonly little = true) {}

  header(version = 0x0100): Buffer {
    const bytes = Buffer.alloc(128, ' ')
    bytes.write('MATLAB 5.0 MAT-file')
    if (this.little) bytes.writeUInt16LE(version, 124)
    else bytes.writeUInt16BE(version, 124)
    bytes.write(this.little ? 'IM' : 'MI', 126)
    return bytes
  }

  /** `announced` where the tag lies. */
  element(type: number, data: Uint8Array, announced = data.length): Buffer {
    const padding = type === 15 ? 0 : (8 - (data.length % 8)) % 8
    return Buffer.concat([this.uint32(type, announced), data, Buffer.alloc(padding)])
  }

  uint32(...values: number[]): Buffer {
    const bytes = Buffer.alloc(4 * values.length)
    for (const [i, value] of values.entries()) {
      if (this.little) bytes.writeUInt32LE(value, 4 * i)
      else bytes.writeUInt32BE(value, 4 * i)
    }
    return bytes
  }

  matrix(name: string, kind: number, sizes: number[], type: number, data: Uint8Array): Buffer {
    const parts = [this.element(6, this.uint32(kind, 0)), this.element(5, this.uint32(...sizes))]
    return this.element(14, Buffer.concat([...parts, this.element(1, Buffer.from(name)), this.element(type, data)]))
  }

  doubles(values: number[]): Buffer {
    const bytes = Buffer.alloc(8 * values.length)
    for (const [i, value] of values.entries()) {
      if (this.little) bytes.writeDoubleLE(value, 8 * i)
      else bytes.writeDoubleBE(value, 8 * i)
    }
    return bytes
  }
}

const DOUBLE = 6
const UINT8 = 9
const w = new Writer()
const x2 = w.matrix('X', UINT8, [32, 32, 3, 2], 2, columns(2))
const y2 = w.matrix('y', DOUBLE, [2, 1], 9, w.doubles([10, 3]))
const compressed = (matrix: Uint8Array) => w.element(15, deflateSync(matrix))
const file = (...elements: Uint8Array[]) => Buffer.concat([w.header(), ...elements])

describe('svhn', () => {
  test('reads files that scipy wrote', async () => {
    const set = await svhn(join(fixtures, 'svhn_compressed.mat'))
    checkImageSet('set', set)
    expectPixels(set)
    expect(set).toMatchObject({ shape: [4, 3, 32, 32], augment: false })
    expect(Array.from(set.labels)).toEqual([1, 0, 9, 2])
    const one = await svhn(join(fixtures, 'svhn_plain.mat'))
    expectPixels(one)
    expect([one.shape[0], one.labels[0]]).toEqual([1, 1])
  })

  test('finds the split in a folder', async () => {
    const path = join(folder, 'splits')
    mkdirSync(path)
    for (const [name, digit] of [
      ['train', 1],
      ['test', 2],
      ['extra', 10],
    ] as const) {
      const labels = w.matrix('y', DOUBLE, [1, 1], 9, w.doubles([digit]))
      const images = w.matrix('X', UINT8, [32, 32, 3], 2, columns(1))
      writeFileSync(join(path, `${name}_32x32.mat`), file(compressed(images), compressed(labels)))
    }
    const sets = await Promise.all(([undefined, 'test', 'extra'] as const).map((split) => svhn(path, { split })))
    expect(sets.map((set) => set.labels[0])).toEqual([1, 2, 0])
    for (const set of sets) expectPixels(set)
  })

  test('reads many images block by block, labels of any type, both orders of bytes', async () => {
    const count = 700
    const digits = Array.from({ length: count }, (_, i) => 1 + (i % 10))
    const big = new Writer(false)
    const x = big.matrix('X', UINT8, [32, 32, 3, count], 2, columns(count))
    const kinds = [
      big.matrix('y', DOUBLE, [count, 1], 9, big.doubles(digits)),
      big.matrix('y', DOUBLE, [1, count], 2, Uint8Array.from(digits)),
    ]
    for (const y of kinds) {
      const bytes = Buffer.concat([big.header(), big.element(15, deflateSync(y)), big.element(15, deflateSync(x))])
      const set = await svhn(newFile(bytes))
      expectPixels(set)
      expect(Array.from(set.labels)).toEqual(digits.map((digit) => digit % 10))
    }
  })

  const zipped = deflateSync(x2)
  const wrongSum = Buffer.from(zipped)
  wrongSum[zipped.length - 1]! ^= 0xff
  const lying = Buffer.from(x2)
  lying.writeInt32LE(2_000_000, 8 + 16 + 8 + 12)
  const damaged: [string, Uint8Array, RegExp][] = [
    ['an empty file', new Uint8Array(0), /has 0 bytes/],
    ['no MAT-file', Buffer.alloc(500, 7), /not a MAT-file of level 5/],
    ['version 7.3', Buffer.concat([Buffer.from('MATLAB 7.3 MAT-file'), w.header(0x0200).subarray(19)]), /HDF5.*"-v7"/],
    ['a header alone', file(), /has no variable X/],
    ['no labels', file(x2), /has no variable y/],
    ['fewer labels', file(x2, w.matrix('y', DOUBLE, [1, 1], 9, w.doubles([1]))), /has 1 labels for 2 images/],
    ['label 0', file(x2, w.matrix('y', DOUBLE, [2, 1], 9, w.doubles([1, 0]))), /label 0 for image 1, wanted 1 to 10/],
    ['label 1.5', file(x2, w.matrix('y', DOUBLE, [2, 1], 9, w.doubles([1, 1.5]))), /label 1\.5 for image 1/],
    ['another size', file(w.matrix('X', UINT8, [32, 16, 3, 4], 2, columns(2)), y2), /X of 32 x 16 x 3 x 4/],
    [
      'images of doubles',
      file(w.matrix('X', DOUBLE, [32, 32, 3, 1], 9, w.doubles(Array(3072).fill(1))), y2),
      /wanted 32 x 32 x 3 x N bytes/,
    ],
    ['a file cut short', file(x2, y2).subarray(0, 3000), /cut short/],
    ['a tag cut short', file(x2, y2, Buffer.alloc(3)), /cut short/],
    ['an unknown element', file(x2, y2, w.element(77, Buffer.alloc(8))), /element of type 77/],
    ['an empty element', file(w.element(15, new Uint8Array(0))), /empty element/],
    ['a count that lies', file(lying, y2), /is 32 x 32 x 3 x 2000000 values of 1 bytes, and has 6144 bytes/],
    ['a count that lies, compressed', file(compressed(lying), y2), /is 32 x 32 x 3 x 2000000 values/],
    ['compressed data cut short', file(w.element(15, zipped.subarray(0, -20)), y2), /cut short/],
    [
      'compressed data damaged',
      file(w.element(15, Buffer.concat([zipped.subarray(0, 9), Buffer.alloc(50)])), y2),
      /inflate/,
    ],
    ['a wrong checksum', file(w.element(15, wrongSum), y2), /do not inflate \(incorrect data check\)/],
    ['more than the variable', file(compressed(Buffer.concat([x2, x2])), y2), /goes on after/],
    ['something else inside', file(w.element(15, deflateSync(w.element(15, zipped)))), /holds type 15/],
    [
      'more than it can be',
      file(w.element(15, deflateSync(w.element(14, x2.subarray(8), 4e9)))),
      /4000000000 bytes, and there can be/,
    ],
    ['a negative size', file(w.matrix('X', UINT8, [32, 32, -3 >>> 0, -2 >>> 0], 2, columns(2))), /32 x 32 x -3 x -2/],
  ]
  test.each(damaged)('refuses %s and names it', async (_, bytes, message) => {
    const path = newFile(bytes)
    const error = await refuses('ERR_IO', message, () => svhn(path))
    expect(error.message).toContain(path.split('/').at(-1))
  })

  test('does not inflate what it passes over', async () => {
    const bomb = w.matrix('bomb', UINT8, [8192, 8192], 2, new Uint8Array(8192 * 8192))
    const broken = deflateSync(bomb)
    // Past the variable's header there is nothing sound.
    broken.fill(0xff, 200)
    expect(() => inflateSync(broken)).toThrow()
    expect((await svhn(newFile(file(w.element(15, broken), x2, y2)))).shape[0]).toBe(2)
  })

  test('refuses other options, a missing file, and stops when aborted', async () => {
    await refuses('ERR_INVALID_ARGUMENT', /^split: got "val"/, () => svhn(folder, { split: 'val' as any }))
    await refuses('ERR_INVALID_ARGUMENT', /^path/, () => svhn(null as any))
    await refuses('ERR_IO', /train_32x32\.mat" cannot be read/, () => svhn(folder))
    const reason = new Error('enough')
    await expect(svhn(newFile(file(x2, y2)), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  })

  test('never fails in another way, whatever byte is changed', async () => {
    const path = join(folder, 'changed.mat')
    let refused = 0
    for (const name of ['svhn_compressed.mat', 'svhn_plain.mat']) {
      const sound = readFileSync(join(fixtures, name))
      for (let i = 0; i < 120; i++) {
        const bytes = Buffer.from(sound)
        bytes[124 + ((i * 23) % (sound.length - 124))]! ^= 1 + ((i * 37) % 255)
        writeFileSync(path, i % 4 === 0 ? bytes.subarray(0, 130 + i * 8) : bytes)
        const end = await svhn(path).catch((error) => error)
        if (end instanceof Error) {
          expect(end).toBeInstanceOf(TorchvidError)
          expect((end as TorchvidError).code).toBe('ERR_IO')
          refused++
        } else checkImageSet('set', end)
      }
    }
    expect(refused).toBeGreaterThan(80)
  })
})
