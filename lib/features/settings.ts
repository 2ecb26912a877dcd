import type { FeatureSettings } from '../data/feature-settings.ts'
import { checkInteger, checkNumber, describe, invalidArgument } from '../errors.ts'
import type { GraphInput, PixelFormat } from '../graph/types.ts'
import { Network } from '../network.ts'
import type { Device } from '../types.ts'
import type { Resize } from './frame-size.ts'
import type { ExtractOptions } from './options.ts'

/** Options that were checked, with their defaults. */
export interface ExtractSettings
  extends Required<Pick<ExtractOptions, 'crops' | 'every' | 'frameStep' | 'crop' | 'tail' | 'output' | 'normalise'>> {
  network: Network
  device: Device
  resize: Resize
  pixels: PixelFormat
  out?: string
  keep: boolean
}

/** A frame's shorter side over the crop's, as in 256 and 224. */
const MARGIN = 8 / 7

/**
 * Checks the options and fills in defaults, some of which are the network's own.
 * @throws TorchvidError ERR_INVALID_ARGUMENT, ERR_DISPOSED
 */
export function settingsOf(options: ExtractOptions): ExtractSettings {
  const network = checkBackbone(options.backbone)
  const intake = intakeOf(network)
  const { crops = 1, every = 16, frameStep = 1, tail = 'loop', output = 'features', keep = true } = options
  const { normalise = false, out, device = 'auto' } = options
  if (![1, 5, 10].includes(crops)) throw invalidArgument('crops', crops, '1 (the centre), 5 or 10')
  checkInteger('every', every, 1, 4096)
  checkInteger('frameStep', frameStep, 1, every)
  if (!['loop', 'repeat', 'drop'].includes(tail)) throw invalidArgument('tail', tail, "'loop', 'repeat' or 'drop'")
  checkFlag('keep', keep)
  checkFlag('normalise', normalise)
  checkOutput(network, output)
  checkOut(out)
  if (typeof device !== 'string') throw invalidArgument('device', device, "'auto', 'cpu' or 'cuda'")
  checkTime(intake, every, frameStep)
  const crop = cropOf(intake, options.crop)
  const resize = resizeOf(intake, crop, options.resize)
  const pixels = pixelsOf(intake, options)
  return { network, device, crops, every, frameStep, tail, output, keep, normalise, out, crop, resize, pixels }
}

/** What is stored beside the features of a video. */
export function describeSettings(
  settings: ExtractSettings,
  made: Pick<FeatureSettings, 'size' | 'frames' | 'fps' | 'video' | 'meanNorm'>,
): FeatureSettings {
  const { network, crops, every, frameStep, resize, crop, pixels, tail, output, normalise } = settings
  const { size, frames, fps, video, meanNorm } = made
  const { order, mean, std } = pixels
  return {
    backbone: backboneName(network),
    output,
    size,
    crops,
    every,
    frameStep,
    resize,
    crop,
    order,
    mean: [...mean],
    std: [...std],
    tail,
    frames,
    ...(fps !== undefined && { fps }),
    ...(video !== undefined && { video }),
    meanNorm,
    ...(normalise && { normalise }),
  }
}

/** `networks.i3dResnet50` is `i3dResnet50`; what else its graph says of it follows in brackets. */
function backboneName({ graph }: Network): string {
  const { network = 'custom', ...more } = graph.labels ?? {}
  const rest = Object.entries(more).map(([name, value]) => `${name} ${value}`)
  return rest.length === 0 ? network : `${network} (${rest.join(', ')})`
}

/** How a network takes frames: pictures (N, 3, H, W), or clips (N, 3, T, H, W); null is any size. */
interface Intake {
  input: GraphInput
  isClip: boolean
  time: number | null
  height: number | null
  width: number | null
}

function checkBackbone(backbone: unknown): Network {
  if (!(backbone instanceof Network)) {
    throw invalidArgument('backbone', backbone, 'a Network: from Network.create or Network.open')
  }
  backbone.parameters() // throws when it was disposed
  return backbone
}

