import { setImmediate as turn } from 'node:timers/promises'
import type { TensorData } from '../types.ts'
import { damaged, openFile, readAt } from './binary-file.ts'
import { allocate } from './memory.ts'
import { bytesOf, type NpyHeader, type NpyType } from './npy-header.ts'

/** Numbers decoded between two turns of the event loop: a few milliseconds' work. */
const SLICE = 1 << 18

type Reader = (view: DataView, at: number, little: boolean) => number | bigint

const readers: Record<NpyType, Reader> = {
  f2: (view, at, little) => halfToNumber(view.getUint16(at, little)),
  f4: (view, at, little) => view.getFloat32(at, little),
  f8: (view, at, little) => view.getFloat64(at, little),
  i1: (view, at) => view.getInt8(at),
  i2: (view, at, little) => view.getInt16(at, little),
  i4: (view, at, little) => view.getInt32(at, little),
  i8: (view, at, little) => view.getBigInt64(at, little),
  u1: (view, at) => view.getUint8(at),
  u2: (view, at, little) => view.getUint16(at, little),
  u4: (view, at, little) => BigInt(view.getUint32(at, little)),
  u8: (view, at, little) => view.getBigUint64(at, little),
  b1: (view, at) => (view.getUint8(at) === 0 ? 0 : 1),
}

/**
 * Reads the numbers of any .npy file, in row-major order: the way for what the addon does not read (big-endian files,
 * booleans, unsigned numbers of 2 bytes or more). Half becomes float32; whole numbers take the smallest of the array types in which
 * all of theirs fit.
 *
 * @throws `ERR_IO` when the file ends meanwhile, or a number is beyond 2^63; `ERR_OUT_OF_MEMORY`.
 */
export async function decodeNpy(header: NpyHeader): Promise<TensorData> {
  const { path, type, shape, count, bigEndian } = header
  const bytes = await readNumbers(header)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const data = arrayFor(type, count)
  const read = readers[type]
  const size = bytesOf(type)
  const place = header.fortran ? fortranPlaces(shape) : undefined
  for (let i = 0; i < count; i++) {
    const value = read(view, (place === undefined ? i : place(i)) * size, !bigEndian)
    if (typeof value === 'bigint' && value > MOST)
      throw damaged(path, `holds ${value}, beyond 2^63`, 'Save it as int64.')
    data[i] = value
    if (i % SLICE === SLICE - 1) await turn()
  }
  return { data: data as TensorData['data'], shape: [...shape] }
}

const MOST = 2n ** 63n - 1n

async function readNumbers({ path, offset, count, type }: NpyHeader): Promise<Uint8Array> {
  const bytes = allocate(`Reading ${path}`, count * bytesOf(type), 'Free some memory.')
  const { file } = await openFile(path)
  try {
    await readAt(path, file, bytes, offset)
  } finally {
    await file.close()
  }
  return bytes
}

function arrayFor(type: NpyType, count: number): { [index: number]: number | bigint } {
  if (type === 'f2' || type === 'f4') return new Float32Array(count)
  if (type === 'f8') return new Float64Array(count)
  if (type === 'u1' || type === 'b1') return new Uint8Array(count)
  if (type === 'u4' || type === 'u8' || type === 'i8') return new BigInt64Array(count) as { [index: number]: bigint }
  return new Int32Array(count)
}

/** From a row-major index to the column-major one, for indices asked in order from 0. */
function fortranPlaces(shape: number[]): (index: number) => number {
  const strides = fortranStrides(shape)
  const at = shape.map(() => 0)
  let place = 0
  return (index) => {
    if (index === 0) return 0
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      place += strides[axis]!
      if (++at[axis]! < shape[axis]!) break
      place -= strides[axis]! * shape[axis]!
      at[axis] = 0
    }
    return place
  }
}

/** Steps of a column-major array along each dimension, in numbers. */
export function fortranStrides(shape: number[]): number[] {
  let step = 1
  return shape.map((side) => {
    const stride = step
    step *= side
    return stride
  })
}

/** IEEE 754 binary16: 1 sign, 5 exponent and 10 fraction bits. */
function halfToNumber(half: number): number {
  const sign = half & 0x8000 ? -1 : 1
  const exponent = (half >> 10) & 0x1f
  const fraction = half & 0x3ff
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}
