import { setImmediate as turn } from 'node:timers/promises'
import { checkInteger, describe, invalidArgument, TorchvidError } from '../errors.ts'
import type { TensorData } from '../types.ts'

/** Numbers handled between two turns of the event loop: about a millisecond's work. */
const SLICE = 1 << 19

/**
 * A tensor as it is handed over, checked.
 *
 * @throws `ERR_INVALID_ARGUMENT` when it is none; `ERR_SHAPE` when its shape and the length of its data differ.
 */
export function checkTensorData(name: string, value: unknown): TensorData {
  const { data, shape } = (value ?? {}) as Partial<TensorData>
  const kinds = [Float32Array, Float64Array, Int32Array, BigInt64Array, Uint8Array]
  if (!kinds.some((kind) => data instanceof kind) || !Array.isArray(shape)) {
    const wanted = '{ data: a Float32Array, Float64Array, Int32Array, BigInt64Array or Uint8Array, shape: number[] }'
    throw invalidArgument(name, value, wanted)
  }
  const count = shape.reduce((product, side, i) => product * checkInteger(`${name}.shape[${i}]`, side, 0), 1)
  if (count !== data!.length) {
    const text = `${name}: its shape (${shape.join(', ')}) is of ${count} numbers, and its data are ${data!.length}. They must be the same.`
    throw new TorchvidError('ERR_SHAPE', text)
  }
  return { data: data!, shape: [...shape] }
}

/** The numbers as float32; what is float32 already is handed back itself. */
export async function toFloat32(name: string, data: TensorData['data']): Promise<Float32Array> {
  if (data instanceof Float32Array) return data
  if (data instanceof BigInt64Array) throw invalidArgument(name, data, `float32 numbers, not ${describe(data)}`)
  const floats = new Float32Array(data.length)
  for (let at = 0; at < data.length; at += SLICE) {
    floats.set(data.subarray(at, at + SLICE), at)
    await turn()
  }
  return floats
}

/** Place of the first number that is not finite; -1 when all are. */
export async function firstNotFinite(data: Float32Array): Promise<number> {
  for (let at = 0; at < data.length; at += SLICE) {
    if (at > 0) await turn()
    const end = Math.min(at + SLICE, data.length)
    for (let i = at; i < end; i++) if (!Number.isFinite(data[i])) return i
  }
  return -1
}
