import { TorchvidError } from '../errors.ts'
import type { Network } from '../network.ts'
import { list, read } from '../weights/index.ts'

/** torchvision's VGG16 layers in the order of OSVOS's trunk. */
const torchvisionLayers = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]

/** ImageNet's standard deviation as torchvision scales it (RGB, of pictures in 0..1). */
const torchvisionStd = [0.229, 0.224, 0.225]

/** Layers that no classifier's file has. */
const headLayers = /^((side_prep|score_dsn|upscale_?|fuse)\.|key|feature|decode|logits)/

/**
 * Loads a trunk's ImageNet weights, or a whole OSVOS network's weights, into a network of `networks.osvos`. For VGG16 both
 * OSVOS's names (`stages.*`) and torchvision's (`features.*`) are read; the latter take RGB pictures in 0..1 divided by
 * a standard deviation, so the first layer is turned round to BGR and rescaled.
 * @throws TorchvidError ERR_IO, ERR_CHECKPOINT_FORMAT, ERR_CHECKPOINT_MISMATCH when a layer of the trunk is missing
 */
export async function loadPretrained(network: Network, path: string): Promise<void> {
  const names = (await list(path)).map(({ name }) => name)
  const torchvision = network.graph.labels?.backbone === 'vgg16' && names.includes('features.0.weight')
  const map = torchvision ? torchvisionName(network) : undefined
  const { missing } = await network.load(path, { strict: false, map })
  const lacking = missing.filter((name) => !headLayers.test(name))
  if (lacking.length > 0) {
    const message = `${path} lacks ${lacking.slice(0, 3).join(', ')}${lacking.length > 3 ? ` and ${lacking.length - 3} more` : ''} of the trunk; wanted the weights of the same architecture.`
    throw new TorchvidError('ERR_CHECKPOINT_MISMATCH', message)
  }
  if (torchvision) await network.handle.write('stages.0.0.weight', toBgr(await read(path, 'features.0.weight')))
}

function torchvisionName(network: Network): (name: string) => string | null {
  const trunk = network.graph.nodes.filter((node) => node.op === 'conv' && node.name.startsWith('stages.'))
  const renamed = new Map(torchvisionLayers.map((layer, i) => [`features.${layer}`, trunk[i]?.name]))
  return (name) => {
    const cut = name.lastIndexOf('.')
    const layer = renamed.get(name.slice(0, cut))
    return layer === undefined ? null : layer + name.slice(cut)
  }
}

/** (64, 3, 3, 3) for RGB in 0..1 over std -> for BGR in 0..255. */
function toBgr({ data, shape }: Awaited<ReturnType<typeof read>>) {
  const out = new Float32Array(data.length)
  const area = 9
  for (let i = 0; i < out.length; i++) {
    const channel = Math.floor(i / area) % 3
    const source = i + (2 - 2 * channel) * area
    out[i] = Number(data[source]) / (255 * (torchvisionStd[2 - channel] as number))
  }
  return { data: out, shape }
}
