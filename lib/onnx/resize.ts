import type { OnnxLayer, OnnxValue, Size } from './layer.ts'
import { dataType } from './schema.ts'

/** Up to this whole factor `Resize` and the engine pick the same pixels; both round, each in its own order. */
const largestSafeFactor = 40

/** Resizes height and width by a factor, or to those of a second input. */
export function upsample(layer: OnnxLayer): void {
  const [x, like] = layer.inputs as [OnnxValue, OnnxValue | undefined]
  const scale = layer.attribute('scale', 0)
  const nearest = layer.attribute<string>('mode', 'bilinear') === 'nearest'
  const settings = nearest
    ? { mode: 'nearest', coordinate_transformation_mode: 'asymmetric', nearest_mode: 'floor' }
    : { mode: 'linear', coordinate_transformation_mode: bilinearCoordinates(layer) }
  // A whole factor gives the same sizes and the same sampling either way, and a runtime can plan with it.
  if (like === undefined && Number.isInteger(scale) && (!nearest || scale <= largestSafeFactor)) {
    layer.finish('Resize', [x.name, '', layer.constant('float', [1, 1, scale, scale])], settings)
    return
  }
  const [height, width] = [2, 3].map((axis) =>
    like === undefined ? scaled(layer, layer.sizeOf(x, axis), scale) : layer.sizeOf(like, axis),
  ) as [Size, Size]
  if (nearest) {
    const rows = layer.emit('Gather', [x.name, nearestIndexes(layer, layer.sizeOf(x, 2), height)], { axis: 2 })
    layer.finish('Gather', [rows, nearestIndexes(layer, layer.sizeOf(x, 3), width)], { axis: 3 })
    return
  }
  const sizes = layer.vector([layer.sizeOf(x, 0), layer.sizeOf(x, 1), height, width])
  layer.finish('Resize', [x.name, '', '', sizes], settings)
}

function bilinearCoordinates(layer: OnnxLayer): string {
  return layer.attribute('alignCorners', false) ? 'align_corners' : 'half_pixel'
}

/** floor(size * scale), in double precision as the engine has it. */
function scaled(layer: OnnxLayer, size: Size, scale: number): Size {
  if (typeof size === 'number') return Math.floor(size * scale)
  const exact = layer.emit('Cast', [size], { to: dataType.double })
  const product = layer.emit('Mul', [exact, layer.constant('double', [scale])])
  return layer.emit('Cast', [layer.emit('Floor', [product])], { to: dataType.int64 })
}

/**
 * The row that each output row is taken from: min(floor(row * (from / to)), from - 1) in single precision, PyTorch's
 * `nearest`. `Resize` divides by (to / from) instead, which picks other rows at ratios such as 14 to 46.
 */
function nearestIndexes(layer: OnnxLayer, from: Size, to: Size): string {
  if (typeof from === 'number' && typeof to === 'number') {
    const ratio = Math.fround(from / to)
    const rows = Array.from({ length: to }, (_, row) => Math.min(Math.floor(Math.fround(row * ratio)), from - 1))
    return layer.constant('int64', rows)
  }
  const float = (value: string) => layer.emit('Cast', [value], { to: dataType.float })
  const [start, step] = [layer.constant('int64', [0], []), layer.constant('int64', [1], [])]
  const end = layer.emit('Squeeze', [layer.vector([to]), layer.constant('int64', [0])])
  const rows = float(layer.emit('Range', [start, end, step]))
  const ratio = layer.emit('Div', [float(layer.vector([from])), float(layer.vector([to]))])
  const sources = layer.emit('Floor', [layer.emit('Mul', [rows, ratio])])
  const last = layer.vector([layer.compute('Sub', from, 1)])
  return layer.emit('Min', [layer.emit('Cast', [sources], { to: dataType.int64 }), last])
}
