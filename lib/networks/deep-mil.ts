import { checkInteger } from '../errors.ts'
import {
  build,
  dropout,
  flatten,
  input,
  linear,
  mean,
  mergeBatch,
  relu,
  sigmoid,
  splitBatch,
  type Value,
} from '../graph/index.ts'
import type { Graph } from '../graph/types.ts'
import { checkProbability } from './parts.ts'

/** Settings of `networks.deepMil`. */
export interface DeepMilOptions {
  /** Numbers per segment: 4096 for C3D, 1024 and 2048 for the I3Ds. Default 4096. */
  featureSize?: number
  /** Crops per video. Default: any number. */
  crops?: number
  /** Share of the hidden numbers that training sets to 0, in [0, 1). Default 0.6. */
  dropout?: number
}

const init = {
  weight: { distribution: 'xavierNormal' as const },
  bias: { distribution: 'constant' as const, value: 0 },
}

/**
 * The network of deep MIL ranking (Sultani et al., CVPR 2018, arXiv 1801.04264): each segment is scored by itself. Input
 * `features` (B, crops, T, F), B videos of T segments; output `scores` (B, T), in 0..1, 1 being abnormal, averaged over
 * crops. Names `fc1` (512, ReLU), `fc2` (32, no activation), `fc3` (1, sigmoid), with dropout between them; Glorot's normal
 * weights, biases of 0.
 * @throws TorchvidError ERR_INVALID_ARGUMENT
 */
export function deepMil(options: DeepMilOptions = {}): Graph {
  const { featureSize = 4096, crops, dropout: probability = 0.6 } = options
  checkInteger('featureSize', featureSize, 1)
  if (crops !== undefined) checkInteger('crops', crops, 1)
  checkProbability(probability)
  const features = input('features', [null, crops ?? null, null, featureSize])
  const drop = (x: Value) => dropout(x, { probability })
  const hidden1 = relu(linear(mergeBatch(features), { in: featureSize, out: 512, init, name: 'fc1' }))
  const hidden2 = linear(drop(hidden1), { in: 512, out: 32, init, name: 'fc2' })
  const score = sigmoid(linear(drop(hidden2), { in: 32, out: 1, init, name: 'fc3' }))
  const scores = mean(splitBatch(flatten(score), features), { dimension: 1 })
  return build({ scores }, { network: 'deepMil' })
}
