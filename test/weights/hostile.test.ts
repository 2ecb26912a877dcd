import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { graph, Network, TorchvidError, weights } from 'torchvid'
import { afterAll, describe, expect, test } from 'vitest'
import { failureOf, refuses, scratch } from '../helpers/expect.ts'
import { craft, encode } from '../helpers/safetensors.ts'
import { differing, randomFrom } from '../helpers/tensors.ts'

const folder = scratch()
const file = join(folder, 'hostile.safetensors')
const network = Network.create(graph.build({ y: graph.linear(graph.input('x', [null, 2]), { out: 2, name: 'fc' }) }), {
  device: 'cpu',
})
const before = network.then((n) => n.clone())
afterAll(async () => {
  ;(await network).dispose()
  ;(await before).dispose()
})

const floats = (...values: number[]) => Buffer.from(Float32Array.from(values).buffer)
const good = encode({
  'fc.weight': { dtype: 'F32', shape: [2, 2], bytes: floats(1, 2, 3, 4) },
  'fc.bias': { dtype: 'F32', shape: [2], bytes: floats(5, 6) },
})
const row = (shape: unknown, offsets: unknown, dtype: unknown = 'F32') => ({ dtype, shape, data_offsets: offsets })
const data = (bytes: number) => Buffer.alloc(bytes, 1)
const length = (value: bigint, rest: Buffer = Buffer.alloc(0)) => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(value)
  return Buffer.concat([bytes, rest])
}

test('the sound file that the others are made from is read', async () => {
  writeFileSync(file, good)
  expect(await weights.list(file)).toEqual([
    { name: 'fc.weight', dtype: 'F32', shape: [2, 2] },
    { name: 'fc.bias', dtype: 'F32', shape: [2] },
  ])
  const copy = await (await network).clone()
  expect((await copy.load(file)).missing).toEqual([])
  expect((await copy.tensor('fc.weight')).data).toEqual(Float32Array.of(1, 2, 3, 4))
  copy.dispose()
})

describe('refused with ERR_CHECKPOINT_FORMAT, by list, read, load and open, and nothing is changed', () => {
  test.each([
    ['an empty file', Buffer.alloc(0)],
    ['seven bytes', Buffer.alloc(7)],
    ['a header of length 0', length(0n)],
    ['a header longer than the file', length(1n << 62n, good.subarray(8))],
    ['a header of the largest length', length((1n << 64n) - 1n, good.subarray(8))],
    ['a header one byte longer than the file', length(BigInt(good.length - 7), good.subarray(8))],
    ['a header that is no JSON', craft('{"a":', data(8))],
    ['a header that is a list', craft('[]')],
    ['a header that is null', craft('null')],
    ['a header that is a number', craft('5')],
    ['a header that is no UTF-8', craft(Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a]), data(8))],
    ['JSON a hundred thousand deep', craft(`${'['.repeat(100_000)}${']'.repeat(100_000)}`)],
    ['JSON deep inside a tensor', craft(`{"a":${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}}`)],
    ['a tensor that is null', craft('{"a":null}')],
    ['a tensor that is a number', craft('{"a":5}')],
    ['a tensor without a type', craft({ a: { shape: [1], data_offsets: [0, 4] } }, data(4))],
    ['an unknown type', craft({ a: row([1], [0, 4], 'F31') }, data(4))],
    ['a type from the prototype', craft({ a: row([1], [0, 4], 'toString') }, data(4))],
    ['a type that is a number', craft({ a: row([1], [0, 4], 32) }, data(4))],
    ['the wrong type for its bytes', craft({ a: row([1], [0, 4], 'F64') }, data(4))],
    ['a shape that is a text', craft({ a: row('1', [0, 4]) }, data(4))],
    ['a negative shape', craft({ a: row([-1, -1], [0, 4]) }, data(4))],
    ['half a shape', craft({ a: row([0.5, 2], [0, 4]) }, data(4))],
    ['a shape of null', craft({ a: row([null], [0, 4]) }, data(4))],
    ['a shape that overflows', craft({ a: row([2 ** 32, 2 ** 32], [0, 0]) })],
    ['a shape that overflows past zero', craft({ a: row([2 ** 32, 2 ** 32, 2 ** 32], [0, 0]) })],
    ['a shape beyond whole numbers', craft('{"a":{"dtype":"F32","shape":[1e300,1e300],"data_offsets":[0,0]}}')],
    ['no offsets', craft({ a: { dtype: 'F32', shape: [1] } }, data(4))],
    ['one offset', craft({ a: row([1], [0]) }, data(4))],
    ['three offsets', craft({ a: row([1], [0, 4, 8]) }, data(4))],
    ['negative offsets', craft({ a: row([1], [-4, 0]) }, data(4))],
    ['offsets the wrong way round', craft({ a: row([1], [4, 0]) }, data(4))],
    ['half an offset', craft({ a: row([1], [0.5, 4.5]) }, data(4))],
    ['offsets beyond the file', craft({ a: row([1 << 20], [0, 4 << 20]) }, data(64))],
    ['offsets beyond everything', craft({ a: row([1], [2 ** 53 - 5, 2 ** 53 - 1]) }, data(64))],
    ['overlapping tensors', craft({ a: row([2], [0, 8]), b: row([2], [4, 12]) }, data(12))],
    ['two tensors in one place', craft({ a: row([2], [0, 8]), b: row([2], [0, 8]) }, data(8))],
    ['a hole before the first', craft({ a: row([1], [4, 8]) }, data(8))],
    ['a hole between', craft({ a: row([1], [0, 4]), b: row([1], [8, 12]) }, data(12))],
    ['bytes after the last', craft({ a: row([1], [0, 4]) }, data(8))],
    ['data that no tensor owns', craft({}, data(8))],
    [
      'two tensors of one name',
      craft(
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        data(8),
      ),
    ],
    ['metadata that is no map', craft({ __metadata__: 'pt', a: row([1], [0, 4]) }, data(4))],
    ['metadata of numbers', craft({ __metadata__: { format: 1 }, a: row([1], [0, 4]) }, data(4))],
    [
      'a pickle that would run a command',
      Buffer.from(`\x80\x02cos\nsystem\nX\x10\x00\x00\x00touch ./pickled\x85R.`, 'latin1'),
    ],
    ['a zip, as PyTorch writes', Buffer.concat([Buffer.from('PK\x03\x04'), data(100)])],
    ['a picture', Buffer.concat([Buffer.from([0x89]), Buffer.from('PNG\r\n\x1a\n'), data(100)])],
    ['text', Buffer.from('<!doctype html><html>not found</html>'.repeat(9))],
  ])('%s', async (_, bytes) => {
    writeFileSync(file, bytes)
    for (const action of [
      () => weights.list(file),
      () => weights.read(file, 'a'),
      async () => (await network).load(file),
      async () => (await network).load(file, { strict: false }),
      () => Network.open(file),
    ]) {
      const error = await refuses('ERR_CHECKPOINT_FORMAT', /hostile\.safetensors/, action)
      expect(error.message.length).toBeLessThan(600)
    }
    expect(existsSync('pickled')).toBe(false)
  })
})

