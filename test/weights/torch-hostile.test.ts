import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { join as joinPath } from 'node:path'
import { deflateRawSync } from 'node:zlib'
import { graph, Network, weights } from 'torchvid'
import { afterAll, describe, expect, test } from 'vitest'
import { refuses, scratch } from '../helpers/expect.ts'
import {
  call,
  dict,
  floats,
  i64,
  int,
  join,
  legacyCheckpoint,
  list,
  magic,
  name,
  pickle,
  protocol,
  system,
  tensor,
  text,
  tuple,
  u32,
  zip,
  zipCheckpoint,
} from './torch-files.ts'

const folder = scratch()
const file = joinPath(folder, 'hostile.pth')
const network = Network.create(graph.build({ y: graph.linear(graph.input('x', [null, 2]), { out: 2, name: 'fc' }) }), {
  device: 'cpu',
})
afterAll(async () => (await network).dispose())

/** As every user meets it: list, read and load refuse it, saying why, and nothing else happens. */
async function isRefused(bytes: Buffer, message: RegExp) {
  writeFileSync(file, bytes)
  for (const action of [
    () => weights.list(file),
    () => weights.read(file, 'a'),
    async () => (await network).load(file, { strict: false }),
  ]) {
    const error = await refuses('ERR_CHECKPOINT_FORMAT', message, action)
    expect(error.message).toContain('hostile.pth')
    expect(error.message.length).toBeLessThan(1000)
  }
  expect(readdirSync(folder)).toEqual(['hostile.pth'])
  expect(existsSync('pickled')).toBe(false)
}

const checkpoint = (...object: (string | Buffer)[]) => zipCheckpoint(pickle(...object))
const refusedTensor = (settings: Parameters<typeof tensor>[0]) => checkpoint(dict(text('a'), tensor(settings)))
const command = tuple(text('touch ./pickled'))

test('the sound files that the others are made from are read', async () => {
  for (const bytes of [checkpoint(dict(text('a'), tensor())), legacyCheckpoint(pickle(dict(text('a'), tensor())))]) {
    writeFileSync(file, bytes)
    expect(await weights.list(file)).toEqual([{ name: 'a', dtype: 'F32', shape: [4] }])
    expect((await weights.read(file, 'a')).data).toEqual(Float32Array.of(1, 2, 3, 4))
  }
})

describe('names outside the list are refused by name, whatever the way they are asked for', () => {
  const short = (value: string) => join('\x8c', Buffer.of(value.length), value)
  const stackGlobal = (module: string, name: string) => join(short(module), short(name), '\x93')
  test.each([
    ['os.system by REDUCE', join(name('os', 'system'), command, 'R'), /os\.system.*nothing of it was executed/],
    ['posix.system by REDUCE', join(name('posix', 'system'), command, 'R'), /posix\.system/],
    ['os.system by STACK_GLOBAL', join(stackGlobal('os', 'system'), command, 'R'), /os\.system/],
    ['os.system by INST', join('(', text('touch ./pickled'), 'ios\nsystem\n'), /os\.system/],
    ['os.system by OBJ', join('(', name('os', 'system'), text('touch ./pickled'), 'o'), /os\.system/],
    ['os.system by NEWOBJ', join(name('os', 'system'), command, '\x81'), /os\.system/],
    ['os.system by NEWOBJ_EX', join(name('os', 'system'), command, '}\x92'), /os\.system/],
    ['os.system mentioned only', dict(text('a'), tensor(), text('b'), name('os', 'system')), /os\.system/],
    ['eval', join(name('builtins', 'eval'), command, 'R'), /builtins\.eval/],
    ['getattr', join(name('builtins', 'getattr'), command, 'R'), /builtins\.getattr/],
    ['a dotted name', stackGlobal('torch', '_utils._rebuild_tensor_v2'), /torch\._utils\._rebuild_tensor_v2/],
    ['a name with a space', stackGlobal('torch._utils _rebuild_tensor_v2', ''), /_rebuild_tensor_v2/],
    ['a name of the object prototype', stackGlobal('__proto__', 'x'), /__proto__/],
    ['toString', stackGlobal('toString', ''), /toString/],
    ['a name that is a number', join(short('os'), int(5), '\x93'), /no text/],
    ['a name that is a list', join(']]\x93'), /no text/],
    ['a tensor of bytes inside', name('torch.storage', '_load_from_bytes'), /_load_from_bytes/],
    ['a very long name', stackGlobal('m'.repeat(200), 'x'), /mmm/],
    ['a call of a storage type', call(name('torch', 'FloatStorage'), int(5)), /a call of torch\.FloatStorage/],
    ['a call of a text', join(text('os.system'), command, 'R'), /calls what is no name/],
    ['a call of a result', join(call(name('collections', 'OrderedDict')), command, 'R'), /calls what is no name/],
    ['a state for a list', join(']}b'), /state/],
    ['a state for a name', join(name('torch', 'FloatStorage'), '}b'), /state/],
    ['an extension code', join('\x82\x01'), /extension codes/],
    ['a buffer outside', join('\x97'), /buffer outside/],
    ['a persistent id in text', join('Ptouch\n'), /unknown way/],
    ['a model with its source', join(tuple(text('module'), name('torch', 'Tensor'), text('x.py')), 'Q'), /whole model/],
    [
      'a rebuild of another kind',
      call(name('torch._tensor', '_rebuild_from_type_v2'), name('torch', 'Size'), name('torch', 'Tensor'), tuple()),
      /unknown way/,
    ],
  ])('%s', async (_, body, message) => {
    await isRefused(checkpoint(body), message)
    await isRefused(legacyCheckpoint(pickle(body)), message)
  })
})

