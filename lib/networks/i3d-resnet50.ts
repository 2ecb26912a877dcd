import { checkInteger } from '../errors.ts'
import {
  add,
  attention,
  batchNorm,
  build,
  conv,
  dropout,
  globalAveragePool,
  input,
  linear,
  maxPool,
  relu,
  type Value,
} from '../graph/index.ts'
import type { Graph, PixelFormat } from '../graph/types.ts'
import { checkProbability } from './parts.ts'

/** Settings of `networks.i3dResnet50`. */
export interface I3dResnet50Options {
  /** Attention over all places after five of the blocks of layers 2 and 3. Default false. */
  nonLocal?: boolean
  /** Default 400, Kinetics'. */
  classes?: number
  /** 3 for RGB. Default 3. */
  channels?: number
  /** Output channels of the first convolution, from which the others' follow. Default 64. */
  width?: number
  /** Share of the features that training sets to 0 before the classifier, in [0, 1). Default 0.5. */
  dropout?: number
}

/** Clips as the Caffe2 weights take them: RGB, one mean and one scale for all channels. */
const pixels: PixelFormat = { order: 'RGB', mean: [114.75, 114.75, 114.75], std: [57.375, 57.375, 57.375] }

/** Of each layer's blocks: how many frames to each side their first convolution sees. */
const reaches = [
  [1, 1, 1],
  [1, 0, 1, 0],
  [1, 0, 1, 0, 1, 0],
  [0, 1, 0],
]

const init = { weight: { distribution: 'kaimingNormalFanOut' as const } }

interface Settings {
  out: number
  kernel: number[]
  stride?: number[]
  padding?: number[]
}

function convNorm(x: Value, settings: Settings, name: string, norm: string): Value {
  return batchNorm(conv(x, { ...settings, bias: false, init, name }), { name: norm })
}

/** A bottleneck: over time, over space, then to four times the channels; stride over space alone. */
function bottleneck(x: Value, prefix: string, block: { planes: number; stride: number; reach: number }): Value {
  const { planes, stride, reach } = block
  const part = (from: Value, index: number, settings: Settings) =>
    convNorm(from, settings, `${prefix}.conv${index}`, `${prefix}.bn${index}`)
  let y = relu(part(x, 1, { out: planes, kernel: [1 + 2 * reach, 1, 1], padding: [reach, 0, 0] }))
  y = relu(part(y, 2, { out: planes, kernel: [1, 3, 3], stride: [1, stride, stride], padding: [0, 1, 1] }))
  y = part(y, 3, { out: 4 * planes, kernel: [1, 1, 1] })
  const across = { out: 4 * planes, kernel: [1, 1, 1], stride: [1, stride, stride] }
  const widens = x.channels !== 4 * planes || stride > 1
  const shortcut = widens ? convNorm(x, across, `${prefix}.downsample.0`, `${prefix}.downsample.1`) : x
  return relu(add([y, shortcut]))
}

/** Attention of every place over every second row and column, added to what goes in (Wang et al., CVPR 2018). */
function nonLocalBlock(x: Value, prefix: string): Value {
  const channels = x.channels as number
  const inner = channels / 2
  const project = (from: Value, out: number, name: string) =>
    conv(from, { out, kernel: [1, 1, 1], init, name: `${prefix}.${name}` })
  const pooled = maxPool(x, { kernel: [1, 2, 2] })
  const y = attention(project(x, inner, 'theta'), project(pooled, inner, 'phi'), project(pooled, inner, 'g'))
  const zero = { weight: { distribution: 'constant' as const, value: 0 } }
  return add([batchNorm(project(y, channels, 'out'), { init: zero, name: `${prefix}.bn` }), x])
}

/**
 * I3D on ResNet-50 (Wang et al., CVPR 2018, arXiv 1711.07971, table 1), the features of RTFM. Input `clip` (N, 3, T, H, W),
 * RGB, (x - 114.75) / 57.375, of any length from 4 frames and any size; outputs `features` (N, 2048), the mean of the last
 * map over time and space, and `logits` (N, classes). Layers are named as github.com/Tushar-N/pytorch-resnet3d has them
 * (`layer1.0.conv1`, `layer2.1.nl.theta`, ...), whose weights it loads: 28,043,472 parameters, 35,401,936 with
 * `nonLocal`. The shortcuts' and attention blocks' convolutions start like all, from N(0, sqrt(2 / outputs)); attention
 * blocks end in scales of 0, so that they begin as nothing.
 * @throws TorchvidError ERR_INVALID_ARGUMENT
 */
export function i3dResnet50(options: I3dResnet50Options = {}): Graph {
  const { nonLocal = false, classes = 400, channels = 3, width = 64, dropout: probability = 0.5 } = options
  checkInteger('classes', classes, 1)
  checkInteger('channels', channels, 1)
  checkInteger('width', width, 1)
  checkProbability(probability)
  const clip = input('clip', [null, channels, null, null, null], channels === 3 ? pixels : undefined)
  const stem = { out: width, kernel: [5, 7, 7], stride: [2, 2, 2], padding: [2, 3, 3] }
  let x = maxPool(relu(convNorm(clip, stem, 'conv1', 'bn1')), {
    kernel: [2, 3, 3],
    stride: [2, 2, 2],
    name: 'maxpool1',
  })
  for (const [layer, blocks] of reaches.entries()) {
    if (layer === 1) x = maxPool(x, { kernel: [2, 1, 1], name: 'maxpool2' })
    for (const [i, reach] of blocks.entries()) {
      const prefix = `layer${layer + 1}.${i}`
      x = bottleneck(x, prefix, { planes: width * 2 ** layer, stride: layer > 0 && i === 0 ? 2 : 1, reach })
      if (nonLocal && (layer === 1 || layer === 2) && i % 2 === 1) x = nonLocalBlock(x, `${prefix}.nl`)
    }
  }
  const features = globalAveragePool(x)
  const logits = linear(dropout(features, { probability }), { out: classes, name: 'fc' })
  return build({ features, logits }, { network: 'i3dResnet50', ...(nonLocal && { nonLocal: 'true' }) })
}
