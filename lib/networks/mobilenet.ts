import { checkInteger } from '../errors.ts'
import { batchNorm, build, conv, globalAveragePool, input, linear, relu6, type Value } from '../graph/index.ts'
import type { Graph, PixelFormat } from '../graph/types.ts'

/** Pictures as MobileNetV1's TensorFlow weights take them: RGB / 127.5 - 1. */
export const mobilenetPixels: PixelFormat = { order: 'RGB', mean: [127.5, 127.5, 127.5], std: [127.5, 127.5, 127.5] }

/** Output channels and stride of the 13 depthwise-separable blocks (Howard et al. 2017, table 1). */
const blocks: [channels: number, stride: number][] = [
  [64, 1],
  [128, 2],
  [128, 1],
  [256, 2],
  [256, 1],
  [512, 2],
  [512, 1],
  [512, 1],
  [512, 1],
  [512, 1],
  [512, 1],
  [1024, 2],
  [1024, 1],
]

/** Convolution without bias, batch-norm (epsilon 1e-3), ReLU6; TensorFlow's SAME padding. */
function convBlock(
  x: Value,
  name: string,
  settings: { out: number; kernel: number; stride: number; depthwise?: boolean },
): Value {
  const { out, kernel, stride, depthwise = false } = settings
  const groups = depthwise ? out : undefined
  const init = { weight: { distribution: 'kaimingNormalFanIn' as const } }
  const padding = kernel === 1 ? undefined : 'same'
  const y = conv(x, { out, kernel, stride, padding, groups, bias: false, init, name })
  return relu6(batchNorm(y, { epsilon: 1e-3, fixedStatistics: true, name: `${name}_bn` }), { name: `${name}_relu` })
}

/**
 * MobileNetV1's trunk: the outputs of its blocks after their pointwise convolution, `[1]` to `[depth]`; `[0]` is the first
 * convolution's. Strides: block 1 has 2, 3 has 4, 5 has 8, 11 has 16, 12 and 13 have 32. Batch-norm uses its running
 * statistics in training too.
 */
export function mobilenetTrunk(image: Value, depth: number): Value[] {
  const taps = [convBlock(image, 'conv1', { out: 32, kernel: 3, stride: 2 })]
  for (const [index, [out, stride]] of blocks.slice(0, depth).entries()) {
    const inside = taps[index] as Value
    const name = `${index + 1}`
    const y = convBlock(inside, `conv_dw_${name}`, {
      out: inside.channels as number,
      kernel: 3,
      stride,
      depthwise: true,
    })
    taps.push(convBlock(y, `conv_pw_${name}`, { out, kernel: 1, stride: 1 }))
  }
  return taps
}

/** Settings of `networks.mobilenet`. */
export interface MobilenetOptions {
  /** Default 1000. */
  classes?: number
  /** Depthwise-separable blocks, 1 to 13, counted from the picture. 12 give as many features as 13. Default 13. */
  blocks?: number
}

/**
 * MobileNetV1 (Howard et al. 2017), width 1.0. Input `image` (N, 3, H, W), RGB / 127.5 - 1; outputs `logits` (N, classes)
 * and `features` (N, 1024 from 12 blocks on), the global mean before the classifier. Names as Keras has them (`conv1`,
 * `conv_dw_1`, `conv_pw_1`, each with `_bn`), then `classifier`.
 * @throws TorchvidError ERR_INVALID_ARGUMENT
 */
export function mobilenet(options: MobilenetOptions = {}): Graph {
  const { classes = 1000, blocks: depth = blocks.length } = options
  checkInteger('classes', classes, 1)
  checkInteger('blocks', depth, 1, blocks.length)
  const image = input('image', [null, 3, null, null], mobilenetPixels)
  const features = globalAveragePool(mobilenetTrunk(image, depth).at(-1) as Value)
  const labels = { network: 'mobilenet', ...(depth < blocks.length && { blocks: `${depth}` }) }
  return build({ logits: linear(features, { out: classes, name: 'classifier' }), features }, labels)
}
