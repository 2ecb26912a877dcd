import type { OnnxLayer, OnnxValue } from './layer.ts'

/** Larger than any size: the end of a slice that goes to the end. */
const toTheEnd = 2 ** 31 - 1

/** The middle of the first input, at the height and width of the second; the odd pixel goes from the end. */
export function crop(layer: OnnxLayer): void {
  const [x, like] = layer.inputs as [OnnxValue, OnnxValue]
  const spans = [2, 3].map((axis) => {
    const wanted = layer.sizeOf(like, axis)
    const start = layer.compute('Div', layer.compute('Sub', layer.sizeOf(x, axis), wanted), 2)
    return { start, end: layer.compute('Add', start, wanted) }
  })
  const starts = layer.vector(spans.map(({ start }) => start))
  const ends = layer.vector(spans.map(({ end }) => end))
  layer.finish('Slice', [x.name, starts, ends, layer.constant('int64', [2, 3])])
}

/** Zero channels before and after. */
export function padChannels(layer: OnnxLayer): void {
  const side = (key: string) => layer.x.sizes.map((_, axis) => (axis === 1 ? layer.attribute(key, 0) : 0))
  layer.finish('Pad', [layer.x.name, layer.constant('int64', [...side('before'), ...side('after')])])
}

/** Every stride-th row and column. */
export function subsample(layer: OnnxLayer): void {
  const steps = layer.list('stride', 2, 1)
  const ranges = [[0, 0], [toTheEnd, toTheEnd], [2, 3], steps].map((values) => layer.constant('int64', values))
  layer.finish('Slice', [layer.x.name, ...ranges])
}
