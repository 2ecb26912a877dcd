import { type graph as builders, Network, type TensorData } from 'torchvid'
import { expect } from 'vitest'

type Graph = builders.Graph

/** The number of elements of a shape. */
export function sizeOf(shape: number[]): number {
  return shape.reduce((product, side) => product * side, 1)
}

/** A float tensor from a function of the flat index. */
export function tensor(shape: number[], value: (index: number) => number): TensorData & { data: Float32Array } {
  return { data: Float32Array.from({ length: sizeOf(shape) }, (_, i) => value(i)), shape }
}

/** A generator of numbers in [0, 1), the same for the same seed (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let x = Math.imul(state ^ (state >>> 15), state | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
  }
}

/** `out` ones among `channels` flags, at random places. */
export function selection(attributes: builders.Attributes | undefined): TensorData {
  const { channels, out } = attributes as { channels: number; out: number }
  const random = randomFrom(channels)
  const order = Array.from({ length: channels }, (_, i) => [random(), i] as const).sort((a, b) => a[0] - b[0])
  const kept = new Set(order.slice(0, out).map(([, i]) => i))
  return tensor([channels], (i) => (kept.has(i) ? 1 : 0))
}

/** A tensor of numbers in [-1, 1). */
export function noise(shape: number[], seed = 1): TensorData & { data: Float32Array } {
  const random = randomFrom(seed)
  return tensor(shape, () => random() * 2 - 1)
}

/** The largest |a - b| over the largest |b|; infinite when lengths differ or a value is NaN. */
export function relative(a: ArrayLike<number | bigint>, b: ArrayLike<number | bigint>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY
  let difference = 0
  let largest = 1e-30
  for (let i = 0; i < a.length; i++) {
    const gap = Math.abs(Number(a[i]) - Number(b[i]))
    if (Number.isNaN(gap)) return Number.POSITIVE_INFINITY
    difference = Math.max(difference, gap)
    largest = Math.max(largest, Math.abs(Number(b[i])))
  }
  return difference / largest
}

/** Expects shape and, within `tolerance` of the largest value, every element. */
export function expectClose(actual: TensorData | undefined, expected: TensorData, tolerance = 1e-5): void {
  expect(actual?.shape).toEqual(expected.shape)
  expect(relative((actual as TensorData).data, expected.data)).toBeLessThanOrEqual(tolerance)
}

/** The bytes of a tensor, to compare bit by bit. */
export function bytesOf({ data }: TensorData): Buffer {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength)
}

/** Every tensor of a network, by name. */
export async function stateOf(network: Network): Promise<Map<string, TensorData>> {
  const state = new Map<string, TensorData>()
  for (const { name } of network.parameters()) state.set(name, await network.tensor(name))
  return state
}

/** Names of the tensors that differ between two networks, bit by bit. */
export async function differing(a: Network, b: Network): Promise<string[]> {
  const [left, right] = [await stateOf(a), await stateOf(b)]
  expect([...left.keys()]).toEqual([...right.keys()])
  return [...left.keys()].filter(
    (name) => !bytesOf(left.get(name) as TensorData).equals(bytesOf(right.get(name) as TensorData)),
  )
}

/** Runs `use` with a network of this graph, and disposes of it. */
export async function withNetwork<T>(
  graph: Graph,
  use: (network: Network) => Promise<T>,
  options: { seed?: number } = {},
): Promise<T> {
  const network = await Network.create(graph, { device: 'cpu', ...options })
  try {
    return await use(network)
  } finally {
    network.dispose()
  }
}
