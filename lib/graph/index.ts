export type {
  BatchNormOptions,
  ConvOptions,
  Named,
  Parametric,
  Size,
  UpsampleOptions,
  Value,
} from './builder.ts'
export {
  add,
  batchNorm,
  build,
  concat,
  conv,
  convTranspose,
  crop,
  dropout,
  flatten,
  input,
  linear,
  matmul,
  multiply,
  padChannels,
  relu,
  relu6,
  select,
  sigmoid,
  subsample,
  upsample,
} from './builder.ts'
export { averagePool, globalAveragePool, maxPool, type PoolOptions } from './pooling.ts'
export { attention, mean, mergeBatch, norm, normalise, permute, splitBatch } from './shape-ops.ts'
export type { Attributes, Graph, GraphInput, GraphNode, Init, PixelFormat } from './types.ts'
