// torchvid's side of bench/features.mjs, through the public API. `clips N`: so many forward passes of one clip.
import { parseArgs } from 'node:util'
import { Network, networks, runtime } from 'torchvid'
import { formulaBytes, seconds, serve } from './serve.mjs'

const { values } = parseArgs({
  options: {
    network: { type: 'string' },
    weights: { type: 'string' },
    threads: { type: 'string' },
  },
})
const plain = (byte) => (byte - 114.75) / 57.375
/** Of each network: its graph, a clip's side in pixels, and how it takes bytes. */
const backbones = {
  i3d: { graph: () => networks.i3d(), side: 224, scale: (byte) => (byte / 255) * 2 - 1 },
  i3dResnet50: { graph: () => networks.i3dResnet50(), side: 224, scale: plain },
  i3dResnet50NonLocal: { graph: () => networks.i3dResnet50({ nonLocal: true }), side: 224, scale: plain },
  c3d: { graph: () => networks.c3d(), side: 112, scale: (byte) => byte - 128 },
}
const { graph, side, scale } = backbones[values.network]

if (values.threads) await runtime.setThreads(Number(values.threads))
const network = await Network.create(lively(graph()), { device: 'cpu', seed: 1 })
await network.save(values.weights) // the peer reads this file
const shape = [1, 3, 16, side, side]
const clip = { data: Float32Array.from(formulaBytes('clip', 3 * 16 * side * side, 1), scale), shape }
const { macs } = await network.summary({ clip: shape })
const { libtorch, threads } = await runtime.info()

await serve({ torch: libtorch.version, threads, macs }, { clips })

/** Weights with which activations keep their size through all layers: vanishing ones would be easier or harder numbers. */
function lively(description) {
  for (const node of description.nodes) {
    if (node.op === 'conv') node.init = { ...node.init, weight: { distribution: 'kaimingNormalFanIn' } }
  }
  return description
}

async function clips(count) {
  let features
  const total = await seconds(async () => {
    for (let i = 0; i < count; i++) ({ features } = await network.forward({ clip }, { outputs: ['features'] }))
  })
  const value = features.data.reduce((sum, x) => sum + Math.abs(x), 0) / features.data.length
  return { seconds: total, value }
}
