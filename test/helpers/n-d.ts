import type { TensorData } from 'torchvid'
import { sizeOf, tensor } from './tensors.ts'

/** The places of a shape, in order: [0, 0], [0, 1], ... */
export function places(shape: number[]): number[][] {
  return Array.from({ length: sizeOf(shape) }, (_, i) => {
    let rest = i
    return shape
      .map((_, d) => {
        const size = shape[shape.length - 1 - d]!
        const place = rest % size
        rest = (rest - place) / size
        return place
      })
      .reverse()
  })
}

/** The value at a place, or undefined outside. */
export function valueAt({ data, shape }: TensorData, place: number[]): number | undefined {
  let index = 0
  for (const [d, size] of shape.entries()) {
    if (place[d]! < 0 || place[d]! >= size) return undefined
    index = index * size + place[d]!
  }
  return Number(data[index])
}

/** A tensor from a function of the place. */
export function fromPlaces(shape: number[], value: (place: number[]) => number): TensorData & { data: Float32Array } {
  const all = places(shape)
  return tensor(shape, (i) => value(all[i]!))
}

/** What windows are over (N, C, ...): sizes before and after are those of the padding. */
export interface Windows {
  kernel: number[]
  stride: number[]
  before: number[]
  out: number[]
}

/** Per window, `reduce` of its values; those outside are undefined. */
export function overWindows(
  x: TensorData,
  { kernel, stride, before, out }: Windows,
  reduce: (values: (number | undefined)[]) => number,
): TensorData {
  const offsets = places(kernel)
  return fromPlaces([x.shape[0]!, x.shape[1]!, ...out], ([n, c, ...place]) =>
    reduce(offsets.map((o) => valueAt(x, [n!, c!, ...place.map((p, d) => p * stride[d]! - before[d]! + o[d]!)]))),
  )
}
