import type { OnnxLayer, OnnxValue, Size } from './layer.ts'
import { dataType } from './schema.ts'

/** Dimension i of the result is dimension order[i] of the input. */
export function permute(layer: OnnxLayer): void {
  layer.finish('Transpose', [layer.x.name], { perm: layer.node.attributes?.order as number[] })
}

/** (A, B, ...) -> (A * B, ...). */
export function mergeBatch(layer: OnnxLayer): void {
  const rest = layer.x.sizes.slice(2).map((_, i) => layer.sizeOf(layer.x, i + 2))
  layer.finish('Reshape', [layer.x.name, layer.vector([-1, ...rest])])
}

/** (A * B, ...) -> (A, B, ...), A and B the first two sizes of the second input. */
export function splitBatch(layer: OnnxLayer): void {
  const [x, like] = layer.inputs as [OnnxValue, OnnxValue]
  const rest = x.sizes.slice(1).map((_, i) => layer.sizeOf(x, i + 1))
  layer.finish('Reshape', [x.name, layer.vector([layer.sizeOf(like, 0), layer.sizeOf(like, 1), ...rest])])
}

/** Over one dimension, which goes. Their axes are an attribute up to opset 17 and an input from 18 on. */
export function reduce(opType: 'ReduceMean' | 'ReduceL2'): (layer: OnnxLayer) => void {
  return (layer) => {
    const axes = [layer.attribute('dimension', 1)]
    if (layer.opset < 18) layer.finish(opType, [layer.x.name], { axes, keepdims: 0 })
    else layer.finish(opType, [layer.x.name, layer.constant('int64', axes)], { keepdims: 0 })
  }
}

/** A size as a number to calculate with. */
function float(layer: OnnxLayer, size: Size): string {
  return typeof size === 'number' ? layer.constant('float', [size]) : layer.emit('Cast', [size], { to: dataType.float })
}

/** (N, C, positions...) -> (N, C, positions). */
function flatPositions(layer: OnnxLayer, { name, sizes }: OnnxValue): string {
  return sizes.length === 3 ? name : layer.emit('Reshape', [name, layer.constant('int64', [0, 0, -1])])
}

/** softmax(q^T k / sqrt(C)) v, or q^T k v divided by the number of the key's positions; sums over the key's positions. */
export function attention(layer: OnnxLayer): void {
  const [query, key, value] = layer.inputs as [OnnxValue, OnnxValue, OnnxValue]
  const [q, k, v] = [flatPositions(layer, query), flatPositions(layer, key), flatPositions(layer, value)]
  const attended = layer.attribute<string>('scaling', 'softmax') === 'softmax' ? softmax : mean
  const sizes: Size[] = [layer.sizeOf(query, 0), layer.sizeOf(value, 1)]
  const flat = attended(layer, { q, k, v }, query, key)
  const places = query.sizes.slice(2).map((_, i) => layer.sizeOf(query, i + 2))
  layer.finish('Reshape', [flat, layer.vector([...sizes, ...places])])
}

interface Flat {
  q: string
  k: string
  v: string
}

function softmax(layer: OnnxLayer, { q, k, v }: Flat, query: OnnxValue): string {
  const scaled = layer.emit('Div', [q, layer.emit('Sqrt', [float(layer, layer.sizeOf(query, 1))])])
  const products = layer.emit('MatMul', [layer.emit('Transpose', [scaled], { perm: [0, 2, 1] }), k])
  const weights = layer.emit('Softmax', [products], { axis: 2 })
  return layer.emit('MatMul', [v, layer.emit('Transpose', [weights], { perm: [0, 2, 1] })])
}

/** v k^T first: never queries times keys numbers. */
function mean(layer: OnnxLayer, { q, k, v }: Flat, _query: OnnxValue, key: OnnxValue): string {
  const context = layer.emit('MatMul', [v, layer.emit('Transpose', [k], { perm: [0, 2, 1] })])
  const places = key.sizes.slice(2).map((_, i) => layer.sizeOf(key, i + 2))
  const count = places.reduce((product, size) => layer.compute('Mul', product, size), 1)
  const average = layer.emit('Div', [context, float(layer, count)])
  return layer.emit('MatMul', [average, q])
}
