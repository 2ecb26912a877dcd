import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { writeFeatureSettings } from '../../lib/data/feature-settings.ts'
import { type FeatureReader, openFeatureSet, openFeatures } from '../../lib/data/features.ts'
import { readNpy } from '../../lib/data/npy.ts'
import { native } from '../../lib/native.ts'
import { sharedNote } from '../helpers/expect.ts'
import { tensor } from '../helpers/tensors.ts'
import { refuses, scratch, shared } from './helpers.ts'
import { columnMajor, featureFile, makeNpy, numbersAs } from './npy-files.ts'

const folder = scratch()
let files = 0

function newFile(bytes: Uint8Array | string, name = `${files++}.npy`): string {
  const path = join(folder, name)
  mkdirSync(join(path, '..'), { recursive: true })
  writeFileSync(path, bytes)
  return path
}

/** What a reader gives for training, read as the trainer reads it. */
async function sourceOf(reader: FeatureReader): Promise<number[][]> {
  const source = await reader.source()
  if ('tensor' in source) return [Array.from(source.tensor.data as Float32Array)]
  const tensors = await Promise.all(source.files.map(({ path, tensor }) => native().readTensor(path, tensor)))
  return tensors.map(({ data }) => Array.from(data as Float32Array))
}

const numbers = Array.from({ length: 30 }, (_, i) => i / 4)

