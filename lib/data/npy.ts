import { invalidArgument } from '../errors.ts'
import { type FileDtype, type NativeTensorRow, native } from '../native.ts'
import type { TensorData } from '../types.ts'
import { CHUNK } from './binary-file.ts'
import { writeWhole } from './files.ts'
import { checkMemory } from './memory.ts'
import { decodeNpy, fortranStrides } from './npy-decode.ts'
import { bytesOf, type NpyHeader, type NpyType, npyHeader, readNpyHeader } from './npy-header.ts'
import { checkTensorData } from './tensor-data.ts'

/** NumPy's types that the addon reads, by its names. Not booleans: a damaged file's may be neither 0 nor 1. */
const dtypes: Partial<Record<NpyType, FileDtype>> = {
  f2: 'F16',
  f4: 'F32',
  f8: 'F64',
  i1: 'I8',
  i2: 'I16',
  i4: 'I32',
  i8: 'I64',
  u1: 'U8',
}

/** Where the addon finds a file's numbers; undefined for the kinds that only `decodeNpy` reads. */
export function nativeRow({ type, bigEndian, fortran, shape, offset }: NpyHeader): NativeTensorRow | undefined {
  const dtype = dtypes[type]
  if (dtype === undefined || bigEndian) return undefined
  return { dtype, shape, offset, ...(fortran ? { strides: fortranStrides(shape) } : {}) }
}

/**
 * An array from a .npy file (NumPy's format, versions 1 to 3, either order of dimensions and of bytes), row-major. float16
 * becomes float32; booleans and unsigned bytes `Uint8Array`; int8, int16, uint16 and int32 `Int32Array`; uint32, int64 and
 * uint64 `BigInt64Array`. Nothing of the file is executed.
 *
 * @throws TorchvidError ERR_IO naming the file when it cannot be read, is damaged or cut short, goes on after its numbers or
 * holds Python objects; ERR_OUT_OF_MEMORY
 */
export async function readNpy(path: string): Promise<TensorData> {
  return await readNumbers(await readNpyHeader(path))
}

/** The numbers of a file whose header is known. @throws As `readNpy`. */
export async function readNumbers(header: NpyHeader): Promise<TensorData> {
  const row = nativeRow(header)
  if (row === undefined) return await decodeNpy(header)
  checkMemory(`Reading ${header.path}`, header.count * Math.max(4, bytesOf(header.type)), 'Free some memory.')
  return await native().readTensor(header.path, row)
}

/**
 * Writes a tensor as a .npy file of version 1 (float32, float64, int32, int64 or uint8, row-major), whole or not at all.
 * The folder is made if it is missing.
 *
 * @throws TorchvidError ERR_INVALID_ARGUMENT or ERR_SHAPE for the tensor; ERR_IO when it cannot be written
 */
export async function writeNpy(path: string, tensor: TensorData): Promise<void> {
  if (typeof path !== 'string' || path === '') throw invalidArgument('path', path, 'the path of the file to write')
  const { data, shape } = checkTensorData('tensor', tensor)
  await writeWhole(path, pieces(npyHeader(typeOf(data), shape), data))
}

async function* pieces(header: Buffer, data: TensorData['data']): AsyncGenerator<Uint8Array> {
  yield header
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  for (let at = 0; at < bytes.length; at += CHUNK) yield bytes.subarray(at, at + CHUNK)
}

function typeOf(data: TensorData['data']): NpyType {
  if (data instanceof Float32Array) return 'f4'
  if (data instanceof Float64Array) return 'f8'
  if (data instanceof Int32Array) return 'i4'
  return data instanceof BigInt64Array ? 'i8' : 'u1'
}
