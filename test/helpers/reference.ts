import type { TensorData } from 'torchvid'
import { sizeOf, tensor } from './tensors.ts'

/** Operations on (N, C, H, W) written the plain way, as the measure for the native ones. */
type Map4 = TensorData & { data: Float32Array }

const at = ({ data, shape: [, c, h, w] }: Map4, n: number, k: number, y: number, x: number): number =>
  y < 0 || x < 0 || y >= h! || x >= w! ? 0 : data[((n * c! + k) * h! + y) * w! + x]!

/** A map from a function of its four places. */
export function map4(shape: number[], value: (n: number, c: number, y: number, x: number) => number): Map4 {
  const [, c, h, w] = shape as [number, number, number, number]
  return tensor(shape, (i) =>
    value(Math.floor(i / (c * h * w)), Math.floor(i / (h * w)) % c, Math.floor(i / w) % h, i % w),
  )
}

/** Padding before and after, per dimension. */
export interface ConvSettings {
  stride?: number
  dilation?: number
  groups?: number
  /** [top, bottom, left, right]. */
  padding?: [number, number, number, number]
}

export function conv(x: Map4, weight: Map4, bias: Float32Array | undefined, settings: ConvSettings = {}): Map4 {
  const { stride = 1, dilation = 1, groups = 1, padding: [top, bottom, left, right] = [0, 0, 0, 0] } = settings
  const [n, , h, w] = x.shape as [number, number, number, number]
  const [out, inside, kh, kw] = weight.shape as [number, number, number, number]
  const side = (size: number, pad: number, k: number) =>
    Math.floor((size + pad - (dilation * (k - 1) + 1)) / stride) + 1
  return map4([n, out, side(h, top + bottom, kh), side(w, left + right, kw)], (b, o, y, q) => {
    const first = Math.floor(o / (out / groups)) * inside
    let sum = bias?.[o] ?? 0
    for (let c = 0; c < inside; c++) {
      for (let i = 0; i < kh; i++) {
        for (let j = 0; j < kw; j++) {
          const value = at(x, b, first + c, y * stride - top + i * dilation, q * stride - left + j * dilation)
          sum += value * at(weight, o, c, i, j)
        }
      }
    }
    return sum
  })
}

export function convTranspose(
  x: Map4,
  weight: Map4,
  bias: Float32Array | undefined,
  stride: number,
  padding = 0,
): Map4 {
  const [n, inside, h, w] = x.shape as [number, number, number, number]
  const [, out, kh, kw] = weight.shape as [number, number, number, number]
  const shape = [n, out, (h - 1) * stride + kh - 2 * padding, (w - 1) * stride + kw - 2 * padding]
  return map4(shape, (b, o, y, q) => {
    let sum = bias?.[o] ?? 0
    for (let c = 0; c < inside; c++) {
      for (let i = 0; i < kh; i++) {
        for (let j = 0; j < kw; j++) {
          const [row, column] = [(y + padding - i) / stride, (q + padding - j) / stride]
          if (Number.isInteger(row) && Number.isInteger(column))
            sum += at(x, b, c, row, column) * at(weight, c, o, i, j)
        }
      }
    }
    return sum
  })
}

/** Windows of `kernel` every `kernel` pixels; with `ceil` the last may stand over the edge. */
export function pool(x: Map4, kernel: number, ceil: boolean, reduce: (values: number[]) => number): Map4 {
  const [n, c, h, w] = x.shape as [number, number, number, number]
  const side = (size: number) => (ceil ? Math.ceil(size / kernel) : Math.floor(size / kernel))
  return map4([n, c, side(h), side(w)], (b, k, y, q) => {
    const values: number[] = []
    for (let i = y * kernel; i < Math.min((y + 1) * kernel, h); i++) {
      for (let j = q * kernel; j < Math.min((q + 1) * kernel, w); j++) values.push(at(x, b, k, i, j))
    }
    return reduce(values)
  })
}

/** Bilinear resizing with pixel centres at half (`alignCorners` false) or corner to corner. */
export function bilinear(x: Map4, height: number, width: number, alignCorners: boolean): Map4 {
  const [n, c, h, w] = x.shape as [number, number, number, number]
  const source = (i: number, from: number, to: number) =>
    alignCorners ? (i * (from - 1)) / Math.max(to - 1, 1) : Math.max(((i + 0.5) * from) / to - 0.5, 0)
  return map4([n, c, height, width], (b, k, y, q) => {
    const [sy, sx] = [source(y, h, height), source(q, w, width)]
    const [y0, x0] = [Math.min(Math.floor(sy), h - 1), Math.min(Math.floor(sx), w - 1)]
    const [y1, x1] = [Math.min(y0 + 1, h - 1), Math.min(x0 + 1, w - 1)]
    const [fy, fx] = [sy - y0, sx - x0]
    const top = at(x, b, k, y0, x0) * (1 - fx) + at(x, b, k, y0, x1) * fx
    const bottom = at(x, b, k, y1, x0) * (1 - fx) + at(x, b, k, y1, x1) * fx
    return top * (1 - fy) + bottom * fy
  })
}

/** Cuts to (height, width): floor(surplus / 2) at the top and left. */
export function crop(x: Map4, height: number, width: number): Map4 {
  const [n, c, h, w] = x.shape as [number, number, number, number]
  const [top, left] = [Math.floor((h - height) / 2), Math.floor((w - width) / 2)]
  return map4([n, c, height, width], (b, k, y, q) => at(x, b, k, y + top, q + left))
}

/** Mean and variances of each channel. */
export function statistics(x: TensorData): { mean: number; variance: number; unbiased: number }[] {
  const [n, c, ...rest] = x.shape as [number, number, ...number[]]
  const area = sizeOf(rest)
  return Array.from({ length: c }, (_, k) => {
    const values: number[] = []
    for (let b = 0; b < n; b++) for (let i = 0; i < area; i++) values.push(Number(x.data[(b * c + k) * area + i]))
    const mean = values.reduce((a, b) => a + b, 0) / values.length
    const squares = values.reduce((a, b) => a + (b - mean) ** 2, 0)
    return { mean, variance: squares / values.length, unbiased: squares / (values.length - 1) }
  })
}

/** gamma (x - mean) / sqrt(variance + epsilon) + beta, channel by channel. */
export function normalise(
  x: TensorData,
  channels: { gamma: number; beta: number; mean: number; variance: number }[],
  epsilon = 1e-5,
): TensorData & { data: Float32Array } {
  const [, c, ...rest] = x.shape as [number, number, ...number[]]
  return tensor(x.shape, (i) => {
    const { gamma, beta, mean, variance } = channels[Math.floor(i / sizeOf(rest)) % c]!
    return (gamma * (Number(x.data[i]) - mean)) / Math.sqrt(variance + epsilon) + beta
  })
}
