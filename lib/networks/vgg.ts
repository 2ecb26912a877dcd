import { checkInteger, invalidArgument } from '../errors.ts'
import { averagePool, batchNorm, build, conv, flatten, input, linear, maxPool, relu } from '../graph/index.ts'
import type { Graph } from '../graph/types.ts'

/** Convolution widths; `'M'` is a 2x2 max pool. */
export type VggConfig = (number | 'M')[]

const configs: Record<number, VggConfig> = {
  11: [64, 'M', 128, 'M', 256, 256, 'M', 512, 512, 'M', 512, 512],
  13: [64, 64, 'M', 128, 128, 'M', 256, 256, 'M', 512, 512, 'M', 512, 512],
  16: [64, 64, 'M', 128, 128, 'M', 256, 256, 256, 'M', 512, 512, 512, 'M', 512, 512, 512],
  19: [64, 64, 'M', 128, 128, 'M', 256, 256, 256, 256, 'M', 512, 512, 512, 512, 'M', 512, 512, 512, 512],
}

/** Settings of `networks.vgg`. */
export interface VggOptions {
  /** 11, 13, 16 or 19. Default 16. */
  depth?: number
  /** Default 10. */
  classes?: number
  /** Widths of a slimmed network, instead of the depth's own. */
  cfg?: VggConfig
}

/**
 * VGG with batch-norm for pictures of 32x32 (network slimming's form, github.com/Eric-mingjie/network-slimming): 3x3
 * convolutions without bias, four max pools, a 2x2 average pool, one linear layer. Input `image` (N, 3, 32, 32),
 * normalised; output `logits` (N, classes). Names `feature.N`, `classifier`.
 * @throws TorchvidError ERR_INVALID_ARGUMENT
 */
export function vgg(options: VggOptions = {}): Graph {
  const { depth = 16, classes = 10 } = options
  const cfg = options.cfg ?? configs[depth]
  if (cfg === undefined) throw invalidArgument('depth', depth, '11, 13, 16 or 19, or cfg')
  checkInteger('classes', classes, 1)
  let x = input('image', [null, 3, 32, 32])
  let index = 0
  for (const width of cfg) {
    if (width === 'M') {
      x = maxPool(x, { kernel: 2, name: `feature.${index++}` })
      continue
    }
    checkInteger('cfg', width, 1)
    const init = { weight: { distribution: 'kaimingNormalFanOut' as const } }
    x = conv(x, { out: width, kernel: 3, padding: 1, bias: false, init, name: `feature.${index++}` })
    x = batchNorm(x, { init: { weight: { distribution: 'constant', value: 0.5 } }, name: `feature.${index++}` })
    x = relu(x, { name: `feature.${index++}` })
  }
  x = averagePool(x, { kernel: 2 })
  const features = flatten(x, { channels: x.channels as number })
  const init = { weight: { distribution: 'normal' as const, value: 0.01 }, bias: { distribution: 'constant' as const } }
  return build({ logits: linear(features, { out: classes, init, name: 'classifier' }) })
}