function intakeOf({ graph }: Network): Intake {
  const [input, ...others] = graph.inputs
  const [, channels, ...sides] = input?.shape ?? []
  if (
    input === undefined ||
    others.length > 0 ||
    ![2, 3].includes(sides.length) ||
    ![3, null].includes(channels ?? 0)
  ) {
    const shapes = graph.inputs.map(({ name, shape }) => `${name} [${shape.map((side) => side ?? 'any').join(', ')}]`)
    const wanted = 'a network with one input, pictures (N, 3, H, W) or clips (N, 3, T, H, W)'
    throw invalidArgument('backbone', `a network whose inputs are ${shapes.join(', ')}`, wanted)
  }
  const [width = null, height = null, time = null] = sides.toReversed()
  return { input, isClip: sides.length === 3, time, height, width }
}

function checkFlag(name: string, value: unknown): void {
  if (typeof value !== 'boolean') throw invalidArgument(name, value, 'true or false')
}

function checkOutput({ graph }: Network, output: unknown): void {
  if (typeof output === 'string' && Object.hasOwn(graph.outputs, output)) return
  const outputs = Object.keys(graph.outputs).map((name) => describe(name))
  throw invalidArgument('output', output, `one of the backbone's outputs: ${outputs.join(', ')}`)
}

function checkOut(out: unknown): void {
  if (out === undefined) return
  if (typeof out !== 'string' || !/[^/\\]\.npy$/i.test(out)) {
    throw invalidArgument('out', out, 'the path of the file to write, which ends in .npy')
  }
}

function checkTime({ time }: Intake, every: number, frameStep: number): void {
  const seen = Math.ceil(every / frameStep)
  if (time === null || time === seen) return
  const given = `${every} (${seen} with a frameStep of ${frameStep})`
  throw invalidArgument('every', given, `${time * frameStep}: the backbone takes clips of ${time} frames`)
}

function cropOf({ height, width }: Intake, crop: unknown): number {
  if (height !== null && width !== null && height !== width) {
    throw invalidArgument('backbone', `a network for ${width} x ${height} pixels`, 'one for squares or any size')
  }
  const fixed = height ?? width
  if (crop === undefined) return fixed ?? 224
  checkInteger('crop', crop, 1, 65535)
  if (fixed === null || crop === fixed) return crop as number
  throw invalidArgument('crop', crop, `${fixed}, the size the backbone takes, or none`)
}

function resizeOf({ height, width }: Intake, crop: number, resize: unknown): Resize {
  if (resize === undefined) return (height ?? width) === null ? 256 : Math.round(crop * MARGIN)
  if (resize === null) return null
  if (Array.isArray(resize)) {
    if (resize.length !== 2) throw invalidArgument('resize', resize, '[width, height]')
    const [toWidth, toHeight] = resize
    return [checkSide('resize[0]', toWidth, crop), checkSide('resize[1]', toHeight, crop)]
  }
  return checkSide('resize', resize, crop)
}

function checkSide(name: string, side: unknown, crop: number): number {
  checkInteger(name, side, 1, 65535)
  if ((side as number) >= crop) return side as number
  throw invalidArgument(name, side, `at least the crop, which is ${crop}; give a smaller crop with it`)
}

function pixelsOf({ input }: Intake, options: ExtractOptions): PixelFormat {
  const own = input.pixels
  const order = options.order ?? own?.order ?? 'RGB'
  if (order !== 'RGB' && order !== 'BGR') throw invalidArgument('order', order, "'RGB' or 'BGR'")
  const fallback = (triple?: [number, number, number]) =>
    order === own?.order ? triple : (triple?.toReversed() as typeof triple)
  const mean = tripleOf('mean', options.mean ?? fallback(own?.mean), -1e6)
  const std = tripleOf('std', options.std ?? fallback(own?.std), 1e-6)
  return { order, mean, std }
}

function tripleOf(name: string, value: unknown, least: number): [number, number, number] {
  if (value === undefined) {
    const wanted =
      'a number, or three: the backbone does not say how it takes pictures, (x - mean) / std for x in 0..255. I3D: mean 127.5, std 127.5; I3D-ResNet50: mean 114.75, std 57.375; C3D (BGR): mean [90, 98, 102], std 1'
    throw invalidArgument(name, value, wanted)
  }
  if (typeof value === 'number') return tripleOf(name, [value, value, value], least)
  if (!Array.isArray(value) || value.length !== 3) throw invalidArgument(name, value, 'a number, or three in an array')
  return value.map((number, i) => checkNumber(`${name}[${i}]`, number, least, 1e6)) as [number, number, number]
}
