import { invalidArgument } from '../errors.ts'
import { build, concat, conv, convTranspose, crop, input, maxPool, relu, type Value } from '../graph/index.ts'
import type { Graph, Init, PixelFormat } from '../graph/types.ts'
import { matcher } from './matcher.ts'
import { mobilenetPixels, mobilenetTrunk } from './mobilenet.ts'

/** The trunks OSVOS comes with. */
export type OsvosBackbone = 'vgg16' | 'mobilenet' | 'matcher'

/** Pictures as Caffe's VGG16 takes them: BGR, 0..255, minus the ImageNet mean. */
const vggPixels: PixelFormat = { order: 'BGR', mean: [104.00699, 116.66877, 122.67892], std: [1, 1, 1] }

/** Channels of each side's feature map. */
const sideChannels = 16

const zero: Init = { distribution: 'constant', value: 0 }

/** VGG16's convolution body without batch-norm: the output of each of its five stages. */
function vggTrunk(image: Value): Value[] {
  const stages = [
    [64, 64],
    [128, 128],
    [256, 256, 256],
    [512, 512, 512],
    [512, 512, 512],
  ]
  const init = { weight: { distribution: 'normal' as const, value: 0.001 }, bias: zero }
  let x = image
  return stages.map((widths, stage) => {
    let index = 0
    if (stage > 0) x = maxPool(x, { kernel: 2, ceil: true, name: `stages.${stage}.${index++}` })
    for (const out of widths) {
      x = relu(conv(x, { out, kernel: 3, padding: 1, init, name: `stages.${stage}.${index}` }), {
        name: `stages.${stage}.${index + 1}`,
      })
      index += 2
    }
    return x
  })
}

/**
 * Fixed bilinear upsampling by `stride`, cut to the picture's size. `dense`: its weight has zeros for all pairs of different
 * channels, as the reference's; else each channel has a kernel of its own, which costs a sixteenth.
 */
function upsampled(x: Value, image: Value, stride: number, name: string, dense: boolean): Value {
  const channels = x.channels as number
  const large = convTranspose(x, {
    out: channels,
    kernel: 2 * stride,
    stride,
    groups: dense ? undefined : channels,
    bias: false,
    frozen: true,
    init: { weight: { distribution: 'bilinear' } },
    name,
  })
  return crop(large, image)
}

/** The head on one tap per stride: a 16-channel map and a score per side, and the score of all sides together. */
function head(
  image: Value,
  taps: { value: Value; stride: number }[],
  weight: Init,
  denseUpsampling: boolean,
): Record<string, Value> {
  const init = { weight, bias: zero }
  const sides = taps.map(({ value }, i) =>
    conv(value, { out: sideChannels, kernel: 3, padding: 1, init, name: `side_prep.${i}` }),
  )
  const maps = sides.map((side, i) =>
    upsampled(side, image, taps[i]?.stride as number, `upscale.${i}`, denseUpsampling),
  )
  const outputs: Record<string, Value> = {}
  for (const [i, side] of sides.entries()) {
    const score = conv(side, { out: 1, kernel: 1, init, name: `score_dsn.${i}` })
    outputs[`side${i + 1}`] = upsampled(score, image, taps[i]?.stride as number, `upscale_.${i}`, denseUpsampling)
  }
  outputs.fuse = conv(concat(maps), { out: 1, kernel: 1, init, name: 'fuse' })
  return outputs
}

/**
 * OSVOS (Caelles et al., CVPR 2017): a trunk with a side output per stride and a fused one, all at the picture's size.
 *
 * `'vgg16'`: input `image` (N, 3, H, W), BGR minus mean; outputs `side1`..`side4` (strides 2, 4, 8, 16) and `fuse`, logits
 * (N, 1, H, W). Names as OSVOS-PyTorch: `stages`, `side_prep`, `score_dsn`, `upscale`, `upscale_`, `fuse`.
 *
 * `'mobilenet'`: input RGB / 127.5 - 1; `side1`..`side5` after MobileNetV1's blocks 1, 3, 5, 11 and 12 (strides 2, 4, 8,
 * 16, 32) and `fuse`.
 *
 * `'matcher'`: `networks.matcher`, which matches frames and has no outputs of these names.
 * @throws TorchvidError ERR_INVALID_ARGUMENT
 */
export function osvos(options: { backbone?: OsvosBackbone } = {}): Graph {
  const { backbone = 'mobilenet' } = options
  if (backbone === 'vgg16') {
    const image = input('image', [null, 3, null, null], vggPixels)
    const taps = vggTrunk(image)
      .slice(1)
      .map((value, i) => ({ value, stride: 2 ** (i + 1) }))
    return build(head(image, taps, { distribution: 'normal', value: 0.001 }, true), { task: 'osvos', backbone })
  }
  if (backbone === 'mobilenet') {
    const image = input('image', [null, 3, null, null], mobilenetPixels)
    const trunk = mobilenetTrunk(image, 12)
    const taps = [1, 3, 5, 11, 12].map((block, i) => ({ value: trunk[block] as Value, stride: 2 ** (i + 1) }))
    return build(head(image, taps, { distribution: 'kaimingNormalFanIn' }, false), { task: 'osvos', backbone })
  }
  if (backbone === 'matcher') return matcher()
  throw invalidArgument('backbone', backbone, "'vgg16', 'mobilenet' or 'matcher'")
}