describe('damaged pickles', () => {
  const bytes = (opcode: string, length: Buffer) => join(opcode, length, 'abc')
  test.each([
    ['an empty one', Buffer.alloc(0), /ends too early/],
    ['protocol 6', join('\x80\x06N.'), /protocol 6/],
    ['nothing on the stack', pickle(), /empty stack/],
    ['an unknown opcode', pickle('\xff'), /0xff/],
    ['a text of 4 GB', pickle(bytes('X', u32(0xffffffff))), /ends too early/],
    ['a text of 2^63 bytes', pickle(bytes('\x8d', i64(-1))), /ends too early/],
    ['bytes of 2^62', pickle(bytes('\x8e', i64(1n << 62n))), /ends too early/],
    ['a bytearray of 2^62', pickle(bytes('\x96', i64(1n << 62n))), /ends too early/],
    ['a negative length', pickle(bytes('T', u32(-5))), /length of -5/],
    ['a frame past the end', pickle('\x95', i64(1n << 62n)), /ends too early|empty stack/],
    ['a whole number of 2 GB', pickle('\x8b', u32(0x7fffffff)), /ends too early/],
    ['a whole number of -1 bytes', pickle('\x8b', u32(-1)), /length of -1/],
    ['a whole number of 100,000 bytes', pickle('\x8b', u32(100_000), Buffer.alloc(100_000, 1)), /100000 bytes/],
    ['a whole number of 100,000 digits', pickle('L', '9'.repeat(100_000), 'L\n'), /whole number/],
    ['a number that is none', pickle('I1e5\n'), /whole number/],
    ['a fraction that is none', pickle('Fabc\n'), /the number/],
    ['a text without quotes', pickle('Sabc\n'), /quotes/],
    ['memo 2^32', pickle(']r', u32(0xffffffff)), /memo/],
    ['memo in text', pickle(']p99999999999999999999\n'), /memo/],
    ['a negative memo', pickle(']p-1\n'), /memo/],
    ['a memo that is not there', pickle('h\x05'), /memo 5/],
    ['a tuple without a mark', pickle(']t'), /mark/],
    ['a mark as a value', pickle('(', '2'), /empty stack/],
    ['items for a list', pickle('](KKu'), /no dictionary/],
    ['a key without a value', pickle('}(K\x01u'), /without a value/],
    ['an append to a dictionary', pickle('}K\x01a'), /no list/],
    ['members for a list', pickle('](K\x01\x90'), /no set/],
    ['a drop from nothing', pickle('0'), /drops/],
    ['a call with a number', pickle(name('torch', 'Size'), int(5), 'R'), /without a list of arguments/],
    ['a key of 2,000 letters', pickle(dict(text('k'.repeat(2000)), tensor())), /key of 2000/],
    ['a hundred thousand arguments', pickle(name('torch', 'Size'), '(', 'N'.repeat(100_000), 'tR'), /arguments/],
  ])('%s', async (_, data, message) => {
    await isRefused(zipCheckpoint(data), message)
  })

  test('marks, lists in lists and tuples by the million neither overflow the stack nor take long', async () => {
    await isRefused(checkpoint('('.repeat(1e6)), /empty stack/)
    await isRefused(checkpoint(']'.repeat(1e6), 'a'.repeat(999_999)), /holds a list/)
    await isRefused(checkpoint(')', '\x85'.repeat(1e6)), /holds a list/)
  })

  test('a billion laughs are not laughed: shared values are never spread out', async () => {
    // Each list holds the one before twice, 200 times over.
    const laughs = join(
      '](K\x01e',
      ...Array.from({ length: 200 }, (_, i) => join('r', u32(i), '](j', u32(i), 'j', u32(i), 'e')),
    )
    writeFileSync(file, checkpoint(dict(text('a'), tensor(), text('laughs'), laughs)))
    expect(await weights.list(file)).toHaveLength(1)
    expect((await (await network).load(file, { strict: false })).unexpected).toEqual(['a'])
  })

  test('values that contain themselves', async () => {
    const itself = join('}r', u32(9), '(', text('self'), 'j', u32(9), text('a'), tensor(), 'u')
    writeFileSync(file, checkpoint(itself))
    expect((await weights.list(file)).map((row) => row.name)).toEqual(['a'])
    await isRefused(checkpoint(']r', u32(9), 'j', u32(9), 'a'), /holds a list/)
  })

  test('long arguments used again and again, two bytes each, are stopped', async () => {
    const pairs = join('](', Buffer.from('N'.repeat(50_000)), 'er', u32(1))
    const calls = join(...Array.from({ length: 50_000 }, () => join('0h\x02h\x01\x85R')))
    await isRefused(checkpoint(name('torch', 'Size'), 'q\x02', pairs, calls), /more work/)
    const shape = tensor({ shapePart: join('h\x01') })
    await isRefused(checkpoint(pairs, '0', shape), /shape/)
  })

  test('numbers made to collide as keys are stopped', async () => {
    const keys = Array.from({ length: 20_000 }, (_, i) => join('J', u32((i + 64) << 15), 'N'))
    await isRefused(checkpoint(dict(...keys)), /too many numbers as keys/)
    const digits = Array.from({ length: 20_000 }, (_, i) => join(text(`${i * 65_536}`), 'N'))
    await isRefused(checkpoint(dict(...digits)), /too many numbers as keys/)
  })

  test("tensors named like an object's own things are tensors", async () => {
    const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty']
    writeFileSync(file, checkpoint(dict(...names.flatMap((key) => [text(key), tensor()]))))
    expect((await weights.list(file)).map((row) => row.name)).toEqual(names)
    expect((await weights.read(file, '__proto__')).shape).toEqual([4])
    await refuses('ERR_CHECKPOINT_MISMATCH', /shape/, async () => (await network).load(file, { map: () => 'fc.bias' }))
  })
})

