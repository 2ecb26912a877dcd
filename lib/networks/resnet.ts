import { checkInteger } from '../errors.ts'
import {
  add,
  batchNorm,
  build,
  conv,
  globalAveragePool,
  linear,
  padChannels,
  relu,
  subsample,
  type Value,
} from '../graph/index.ts'
import type { Graph } from '../graph/types.ts'
import { type PictureShape, pictureInput, repetitions } from './parts.ts'

/** Settings of `networks.resnet`. */
export interface ResnetOptions {
  /** 6n + 2: 20, 32, 44, 56, 110... Default 20. */
  depth?: number
  /** Default 10. */
  classes?: number
  /** Sizes of the pictures. Default `[3, 32, 32]`. */
  input?: PictureShape
}

const init = { weight: { distribution: 'kaimingNormalFanIn' as const } }

/**
 * CIFAR's ResNet (He et al. 2016, section 4.2) with the parameter-free shortcut (option A: every second pixel, zero
 * channels before and after), by the names of github.com/akamaster/pytorch_resnet_cifar10, whose weights it loads with
 * `prefix: 'module.'`. Input `image` (N, 3, 32, 32), RGB / 255, normalised by ImageNet's mean (0.485, 0.456, 0.406) and
 * standard deviation (0.229, 0.224, 0.225); output `logits` (N, classes). Names `conv1`, `bn1`,
 * `layer1.0.conv1|bn1|conv2|bn2`, `linear`. Weights start from N(0, sqrt(2 / inputs)), batch-norm's scales from 1.
 * @throws TorchvidError ERR_INVALID_ARGUMENT
 */
export function resnet(options: ResnetOptions = {}): Graph {
  const { depth = 20, classes = 10, input = [3, 32, 32] } = options
  const blocks = repetitions(depth, 6, 2)
  checkInteger('classes', classes, 1)
  let x = relu(convNorm(pictureInput(input), { out: 16, stride: 1, prefix: '', index: 1 }))
  for (const [layer, out] of [16, 32, 64].entries()) {
    for (let i = 0; i < blocks; i++) {
      x = basicBlock(x, { out, stride: layer > 0 && i === 0 ? 2 : 1, prefix: `layer${layer + 1}.${i}.` })
    }
  }
  const logits = linear(globalAveragePool(x), { out: classes, init, name: 'linear' })
  return build({ logits }, { network: 'resnet' })
}

/** Two 3x3 convolutions and the shortcut. */
function basicBlock(x: Value, settings: { out: number; stride: number; prefix: string }): Value {
  const { out, stride, prefix } = settings
  const hidden = relu(convNorm(x, { out, stride, prefix, index: 1 }))
  const y = convNorm(hidden, { out, stride: 1, prefix, index: 2 })
  const added = (out - (x.channels as number)) / 2
  const shortcut = stride === 1 ? x : padChannels(subsample(x, { stride }), { before: added, after: added })
  return relu(add([y, shortcut]))
}

function convNorm(x: Value, settings: { out: number; stride: number; prefix: string; index: number }): Value {
  const { out, stride, prefix, index } = settings
  const y = conv(x, { out, kernel: 3, stride, padding: 1, bias: false, init, name: `${prefix}conv${index}` })
  return batchNorm(y, { name: `${prefix}bn${index}` })
}
