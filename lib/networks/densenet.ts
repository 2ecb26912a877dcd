import { checkInteger } from '../errors.ts'
import { averagePool, build, concat, globalAveragePool, linear, relu, select, type Value } from '../graph/index.ts'
import type { Graph } from '../graph/types.ts'
import { type PictureShape, pictureInput, repetitionsOf, slimBatchNorm, slimConv, widthReader } from './parts.ts'

/** Settings of `networks.densenet`. */
export interface DensenetOptions {
  /** 3n + 4. Default 40, or that of `cfg`. */
  depth?: number
  /** Channels that each layer adds. Default 12. */
  growth?: number
  /** Default 10. */
  classes?: number
  /**
   * Widths of a slimmed network, 3n + 3 numbers: the channels selected before each convolution of a dense block and,
   * after each block, before its transition; at the very end before the classifier.
   */
  cfg?: number[]
  /** Sizes of the pictures. Default `[3, 32, 32]`. */
  input?: PictureShape
}

/**
 * DenseNet (Huang et al. 2017; no bottlenecks, no compression) as network slimming has it
 * (github.com/Eric-mingjie/network-slimming): three blocks of n layers, a channel selection after every batch-norm.
 * Input `image` (N, 3, 32, 32), values / 255, normalised by CIFAR's mean (0.4914, 0.4822, 0.4465) and standard
 * deviation (0.2023, 0.1994, 0.2010); output `logits` (N, classes). Names `conv1`, `dense1.0.bn1|select|conv1`,
 * `trans1.bn1|select|conv1`, `bn`, `select`, `fc`. Convolutions start from N(0, sqrt(2 / (kernel * kernel * out))),
 * batch-norm's scales from 0.5, `fc` as PyTorch starts it.
 * @throws TorchvidError ERR_INVALID_ARGUMENT: also when depth and cfg do not agree
 */
export function densenet(options: DensenetOptions = {}): Graph {
  const { growth = 12, classes = 10, input = [3, 32, 32] } = options
  const layers = repetitionsOf(options, 40, [3, 4, 3])
  checkInteger('growth', growth, 1)
  checkInteger('classes', classes, 1)
  const width = options.cfg === undefined ? undefined : widthReader(options.cfg)
  /** Batch-norm, the selection of as many channels as the cfg says, ReLU. */
  const chosen = (x: Value, prefix: string, norm: string): Value => {
    const y = slimBatchNorm(x, `${prefix}${norm}`)
    return relu(select(y, { out: width?.(x.channels), name: `${prefix}select` }))
  }
  let x = slimConv(pictureInput(input), { out: 2 * growth, kernel: 3, padding: 1, name: 'conv1' })
  for (let block = 1; block <= 3; block++) {
    for (let i = 0; i < layers; i++) {
      const prefix = `dense${block}.${i}.`
      const y = chosen(x, prefix, 'bn1')
      x = concat([x, slimConv(y, { out: growth, kernel: 3, padding: 1, name: `${prefix}conv1` })])
    }
    if (block === 3) break
    const prefix = `trans${block}.`
    const y = chosen(x, prefix, 'bn1')
    x = averagePool(slimConv(y, { out: x.channels as number, kernel: 1, name: `${prefix}conv1` }), { kernel: 2 })
  }
  const logits = linear(globalAveragePool(chosen(x, '', 'bn')), { out: classes, name: 'fc' })
  return build({ logits }, { network: 'densenet' })
}