describe('tensors that lead astray', () => {
  test.each([
    ['a negative size', { shape: [-4] }, /no sound shape/],
    ['a size of 2^62', { shape: [1n << 62n] }, /no sound shape/],
    ['sizes that overflow', { shape: [2 ** 32, 2 ** 32], strides: [0, 0] }, /impossible shape/],
    ['sizes that overflow beside a zero', { shape: [0, 2 ** 40, 2 ** 40], strides: [1, 1, 1] }, /impossible shape/],
    ['a fraction as a size', { shapePart: tuple(join('G', Buffer.alloc(8, 0x40))) }, /no sound shape/],
    ['a text as a size', { shapePart: tuple(text('4')) }, /no sound shape/],
    ['a text as a shape', { shapePart: text('4') }, /no sound shape/],
    ['33 dimensions', { shape: Array(33).fill(1), strides: Array(33).fill(1) }, /no sound shape/],
    ['more elements than there are', { shape: [5] }, /outside its 4 elements/],
    ['an offset past the end', { offset: int(1) }, /outside its 4 elements/],
    ['an offset of 2^53', { offset: int(2n ** 53n) }, /no sound offset/],
    ['a negative offset', { offset: int(-1) }, /no sound offset/],
    ['an offset that is a list', { offset: join(']') }, /no sound offset/],
    ['a stride past the end', { shape: [2], strides: [4] }, /outside its 4 elements/],
    ['strides that overflow', { shape: [3, 3], strides: [2 ** 52, 2 ** 52] }, /outside its 4 elements/],
    ['a negative stride', { shape: [2], strides: [-1] }, /no sound strides/],
    ['too few strides', { shape: [2, 2], strides: [1] }, /no sound strides/],
    ['one element a billion times', { shape: [1e9], strides: [0] }, /repeats too few/],
    ['a storage larger than its record', { elements: 5 }, /holds 16 bytes instead of 20/],
    ['a storage smaller than its record', { elements: 3, shape: [3] }, /holds 16 bytes instead of 12/],
    ['a storage of negative size', { elements: -4 }, /unknown way/],
    ['a storage of 2^60', { elements: 1n << 60n }, /unknown way/],
    ['a type that is not read', { type: 'ComplexFloatStorage' }, /torch\.ComplexFloatStorage/],
    ['a storage that is not there', { key: '7' }, /no "data\/7"/],
    ['a storage outside the folder', { key: '../data.pkl' }, /no "data\/..\/data.pkl"/],
  ])('%s', async (_, settings, message) => {
    await isRefused(refusedTensor(settings), message)
  })

  test('one storage as two types, or of two sizes', async () => {
    const two = (other: Parameters<typeof tensor>[0]) => checkpoint(dict(text('a'), tensor(), text('b'), tensor(other)))
    await isRefused(two({ type: 'IntStorage' }), /two kinds/)
    await isRefused(two({ elements: 2, shape: [2] }), /two kinds/)
  })
})

