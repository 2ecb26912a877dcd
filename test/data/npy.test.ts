import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { readNpy, writeNpy } from '../../lib/data/npy.ts'
import { NpyWriter } from '../../lib/data/npy-writer.ts'
import { TorchvidError } from '../../lib/errors.ts'
import { sharedNote } from '../helpers/expect.ts'
import { randomFrom } from '../helpers/tensors.ts'
import { leftovers, refuses, scratch, shared } from './helpers.ts'
import { columnMajor, makeNpy, numbersAs } from './npy-files.ts'

const folder = scratch()
let files = 0

function newFile(bytes: Uint8Array): string {
  const path = join(folder, `${files++}.npy`)
  writeFileSync(path, bytes)
  return path
}

const shape = [2, 3, 4]
const values = Array.from({ length: 24 }, (_, i) => (i % 2 === 0 ? i : -i))
const positive = values.map(Math.abs)

describe('readNpy', () => {
  const kinds: [kind: string, numbers: number[], array: string][] = [
    ['f2', values.map((value) => value / 8), 'Float32Array'],
    ['f4', values.map((value) => value / 8), 'Float32Array'],
    ['f8', values.map((value) => value / 8), 'Float64Array'],
    ['i1', values, 'Int32Array'],
    ['i2', values, 'Int32Array'],
    ['i4', values, 'Int32Array'],
    ['i8', values, 'BigInt64Array'],
    ['u1', positive, 'Uint8Array'],
    ['u2', positive.map((value) => 65_535 - value), 'Int32Array'],
    ['u4', positive, 'BigInt64Array'],
    ['u8', positive, 'BigInt64Array'],
    ['b1', values.map((_, i) => (i % 3 === 0 ? 1 : 0)), 'Uint8Array'],
  ]
  test.each(kinds)(
    'reads %s in both orders of bytes and of dimensions, in every version',
    async (kind, numbers, array) => {
      for (const version of [1, 2, 3] as const) {
        for (const order of ['<', '>', '|', '=']) {
          for (const fortran of [false, true]) {
            const stored = fortran ? columnMajor(numbers, shape) : numbers
            const bytes = numbersAs(kind, stored, order !== '>')
            const path = newFile(makeNpy({ descr: order + kind, shape, fortran, version }, bytes))
            const read = await readNpy(path)
            expect(read.shape).toEqual(shape)
            expect(read.data.constructor.name).toBe(array)
            expect(Array.from(read.data as Float32Array, Number)).toEqual(numbers)
          }
        }
      }
    },
  )

  test('reads half numbers of every sort, in both orders of bytes alike', async () => {
    const sorts = [0, -0, 1, -2, 65_504, 2 ** -14, 2 ** -24, 1023 * 2 ** -24, Infinity, -Infinity, NaN, 0.333251953125]
    for (const order of ['<', '>']) {
      const path = newFile(makeNpy({ descr: `${order}f2`, shape: [12] }, numbersAs('f2', sorts, order === '<')))
      expect(Array.from((await readNpy(path)).data as Float32Array)).toEqual(sorts)
    }
  })

  test('reads single numbers and empty arrays, and headers as other programs write them', async () => {
    const one = numbersAs('f4', [7])
    expect(await readNpy(newFile(makeNpy({ shape: [] }, one)))).toEqual({ data: Float32Array.of(7), shape: [] })
    const empty = await readNpy(newFile(makeNpy({ shape: [0, 5] }, Buffer.alloc(0))))
    expect([empty.shape, empty.data.length]).toEqual([[0, 5], 0])
    for (const header of [
      '{"shape":(1L,),"fortran_order":True,"descr":"<f4"}   ',
      "{'shape': [1], 'descr': '<f4', 'fortran_order': False}",
      "\t{ 'fortran_order' :False , 'descr':'<f4','shape': ( 1 , ) , } ",
    ]) {
      expect(await readNpy(newFile(makeNpy({ shape: [], header }, one)))).toEqual({
        data: Float32Array.of(7),
        shape: [1],
      })
    }
  })

  const four = Buffer.alloc(16)
  const made = (header: string) => makeNpy({ shape: [], header }, four)
  const fields = (descr: string, order = 'False', sides = '(4,)') =>
    made(`{'descr': ${descr}, 'fortran_order': ${order}, 'shape': ${sides}, }`)
  const sound = makeNpy({ shape: [4] }, four)
  const wrong: [string, Uint8Array, RegExp][] = [
    ['an empty file', Buffer.alloc(0), /not a \.npy file \(it is empty\)/],
    ['another file', Buffer.from('0.1 0.2 0.3\n0.4 0.5 0.6\n'), /not a \.npy file\. Save it/],
    ['an archive', Buffer.from('PK\x03\x04 and more of it'), /zip archive, perhaps an \.npz/],
    ['a pickle', Buffer.from([0x80, 4, 0x95, 1, 2, 3, 4, 5, 6, 7, 8, 9]), /pickle, which could run code/],
    ['the magic alone', sound.subarray(0, 8), /cut short: it has 8 bytes/],
    ['half a header', sound.subarray(0, 40), /cut short: it ends inside its header/],
    [
      'version 4',
      Buffer.concat([sound.subarray(0, 6), Buffer.of(4), sound.subarray(7)]),
      /version 4; wanted 1, 2 or 3/,
    ],
    ['an endless header', makeNpy({ shape: [4], version: 2 }, four).fill(0xff, 8, 12), /header of 4294967295 bytes/],
    [
      'fewer numbers',
      sound.subarray(0, -1),
      /cut short: its shape \(4\) of 4 bytes a number wants 16 bytes, and it has 15/,
    ],
    ['more numbers', Buffer.concat([sound, four]), /goes on after its numbers.*wants 16 bytes, and it has 32/],
    ['objects', fields("'|O'"), /Python objects.*could run code.*numpy\.save/],
    ['objects with a size', fields("'|O8'"), /Python objects/],
    ['records', fields("[('x', '<f4'), ('y', '<i4', (2, 2))]"), /records of several fields/],
    ['complex numbers', fields("'<c8'"), /type '<c8'; wanted float16/],
    ['texts', fields("'<U10'"), /type '<U10'/],
    ['dates', fields("'<M8[ns]'"), /type '<M8\[ns\]'/],
    ['wide floats', fields("'<f16'"), /type '<f16'/],
    ['a type that is no text', fields('4'), /'descr' is no text/],
    ['an order that is neither', fields("'<f4'", '1'), /neither True nor False/],
    ['a negative size', fields("'<f4'", 'False', '(-4,)'), /shape \(-4\) has a size that is not/],
    ['a broken size', fields("'<f4'", 'False', "('4',)"), /has a size that is not/],
    ['a size beyond numbers', fields("'<f4'", 'False', '(99999999999999999999,)'), /has a size that is not/],
    ['sizes whose product overflows', fields("'<f4'", 'False', '(4294967296, 4294967296)'), /impossibly large/],
    ['an overflow beside nothing', fields("'<f4'", 'False', '(0, 4294967296, 4294967296)'), /impossibly large/],
    ['a shape that is a number', fields("'<f4'", 'False', '4'), /shape is no tuple/],
    ['33 dimensions', fields("'<f4'", 'False', `(${'1, '.repeat(33)})`), /33 dimensions/],
    ['deep nesting', fields("'<f4'", 'False', `${'('.repeat(40)}1,${')'.repeat(40)}`), /nested too deeply/],
    ['no type', made("{'fortran_order': False, 'shape': (4,)}"), /lacks 'descr'/],
    ['a fourth entry', made("{'descr': '<f4', 'fortran_order': False, 'shape': (4,), 'x': 1}"), /4 entries/],
    ['an entry twice', made("{'descr': '<f4', 'shape': (4,), 'shape': (4,)}"), /there twice/],
    [
      'something after it',
      made("{'descr': '<f4', 'fortran_order': False, 'shape': (4,)}; import os"),
      /something follows/,
    ],
    ['a call', fields("__import__('os')"), /no dictionary of plain values/],
    ['a text with an escape', fields("'<f\\x34'"), /no dictionary of plain values/],
    ['no dictionary', made('(4,)'), /'\{' is missing/],
    ['an end inside', made("{'descr': '<f4', 'fortran_order': False, 'shape': (4"), /is missing/],
  ]
  test.each(wrong)('refuses %s and names the file', async (_, bytes, message) => {
    const path = newFile(bytes)
    const error = await refuses('ERR_IO', message, () => readNpy(path))
    expect(error.message).toContain(path.split('/').at(-1))
  })

  test('refuses whole numbers that no array holds, missing files, folders and other arguments', async () => {
    const bytes = makeNpy({ descr: '<u8', shape: [1] }, Buffer.alloc(8, 0xff))
    await refuses('ERR_IO', /18446744073709551615, beyond 2\^63/, () => readNpy(newFile(bytes)))
    await refuses('ERR_IO', /missing\.npy" cannot be read.*Check the path/, () => readNpy(join(folder, 'missing.npy')))
    await refuses('ERR_IO', /no regular file/, () => readNpy(folder))
    await refuses('ERR_INVALID_ARGUMENT', /^path: got 3/, () => readNpy(3 as any))
  })

  test.skipIf(shared === undefined)(`reads what NumPy wrote: real curves, masks and labels${sharedNote}`, async () => {
    const at = (...names: string[]) => join(shared!, 'data/rtfm', ...names)
    const labels = await readNpy(at('list', 'gt-sh.npy'))
    expect(labels.shape).toEqual([142_912])
    expect((labels.data as Float64Array).reduce((sum, label) => sum + label, 0)).toBe(8028)
    const mask = await readNpy(at('list', 'test_frame_mask', '01_0015.npy'))
    expect([mask.data.constructor.name, mask.shape]).toEqual(['Uint8Array', [433]])
    const features = await readNpy(at('ucf-crime-c3d', 'Shooting008_x264.npy'))
    expect(features.shape).toEqual([32, 4096])
    expect([features.data[2], features.data[4]]).toEqual([Math.fround(0.021664), Math.fround(0.044616)])
  })
})

describe('writeNpy', () => {
  test('writes what it reads again, with the header that NumPy writes', async () => {
    const arrays = [
      Float32Array.of(0.5, -1, NaN, 3, 1e-40, 6),
      Float64Array.of(1, 2, 3, 4, 5, 0.1),
      Int32Array.of(1, -2, 3, 4, 5, 6),
      BigInt64Array.of(-(2n ** 62n), 2n, 3n, 4n, 5n, 6n),
      Uint8Array.of(1, 2, 3, 4, 5, 255),
    ]
    const path = join(folder, 'deep', 'written.npy')
    for (const data of arrays) {
      await writeNpy(path, { data, shape: [2, 3] })
      expect(await readNpy(path)).toEqual({ data, shape: [2, 3] })
      const bytes = readFileSync(path)
      const start = bytes.length - data.byteLength
      expect(start % 64).toBe(0)
      expect(bytes.toString('latin1', 10, start)).toMatch(
        /^\{'descr': '[<|][fiu]\d', 'fortran_order': False, 'shape': \(2, 3\), \} *\n$/,
      )
    }
    for (const one of [[6], [1, 6, 1]]) {
      await writeNpy(path, { data: arrays[0]!, shape: one })
      expect((await readNpy(path)).shape).toEqual(one)
    }
    expect(leftovers(join(folder, 'deep'))).toEqual([])
  })

  test('writes a part of a larger buffer, and that part alone', async () => {
    const path = join(folder, 'part.npy')
    await writeNpy(path, { data: Float32Array.of(1, 2, 3, 4).subarray(1, 3), shape: [2] })
    expect(await readNpy(path)).toEqual({ data: Float32Array.of(2, 3), shape: [2] })
  })

  test('refuses what is no tensor, and folders that cannot be made', async () => {
    const path = join(folder, 'never.npy')
    await refuses('ERR_SHAPE', /shape \(2, 2\) is of 4 numbers, and its data are 3/, () =>
      writeNpy(path, { data: new Float32Array(3), shape: [2, 2] }),
    )
    await refuses('ERR_INVALID_ARGUMENT', /^tensor: /, () => writeNpy(path, { data: [1, 2], shape: [2] } as any))
    await refuses('ERR_INVALID_ARGUMENT', /^tensor\.shape\[0\]: got -1/, () =>
      writeNpy(path, { data: new Float32Array(0), shape: [-1] }),
    )
    expect(existsSync(path)).toBe(false)
    const below = join(newFile(Buffer.alloc(1)), 'x.npy')
    await refuses('ERR_IO', /could not be written/, () => writeNpy(below, { data: new Uint8Array(1), shape: [1] }))
  })
})

describe('NpyWriter', () => {
  test('writes rows as they come, and nothing under the name before it is finished', async () => {
    const path = join(folder, 'rows', 'video.npy')
    const writer = await NpyWriter.create(path, [2, 3])
    await writer.append(Float32Array.from({ length: 6 }, (_, i) => i))
    await writer.append(Float32Array.from({ length: 12 }, (_, i) => 6 + i))
    await writer.append(new Float32Array(0))
    await writer.append(new Float32Array(0))
    expect([writer.rows, existsSync(path)]).toEqual([3, false])
    expect(await writer.finish()).toEqual([3, 2, 3])
    expect(await readNpy(path)).toEqual({ data: Float32Array.from({ length: 18 }, (_, i) => i), shape: [3, 2, 3] })
    expect(leftovers(join(folder, 'rows'))).toEqual([])
    await writer.abort()
    expect(existsSync(path)).toBe(true)
    await refuses('ERR_INVALID_ARGUMENT', /finished or was given up/, () => writer.append(new Float32Array(6)))
  })

  test('leaves an older file as it was, and nothing else, when it is given up', async () => {
    const path = join(folder, 'given-up', 'video.npy')
    await writeNpy(path, { data: Float32Array.of(5), shape: [1] })
    const writer = await NpyWriter.create(path, [4])
    await writer.append(new Float32Array(400))
    expect(leftovers(join(folder, 'given-up'))).toHaveLength(1)
    await writer.abort()
    expect(leftovers(join(folder, 'given-up'))).toEqual([])
    expect((await readNpy(path)).data).toEqual(Float32Array.of(5))
  })

  test('refuses parts of rows and goes on, and other arguments', async () => {
    const path = join(folder, 'partial.npy')
    const writer = await NpyWriter.create(path, [2])
    await refuses('ERR_SHAPE', /got 3 numbers, wanted whole rows of 2 \(2\)/, () => writer.append(new Float32Array(3)))
    await refuses('ERR_INVALID_ARGUMENT', /^rows/, () => writer.append([1, 2] as any))
    await writer.append(Float32Array.of(1, 2))
    expect(await writer.finish()).toEqual([1, 2])
    await refuses('ERR_INVALID_ARGUMENT', /^rowShape\[1\]: got 0/, () => NpyWriter.create(path, [2, 0]))
    await refuses('ERR_INVALID_ARGUMENT', /^rowShape/, () => NpyWriter.create(path, 7 as any))
    await refuses('ERR_IO', /could not be written/, () => NpyWriter.create(join(path, 'below.npy'), [1]))
  })

  test('cannot be put where a folder is, and leaves nothing', async () => {
    const path = join(folder, 'taken')
    await writeNpy(join(path, 'x.npy'), { data: new Uint8Array(1), shape: [1] })
    const writer = await NpyWriter.create(path, [1])
    await refuses('ERR_IO', /"[^"]*taken" could not be written/, () => writer.finish())
    expect(leftovers(folder)).toEqual([])
  })
})

test('whatever is changed in a file, it is read whole or refused with a code', async () => {
  const random = randomFrom(5)
  const whole = (below: number) => Math.floor(random() * below)
  const bytes = numbersAs(
    'f4',
    Array.from({ length: 24 }, (_, i) => i),
  )
  const sources = ([1, 2, 3] as const).map((version) => makeNpy({ shape: [2, 3, 4], version }, bytes))
  sources.push(makeNpy({ shape: [3, 4], descr: '>f8', fortran: true }, bytes))
  const marks = Buffer.from("(){}[]',:-<>|=O0129fiub \n\x00\xff", 'latin1')
  const words = ['True', 'False', 'None', '99999999999', '-1', "'|O'", "'descr': ", '(2, ', '1e9', '\\', '((((((((((']
  const outcomes = { read: 0, refused: 0 }
  for (let round = 0; round < 1500; round++) {
    let file = Buffer.from(sources[round % sources.length]!)
    for (let changes = 1 + whole(3); changes > 0; changes--) {
      const at = whole(Math.min(file.length, 110))
      const kind = whole(5)
      if (kind === 0) file[at] = whole(256)
      else if (kind === 1) file[at] = marks[whole(marks.length)]!
      else if (kind === 2) file = file.subarray(0, whole(file.length + 1))
      else if (kind === 3) file = Buffer.concat([file.subarray(0, at), file.subarray(at + 1 + whole(9))])
      else file = Buffer.concat([file.subarray(0, at), Buffer.from(words[whole(words.length)]!), file.subarray(at)])
      if (file.length === 0) break
    }
    const path = join(folder, 'fuzzed.npy')
    writeFileSync(path, file)
    const end = await readNpy(path).catch((error) => error)
    if (end instanceof Error) {
      expect(end, file.toString('latin1')).toBeInstanceOf(TorchvidError)
      expect((end as TorchvidError).code).toBe('ERR_IO')
      outcomes.refused++
    } else {
      expect(end.shape.reduce((product: number, side: number) => product * side, 1)).toBe(end.data.length)
      outcomes.read++
    }
  }
  expect(outcomes.read).toBeGreaterThan(50)
  expect(outcomes.refused).toBeGreaterThan(700)
})
