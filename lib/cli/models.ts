import { kindOf } from '../data/binary-file.ts'
import { describe, TorchvidError } from '../errors.ts'
import type { Graph } from '../graph/types.ts'
import { graphKey, Network } from '../network.ts'
import * as networks from '../networks/index.ts'
import { slim } from '../slim/index.ts'
import type { Device } from '../types.ts'
import { readTable } from '../weights/table.ts'

/** What a network that is called by its name is made for. */
export interface NetworkSettings {
  classes: number
  /** Channels, height and width of the pictures. Default: the network's own. */
  image?: [channels: number, height: number, width: number]
}

/** Names of networks, for people. */
export const NETWORK_NAMES = 'vgg11|13|16|19, preresnet20|56|110|164, densenet40, resnet20|32|44|56, mlp'

const DEFAULT_DEPTHS: Record<string, number> = { vgg: 16, preresnet: 164, densenet: 40, resnet: 20 }

/** True for `vgg16`, `preresnet`, `mlp`... */
export function isNetworkName(model: string): boolean {
  return /^((vgg|preresnet|densenet|resnet)\d*|mlp)$/.test(model)
}

/** What MODEL is: a file wins over a network's name. `ERR_IO` or `ERR_INVALID_ARGUMENT` when it is neither. */
export async function modelKind(model: string): Promise<'file' | 'name'> {
  if ((await kindOf(model)) === 'file') return 'file'
  if (isNetworkName(model)) return 'name'
  if (/[\\/.]/.test(model))
    throw new TorchvidError('ERR_IO', `MODEL: there is no file ${describe(model)}. Check the path.`)
  const text = `MODEL: there is no file ${describe(model)}, and it is no network's name. Wanted a file of torchvid (.safetensors), or one of ${NETWORK_NAMES}.`
  throw new TorchvidError('ERR_INVALID_ARGUMENT', text)
}

/** The graph of a network by its name: `vgg16`, `preresnet56`. `ERR_INVALID_ARGUMENT` for a depth that there is not. */
export function graphNamed(name: string, { classes, image }: NetworkSettings): Graph {
  const { family, depth } = partsOf(name)
  const common = { classes, ...(image === undefined ? {} : { input: image }) }
  switch (family) {
    case 'vgg':
      return networks.vgg({ depth, ...common })
    case 'preresnet':
      return networks.preresnet({ depth, ...common })
    case 'densenet':
      return networks.densenet({ depth, ...common })
    case 'resnet':
      return networks.resnet({ depth, ...common })
    default: {
      const { input = [1, 28, 28] } = common
      return networks.mlp({ layers: [input.reduce((product, side) => product * side, 1), 500, 300, classes], input })
    }
  }
}

/** The network of a file with its graph inside. `ERR_INVALID_ARGUMENT` when it has weights alone. */
export async function openFile(file: string, device?: Device): Promise<Network> {
  const { metadata } = await readTable(file)
  if (metadata[graphKey] !== undefined) return await Network.open(file, { device })
  const text = `MODEL: ${describe(file)} holds weights but no graph, so it does not say which network it is. Give the network's name as MODEL (${NETWORK_NAMES}) and the file as --weights.`
  throw new TorchvidError('ERR_INVALID_ARGUMENT', text)
}

/** A network by its name: fresh, or with `weights` (also slimmed ones of the references, `{ cfg, state_dict }`). */
export async function openNamed(
  name: string,
  options: { settings: NetworkSettings; weights?: string; device?: Device; seed: number },
): Promise<Network> {
  const { settings, weights, device, seed } = options
  if (weights !== undefined && (await readTable(weights)).extras?.has('cfg')) {
    return await openSlimmed(name, weights, settings, device)
  }
  const network = await Network.create(graphNamed(name, settings), { device, seed })
  try {
    if (weights !== undefined) await network.load(weights)
    return network
  } catch (error) {
    network.dispose()
    throw error
  }
}

/** Of the references' `{ cfg, state_dict }`: as narrow as its cfg says. */
async function openSlimmed(model: string, weights: string, settings: NetworkSettings, device?: Device) {
  const { classes, image } = settings
  const common = { classes, ...(image === undefined ? {} : { input: image }) }
  switch (partsOf(model).family) {
    case 'vgg':
      return await slim.load(weights, ({ cfg }: { cfg: networks.VggConfig }) => networks.vgg({ cfg, ...common }), {
        device,
      })
    case 'preresnet':
      return await slim.load(weights, ({ cfg }: { cfg: number[] }) => networks.preresnet({ cfg, ...common }), {
        device,
      })
    case 'densenet':
      return await slim.load(weights, ({ cfg }: { cfg: number[] }) => networks.densenet({ cfg, ...common }), { device })
    default: {
      const text = `--weights: ${describe(weights)} says how wide its layers are (cfg), and ${model} has no such form. Wanted vgg, preresnet or densenet as MODEL.`
      throw new TorchvidError('ERR_INVALID_ARGUMENT', text)
    }
  }
}

function partsOf(name: string): { family: string; depth: number | undefined } {
  const [, family = '', depth = ''] = /^([a-z]+)(\d*)$/.exec(name) ?? []
  return { family, depth: depth === '' ? DEFAULT_DEPTHS[family] : Number(depth) }
}