describe('archives', () => {
  const data = pickle(dict(text('a'), tensor()))
  const entries = [
    { name: 'archive/data.pkl', data },
    { name: 'archive/data/0', data: floats(1, 2, 3, 4) },
  ]
  const [first, storage] = entries as [(typeof entries)[0], (typeof entries)[0]]
  const squeezed = deflateRawSync(Buffer.alloc(10_000_000))
  const sound = zip(entries)
  const zip64 = zip(entries, { count: 0xffff, directorySize: 0xffffffff, directoryOffset: 0xffffffff })
  const beyond = join('PK\x06\x07', u32(0), i64(1n << 62n), u32(1))
  test.each([
    [
      'a compressed pickle',
      zip([{ ...first, data: deflateRawSync(data), method: 8, uncompressed: data.length }, storage]),
      /"data.pkl" is compressed/,
    ],
    [
      'a zip bomb for a tensor',
      zip([first, { name: 'archive/data/0', data: squeezed, method: 8, uncompressed: 16 }]),
      /compressed/,
    ],
    [
      'a zip bomb for a pickle',
      zip([{ name: 'archive/data.pkl', data: squeezed, method: 8, uncompressed: 10_000_000 }]),
      /compressed/,
    ],
    ['a pickle said to be huge', zip([{ ...first, size: 0xfffffff0 }, storage]), /longer|overlaps|damaged|bytes long/],
    ['an encrypted tensor', zip([first, { ...storage, flags: 1 }]), /encrypted|damaged/],
    ['two files of one name', zip([first, storage, storage]), /"data\/0" is in it twice/],
    ['a name that climbs', zip([...entries, { name: '../../etc/passwd', data }]), /damaged: invalid relative path/],
    [
      'a name that climbs inside',
      zip([...entries, { name: 'archive/../../x', data }]),
      /damaged: invalid relative path/,
    ],
    ['an absolute name', zip([...entries, { name: '/etc/passwd', data }]), /damaged: absolute path/],
    ['two folders', zip([...entries, { name: 'other/data.pkl', data }]), /no PyTorch checkpoint/],
    ['no pickle', zip([storage]), /no PyTorch checkpoint/],
    ['no folder', zip([{ name: 'data.pkl', data }]), /no PyTorch checkpoint/],
    ['an empty archive with a file before it', join('PK\x03\x04', zip([])), /damaged|no PyTorch checkpoint/],
    ['a tensor that is the pickle too', zip([first, { ...storage, offset: 0 }]), /overlaps|two|instead/],
    [
      'a tensor that overlaps the next',
      zip([first, { ...storage, data: floats(1, 2), size: 16 }, { name: 'archive/x', data }]),
      /overlaps/,
    ],
    ['a tensor past the end', zip([first, { ...storage, offset: 1e9 }]), /damaged/],
    ['a tensor at the very end', zip([first, { ...storage, offset: sound.length - 4 }]), /damaged/],
    ['a directory past the end', zip(entries, { directoryOffset: 1e9 }), /damaged/],
    ['more files than there are', zip(entries, { count: 60_000 }), /damaged/],
    ['fewer files than there are', zip(entries, { count: 1 }), /no "data\/0"/],
    ['no directory', sound.subarray(0, 150), /damaged/],
    [
      'a zip64 directory beyond everything',
      join(sound.subarray(0, -22), beyond, zip64.subarray(-22)),
      /damaged|outside/,
    ],
    ['a signature alone', Buffer.from('PK\x03\x04'), /damaged/],
    ['a program', zip([...entries, { name: 'archive/constants.pkl', data: Buffer.from('x') }]), /TorchScript/],
    ['a program by its code', zip([...entries, { name: 'archive/code/x.py', data: Buffer.from('x') }]), /TorchScript/],
    ['big-endian numbers', zip([...entries, { name: 'archive/byteorder', data: Buffer.from('big') }]), /big.*endian/],
    [
      'a byte order a book long',
      zip([...entries, { name: 'archive/byteorder', data: Buffer.alloc(1000) }]),
      /bytes long/,
    ],
  ])('%s', async (_, bytes, message) => {
    await isRefused(bytes, message)
  })

  test('cut off at any length', async () => {
    for (let size = 4; size < sound.length; size++) {
      writeFileSync(file, sound.subarray(0, size))
      await refuses('ERR_CHECKPOINT_FORMAT', /hostile/, () => weights.list(file))
    }
  })
})

