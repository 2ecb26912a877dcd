import type { ParameterInfo, TensorData } from 'torchvid'
import { sizeOf } from './tensors.ts'

function fnv1a32(text: string): number {
  let hash = 0x811c9dc5
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0
  return hash
}

/** The goldens' numbers in [0, 1): one formula for every language (shared/golden/README.md). */
export function uniform01(name: string, count: number, seed: number): Float64Array {
  const start = (fnv1a32(name) ^ (Math.imul(seed, 0x9e3779b9) >>> 0)) >>> 0
  const numbers = new Float64Array(count)
  for (let i = 0; i < count; i++) {
    let x = (Math.imul(i, 2654435761) + start) >>> 0
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b) >>> 0
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35) >>> 0
    numbers[i] = ((x ^ (x >>> 16)) >>> 0) / 2 ** 32
  }
  return numbers
}

/** Ranges of a batch-norm's tensors, by their last name. */
const normRanges: Record<string, [low: number, high: number]> = {
  weight: [0.05, 1],
  bias: [-0.2, 0.2],
  running_mean: [-0.2, 0.2],
  running_var: [0.5, 1.5],
}

/** A network's weights by the formula; `upscale*`, `indexes` and `num_batches_tracked` stay as they are. */
export function formulaWeights(parameters: ParameterInfo[], seed: number): Map<string, TensorData> {
  const state = new Map<string, TensorData>()
  const norms = new Set(parameters.map(({ name }) => name.match(/^(.*)\.running_mean$/)?.[1]))
  for (const { name, shape } of parameters) {
    const [layer, last] = [name.slice(0, name.lastIndexOf('.')), name.slice(name.lastIndexOf('.') + 1)]
    if (name.startsWith('upscale') || last === 'indexes' || last === 'num_batches_tracked') continue
    const bound = last === 'bias' ? 0.05 : Math.sqrt(6 / sizeOf(shape.slice(1)))
    const [low, high] = (norms.has(layer) && normRanges[last]) || [-bound, bound]
    const uniform = uniform01(name, sizeOf(shape), seed)
    const data = new Float32Array(uniform.length)
    for (let i = 0; i < data.length; i++) data[i] = low + (high - low) * uniform[i]!
    state.set(name, { data, shape })
  }
  return state
}

/** An image by the formula: bytes, channel first (RGB). */
export function formulaImage(count: number, seed: number): Uint8Array {
  return Uint8Array.from(uniform01('image', count, seed), (u) => Math.floor(u * 256))
}
