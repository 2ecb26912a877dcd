import { checkInteger, invalidArgument } from '../errors.ts'
import { build, conv, dropout, flatten, input, linear, maxPool, relu, type Value } from '../graph/index.ts'
import type { Graph, Init } from '../graph/types.ts'
import { checkProbability } from './parts.ts'

/** Settings of `networks.c3d`. */
export interface C3dOptions {
  /** Default 487, Sports-1M's. */
  classes?: number
  /**
   * How 7 rows become 4 in the last pool: `'ceil'`, windows 0-1, 2-3, 4-5, 6, as Caffe's, in which the weights were trained
   * (default); `'padded'`, windows 0, 1-2, 3-4, 5-6, as the PyTorch port's.
   */
  pool5?: 'ceil' | 'padded'
  /** Output channels of the first convolution, from which the others' follow. Default 64. */
  width?: number
  /** Numbers of fc6 and of fc7. Default 4096. */
  hidden?: number
  /** Share of fc6 and fc7 that training sets to 0, in [0, 1). Default 0.5. */
  dropout?: number
}

/** Convolutions between two pools, and how many times the first one's channels they have. */
const stages: { names: string[]; times: number }[] = [
  { names: ['conv1'], times: 1 },
  { names: ['conv2'], times: 2 },
  { names: ['conv3a', 'conv3b'], times: 4 },
  { names: ['conv4a', 'conv4b'], times: 8 },
  { names: ['conv5a', 'conv5b'], times: 8 },
]

function normal(deviation: number, bias: number): Record<string, Init> {
  return { weight: { distribution: 'normal', value: deviation }, bias: { distribution: 'constant', value: bias } }
}

/**
 * C3D (Tran et al., ICCV 2015, arXiv 1412.0767), the features of deep MIL ranking. Input `clip` (N, 3, 16, 112, 112); how it
 * is scaled depends on where the weights come from: the original subtracts the mean of its training clips, place by
 * place, and takes BGR; ports subtract a number per channel. Outputs `features` (N, 4096), fc6 after its ReLU, and
 * `logits` (N, classes). Layers are named as github.com/DavideA/c3d-pytorch has them (`conv1`, `conv3a`, ..., `fc8`), whose
 * weights it loads: 79,991,015 parameters. Convolutions start from N(0, 0.01), linear layers from N(0, 0.005), biases from
 * 1, but those of `conv1` and `fc8` from 0.
 * @throws TorchvidError ERR_INVALID_ARGUMENT
 */
export function c3d(options: C3dOptions = {}): Graph {
  const { classes = 487, pool5 = 'ceil', width = 64, hidden = 4096, dropout: probability = 0.5 } = options
  for (const [name, value] of Object.entries({ classes, width, hidden })) checkInteger(name, value, 1)
  checkProbability(probability)
  if (pool5 !== 'ceil' && pool5 !== 'padded') throw invalidArgument('pool5', pool5, "'ceil' or 'padded'")
  let x = input('clip', [null, 3, 16, 112, 112])
  for (const [index, { names, times }] of stages.entries()) {
    for (const name of names) {
      const init = normal(0.01, name === 'conv1' ? 0 : 1)
      x = relu(conv(x, { out: width * times, kernel: [3, 3, 3], padding: 1, init, name }), { name: `${name}.relu` })
    }
    const last = pool5 === 'ceil' ? { ceil: true } : { padding: [0, 1, 1] }
    const settings = index === stages.length - 1 ? last : {}
    x = maxPool(x, { kernel: index === 0 ? [1, 2, 2] : [2, 2, 2], ...settings, name: `pool${index + 1}` })
  }
  const dense = (from: Value, out: number, name: string) => linear(from, { out, init: normal(0.005, 1), name })
  const fc6 = relu(dense(flatten(x, { channels: width * 8 * 4 * 4 }), hidden, 'fc6'), { name: 'fc6.relu' })
  const fc7 = relu(dense(dropout(fc6, { probability }), hidden, 'fc7'), { name: 'fc7.relu' })
  const logits = linear(dropout(fc7, { probability }), { out: classes, init: normal(0.005, 0), name: 'fc8' })
  return build({ features: fc6, logits }, { network: 'c3d', ...(pool5 === 'padded' && { pool5 }) })
}
