export type { BatchNormOptions, ConvOptions, Named, Parametric, PoolOptions, UpsampleOptions, Value } from './builder.ts'
export {
  add,
  averagePool,
  batchNorm,
  build,
  concat,
  conv,
  convTranspose,
  crop,
  dropout,
  flatten,
  globalAveragePool,
  input,
  linear,
  matmul,
  maxPool,
  multiply,
  relu,
  relu6,
  sigmoid,
  upsample,
} from './builder.ts'
export type { Attributes, Graph, GraphInput, GraphNode, Init, PixelFormat } from './types.ts'
