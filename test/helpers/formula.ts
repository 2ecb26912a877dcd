import type { ParameterInfo, TensorData } from 'torchvid'
import { sizeOf } from './tensors.ts'

function fnv1a32(text: string): number {
  let hash = 0x811c9dc5
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0
  return hash
}

/** The goldens' numbers in [0, 1): one formula for every language (shared/golden/README.md). */
function uniform01(name: string, count: number, seed: number): Float64Array {
  const start = (fnv1a32(name) ^ (Math.imul(seed, 0x9e3779b9) >>> 0)) >>> 0
  return Float64Array.from({ length: count }, (_, i) => {
    let x = (Math.imul(i, 2654435761) + start) >>> 0
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b) >>> 0
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35) >>> 0
    return ((x ^ (x >>> 16)) >>> 0) / 2 ** 32
  })
}

/** Weights and biases of a network without batch-norm, by the formula; `upscale*` stay as they are. */
export function formulaWeights(parameters: ParameterInfo[], seed: number): Map<string, TensorData> {
  const state = new Map<string, TensorData>()
  for (const { name, shape } of parameters) {
    if (name.startsWith('upscale')) continue
    const bound = name.endsWith('.bias') ? 0.05 : Math.sqrt(6 / sizeOf(shape.slice(1)))
    const data = Float32Array.from(uniform01(name, sizeOf(shape), seed), (u) => -bound + 2 * bound * u)
    state.set(name, { data, shape })
  }
  return state
}

/** An image by the formula: bytes, channel first (RGB). */
export function formulaImage(count: number, seed: number): Uint8Array {
  return Uint8Array.from(uniform01('image', count, seed), (u) => Math.floor(u * 256))
}
