import { layer, list, type Named, type Size, type Value } from './builder.ts'

/** Settings of the pools. */
export interface PoolOptions extends Named {
  /** One size for all dimensions, or one each; its length sets 1, 2 or 3 dimensions (one number: 2). */
  kernel: Size
  /** Default: the kernel. */
  stride?: Size
  /** Default 0. */
  padding?: Size
  /** Rounds output sizes up. Default false. */
  ceil?: boolean
}

/**
 * Maximum over windows of (N, C, ...), over 1 to 3 dimensions. `padding` in numbers is never picked; `'same'` is
 * TensorFlow's SAME, the odd part at the end, in zeros: they count.
 */
export function maxPool(x: Value, options: Omit<PoolOptions, 'padding'> & { padding?: Size | 'same' }): Value {
  const { kernel, stride, padding, ceil } = options
  return layer('maxPool', [x], x?.channels, { kernel: list(kernel, 2), stride, padding, ceil }, options)
}

/** Mean over windows of (N, C, ...), over 1 to 3 dimensions; `countPadding` (default true) counts padded zeros too. */
export function averagePool(x: Value, options: PoolOptions & { countPadding?: boolean }): Value {
  const { kernel, stride, padding, ceil, countPadding } = options
  return layer(
    'averagePool',
    [x],
    x?.channels,
    { kernel: list(kernel, 2), stride, padding, ceil, countPadding },
    options,
  )
}

/**
 * (N, C, ...) -> (N, C): the mean over all other dimensions. With `keepDimensions` (default false) those stay, at a size of
 * 1, as a convolution after it wants.
 */
export function globalAveragePool(x: Value, options: Named & { keepDimensions?: boolean } = {}): Value {
  return layer('globalAveragePool', [x], x?.channels, { keepDimensions: options.keepDimensions }, options)
}
