import { add, build, concat, conv, input, normalise, relu, upsample, type Value } from '../graph/index.ts'
import type { Graph, Init } from '../graph/types.ts'
import { mobilenetPixels, mobilenetTrunk } from './mobilenet.ts'

/** Numbers per key. */
const keyChannels = 64

/** What the decoder takes of the trunk: after which block, at which stride, how many channels. */
const taps = [
  { name: 'feature2', block: 1, channels: 16 },
  { name: 'feature4', block: 3, channels: 32 },
  { name: 'feature8', block: 5, channels: 64 },
  { name: 'feature16', block: 11, channels: 64 },
] as const

/** Channels of the decoder's own maps at strides 16, 8, 4 and 2. */
const widths = { 16: 96, 8: 64, 4: 32, 2: 16 } as const

/**
 * What matching says of each cell: the cosine to the nearest cell of the object and to the nearest other one, in the first
 * frame, in the memory and near by in the previous frame; then the share of the cell that the object had there.
 */
const cueChannels = 7

const zero: Init = { distribution: 'constant', value: 0 }
const spread = { weight: { distribution: 'kaimingNormalFanIn' as const }, bias: zero }

function conv3(x: Value, out: number, name: string): Value {
  return relu(conv(x, { out, kernel: 3, padding: 1, init: spread, name }), { name: `${name}_relu` })
}

/** x + convolutions of x, which start as nothing (He et al. 2016). */
function residual(x: Value, name: string): Value {
  const out = x.channels as number
  const inside = conv3(x, out, `${name}.a`)
  const change = conv(inside, { out, kernel: 3, padding: 1, init: { weight: zero, bias: zero }, name: `${name}.b` })
  return relu(add([x, change], { name: `${name}.sum` }), { name: `${name}.relu` })
}

type Features = Record<(typeof taps)[number]['name'], Value>

/** Unit keys at stride 8 and the decoder's features. */
function encode(image: Value): Features & { key: Value } {
  const trunk = mobilenetTrunk(image, 11)
  const [fine, coarse] = [trunk[5] as Value, trunk[11] as Value]
  const project = (x: Value, name: string, bias: boolean) =>
    conv(normalise(x, { name: `${name}.unit` }), {
      out: keyChannels,
      kernel: 1,
      bias,
      init: bias ? spread : { weight: spread.weight },
      name,
    })
  const key8 = project(fine, 'key8', true)
  const key16 = upsample(project(coarse, 'key16', false), { like: key8, name: 'key16.large' })
  const features = taps.map(({ name, block, channels }) => {
    const projected = conv(trunk[block] as Value, { out: channels, kernel: 1, init: spread, name })
    return [name, relu(projected, { name: `${name}.relu` })]
  })
  return { ...(Object.fromEntries(features) as Features), key: normalise(add([key8, key16]), { name: 'key' }) }
}

/** Logits at the picture's size. */
function decode(features: Features, cues: Value): Value {
  const { feature2, feature4, feature8, feature16 } = features
  // At half the size this is the mean of 2 x 2 cells; at the same size it changes nothing.
  const coarseCues = upsample(cues, { like: feature16, name: 'cues16' })
  const fineCues = upsample(cues, { like: feature8, name: 'cues8' })
  let x = conv3(concat([feature16, coarseCues]), widths[16], 'decode16')
  x = residual(residual(x, 'decode16.0'), 'decode16.1')
  x = upsample(x, { like: feature8, name: 'decode16.large' })
  x = residual(conv3(concat([x, feature8, fineCues]), widths[8], 'decode8'), 'decode8.0')
  x = upsample(x, { like: feature4, name: 'decode8.large' })
  x = residual(conv3(concat([x, feature4]), widths[4], 'decode4'), 'decode4.0')
  x = upsample(x, { like: feature2, name: 'decode4.large' })
  x = conv3(concat([x, feature2]), widths[2], 'decode2')
  const logits = conv(x, { out: 1, kernel: 3, padding: 1, init: spread, name: 'logits' })
  return upsample(logits, { scale: 2, name: 'logits.large' })
}

const picture = () => input('image', [null, 3, null, null], mobilenetPixels)
const cueInput = () => input('cues', [null, cueChannels, null, null])

/**
 * Video object segmentation by matching, on MobileNetV1's trunk (to block 11): cells of a frame, 8 x 8 pixels, are compared
 * by 64-number keys with the first frame's, a memory's and the previous frame's cells (as in FEELVOS, Voigtlaender et al.,
 * CVPR 2019), and a decoder turns the similarities and the trunk's maps into a mask. Inputs: `image` (N, 3, H, W), RGB /
 * 127.5 - 1, H and W multiples of 16; `cues` (N, 7, H / 8, W / 8): cosines to the nearest cell of the object and to the
 * nearest other cell, of the first frame, of the memory, of the previous frame's surroundings, and the object's share of the
 * cell in the previous frame. Outputs: `logits` (N, 1, H, W); `key` (N, 64, H / 8, W / 8), of unit length.
 */
export function matcher(): Graph {
  const { key, ...features } = encode(picture())
  return build({ key, logits: decode(features, cueInput()) }, matcherLabels)
}

export const matcherLabels = { task: 'osvos', backbone: 'matcher' }

/** @internal The part of `matcher` that looks at a frame: `image` -> `key` and the decoder's features. */
export function matcherEncoder(): Graph {
  return build({ ...encode(picture()) })
}

/** @internal The part of `matcher` that decides: the features and `cues` -> `logits`. */
export function matcherDecoder(): Graph {
  const features = Object.fromEntries(
    taps.map(({ name, channels }) => [name, input(name, [null, channels, null, null])]),
  )
  return build({ logits: decode(features as Features, cueInput()) })
}