test('a file cut off at any length', async () => {
  for (let size = 0; size < good.length; size++) {
    writeFileSync(file, good.subarray(0, size))
    const error = await failureOf(async () => (await network).load(file))
    expect(error, `cut to ${size} bytes`).toMatchObject({ code: 'ERR_CHECKPOINT_FORMAT' })
  }
})

test('thousands of files damaged at random: a coded error, or a sound result', async () => {
  const random = randomFrom(5)
  const whole = (below: number) => Math.floor(random() * below)
  const replacements = [
    '-1',
    '0',
    '9',
    '99999999999999999999',
    '1e9',
    'null',
    '"F64"',
    '"BF16"',
    '[]',
    '{}',
    '4294967296',
    '0.5',
    ',',
    '',
  ]
  const target = await (await network).clone()
  const outcomes = new Map<string, number>()
  for (let round = 0; round < 3000; round++) {
    let bytes = Buffer.from(good)
    if (round % 2 === 0) {
      for (let i = 0; i <= whole(4); i++) bytes[whole(bytes.length)] = whole(256)
    } else {
      const length = Number(bytes.readBigUInt64LE())
      const tokens = bytes
        .subarray(8, 8 + length)
        .toString()
        .split(/(?<=[,:[\]{}])|(?=[,:[\]{}])/)
      tokens[whole(tokens.length)] = replacements[whole(replacements.length)] as string
      bytes = Buffer.from(craft(tokens.join(''), bytes.subarray(8 + length)))
    }
    writeFileSync(file, bytes)
    let outcome = 'loaded'
    try {
      await target.load(file, { strict: false })
      for (const { name } of await weights.list(file)) await weights.read(file, name)
    } catch (error) {
      expect(error, bytes.toString('latin1')).toBeInstanceOf(TorchvidError)
      outcome = (error as TorchvidError).code
    }
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
  }
  expect(
    [...outcomes.keys()].filter(
      (code) => !['loaded', 'ERR_CHECKPOINT_FORMAT', 'ERR_CHECKPOINT_MISMATCH'].includes(code),
    ),
  ).toEqual([])
  expect(outcomes.get('loaded')).toBeGreaterThan(100) // damaged data alone is still a file
  expect(outcomes.get('ERR_CHECKPOINT_FORMAT')).toBeGreaterThan(1000)
  target.dispose()
})

test('none of all this reached the network', async () => {
  expect(await differing(await network, await before)).toEqual([])
})

test('paths that are no file', async () => {
  await refuses('ERR_IO', /ENOENT/, () => weights.list(join(folder, 'missing.safetensors')))
  await refuses('ERR_IO', /no file/, () => weights.list(folder))
  await refuses('ERR_IO', /no file/, () => weights.list('/dev/null'))
  for (const path of ['', undefined, null, 5, {}]) {
    await refuses('ERR_INVALID_ARGUMENT', /path/, () => weights.list(path as any))
    await refuses('ERR_INVALID_ARGUMENT', /path/, async () => (await network).save(path as any))
  }
})
