// torchvid's side of bench/slim.mjs, through the public API. `train N`: one slim.train of N steps, going on from the last;
// `slim RATIO FOLDER ROUNDING...`: slimmed networks; `infer NAME BATCH COUNT`: so many forward passes of one of them.
import path from 'node:path'
import { parseArgs } from 'node:util'
import { Network, networks, runtime, slim } from 'torchvid'
import { follow, formulaBytes, seconds, serve } from './serve.mjs'

const { values } = parseArgs({
  options: {
    network: { type: 'string' },
    weights: { type: 'string' },
    images: { type: 'string' },
    batch: { type: 'string' },
    'learning-rate': { type: 'string' },
    sparsity: { type: 'string' },
    threads: { type: 'string' },
  },
})
/** CIFAR-10's, per channel. */
const mean = [0.4914, 0.4822, 0.4465]
const std = [0.2023, 0.1994, 0.201]
const graphs = { vgg16: () => networks.vgg({ depth: 16 }), preresnet56: () => networks.preresnet({ depth: 56 }) }

const count = Number(values.images)
const train = {
  images: formulaBytes('images', count * 3 * 32 * 32, 1),
  shape: [count, 3, 32, 32],
  labels: Array.from({ length: count }, (_, i) => i % 10),
  mean,
  std,
}

if (values.threads) await runtime.setThreads(Number(values.threads))
const start = await Network.create(graphs[values.network](), { device: 'cpu', seed: 1 })
await start.save(values.weights) // what both sides start from; the peer reads this file
const { libtorch, threads } = await runtime.info()
const opened = {}

await serve({ torch: libtorch.version, threads }, { train: trainSteps, slim: slimNetworks, infer })

async function trainSteps(steps) {
  let trained
  const total = await seconds(async () => {
    const run = slim.train(start, {
      train,
      steps: Number(steps),
      batchSize: Number(values.batch),
      learningRate: Number(values['learning-rate']),
      schedule: 'constant',
      momentum: 0.9,
      nesterov: false,
      weightDecay: 1e-4,
      sparsity: Number(values.sparsity),
      shuffle: false,
      augment: false,
      device: 'cpu',
      precision: 'float32',
    })
    trained = await follow(run)
  })
  return { seconds: total, losses: trained.losses, inside: trained.means.at(-1) }
}

/**
 * The network whole, and slimmed at `ratio` with each rounding, saved under their names in `folder`. The scales are
 * drawn from -1..1 with a fixed seed, so their sizes are uniform in 0..1 and layers lose about the same share each.
 */
async function slimNetworks(ratio, folder, ...roundings) {
  const graph = graphs[values.network]()
  for (const node of graph.nodes) {
    if (node.op === 'batchNorm') node.init = { weight: { distribution: 'uniform', value: 1 } }
  }
  const whole = await Network.create(graph, { device: 'cpu', seed: 1 })
  const made = { whole }
  for (const roundTo of roundings) {
    made[`roundTo${roundTo}`] = (await slim.prune(whole, { ratio: Number(ratio), roundTo: Number(roundTo) })).network
  }
  const answers = {}
  for (const [name, network] of Object.entries(made)) {
    const file = path.join(folder, `${name}.safetensors`)
    await network.save(file)
    const { macs, parameters } = await network.summary({ image: [1, 3, 32, 32] })
    answers[name] = { file, macs, parameters }
    opened[name] = network
  }
  return { networks: answers }
}

async function infer(name, batch, times) {
  const pictures = normalised(Number(batch))
  let logits
  const total = await seconds(async () => {
    for (let i = 0; i < times; i++) ({ logits } = await opened[name].forward({ image: pictures }))
  })
  return { seconds: total, value: logits.data.reduce((sum, value) => sum + Math.abs(value), 0) / logits.data.length }
}

/** The first images as a network takes them. */
function normalised(batch) {
  const size = 32 * 32
  const data = Float32Array.from(train.images.subarray(0, batch * 3 * size), (byte, i) => {
    const channel = Math.floor(i / size) % 3
    return (byte / 255 - mean[channel]) / std[channel]
  })
  return { data, shape: [batch, 3, 32, 32] }
}
