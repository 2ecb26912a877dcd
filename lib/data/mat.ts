import type { FileHandle } from 'node:fs/promises'
import { ByteReader, damaged, inflatedBound, openFile, readAt } from './binary-file.ts'

/*
 * MATLAB's MAT-file format, level 5 ("MAT-File Format", The MathWorks, chapter 1): a header of 128 bytes, then data elements,
 * each a tag (type, bytes) and its data. A variable is an element of type miMATRIX made of elements itself, or one of
 * type miCOMPRESSED that inflates to that. Only numeric variables are read; structures, cells, text are passed over.
 */

const HEADER = 128
const miINT8 = 1
const miUINT8 = 2
const miINT32 = 5
const miUINT32 = 6
const miMATRIX = 14
const miCOMPRESSED = 15

/** Bytes of a number, by the type that a tag names. */
const NUMBER_BYTES: Record<number, number> = { 1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8 }

/** mxDOUBLE_CLASS to mxUINT64_CLASS. */
const FIRST_NUMERIC_CLASS = 6
const LAST_NUMERIC_CLASS = 15

/** Parts of a variable's class flags. */
const CLASS = 0xff
const COMPLEX = 0x800

const MOST_VARIABLES = 1000
const MOST_DIMENSIONS = 32
const LONGEST_NAME = 256

const REMEDY = 'Fetch the file again; files saved with "-v7.3" or "-v4" must be saved with "-v7" or "-v6".'

/** A numeric variable of a file, before its values are read. */
export interface MatVariable {
  name: string
  /** As MATLAB has them: column-major, the first dimension varies fastest. */
  dimensions: number[]
  /** How many values there are: the product of the dimensions. */
  count: number
  /** How they are stored, which may be narrower than MATLAB's class: whole numbers of a double as bytes. */
  storage: 'uint8' | 'other'
  /** Fills `into` with the next stored bytes; only for `uint8`, whose bytes are the values. */
  readBytes(into: Uint8Array): Promise<void>
  /** All values as numbers. `most` is the most that are wanted. */
  readNumbers(most: number): Promise<Float64Array>
  /** Call it after the last value: `ERR_IO` when more follows, or the checksum is wrong. */
  finish(): Promise<void>
}

/**
 * Calls `visit` for each numeric variable in turn; what it does not read is passed over, never inflated.
 *
 * @throws `ERR_IO` when the file is no level 5 MAT-file, or is damaged or cut short; what `visit` throws.
 */
export async function readMat(
  path: string,
  visit: (variable: MatVariable) => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  const { file, size } = await openFile(path)
  try {
    const little = await checkHeader(path, file, size)
    let variables = 0
    for (let at = HEADER; at < size; ) {
      signal?.throwIfAborted()
      if (++variables > MOST_VARIABLES) throw damaged(path, `has more than ${MOST_VARIABLES} variables`, REMEDY)
      const tag = new DataView(new ArrayBuffer(8))
      await readAt(path, file, new Uint8Array(tag.buffer), at)
      const type = tag.getUint32(0, little)
      const to = at + 8 + tag.getUint32(4, little)
      if (type !== miMATRIX && type !== miCOMPRESSED) throw damaged(path, `has an element of type ${type}`, REMEDY)
      if (to <= at + 8) throw damaged(path, 'has an empty element', REMEDY)
      if (to > size) throw damaged(path, `is cut short: it has ${size} bytes and announces ${to}`, 'Fetch it again.')
      const isCompressed = type === miCOMPRESSED
      await readElement({ path, from: isCompressed ? at + 8 : at, to, isCompressed, little, signal }, visit)
      at = to
    }
  } finally {
    await file.close()
  }
}

async function checkHeader(path: string, file: FileHandle, size: number): Promise<boolean> {
  if (size < HEADER) throw damaged(path, `has ${size} bytes, too few for a MAT-file`, REMEDY)
  const header = Buffer.alloc(HEADER)
  await readAt(path, file, header, 0)
  const endian = header.toString('latin1', 126, 128)
  const little = endian === 'IM'
  const version = little ? header.readUInt16LE(124) : header.readUInt16BE(124)
  if ((!little && endian !== 'MI') || version !== 0x0100) {
    const is73 = header.toString('latin1', 0, 10) === 'MATLAB 7.3'
    throw damaged(
      path,
      `is not a MAT-file of level 5${is73 ? ' (it is one of version 7.3, which is HDF5)' : ''}`,
      REMEDY,
    )
  }
  return little
}

interface Element {
  path: string
  from: number
  to: number
  isCompressed: boolean
  little: boolean
  signal: AbortSignal | undefined
}

/** One variable: its header, then whatever `visit` wants of it. */
async function readElement(element: Element, visit: (variable: MatVariable) => Promise<void>): Promise<void> {
  const { path, from, to, isCompressed, signal } = element
  const reader = new ByteReader({ path, from, to, compression: isCompressed ? 'zlib' : undefined, signal })
  try {
    const variable = await readVariable(element, reader)
    if (variable !== undefined) await visit(variable)
  } finally {
    await reader.close()
  }
}

