import { invalidArgument, type TorchvidError } from '../errors.ts'
import { damaged, openFile, readAt } from './binary-file.ts'

/*
 * NumPy's .npy format, versions 1.0, 2.0 and 3.0 (numpy.org/doc/stable/reference/generated/numpy.lib.format.html): the magic
 * string, two bytes of version, the header's length (little-endian, 2 bytes in version 1, 4 later), a Python dictionary
 * literal as text, then the numbers.
 */

/** How one number of a .npy file is stored: NumPy's kind (float, signed, unsigned, boolean) and its bytes. */
export type NpyType = 'f2' | 'f4' | 'f8' | 'i1' | 'i2' | 'i4' | 'i8' | 'u1' | 'u2' | 'u4' | 'u8' | 'b1'

/** What a .npy file says of itself; the numbers are checked to fill the rest of the file exactly. */
export interface NpyHeader {
  path: string
  type: NpyType
  bigEndian: boolean
  /** Column-major: the first dimension varies fastest. Only true where that differs from row-major. */
  fortran: boolean
  shape: number[]
  /** How many numbers there are: the product of the shape. */
  count: number
  /** Byte at which the numbers begin. */
  offset: number
}

const MAGIC = Buffer.from('\x93NUMPY', 'latin1')
const types = new Set<string>(['f2', 'f4', 'f8', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8', 'b1'])

/** Headers of plain arrays have about a hundred bytes. */
const LONGEST_HEADER = 65_535
const MOST_DIMENSIONS = 32
const DEEPEST_NESTING = 8

const SAVE = 'Save it as plain numbers: numpy.save(path, array.astype(numpy.float32)).'

/** Bytes of one number. */
export function bytesOf(type: NpyType): number {
  return Number(type[1])
}

/**
 * The header of a .npy file; none of its numbers is read.
 *
 * @throws `ERR_IO` naming the file when it cannot be read, is no .npy file, is damaged, cut short or too long, or holds
 * anything but plain numbers (object arrays are pickles, and those are never opened).
 */
export async function readNpyHeader(path: string): Promise<NpyHeader> {
  if (typeof path !== 'string' || path === '') throw invalidArgument('path', path, 'the path of a .npy file')
  const { file, size } = await openFile(path)
  try {
    const start = Buffer.alloc(Math.min(12, size))
    await readAt(path, file, start, 0)
    const { length, from } = measure(path, start, size)
    const text = Buffer.alloc(length)
    await readAt(path, file, text, from)
    return interpret(path, text.toString(start[6] === 3 ? 'utf8' : 'latin1'), from + length, size)
  } finally {
    await file.close()
  }
}

/** Where the header's text lies. */
function measure(path: string, start: Buffer, size: number): { length: number; from: number } {
  if (!start.subarray(0, 6).equals(MAGIC)) throw damaged(path, `is not a .npy file${guess(start)}`, SAVE)
  const version = start[6]
  const from = version === 1 ? 10 : 12
  if (size < from) throw damaged(path, `is cut short: it has ${size} bytes, fewer than a header`)
  if (version !== 1 && version !== 2 && version !== 3) {
    throw damaged(path, `is a .npy file of version ${version}; wanted 1, 2 or 3`, SAVE)
  }
  const length = version === 1 ? start.readUInt16LE(8) : start.readUInt32LE(8)
  if (length > LONGEST_HEADER) {
    throw damaged(path, `announces a header of ${length} bytes; one of plain numbers has about 100`, SAVE)
  }
  if (length > size - from) throw damaged(path, `is cut short: it ends inside its header of ${length} bytes`)
  return { length, from }
}

function guess(start: Buffer): string {
  if (start.length === 0) return ' (it is empty)'
  if (start[0] === 0x50 && start[1] === 0x4b) return ' (it is a zip archive, perhaps an .npz)'
  if (start[0] === 0x80) return ' (it is a pickle, which could run code when it is opened)'
  return ''
}

function interpret(path: string, text: string, offset: number, size: number): NpyHeader {
  const bad = (reason: string) => damaged(path, `has a damaged .npy header: ${reason}`, `Fetch or save it again.`)
  const fields = new LiteralParser(text, bad).dictionary()
  for (const key of ['descr', 'fortran_order', 'shape']) if (!fields.has(key)) throw bad(`it lacks '${key}'`)
  if (fields.size !== 3) throw bad(`it has ${fields.size} entries, wanted descr, fortran_order and shape`)
  const { type, bigEndian } = typeOf(path, fields.get('descr'), bad)
  const isFortran = fields.get('fortran_order')
  if (typeof isFortran !== 'boolean') throw bad('its fortran_order is neither True nor False')
  const shape = shapeOf(fields.get('shape'), bad)
  const count = shape.reduce((product, side) => product * side, 1)
  const wanted = count * bytesOf(type)
  const left = size - offset
  const whole = `its shape (${shape.join(', ')}) of ${bytesOf(type)} bytes a number wants ${wanted} bytes, and it has ${left}`
  if (wanted > left) throw damaged(path, `is cut short: ${whole}`)
  if (wanted < left) throw damaged(path, `goes on after its numbers: ${whole}`)
  const fortran = isFortran && shape.filter((side) => side > 1).length > 1
  return { path, type, bigEndian, fortran, shape, count, offset }
}

function typeOf(path: string, descr: Literal | undefined, bad: Bad): { type: NpyType; bigEndian: boolean } {
  if (Array.isArray(descr)) throw damaged(path, 'holds records of several fields; wanted plain numbers', SAVE)
  if (typeof descr !== 'string') throw bad("its 'descr' is no text")
  const [, order, kind = ''] = /^([<>|=]?)([a-zA-Z]\d*)/.exec(descr) ?? []
  if (kind.startsWith('O')) {
    throw damaged(path, 'holds Python objects: they are pickled, and opening them could run code', SAVE)
  }
  if (!types.has(kind) || `${order}${kind}` !== descr) {
    const wanted = 'float16, float32, float64, whole numbers of 1 to 8 bytes, or booleans'
    throw damaged(path, `holds numbers of type '${descr.slice(0, 40)}'; wanted ${wanted}`, SAVE)
  }
  return { type: kind as NpyType, bigEndian: order === '>' && bytesOf(kind as NpyType) > 1 }
}

function shapeOf(shape: Literal | undefined, bad: Bad): number[] {
  if (!Array.isArray(shape)) throw bad('its shape is no tuple')
  if (shape.length > MOST_DIMENSIONS) throw bad(`its shape has ${shape.length} dimensions`)
  if (!shape.every((side) => Number.isSafeInteger(side) && (side as number) >= 0)) {
    throw bad(
      `its shape (${shape.map(String).join(', ').slice(0, 80)}) has a size that is not a whole number from 0 up`,
    )
  }
  const sides = shape as number[]
  const most = sides.reduce((product, side) => product * Math.max(1, side), 8)
  if (most > Number.MAX_SAFE_INTEGER) throw bad(`its shape (${sides.join(', ')}) is impossibly large`)
  return sides
}

type Bad = (reason: string) => TorchvidError
type Literal = string | number | boolean | null | Literal[]

/** The few Python literals a header is made of: texts, whole numbers, True, False, None, tuples, lists, one dictionary. */
class LiteralParser {
  private readonly token = /[ \t\r\n]*(?:(True|False|None)\b|(-?\d+)L?\b|'([^'\\]*)'|"([^"\\]*)"|([{}()[\],:]))/y

  constructor(
    private readonly text: string,
    private readonly bad: Bad,
  ) {}

  dictionary(): Map<string, Literal> {
    const entries = new Map<string, Literal>()
    this.expect('{')
    while (!this.accept('}')) {
      const key = this.value(0)
      if (typeof key !== 'string' || entries.has(key)) throw this.bad('a key is no text, or is there twice')
      this.expect(':')
      entries.set(key, this.value(0))
      if (!this.accept(',')) {
        this.expect('}')
        break
      }
    }
    if (this.text.slice(this.token.lastIndex).trim() !== '') throw this.bad('something follows its dictionary')
    return entries
  }

  private value(depth: number): Literal {
    const [, word, number, single, double, mark] = this.next()
    if (word !== undefined) return word === 'None' ? null : word === 'True'
    if (number !== undefined) return Number(number)
    if (mark === '(' || mark === '[') return this.items(mark === '(' ? ')' : ']', depth + 1)
    const text = single ?? double
    if (text === undefined) throw this.bad(`there is '${mark}' where a value should be`)
    return text
  }

  private items(end: string, depth: number): Literal[] {
    if (depth > DEEPEST_NESTING) throw this.bad('it is nested too deeply')
    const items: Literal[] = []
    while (!this.accept(end)) {
      items.push(this.value(depth))
      if (!this.accept(',')) {
        this.expect(end)
        break
      }
    }
    return items
  }

  private next(): RegExpExecArray {
    const match = this.token.exec(this.text)
    if (match === null) throw this.bad('it is no dictionary of plain values')
    return match
  }

  private accept(mark: string): boolean {
    const before = this.token.lastIndex
    if (this.token.exec(this.text)?.[5] === mark) return true
    this.token.lastIndex = before
    return false
  }

  private expect(mark: string): void {
    if (!this.accept(mark)) throw this.bad(`'${mark}' is missing`)
  }
}

/**
 * The bytes before the numbers of a row-major .npy file of version 1. `length`, where given, is how many there shall be: a
 * header that is to be completed later keeps its place.
 */
export function npyHeader(type: NpyType, shape: number[], length = 0): Buffer {
  const order = bytesOf(type) === 1 ? '|' : '<'
  const tuple = shape.length === 1 ? `${shape[0]},` : shape.join(', ')
  const text = `{'descr': '${order}${type}', 'fortran_order': False, 'shape': (${tuple}), }`
  const whole = Math.max(length, Math.ceil((MAGIC.length + 4 + text.length + 1) / 64) * 64)
  const bytes = Buffer.alloc(whole, ' ')
  MAGIC.copy(bytes)
  bytes.writeUInt16LE(0x0001, 6)
  bytes.writeUInt16LE(whole - 10, 8)
  bytes.write(text, 10, 'latin1')
  bytes.write('\n', whole - 1)
  return bytes
}
