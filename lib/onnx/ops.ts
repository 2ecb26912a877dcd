import { convolution, linear, transposedConvolution } from './convolution.ts'
import type { OnnxLayer } from './layer.ts'
import { globalAveragePool, pool } from './pooling.ts'
import { upsample } from './resize.ts'
import { attention, mergeBatch, permute, reduce, splitBatch } from './shape-ops.ts'
import { crop, padChannels, subsample } from './spatial.ts'

/** Writes a layer as ONNX operators: those of opset 15 and later, which mean the same in all of them. */
export type OnnxOp = (layer: OnnxLayer) => void | Promise<void>

/** An operator that takes all of the layer's inputs and needs no settings. */
function plain(opType: string): OnnxOp {
  return (layer) =>
    layer.finish(
      opType,
      layer.inputs.map(({ name }) => name),
    )
}

/** y = (x - mean) / sqrt(variance + epsilon) * weight + bias, with the running statistics. */
function batchNorm(layer: OnnxLayer): void {
  const weights = ['weight', 'bias', 'running_mean', 'running_var'].map((name) => layer.weight(name))
  layer.finish('BatchNormalization', [layer.x.name, ...weights], {
    epsilon: { float: layer.attribute('epsilon', 1e-5) },
  })
}

function relu6(layer: OnnxLayer): void {
  layer.finish('Clip', [layer.x.name, layer.constant('float', [0], []), layer.constant('float', [6], [])])
}

/** Sizes before `start` are taken over (0), the rest becomes one (-1). */
function flatten(layer: OnnxLayer): void {
  const start = layer.attribute('start', 1)
  layer.finish('Reshape', [layer.x.name, layer.constant('int64', [...new Array<number>(start).fill(0), -1])])
}

async function select(layer: OnnxLayer): Promise<void> {
  const kept = Array.from(await layer.readWeight('indexes')).flatMap((flag, channel) => (flag === 0 ? [] : [channel]))
  layer.finish('Gather', [layer.x.name, layer.constant('int64', kept)], { axis: 1 })
}

/** How each op of the native op table is written in ONNX: one row per op. */
export const onnxOps: Readonly<Record<string, OnnxOp>> = {
  conv: convolution,
  convTranspose: transposedConvolution,
  linear,
  batchNorm,
  relu: plain('Relu'),
  relu6,
  sigmoid: plain('Sigmoid'),
  dropout: plain('Identity'),
  maxPool: pool('MaxPool'),
  averagePool: pool('AveragePool'),
  globalAveragePool,
  upsample,
  crop,
  concat: (layer) =>
    layer.finish(
      'Concat',
      layer.inputs.map(({ name }) => name),
      { axis: layer.attribute('dimension', 1) },
    ),
  add: (layer) => plain(layer.inputs.length === 2 ? 'Add' : 'Sum')(layer),
  multiply: plain('Mul'),
  matmul: plain('MatMul'),
  attention,
  flatten,
  permute,
  mergeBatch,
  splitBatch,
  mean: reduce('ReduceMean'),
  norm: reduce('ReduceL2'),
  normalise: (layer) =>
    layer.finish('LpNormalization', [layer.x.name], { axis: layer.attribute('dimension', 1), p: 2 }),
  select,
  padChannels,
  subsample,
}
