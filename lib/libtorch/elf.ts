import fs from 'node:fs'

const PT_LOAD = 1
const PT_DYNAMIC = 2
const DT_NULL = 0
const DT_NEEDED = 1
const DT_STRTAB = 5
const LONGEST_NAME = 256
const LARGEST_TABLE = 1 << 20

interface Segment {
  type: number
  offset: number
  address: number
  size: number
}

/**
 * The shared libraries an ELF file (64-bit, little-endian) asks for: its DT_NEEDED entries, in order.
 * Reads a few kilobytes however large the library is. Undefined when the file is not such an ELF file.
 */
export function neededLibraries(file: string): string[] | undefined {
  const handle = fs.openSync(file, 'r')
  try {
    return readNeeded(handle)
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  } finally {
    fs.closeSync(handle)
  }
}

function readNeeded(handle: number): string[] | undefined {
  const header = read(handle, 0, 64)
  const isElf64 = header.toString('latin1', 0, 4) === '\x7fELF' && header[4] === 2 && header[5] === 1
  if (!isElf64) return undefined

  const segments = readSegments(handle, header)
  const dynamic = segments.find((segment) => segment.type === PT_DYNAMIC)
  if (!dynamic) return []

  const { names, strings } = readDynamic(read(handle, dynamic.offset, dynamic.size))
  const load = segments.find(
    (segment) => segment.type === PT_LOAD && strings >= segment.address && strings < segment.address + segment.size,
  )
  if (!load) return undefined
  const table = strings - load.address + load.offset
  return names.map((name) => readString(handle, table + name))
}

function readSegments(handle: number, header: Buffer): Segment[] {
  const start = Number(header.readBigUInt64LE(32))
  const size = header.readUInt16LE(54)
  const count = header.readUInt16LE(56)
  const table = read(handle, start, size * count)
  return Array.from({ length: count }, (_, index) => ({
    type: table.readUInt32LE(index * size),
    offset: Number(table.readBigUInt64LE(index * size + 8)),
    address: Number(table.readBigUInt64LE(index * size + 16)),
    size: Number(table.readBigUInt64LE(index * size + 32)),
  }))
}

/** Offsets of the needed names in the string table, and the table's address. */
function readDynamic(table: Buffer): { names: number[]; strings: number } {
  const names: number[] = []
  let strings = -1
  for (let at = 0; at + 16 <= table.length; at += 16) {
    const tag = Number(table.readBigInt64LE(at))
    const value = Number(table.readBigUInt64LE(at + 8))
    if (tag === DT_NULL) break
    if (tag === DT_NEEDED) names.push(value)
    if (tag === DT_STRTAB) strings = value
  }
  return { names, strings }
}

function readString(handle: number, position: number): string {
  const bytes = Buffer.alloc(LONGEST_NAME)
  const length = fs.readSync(handle, bytes, 0, LONGEST_NAME, position)
  const end = bytes.subarray(0, length).indexOf(0)
  if (end < 0) throw new RangeError('a library name without an end')
  return bytes.toString('utf8', 0, end)
}

/** Exactly `length` bytes, or a RangeError: a truncated or hostile file says any size. */
function read(handle: number, position: number, length: number): Buffer {
  if (length > LARGEST_TABLE || !Number.isSafeInteger(position))
    throw new RangeError('an impossible size in an ELF file')
  const bytes = Buffer.alloc(length)
  if (fs.readSync(handle, bytes, 0, length, position) !== length) throw new RangeError('a truncated ELF file')
  return bytes
}