describe('legacy files', () => {
  const object = pickle(dict(text('a'), tensor()))
  const four = { count: 4, data: floats(1, 2, 3, 4) }
  const sound = legacyCheckpoint(object)
  test.each([
    ['a pickle of something else', pickle(dict(text('a'), int(1))), /no PyTorch checkpoint/],
    ['another protocol', join(magic, pickle(int(7)), system(), object), /protocol is not 1001/],
    ['big-endian numbers', join(magic, protocol, system('\x89'), object, pickle(']')), /big.*endian/],
    ['a count that is not the storage', legacyCheckpoint(object, { 0: { ...four, count: 5 } }), /has 5 in the file/],
    ['a count of 2^62', legacyCheckpoint(object, { 0: { ...four, count: 1n << 62n } }), /in the file/],
    ['a negative count', legacyCheckpoint(object, { 0: { ...four, count: -4 } }), /has -4 in the file/],
    ['no storages', legacyCheckpoint(object, {}), /"0" has no data/],
    ['a storage twice', legacyCheckpoint(object, { 0: four }, pickle(list(text('0'), text('0')))), /list of storages/],
    ['an unknown storage', legacyCheckpoint(object, { 1: four }), /list of storages/],
    ['keys that are no texts', legacyCheckpoint(object, { 0: four }, pickle(list(int(0)))), /list of storages/],
    ['keys that are no list', legacyCheckpoint(object, { 0: four }, pickle('}')), /list of storages/],
    ['a tar archive', join('storages', Buffer.alloc(249), 'ustar\x0000', Buffer.alloc(248)), /tar archive/],
    [
      'a storage of 2^50 elements',
      legacyCheckpoint(pickle(dict(text('a'), tensor({ elements: 2n ** 50n }))), { 0: { ...four, count: 2n ** 50n } }),
      /ends before/,
    ],
    [
      'a view outside',
      legacyCheckpoint(pickle(dict(text('a'), tensor({ view: list(text('v'), int(3), int(2)) })))),
      /view reaches outside/,
    ],
    [
      'a view of nothing known',
      legacyCheckpoint(pickle(dict(text('a'), tensor({ view: text('v') })))),
      /view reaches outside/,
    ],
  ])('%s', async (_, bytes, message) => {
    await isRefused(bytes, message)
  })

  test('cut off at any length', async () => {
    for (let size = 2; size < sound.length; size++) {
      writeFileSync(file, sound.subarray(0, size))
      await refuses('ERR_CHECKPOINT_FORMAT', /hostile/, () => weights.list(file))
    }
  })
})
