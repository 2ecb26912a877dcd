import { readFile } from 'node:fs/promises'
import { setImmediate as turn } from 'node:timers/promises'
import { TorchvidError } from '../errors.ts'
import { type PickleFunction, type PickleValue, type Stateful, setState, unpickle } from '../weights/pickle.ts'
import { damaged } from './binary-file.ts'

/*
 * CIFAR's "Python version": a pickled dictionary with a numpy array of bytes (N, 3072) under `data` and lists of labels.
 * The files on its page were written by Python 2; others have been written again by Python 3. Nothing is executed: the few
 * names that numpy's arrays need stand for the functions below.
 */

/** More than ten times the largest of the real files. */
const LARGEST_FILE = 2e9

/** Images and labels of one file. */
export interface CifarPart {
  images: Uint8Array
  labels: Uint8Array
}

/** Reads one pickled batch. `ERR_IO` naming the file and what is wrong with it. */
export async function readPickledBatch(
  path: string,
  size: number,
  imageBytes: number,
  labelKey: string,
  classes: number,
): Promise<CifarPart> {
  if (size > LARGEST_FILE) throw damaged(path, `has ${size} bytes, too many for a batch of CIFAR`)
  const bytes = await readFile(path).catch((error) => {
    throw damaged(path, `cannot be read (${error.message})`, 'Check the path.', error)
  })
  const batch = load(path, bytes)
  const data = batch.get('data')
  const list = batch.get(labelKey)
  if (!(data instanceof NumpyArray) || data.bytes === undefined) throw damaged(path, 'has no array "data"', REMEDY)
  if (!Array.isArray(list)) throw damaged(path, `has no list ${JSON.stringify(labelKey)}`, WRONG_SET)
  const [count = 0, width] = data.shape
  if (data.shape.length !== 2 || width !== imageBytes || count < 1 || data.bytes.length !== count * imageBytes) {
    const given = `${data.shape.join(' x ')} in ${data.bytes.length} bytes`
    throw damaged(path, `has images of ${given}, wanted N x ${imageBytes}`, REMEDY)
  }
  if (list.length !== count) throw damaged(path, `has ${list.length} labels for ${count} images`, REMEDY)
  const wrong = list.findIndex((label) => !(Number.isInteger(label) && Number(label) >= 0 && Number(label) < classes))
  if (wrong >= 0) throw damaged(path, `has label ${String(list[wrong])} for image ${wrong}, wanted 0 to ${classes - 1}`)
  const labels = Uint8Array.from(list as number[])
  if (data.isFortran) return { images: await toRows(data.bytes, count, imageBytes), labels }
  const { buffer, byteOffset, length } = data.bytes
  return { images: new Uint8Array(buffer, byteOffset, length), labels }
}

const REMEDY = 'Fetch the file again, or use the binary version of CIFAR.'
const WRONG_SET = 'Use cifar10 for CIFAR-10 and cifar100 for CIFAR-100.'

function load(path: string, bytes: Uint8Array): Map<PickleValue, PickleValue> {
  try {
    const { value } = unpickle(bytes, ALLOWED, { name: path, strings: 'bytes' })
    if (value instanceof Map) return value
  } catch (error) {
    if (!(error instanceof TorchvidError)) throw error
    throw new TorchvidError('ERR_IO', `${error.message} ${REMEDY}`, { cause: error })
  }
  throw damaged(path, 'is a pickle of something else than a dictionary', REMEDY)
}

/** An array whose first dimension varies fastest, as one image after the other. */
async function toRows(columns: Uint8Array, count: number, width: number): Promise<Uint8Array> {
  const rows = new Uint8Array(columns.length)
  for (let first = 0; first < count; first += ROWS_A_TURN) {
    const last = Math.min(first + ROWS_A_TURN, count)
    for (let column = 0; column < width; column++) {
      for (let row = first; row < last; row++) rows[row * width + column] = columns[column * count + row]!
    }
    await turn()
  }
  return rows
}

/** Few enough that what is written to stays in the processor's cache. */
const ROWS_A_TURN = 256

/** Stands for numpy.dtype; only bytes are read. */
class NumpyType implements Stateful {
  readonly isBytes: boolean

  constructor(name: PickleValue) {
    this.isBytes = ['u1', '|u1', 'uint8'].includes(text(name))
  }

  /** Byte order and the like: means nothing for single bytes. */
  [setState](): void {}
}

/** Stands for numpy.ndarray. */
class NumpyArray implements Stateful {
  shape: number[] = []
  bytes: Uint8Array | undefined
  isFortran = false

  fill(shape: PickleValue | undefined, type: unknown, isFortran: boolean, bytes: unknown): this {
    if (!(type instanceof NumpyType) || !type.isBytes) throw unsound('an array of something else than bytes')
    const isShape = Array.isArray(shape) && shape.length <= 8 && shape.every((side) => Number.isSafeInteger(side))
    if (!isShape || !(bytes instanceof Uint8Array)) throw unsound('an array without a shape or data')
    this.shape = shape as number[]
    this.bytes = bytes
    this.isFortran = isFortran
    return this
  }

  /** `(version, shape, type, isFortran, bytes)` */
  [setState](state: PickleValue): void {
    if (!Array.isArray(state) || state.length !== 5) throw unsound('an array without its five parts of state')
    const [, shape, type, isFortran, bytes] = state
    this.fill(shape, type, isFortran === true || isFortran === 1, bytes)
  }
}

function unsound(what: string): TorchvidError {
  return new TorchvidError('ERR_IO', `The pickle holds ${what}.`)
}

function text(value: PickleValue | undefined): string {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('latin1')
  return typeof value === 'string' ? value : ''
}

const reconstruct: PickleFunction = () => new NumpyArray()

/** What protocol 5 writes: `(bytes, type, shape, order)`. */
const fromBuffer: PickleFunction = (bytes, type, shape, order) =>
  new NumpyArray().fill(shape, type, text(order) === 'F', bytes)

/** How Python 3 writes bytes in protocol 2: as a text, encoded. */
const encode: PickleFunction = (value, encoding) => {
  if (typeof value !== 'string' || text(encoding) !== 'latin1') throw unsound('a text in another encoding than latin1')
  return Buffer.from(value, 'latin1')
}

const ALLOWED: Record<string, PickleFunction | null> = {
  'numpy ndarray': null,
  'numpy dtype': (name) => new NumpyType(name ?? null),
  'numpy.core.multiarray _reconstruct': reconstruct,
  'numpy._core.multiarray _reconstruct': reconstruct,
  'numpy.core.numeric _frombuffer': fromBuffer,
  'numpy._core.numeric _frombuffer': fromBuffer,
  '_codecs encode': encode,
}
