import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join as joinPath } from 'node:path'
import { graph, Network, type TensorData, weights } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { refuses, scratch, shared, sharedNote } from '../helpers/expect.ts'
import { encode } from '../helpers/safetensors.ts'
import { withNetwork } from '../helpers/tensors.ts'
import {
  call,
  dict,
  floats,
  int,
  join,
  legacyCheckpoint,
  list,
  name,
  pickle,
  tensor,
  text,
  zipCheckpoint,
} from './torch-files.ts'

const fixtures = joinPath(import.meta.dirname, 'fixtures')
const fixture = (name: string) => joinPath(fixtures, name)
const folder = scratch()
let count = 0
const write = (bytes: Buffer) => {
  const file = joinPath(folder, `${count++}.pth`)
  writeFileSync(file, bytes)
  return file
}

type Expected = Record<string, { dtype: string; shape: number[]; values: (number | boolean)[] }>
const expected = JSON.parse(readFileSync(fixture('expected.json'), 'utf8')) as Expected
const names: Record<string, string> = {
  float64: 'F64',
  float32: 'F32',
  float16: 'F16',
  bfloat16: 'BF16',
  int64: 'I64',
  int32: 'I32',
  int16: 'I16',
  int8: 'I8',
  uint8: 'U8',
  bool: 'BOOL',
}
const arrays: Record<string, string> = {
  F64: 'Float64Array',
  F32: 'Float32Array',
  F16: 'Float32Array',
  BF16: 'Float32Array',
  I64: 'BigInt64Array',
  I32: 'Int32Array',
  I16: 'Int32Array',
  I8: 'Int32Array',
  U8: 'Uint8Array',
  BOOL: 'Uint8Array',
}
const numbers = ({ data }: TensorData) => Array.from(data as ArrayLike<number | bigint>, Number)

describe('files that PyTorch wrote', () => {
  test.each(['zip.pth', 'legacy.pth', 'protocol4.pth', 'legacy-protocol5.pkl'])(
    '%s: every type, views of all kinds, scalars, empty tensors',
    async (file) => {
      const rows = await weights.list(fixture(file))
      expect(rows).toEqual(
        Object.entries(expected).map(([name, { dtype, shape }]) => ({ name, dtype: names[dtype], shape })),
      )
      for (const { name, dtype } of rows) {
        const read = await weights.read(fixture(file), name)
        expect(read.data.constructor.name, name).toBe(arrays[dtype])
        expect(read.shape, name).toEqual(expected[name]!.shape)
        expect(numbers(read), name).toEqual(expected[name]!.values)
      }
    },
  )

  test.each(['checkpoint.pth.tar', 'checkpoint-legacy.pth.tar'])(
    '%s: state_dict beside an optimizer, numpy numbers, a Namespace and a loose tensor; without module.',
    async (file) => {
      const x = graph.input('x', [null, 3])
      const net = graph.build({ y: graph.batchNorm(graph.linear(x, { out: 2, name: '0' }), { name: '1' }) })
      for (const prefix of [undefined, 'module.']) {
        await withNetwork(net, async (network) => {
          const result = await network.load(fixture(file), { prefix })
          expect(result.loaded).toEqual([
            '0.weight',
            '0.bias',
            '1.weight',
            '1.bias',
            '1.running_mean',
            '1.running_var',
            '1.num_batches_tracked',
          ])
          expect(numbers(await network.tensor('0.weight'))).toEqual([0, 1, 2, 3, 4, 5])
          expect((await network.tensor('1.num_batches_tracked')).data[0]).toBe(1n)
        })
      }
    },
  )

  test.each(['cuda.pth', 'cuda-legacy.pth'])('%s: saved from a GPU, read without one', async (file) => {
    expect(readFileSync(fixture(file)).includes('cuda:0')).toBe(true)
    expect(numbers(await weights.read(fixture(file), 'a'))).toEqual([1, 2])
  })

  test('a whole model is refused by its class, with advice', async () => {
    const wanted = /torch\.nn\.modules\.container\.Sequential.*nothing of it was executed.*state_dict/
    await refuses('ERR_CHECKPOINT_FORMAT', wanted, () => weights.list(fixture('model.pth')))
  })

  test('they have no graph for open', async () => {
    await refuses('ERR_CHECKPOINT_FORMAT', /no graph/, () => Network.open(fixture('zip.pth')))
  })

  test.skipIf(shared === undefined)(`all of the shared ones list, and every tensor reads${sharedNote}`, async () => {
    const files = readdirSync(joinPath(shared!, 'weights')).filter((file) => /\.(th|pth)$/.test(file))
    expect(files.length).toBeGreaterThan(2)
    for (const file of files) {
      const path = joinPath(shared!, 'weights', file)
      const rows = await weights.list(path)
      expect(rows.length).toBeGreaterThan(50)
      for (const { name, shape } of rows) {
        expect(name).not.toMatch(/^module\./)
        const read = await weights.read(path, name)
        expect(read.shape).toEqual(shape)
        expect(numbers(read).every(Number.isFinite)).toBe(true)
      }
    }
  })
})

