import { checkInteger, invalidArgument } from '../errors.ts'
import { layer, type Named, type Value } from './builder.ts'

/**
 * Reorders dimensions: dimension i of the result is dimension `order[i]` of `x`; `[0, 2, 1]` makes (N, T, F) into
 * (N, F, T). Give `channels` when a layer after it needs them and dimension 1 has changed.
 */
export function permute(x: Value, options: Named & { order: number[]; channels?: number }): Value {
  const { order, channels } = options
  const sound = Array.isArray(order) && order.every((_, i) => order.includes(i))
  if (!sound) throw invalidArgument('permute: order', order, 'each of the dimensions 0, 1, 2... once')
  return layer('permute', [x], channels ?? (order[1] === 1 ? x?.channels : undefined), { order }, options)
}

/** (A, B, ...) -> (A * B, ...): the items of each of A become items of one batch. Undone by `splitBatch`. */
export function mergeBatch(x: Value, options: Named & { channels?: number } = {}): Value {
  return layer('mergeBatch', [x], options.channels, {}, options)
}

/** (A * B, ...) -> (A, B, ...), A and B the first two sizes of `like`. */
export function splitBatch(x: Value, like: Value, options: Named = {}): Value {
  return layer('splitBatch', [x, like], undefined, {}, options)
}

/** The mean over one dimension, which goes: over dimension 1, (N, C, T) -> (N, T). */
export function mean(x: Value, options: Named & { dimension: number }): Value {
  return reduction('mean', x, options)
}

/** The L2 norm over one dimension, which goes: over dimension 2, (N, T, F) -> (N, T). */
export function norm(x: Value, options: Named & { dimension: number }): Value {
  return reduction('norm', x, options)
}

/** Divided by the L2 norm over one dimension; zeros stay zeros: over dimension 1, unit vectors of channels. Default 1. */
export function normalise(x: Value, options: Named & { dimension?: number } = {}): Value {
  const dimension = checkInteger('normalise: dimension', options.dimension ?? 1, 0)
  return layer('normalise', [x], x?.channels, { dimension }, options)
}

function reduction(op: string, x: Value, options: Named & { dimension: number }): Value {
  const dimension = checkInteger(`${op}: dimension`, options.dimension, 0)
  return layer(op, [x], dimension > 1 ? x?.channels : undefined, { dimension }, options)
}

/**
 * Attention over positions of any number of dimensions: query (N, C, P...), key (N, C, Q...), value (N, D, Q...) ->
 * (N, D, P...). `scaling`: `'softmax'` (default) weighs by softmax(q^T k / sqrt(C)) over the key's positions (Wang et al.,
 * CVPR 2018, "embedded Gaussian" with the scaling of arXiv 1706.03762); `'mean'` by q^T k divided by the number of those
 * positions, and then never takes memory for queries times keys when both are many.
 */
export function attention(
  query: Value,
  key: Value,
  value: Value,
  options: Named & { scaling?: 'softmax' | 'mean' } = {},
): Value {
  return layer('attention', [query, key, value], value?.channels, { scaling: options.scaling }, options)
}
