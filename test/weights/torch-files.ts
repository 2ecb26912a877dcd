/** Makes PyTorch checkpoints byte by byte, sound or not, by other code than the library's. */
import { crc32 } from 'node:zlib'

type Part = string | Buffer

/** Parts in a row; texts stand for their Latin-1 bytes. */
export function join(...parts: Part[]): Buffer {
  return Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part)))
}

export function u16(...values: number[]): Buffer {
  return join(...values.map((value) => Buffer.of(value & 255, value >> 8)))
}

export function u32(...values: number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length)
  for (const [i, value] of values.entries()) bytes.writeUInt32LE(value >>> 0, 4 * i)
  return bytes
}

export function i64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64LE(BigInt.asIntN(64, BigInt(value)))
  return bytes
}

export function floats(...values: number[]): Buffer {
  return Buffer.from(Float32Array.from(values).buffer)
}

// Pickle

export const text = (value: string) => {
  const bytes = Buffer.from(value)
  return join('X', u32(bytes.length), bytes)
}
export const int = (value: number | bigint) => {
  return value >= 0 && value < 256 ? join('K', Buffer.of(Number(value))) : join('\x8a\x08', i64(value))
}
export const tuple = (...items: Part[]) => join('(', ...items, 't')
export const list = (...items: Part[]) => join('](', ...items, 'e')
/** Keys and values by turns. */
export const dict = (...items: Part[]) => join('}(', ...items, 'u')
export const name = (module: string, name: string) => join(`c${module}\n${name}\n`)
export const call = (callable: Part, ...args: Part[]) => join(callable, tuple(...args), 'R')
export const pickle = (...body: Part[]) => join('\x80\x02', ...body, '.')

/** What a tensor's pickle says; the defaults are those of a sound tensor of 4 floats. */
export interface PickledTensor {
  key?: string
  type?: string
  elements?: number | bigint
  offset?: Part
  shape?: (number | bigint)[]
  strides?: (number | bigint)[]
  /** Instead of the numbers. */
  shapePart?: Part
  /** The legacy format's view. */
  view?: Part
}

export function tensor(settings: PickledTensor = {}): Buffer {
  const { key = '0', type = 'FloatStorage', elements = 4, offset = int(0), shape = [4], strides = [1], view } = settings
  const storage = [text('storage'), name('torch', type), text(key), text('cpu'), int(elements), ...(view ? [view] : [])]
  return call(
    name('torch._utils', '_rebuild_tensor_v2'),
    join(tuple(...storage), 'Q'),
    offset,
    settings.shapePart ?? tuple(...shape.map(int)),
    tuple(...strides.map(int)),
    '\x89',
    join('}'),
  )
}

// Zip

/** A file of an archive, and lies about it. */
export interface ZipEntry {
  name: string
  data: Buffer
  method?: number
  flags?: number
  /** In the directory. */
  size?: number
  uncompressed?: number
  offset?: number
}

export interface ZipLies {
  count?: number
  directorySize?: number
  directoryOffset?: number
}

export function zip(entries: ZipEntry[], lies: ZipLies = {}): Buffer {
  const locals: Buffer[] = []
  const directory: Buffer[] = []
  let position = 0
  for (const { name, data, method = 0, flags = 0, size = data.length, uncompressed = size, offset } of entries) {
    const common = [u16(flags, method, 0, 0x21), u32(crc32(data), size, uncompressed), u16(name.length, 0)]
    const local = join('PK\x03\x04', u16(20), ...common, name, data)
    directory.push(join('PK\x01\x02', u16(20, 20), ...common, u16(0, 0, 0), u32(0, offset ?? position), name))
    locals.push(local)
    position += local.length
  }
  const all = join(...directory)
  const { count = entries.length, directorySize = all.length, directoryOffset = position } = lies
  return join(...locals, all, 'PK\x05\x06', u16(0, 0, count, count), u32(directorySize, directoryOffset), u16(0))
}

/** A sound checkpoint around a pickle. */
export function zipCheckpoint(data: Buffer, storages: Record<string, Buffer> = { 0: floats(1, 2, 3, 4) }): Buffer {
  return zip([
    { name: 'archive/data.pkl', data },
    { name: 'archive/byteorder', data: Buffer.from('little') },
    ...Object.entries(storages).map(([key, data]) => ({ name: `archive/data/${key}`, data })),
    { name: 'archive/version', data: Buffer.from('3\n') },
  ])
}

// Legacy

export const magic = pickle('\x8a\x0a', Buffer.from('6cfc9c46f9206aa85019', 'hex'))
export const protocol = pickle('M', u16(1001))
export const system = (little = '\x88') => pickle(dict(text('little_endian'), little))

/** A legacy checkpoint around a pickle; each storage has its count of elements. */
export function legacyCheckpoint(
  object: Buffer,
  storages: Record<string, { count: number | bigint; data: Buffer }> = { 0: { count: 4, data: floats(1, 2, 3, 4) } },
  keys: Buffer = pickle(list(...Object.keys(storages).map(text))),
): Buffer {
  const data = Object.values(storages).map(({ count, data }) => join(i64(count), data))
  return join(magic, protocol, system(), object, keys, ...data)
}
