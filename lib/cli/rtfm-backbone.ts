import { parse } from 'node:path'
import { quote } from '../data/binary-file.ts'
import type { FeatureSettings } from '../data/feature-settings.ts'
import { describe, invalidArgument, TorchvidError } from '../errors.ts'
import type { ExtractOptions } from '../features/options.ts'
import type { Graph } from '../graph/types.ts'
import { graphKey, Network } from '../network.ts'
import * as networks from '../networks/index.ts'
import { readTable } from '../weights/table.ts'
import type { ExtractionFlags } from './flags.ts'

/** Networks that are called by their names, and how many numbers each makes of a segment. */
const BACKBONES: Record<string, { graph: () => Graph; size: number }> = {
  mobilenet: { graph: () => networks.mobilenet(), size: 1024 },
  i3d: { graph: () => networks.i3d(), size: 1024 },
  'i3d-r50': { graph: () => networks.i3dResnet50(), size: 2048 },
  'i3d-r50-nl': { graph: () => networks.i3dResnet50({ nonLocal: true }), size: 2048 },
  c3d: { graph: () => networks.c3d(), size: 4096 },
}

const DEFAULT_BACKBONE = 'mobilenet'

/**
 * The network that `--backbone` and `--weights` name; a file of torchvid has its own weights. `warn` hears of random ones.
 * @throws TorchvidError ERR_INVALID_ARGUMENT for a name that there is not, or weights beside a whole network; ERR_IO; what
 * loading throws
 */
export async function openBackbone(flags: ExtractionFlags, warn: (text: string) => void): Promise<Network> {
  const { backbone = DEFAULT_BACKBONE, weights, device } = flags
  const named = known(backbone)
  if (named === undefined) return await openWhole(backbone, flags)
  const graph =
    weights !== undefined && (await lacksBlock13(backbone, weights))
      ? networks.mobilenet({ blocks: 12 })
      : named.graph()
  const network = await Network.create(graph, { device, seed: 0 })
  try {
    if (weights === undefined) {
      warn(`${backbone} has random weights without --weights: its features tell little of what videos show.`)
      return network
    }
    // A classifier's head of another number of classes is no part of the features.
    const { missing } = await network.load(weights, { strict: false })
    const needed = missing.filter((name) => !/^(logits|fc|fc7|fc8|classifier)\./.test(name))
    if (needed.length === 0) return network
    const text = `--weights: ${quote(weights)} lacks ${needed.length} of ${backbone}'s tensors, such as ${describe(needed[0])}. Wanted weights of ${backbone} under their names (torchvid inspect shows a file's).`
    throw new TorchvidError('ERR_CHECKPOINT_MISMATCH', text)
  } catch (error) {
    network.dispose()
    throw error
  }
}

/** A public conversion of MobileNet's ImageNet weights came without the last convolution. */
async function lacksBlock13(backbone: string, weights: string): Promise<boolean> {
  if (backbone !== 'mobilenet') return false
  const { tensors } = await readTable(weights)
  const has = (name: string) => tensors.some((tensor) => tensor.name === name)
  return has('conv_pw_12.weight') && !has('conv_pw_13.weight')
}

function known(name: string) {
  return Object.hasOwn(BACKBONES, name) ? BACKBONES[name] : undefined
}

/**
 * Refuses a backbone whose features a detector cannot take, before they are made.
 * @throws TorchvidError ERR_SHAPE
 */
export function checkFeatureSize({ backbone = DEFAULT_BACKBONE }: ExtractionFlags, wanted: number | undefined): void {
  const size = known(backbone)?.size
  if (size === undefined || wanted === undefined || size === wanted) return
  const fitting = Object.keys(BACKBONES).filter((name) => known(name)?.size === wanted)
  const others = fitting.length === 0 ? '' : ` Those of ${fitting.join(', ')} have as many.`
  const text = `--backbone: ${backbone} makes ${size} numbers of a segment, and the model takes ${wanted}. Wanted the backbone of the features that the model learned from.${others}`
  throw new TorchvidError('ERR_SHAPE', text)
}

async function openWhole(file: string, { weights, device }: ExtractionFlags): Promise<Network> {
  const names = Object.keys(BACKBONES).join(', ')
  if (!/[\\/.]/.test(file)) {
    throw invalidArgument('--backbone', file, `${names}, or a file of torchvid (.safetensors)`)
  }
  if (weights !== undefined) {
    throw invalidArgument('--weights', weights, 'it left out: --backbone is a file, which has its own')
  }
  const { metadata } = await readTable(file)
  if (metadata[graphKey] !== undefined) return await Network.open(file, { device })
  const text = `--backbone: ${quote(file)} holds weights but no graph, so it does not say which network it is. Give the network's name (${names}) and the file as --weights.`
  throw new TorchvidError('ERR_INVALID_ARGUMENT', text)
}

/** The options of `features.extract` that flags name; the rest are its defaults. */
export function extractOptions(flags: ExtractionFlags): Omit<ExtractOptions, 'backbone'> {
  const { crops, every, frameStep, resize, crop, order, tail, normalise } = flags
  return {
    ...{ crops, every, frameStep, crop, order, tail, normalise },
    resize: resize === 'none' ? null : resize,
    mean: ofColours('--mean', flags.mean),
    std: ofColours('--std', flags.std),
  }
}

/**
 * Flags with what a detector's training features were made with where nothing else is said: a video that it scores should be
 * treated as those were. Of another backbone than theirs nothing is taken over; a user's own network is taken for theirs where
 * they are of none that has a name here.
 */
export function asTrained<T extends ExtractionFlags>(flags: T, trained: FeatureSettings | undefined): T {
  if (trained === undefined) return flags
  const own = nameOfBackbone(trained.backbone)
  const { backbone = own } = flags
  if (backbone === undefined || (known(backbone) === undefined ? undefined : backbone) !== own) return flags
  const { crops, every, frameStep, resize, crop, mean, std, order, tail, normalise } = trained
  const size = resize ?? 'none'
  const given = Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined))
  return { crops, every, frameStep, resize: size, crop, mean, std, order, tail, normalise, backbone, ...given } as T
}

/** The name of a backbone here, by what features say they were made with; undefined for the user's own networks. */
function nameOfBackbone(label: string): string | undefined {
  const [network = '', more = ''] = label.split(' (')
  if (network === 'i3dResnet50') return more.includes('nonLocal') ? 'i3d-r50-nl' : 'i3d-r50'
  return known(network) === undefined ? undefined : network
}

function ofColours(name: string, values: number[] | undefined): number | [number, number, number] | undefined {
  if (values === undefined) return undefined
  if (values.length === 1) return values[0]
  if (values.length === 3) return values as [number, number, number]
  throw invalidArgument(name, values, 'one number, or three with commas between them')
}

/** What a video's files are called: its own name without ending; of a glob that of its folder. */
export function videoFileName(video: string): string {
  const { dir, name } = parse(video)
  return /[*?[\]{}!]/.test(name) ? parse(dir).name || 'video' : name
}

/** The names of several videos. @throws `ERR_INVALID_ARGUMENT` when two would be written to one file */
export function uniqueNames<T>(inputs: T[], nameOf: (input: T) => string): string[] {
  const names = inputs.map(nameOf)
  const lower = names.map((name) => name.toLowerCase())
  const twice = lower.findIndex((name, i) => lower.indexOf(name) !== i)
  if (twice < 0) return names
  const text = `Two inputs are called ${describe(names[twice])}, and their files would be written over one another. Give them one at a time, with another --out each.`
  throw new TorchvidError('ERR_INVALID_ARGUMENT', text)
}