describe('where the tensors are', () => {
  const four = tensor()
  const listed = async (...body: Buffer[]) =>
    (await weights.list(write(zipCheckpoint(pickle(...body))))).map((t) => t.name)

  test.each(['state_dict', 'model_state_dict', 'model', 'net', 'anything'])('under %s', async (key) => {
    expect(await listed(dict(text('epoch'), int(3), text(key), dict(text('a'), four)))).toEqual(['a'])
  })

  test('at the top, beside numbers; an empty dictionary beside it says nothing', async () => {
    expect(await listed(dict(text('a'), four, text('epoch'), int(3), text('extra'), '}'))).toEqual(['a'])
  })

  test('a usual name goes before loose tensors and before other dictionaries', async () => {
    const body = dict(text('loss'), four, text('ema'), dict(text('b'), four), text('model'), dict(text('a'), four))
    expect(await listed(body)).toEqual(['a'])
  })

  test('several dictionaries of tensors are refused by name', async () => {
    const two = dict(text('generator'), dict(text('a'), four), text('critic'), dict(text('b'), four))
    await refuses('ERR_CHECKPOINT_FORMAT', /several.*"generator", "critic"/, () => listed(two))
    const usual = dict(text('model'), dict(text('a'), four), text('net'), dict(text('b'), four))
    await refuses('ERR_CHECKPOINT_FORMAT', /several.*"model", "net"/, () => listed(usual))
  })

  test.each([
    ['a single tensor', four, /a single tensor/],
    ['a list', list(four), /a list/],
    ['a number', int(5), /a number/],
    ['nothing', join('N'), /nothing/],
    ['an empty dictionary', join('}'), /empty dictionary/],
    ['numbers only', dict(text('epoch'), int(5)), /no dictionary of tensors.*"epoch"/],
    ['tensors two below', dict(text('x'), dict(text('y'), dict(text('z'), four))), /no dictionary of tensors.*"x"/],
    ['a tensor without a name', dict(int(5), four), /no name/],
  ])('%s is refused', async (_, body, message) => {
    await refuses('ERR_CHECKPOINT_FORMAT', message, () => listed(body))
  })

  test('module. is cut off only when all have it', async () => {
    expect(await listed(dict(text('module.a'), four, text('module.b'), four))).toEqual(['a', 'b'])
    expect(await listed(dict(text('module.a'), four, text('b'), four))).toEqual(['module.a', 'b'])
    expect(await listed(dict(text('module.'), four))).toEqual(['module.'])
  })

  test('an OrderedDict made from pairs, as Python 2 writes it', async () => {
    const pairs = list(list(text('a'), four), list(text('b'), four))
    expect(await listed(call(name('collections', 'OrderedDict'), pairs))).toEqual(['a', 'b'])
  })
})

test('the kind is told by content, not by name', async () => {
  const bytes = zipCheckpoint(pickle(dict(text('a'), tensor())))
  for (const name of ['x.safetensors', 'x.tar', 'x']) {
    const file = joinPath(folder, name)
    writeFileSync(file, bytes)
    expect(numbers(await weights.read(file, 'a'))).toEqual([1, 2, 3, 4])
  }
})

test('a safetensors file whose first bytes look like a pickle is still one', async () => {
  for (let pad = 0; pad < 600; pad++) {
    const bytes = encode({ a: { dtype: 'F32', shape: [1], bytes: floats(1) } }, { pad: 'x'.repeat(pad) })
    if (bytes[0] !== 0x80 || bytes[1] !== 2) continue
    expect(numbers(await weights.read(write(bytes), 'a'))).toEqual([1])
    return
  }
  throw new Error('No header of 640 bytes was made.')
})

test('a legacy checkpoint larger than the first window', async () => {
  const padding = text('p'.repeat(300_000))
  const object = pickle(dict(text('notes'), padding, text('a'), tensor()))
  expect(numbers(await weights.read(write(legacyCheckpoint(object)), 'a'))).toEqual([1, 2, 3, 4])
})

test('views of a legacy storage count from the view', async () => {
  const view = list(text('v'), int(1), int(3))
  const object = pickle(dict(text('a'), tensor({ view, offset: int(1), shape: [2] })))
  expect(numbers(await weights.read(write(legacyCheckpoint(object)), 'a'))).toEqual([3, 4])
  const outside = pickle(dict(text('a'), tensor({ view, offset: int(2), shape: [2] })))
  await refuses('ERR_CHECKPOINT_FORMAT', /outside its 3 elements/, () => weights.list(write(legacyCheckpoint(outside))))
})
