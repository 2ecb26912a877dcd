import { checkInteger } from '../errors.ts'
import { add, build, globalAveragePool, linear, relu, select, type Value } from '../graph/index.ts'
import type { Graph } from '../graph/types.ts'
import { type PictureShape, pictureInput, repetitionsOf, slimBatchNorm, slimConv, widthReader } from './parts.ts'

/** Settings of `networks.preresnet`. */
export interface PreResnetOptions {
  /** 9n + 2: 20, 29, 56, 110, 164... Default 164, or that of `cfg`. */
  depth?: number
  /** Default 10. */
  classes?: number
  /**
   * Widths of a slimmed network, 9n + 1 numbers: for each block the channels selected before its first convolution and
   * the outputs of its first and second; then the channels selected before the classifier.
   */
  cfg?: number[]
  /** Sizes of the pictures. Default `[3, 32, 32]`. */
  input?: PictureShape
}

/** Inner width of each of the three layers; a block's output has four times as many channels. */
const planes = [16, 32, 64]

/**
 * Pre-activation ResNet with bottlenecks (He et al. 2016, Identity mappings) as network slimming has it
 * (github.com/Eric-mingjie/network-slimming): a channel selection after the first batch-norm of every block and after
 * the last of all. Input `image` (N, 3, 32, 32), values / 255, normalised by CIFAR's mean (0.4914, 0.4822, 0.4465) and
 * standard deviation (0.2023, 0.1994, 0.2010); output `logits` (N, classes). Names `conv1`,
 * `layer1.0.bn1|select|conv1|bn2|conv2|bn3|conv3|downsample.0`, `bn`, `select`, `fc`. Convolutions start from
 * N(0, sqrt(2 / (kernel * kernel * out))), batch-norm's scales from 0.5, `fc` as PyTorch starts it.
 * @throws TorchvidError ERR_INVALID_ARGUMENT: also when depth and cfg do not agree
 */
export function preresnet(options: PreResnetOptions = {}): Graph {
  const { classes = 10, input = [3, 32, 32] } = options
  const blocks = repetitionsOf(options, 164, [9, 2, 1])
  checkInteger('classes', classes, 1)
  const width = widthReader(options.cfg ?? fullWidths(blocks))
  let x = slimConv(pictureInput(input), { out: 16, kernel: 3, padding: 1, name: 'conv1' })
  for (const [layer, inner] of planes.entries()) {
    for (let i = 0; i < blocks; i++) {
      x = bottleneck(x, width, {
        out: inner * 4,
        stride: layer > 0 && i === 0 ? 2 : 1,
        downsample: i === 0,
        name: `layer${layer + 1}.${i}`,
      })
    }
  }
  const last = slimBatchNorm(x, 'bn')
  const selected = relu(select(last, { out: width(last.channels), name: 'select' }))
  const logits = linear(globalAveragePool(selected), { out: classes, name: 'fc' })
  return build({ logits }, { network: 'preresnet' })
}

/** The cfg of the network that is not slimmed: n blocks in each layer. */
function fullWidths(n: number): number[] {
  let inputs = 16
  const widths = planes.flatMap((inner) =>
    Array.from({ length: n }, () => {
      const block = [inputs, inner, inner]
      inputs = inner * 4
      return block
    }).flat(),
  )
  return [...widths, inputs]
}

/** bn1, select, relu, conv1 1x1; bn2, relu, conv2 3x3; bn3, relu, conv3 1x1; plus the shortcut from the raw input. */
function bottleneck(
  x: Value,
  width: ReturnType<typeof widthReader>,
  settings: { out: number; stride: number; downsample: boolean; name: string },
): Value {
  const { out, stride, downsample, name } = settings
  let y = select(slimBatchNorm(x, `${name}.bn1`), { out: width(x.channels), name: `${name}.select` })
  y = slimConv(relu(y), { out: width(), kernel: 1, name: `${name}.conv1` })
  y = relu(slimBatchNorm(y, `${name}.bn2`))
  y = slimConv(y, { out: width(), kernel: 3, stride, padding: 1, name: `${name}.conv2` })
  y = relu(slimBatchNorm(y, `${name}.bn3`))
  y = slimConv(y, { out, kernel: 1, name: `${name}.conv3` })
  const shortcut = downsample ? slimConv(x, { out, kernel: 1, stride, name: `${name}.downsample.0` }) : x
  return add([y, shortcut])
}