describe('openFeatures', () => {
  const layouts: [name: string, bytes: Buffer][] = [
    ['float32', makeNpy({ shape: [5, 3, 2] }, numbersAs('f4', numbers))],
    ['float16', makeNpy({ shape: [5, 3, 2], descr: '<f2' }, numbersAs('f2', numbers))],
    ['float64', makeNpy({ shape: [5, 3, 2], descr: '<f8', version: 2 }, numbersAs('f8', numbers))],
    [
      'column-major float16',
      makeNpy({ shape: [5, 3, 2], descr: '<f2', fortran: true }, numbersAs('f2', columnMajor(numbers, [5, 3, 2]))),
    ],
    ['big-endian float32', makeNpy({ shape: [5, 3, 2], descr: '>f4' }, numbersAs('f4', numbers, false))],
  ]
  test.each(layouts)('reads rows of a file of %s', async (name, bytes) => {
    const reader = await openFeatures(newFile(bytes, `${name}/Abuse001_x264_i3d.npy`), 'features')
    expect(reader).toMatchObject({ name: 'Abuse001_x264', segments: 5, crops: 3, size: 2 })
    expect(reader.settings).toBeUndefined()
    for (const [first, count] of [
      [0, 5],
      [1, 3],
      [4, 1],
    ] as const) {
      const rows = await reader.read(first, count)
      expect(rows.shape).toEqual([count, 3, 2])
      expect(rows.data).toBeInstanceOf(Float32Array)
      expect(Array.from(rows.data)).toEqual(numbers.slice(first * 6, (first + count) * 6))
    }
    expect(await sourceOf(reader)).toEqual([numbers])
  })

  test('takes (T, F) as one crop, from a file and from memory', async () => {
    const file = await openFeatures(newFile(featureFile([15, 2], (i) => i)), 'x')
    const memory = await openFeatures(
      tensor([15, 2], (i) => i),
      'normal[3]',
    )
    for (const reader of [file, memory]) {
      expect(reader).toMatchObject({ segments: 15, crops: 1, size: 2 })
      expect(await reader.read(3, 2)).toEqual({ data: Float32Array.of(6, 7, 8, 9), shape: [2, 1, 2] })
    }
    expect(memory.name).toBe('normal[3]')
    expect(await memory.source()).toEqual({ tensor: tensor([15, 1, 2], (i) => i) })
    const doubles = { data: Float64Array.from(numbers), shape: [5, 3, 2] }
    expect(Array.from((await (await openFeatures(doubles, 'x')).read(2, 1)).data)).toEqual(numbers.slice(12, 18))
  })

  test('puts files of one crop each together, whatever they are stored as', async () => {
    const of = (crop: number) => (i: number) => 100 * crop + i
    const kinds = {
      npy: [0, 1, 2].map((crop) => newFile(featureFile([4, 2], of(crop)), `crops/A.B_label_A__${crop}.npy`)),
      mixed: [
        newFile('0 1\n2 3\n4 5\n6 7\n', 'mixed/v__0.txt'),
        newFile(featureFile([4, 1, 2], of(1)), 'mixed/v__1.npy'),
        newFile(makeNpy({ shape: [4, 2], descr: '>f8' }, numbersAs('f8', [...Array(8).keys()].map(of(2)), false))),
      ],
    }
    const expected = Array.from({ length: 24 }, (_, i) => {
      const [row, crop, f] = [Math.floor(i / 6), Math.floor(i / 2) % 3, i % 2]
      return 100 * crop + 2 * row + f
    })
    for (const paths of Object.values(kinds)) {
      const reader = await openFeatures(paths, 'x')
      expect(reader).toMatchObject({ segments: 4, crops: 3, size: 2 })
      expect(Array.from((await reader.read(0, 4)).data)).toEqual(expected)
      expect(await reader.read(2, 1)).toEqual({ data: Float32Array.from(expected.slice(12, 18)), shape: [1, 3, 2] })
    }
    const reader = await openFeatures(kinds.npy, 'x')
    expect(reader.name).toBe('A.B_label_A')
    expect(await sourceOf(reader)).toEqual([0, 1, 2].map((crop) => [...Array(8).keys()].map(of(crop))))
    expect(await sourceOf(await openFeatures(kinds.mixed, 'x'))).toEqual([expected])
    const one = await openFeatures([newFile(featureFile([4, 3, 2], (i) => i))], 'x')
    expect(one).toMatchObject({ segments: 4, crops: 3, size: 2 })
  })

  test('hands on the settings that lie beside a file', async () => {
    const path = newFile(featureFile([2, 1, 4], (i) => i))
    const settings = {
      ...{ backbone: 'i3d', size: 4, crops: 1 as const, every: 16, frameStep: 1, resize: 256, crop: 224, frames: 32 },
      ...{ order: 'RGB' as const, mean: [127.5], std: [127.5], tail: 'loop' as const, meanNorm: 2 },
    }
    await writeFeatureSettings(path, settings)
    expect((await openFeatures(path, 'x')).settings).toEqual(settings)
  })

  test('refuses arrays of other layouts, telling what is wanted', async () => {
    const wanted = /Wanted \(T, crops, F\) or \(T, F\)/
    for (const shape of [[], [8], [2, 2, 2, 1]]) {
      const file = newFile(featureFile(shape, () => 1))
      const error = await refuses('ERR_SHAPE', wanted, () => openFeatures(file, 'x'))
      expect(error.message).toContain(`has shape (${shape.join(', ')})`)
      const given = tensor(shape, () => 1)
      await refuses('ERR_SHAPE', /^normal\[0\] has shape/, () => openFeatures(given, 'normal[0]'))
    }
    const empty = newFile(featureFile([0, 10, 8], () => 1))
    await refuses('ERR_SHAPE', /shape \(0, 10, 8\): there is nothing in it/, () => openFeatures(empty, 'x'))
    const whole = newFile(makeNpy({ shape: [2, 2], descr: '<i4' }, Buffer.alloc(16)))
    await refuses('ERR_IO', /holds whole numbers, and features are float16/, () => openFeatures(whole, 'x'))
  })

  test('refuses crops that differ, and lists of several videos', async () => {
    const [a, b, c] = [
      newFile(featureFile([4, 2], () => 1)),
      newFile(featureFile([5, 2], () => 1)),
      newFile(featureFile([4, 10, 2], () => 1)),
    ]
    await refuses('ERR_SHAPE', /is \(5, 2\), and "[^"]*" \(4, 2\).*of one video/, () => openFeatures([a, b], 'x'))
    await refuses('ERR_SHAPE', /holds 10 crops.*list of such lists/, () => openFeatures([a, c], 'x'))
    await refuses('ERR_INVALID_ARGUMENT', /^x: got \[\]/, () => openFeatures([], 'x'))
    await refuses('ERR_INVALID_ARGUMENT', /^x: got \[3\]/, () => openFeatures([3] as any, 'x'))
    for (const wrong of [undefined, null, 3, {}, '']) {
      await refuses('ERR_INVALID_ARGUMENT', /^x: got/, () => openFeatures(wrong as any, 'x'))
    }
    await refuses('ERR_IO', /gone\.npy" cannot be read/, () => openFeatures(join(folder, 'gone.npy'), 'x'))
  })

  test('refuses rows that there are not', async () => {
    for (const input of [newFile(featureFile([4, 2], () => 1)), tensor([4, 2], () => 1)]) {
      const reader = await openFeatures(input, 'x')
      await refuses('ERR_INVALID_ARGUMENT', /^x: first: got 4/, () => reader.read(4, 1))
      await refuses('ERR_INVALID_ARGUMENT', /^x: count: got 3, wanted a whole number from 1 to 2/, () =>
        reader.read(2, 3),
      )
      await refuses('ERR_INVALID_ARGUMENT', /^x: count: got 0/, () => reader.read(2, 0))
    }
  })

  test('names the first row that holds no number', async () => {
    const spoilt = (i: number) => (i === 4 * 6 + 3 ? Number.NaN : i)
    const reader = await openFeatures(newFile(featureFile([9, 3, 2], spoilt), 'spoilt.npy'), 'x')
    expect((await reader.read(0, 4)).shape).toEqual([4, 3, 2])
    const where = /spoilt\.npy" holds a number that is not finite in row 4 of 9, crop 1 \(both from 0\)/
    await refuses('ERR_IO', where, () => reader.read(3, 4))
    const given = await openFeatures(tensor([9, 3, 2], spoilt), 'x')
    await refuses('ERR_INVALID_ARGUMENT', /^x: .*row 4 of 9, crop 1/, () => given.read(0, 9))
    const large = makeNpy({ shape: [1, 2], descr: '<f8' }, numbersAs('f8', [1, 1e300]))
    await refuses('ERR_IO', /row 0 of 1 /, async () => (await openFeatures(newFile(large), 'x')).read(0, 1))
    const crops = [newFile(featureFile([2, 1], () => 1)), newFile(featureFile([2, 1], (i) => (i === 1 ? Infinity : 0)))]
    await refuses('ERR_IO', /row 1 of 2 /, async () => (await openFeatures(crops, 'x')).read(0, 2))
  })

  test('reads rows of a long file without reading all of it', async () => {
    const path = newFile(featureFile([2000, 4], (i) => i))
    const reader = await openFeatures(path, 'x')
    const { data } = await reader.read(1990, 2)
    expect(Array.from(data)).toEqual([7960, 7961, 7962, 7963, 7964, 7965, 7966, 7967])
    expect(data.buffer.byteLength).toBe(32)
  })
})

describe('text features', () => {
  test('reads rows of blanks, tabs, commas, either line end, and numbers as programs write them', async () => {
    const text = '\ufeff1 2  3\r\n\n  -4,5 ,\t6,\n+.5 1e-3 7.\t\n1E+2\t-0.25 9'
    const reader = await openFeatures(newFile(text, 'Shooting008_x264.txt'), 'x')
    expect(reader).toMatchObject({ name: 'Shooting008_x264', segments: 4, crops: 1, size: 3 })
    const { data } = await reader.read(0, 4)
    expect(Array.from(data)).toEqual([1, 2, 3, -4, 5, 6, 0.5, Math.fround(1e-3), 7, 100, -0.25, 9])
    expect(await reader.source()).toEqual({ tensor: { data, shape: [4, 1, 3] } })
  })

  test('reads lines that lie across the parts of a file', async () => {
    const rows = Array.from({ length: 300 }, (_, row) => Array.from({ length: 200 }, (_, i) => row * 1000 + i))
    const reader = await openFeatures(newFile(rows.map((row) => row.join(' ')).join('\n'), 'long.txt'), 'x')
    expect(reader).toMatchObject({ segments: 300, size: 200 })
    expect(Array.from((await reader.read(0, 300)).data)).toEqual(rows.flat())
  })

  const wrong: [string, string, RegExp][] = [
    ['nothing', ' \n\n', /holds no rows of features/],
    ['a word', '1 2\n3 x\n', /has "x" as number 2 of line 2/],
    ['nan', '1 2\n\nnan 3\n', /has "nan" as number 1 of line 3/],
    ['a number too large', '1e39 2\n', /has "1e39" as number 1 of line 1/],
    ['a hexadecimal number', '0x10 2\n', /has "0x10"/],
    ['an empty place', '1,,2\n', /has "" as number 2/],
    ['rows of different lengths', '1 2 3\n4 5\n', /has 2 numbers in line 2 and 3 in its first row/],
    ['a .npy file', '\x93NUMPY\x01\x00', /as number 1 of line 1/],
  ]
  test.each(wrong)('refuses %s, naming file and line', async (_, text, message) => {
    const path = newFile(text, `wrong${files++}.txt`)
    const error = await refuses('ERR_IO', message, () => openFeatures(path, 'x'))
    expect(error.message).toContain(`${path.split('/').at(-1)}"`)
    expect(error.message).toContain('one row of features a line')
  })

  test.skipIf(shared === undefined)(`reads real features the same from text and .npy${sharedNote}`, async () => {
    const at = join(shared!, 'data/rtfm/ucf-crime-c3d/Shooting008_x264')
    const [text, npy] = await Promise.all([openFeatures(`${at}.txt`, 'x'), openFeatures(`${at}.npy`, 'x')])
    for (const reader of [text, npy]) {
      expect(reader).toMatchObject({ name: 'Shooting008_x264', segments: 32, crops: 1, size: 4096 })
    }
    const rows = await npy.read(0, 32)
    expect((await text.read(0, 32)).data).toEqual(rows.data)
    expect(rows.data).toEqual((await readNpy(`${at}.npy`)).data)
    expect(rows.data.reduce((sum, x) => sum + x * x, 0)).toBeCloseTo(32, 1)
  })
})

describe('openFeatureSet', () => {
  test('opens many in order, and tells which does not fit', async () => {
    const paths = Array.from({ length: 40 }, (_, i) => newFile(featureFile([i + 1, 2, 3], () => i)))
    const readers = await openFeatureSet(paths, 'normal')
    expect(readers.map(({ segments }) => segments)).toEqual(paths.map((_, i) => i + 1))
    const odd = newFile(
      featureFile([4, 3], () => 1),
      'odd.npy',
    )
    await refuses('ERR_SHAPE', /^normal: .* has 2 crops of 3 numbers, and odd 1 crop of 3 numbers/, () =>
      openFeatureSet([...paths, odd], 'normal'),
    )
    await refuses('ERR_IO', /gone/, () => openFeatureSet([paths[0]!, join(folder, 'gone.npy')], 'normal'))
    await refuses('ERR_SHAPE', /^normal\[17\] has shape \(3\)/, () =>
      openFeatureSet([...paths.slice(0, 17), tensor([3], () => 1)], 'normal'),
    )
    await refuses('ERR_INVALID_ARGUMENT', /^normal: got "x"/, () => openFeatureSet('x' as any, 'normal'))
    expect(await openFeatureSet([], 'normal')).toEqual([])
  })
})