/** The header of a variable and the means to read it; undefined when it is not numeric. */
async function readVariable(element: Element, reader: ByteReader): Promise<MatVariable | undefined> {
  const { path, from, to, isCompressed, little } = element
  const bad = (reason: string) => damaged(path, `is damaged: ${reason}`, REMEDY)
  const matrix = await readTag(element, reader)
  if (matrix.type !== miMATRIX) throw bad(`a compressed element holds type ${matrix.type}`)
  const most = isCompressed ? inflatedBound(to - from) : to - from - 8
  if (matrix.bytes > most) throw bad(`a variable announces ${matrix.bytes} bytes, and there can be ${most} at most`)
  const part = async (what: string, type: number, longest: number) => {
    const tag = await readTag(element, reader)
    if (tag.type !== type || tag.bytes > longest) {
      throw bad(`a variable's ${what} has type ${tag.type} and ${tag.bytes} bytes`)
    }
    return await readPadded(reader, tag)
  }

  const flags = await part('class', miUINT32, 8)
  if (flags.byteLength !== 8) throw bad(`a variable's class has ${flags.byteLength} bytes`)
  const kind = flags.getUint32(0, little)
  const isNumeric = (kind & CLASS) >= FIRST_NUMERIC_CLASS && (kind & CLASS) <= LAST_NUMERIC_CLASS
  if (!isNumeric || (kind & COMPLEX) !== 0) return undefined
  const sides = await part('size', miINT32, 4 * MOST_DIMENSIONS)
  const dimensions = Array.from({ length: sides.byteLength >> 2 }, (_, i) => sides.getInt32(4 * i, little))
  const name = Buffer.from((await part('name', miINT8, LONGEST_NAME)).buffer).toString('latin1')
  const count = dimensions.reduce((product, side) => product * side, 1)
  const values = await readTag(element, reader)
  const each = NUMBER_BYTES[values.type]
  if (each === undefined) throw bad(`the values of ${JSON.stringify(name)} have type ${values.type}`)
  const fits = reader.position + (values.inside === undefined ? values.bytes : 0) <= 8 + matrix.bytes
  const isSize = dimensions.length >= 2 && dimensions.every((side) => side >= 0)
  if (!fits || !isSize || count * each !== values.bytes) {
    const text = `${JSON.stringify(name)} is ${dimensions.join(' x ')} values of ${each} bytes`
    throw bad(`${text}, and has ${values.bytes} bytes in an element of ${matrix.bytes}`)
  }
  const readBytes = valueSource(reader, values)
  return {
    name,
    dimensions,
    count,
    storage: values.type === miUINT8 ? 'uint8' : 'other',
    readBytes,
    async readNumbers(most) {
      if (count > most) throw bad(`${JSON.stringify(name)} has ${count} values, and ${most} at most are wanted`)
      const bytes = new Uint8Array(values.bytes)
      await readBytes(bytes)
      return toNumbers(new DataView(bytes.buffer), values.type, count, little)
    },
    async finish() {
      // Up to 7 bytes of padding; then the end, which is where a checksum is compared.
      await reader.expectEnd(7)
    },
  }
}

/** A tag, and its data where they are inside it (the small format, for up to 4 bytes). */
interface Tag {
  type: number
  bytes: number
  inside?: Uint8Array
}

async function readTag({ path, little }: Element, reader: ByteReader): Promise<Tag> {
  const view = await reader.take(8)
  const first = view.getUint32(0, little)
  const small = first >>> 16
  if (small === 0) return { type: first, bytes: view.getUint32(4, little) }
  if (small > 4) throw damaged(path, `is damaged: a small element announces ${small} bytes`, REMEDY)
  return { type: first & 0xffff, bytes: small, inside: new Uint8Array(view.buffer, 4, small) }
}

/** A short element's data, and past the padding to the next multiple of 8. */
async function readPadded(reader: ByteReader, { bytes, inside }: Tag): Promise<DataView<ArrayBuffer>> {
  if (inside !== undefined) return new DataView(inside.slice().buffer)
  const data = await reader.take(bytes)
  await reader.take((8 - (bytes % 8)) % 8)
  return data
}

function valueSource(reader: ByteReader, { inside }: Tag): (into: Uint8Array) => Promise<void> {
  if (inside === undefined) return (into) => reader.read(into)
  let taken = 0
  return async (into) => {
    into.set(inside.subarray(taken, taken + into.length))
    taken += into.length
  }
}

function toNumbers(view: DataView, type: number, count: number, little: boolean): Float64Array {
  const read: Record<number, (at: number) => number> = {
    1: (at) => view.getInt8(at),
    2: (at) => view.getUint8(at),
    3: (at) => view.getInt16(at, little),
    4: (at) => view.getUint16(at, little),
    5: (at) => view.getInt32(at, little),
    6: (at) => view.getUint32(at, little),
    7: (at) => view.getFloat32(at, little),
    9: (at) => view.getFloat64(at, little),
    12: (at) => Number(view.getBigInt64(at, little)),
    13: (at) => Number(view.getBigUint64(at, little)),
  }
  const one = read[type]!
  const each = NUMBER_BYTES[type]!
  return Float64Array.from({ length: count }, (_, i) => one(i * each))
}
