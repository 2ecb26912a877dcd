import { checkInteger, checkNumber, invalidArgument } from '../errors.ts'
import { build, conv, dropout, flatten, globalAveragePool, linear, maxPool, relu, type Value } from '../graph/index.ts'
import type { Graph, Init } from '../graph/types.ts'
import { type PictureShape, pictureInput, slimBatchNorm } from './parts.ts'

/** Convolution widths; `'M'` is a 2x2 max pool. */
export type VggConfig = (number | 'M')[]

const configs: Record<number, VggConfig> = {
  11: [64, 'M', 128, 'M', 256, 256, 'M', 512, 512, 'M', 512, 512],
  13: [64, 64, 'M', 128, 128, 'M', 256, 256, 'M', 512, 512, 'M', 512, 512],
  16: [64, 64, 'M', 128, 128, 'M', 256, 256, 256, 'M', 512, 512, 512, 'M', 512, 512, 512],
  19: [64, 64, 'M', 128, 128, 'M', 256, 256, 256, 256, 'M', 512, 512, 512, 512, 'M', 512, 512, 512, 512],
}

/** Width of the two hidden layers of the ImageNet head. */
const hidden = 4096

const zero: Init = { distribution: 'constant', value: 0 }
const linearInit = { weight: { distribution: 'normal' as const, value: 0.01 }, bias: zero }

/** Settings of `networks.vgg`. */
export interface VggOptions {
  /** 11, 13, 16 or 19. Default 16. Says nothing when `cfg` is given. */
  depth?: number
  /** Default 10; 1000 with the ImageNet head. */
  classes?: number
  /** Widths of a slimmed or smaller network, instead of the depth's own; with the ImageNet head, its last pool too. */
  cfg?: VggConfig
  /** Default `'cifar'`. */
  head?: 'cifar' | 'imagenet'
  /** Sizes of the pictures. Default `[3, 32, 32]`; `[3, 224, 224]` with the ImageNet head. */
  input?: PictureShape
  /** Probability of the ImageNet head's dropout, in [0, 1). Default 0.5. */
  dropout?: number
}

/**
 * VGG with batch-norm (Simonyan and Zisserman 2015): 3x3 convolutions, 2x2 max pools. Input `image` (N, channels,
 * height, width), values / 255, normalised by the mean and standard deviation of the channels; output `logits`
 * (N, classes).
 *
 * `head: 'cifar'`: network slimming's form (github.com/Eric-mingjie/network-slimming) for small pictures: no biases,
 * four max pools, the mean of what is left of the picture (2x2 of 32x32), one linear layer. Names `feature.N`,
 * `classifier`.
 *
 * `head: 'imagenet'`: torchvision's `vgg11_bn` and its sisters: biases, five max pools, linear layers of 4096, 4096 and
 * `classes` with dropout. Names `features.N`, `classifier.0`, `classifier.3`, `classifier.6`. Its weights want
 * RGB, mean (0.485, 0.456, 0.406), deviation (0.229, 0.224, 0.225).
 *
 * Convolutions start from N(0, sqrt(2 / (9 * out))), linear layers from N(0, 0.01), batch-norm's scales from 0.5, as
 * the slimming paper (arXiv 1708.06519) has them.
 *
 * For MNIST: `vgg({ input: [1, 28, 28], cfg: [32, 32, 'M', 64, 64, 'M', 128, 128] })`.
 * @throws TorchvidError ERR_INVALID_ARGUMENT
 */
export function vgg(options: VggOptions = {}): Graph {
  const { depth = 16, head = 'cifar' } = options
  if (head !== 'cifar' && head !== 'imagenet') throw invalidArgument('head', head, "'cifar' or 'imagenet'")
  const imagenet = head === 'imagenet'
  const { classes = imagenet ? 1000 : 10, input = imagenet ? [3, 224, 224] : [3, 32, 32] } = options
  checkInteger('classes', classes, 1)
  const probability = checkNumber('dropout', options.dropout ?? 0.5, 0, 1)
  const own = configs[depth]
  const cfg = options.cfg ?? (imagenet && own ? [...own, 'M' as const] : own)
  if (cfg === undefined) throw invalidArgument('depth', depth, '11, 13, 16 or 19, or cfg')
  const image = pictureInput(input as PictureShape)
  const { value, pools } = body(image, cfg, imagenet)
  const [height, width] = [input[1], input[2]].map((size) => Math.floor((size as number) / 2 ** pools)) as [
    number,
    number,
  ]
  if (height < 1 || width < 1) {
    throw invalidArgument('input', input, `pictures of at least ${2 ** pools}x${2 ** pools}, as cfg has ${pools} pools`)
  }
  const logits = imagenet
    ? imagenetHead(value, height * width, classes, probability)
    : linear(globalAveragePool(value), { out: classes, init: linearInit, name: 'classifier' })
  return build({ logits }, { network: 'vgg', head })
}

/** The flat sequence of convolutions with batch-norm and ReLU, and pools. */
function body(image: Value, cfg: VggConfig, imagenet: boolean): { value: Value; pools: number } {
  if (!Array.isArray(cfg) || cfg.length === 0) throw invalidArgument('cfg', cfg, "a list of widths and 'M'")
  const weight: Init = { distribution: 'kaimingNormalFanOut' }
  const init: Record<string, Init> = imagenet ? { weight, bias: zero } : { weight }
  const bias = imagenet ? undefined : false
  let value = image
  let index = 0
  const name = () => `${imagenet ? 'features' : 'feature'}.${index++}`
  for (const [i, entry] of cfg.entries()) {
    if (entry === 'M') {
      value = maxPool(value, { kernel: 2, name: name() })
      continue
    }
    const out = checkInteger(`cfg[${i}]`, entry, 1)
    value = conv(value, { out, kernel: 3, padding: 1, bias, init, name: name() })
    value = relu(slimBatchNorm(value, name()), { name: name() })
  }
  return { value, pools: cfg.filter((entry) => entry === 'M').length }
}

/** Two hidden layers, and the classes. */
function imagenetHead(x: Value, pixels: number, classes: number, probability: number): Value {
  let value = flatten(x, { channels: (x.channels as number) * pixels })
  for (const index of [0, 3]) {
    value = linear(value, { out: hidden, init: linearInit, name: `classifier.${index}` })
    value = dropout(relu(value, { name: `classifier.${index + 1}` }), { probability, name: `classifier.${index + 2}` })
  }
  return linear(value, { out: classes, init: linearInit, name: 'classifier.6' })
}
