// torchvid's side of bench/osvos.mjs, through the public API. `train N`: one fit of N passes; `infer`: one frame.
import { parseArgs } from 'node:util'
import { Network, networks, OSVOS, runtime } from 'torchvid'
import { follow, pictureAndMask, seconds, serve } from './serve.mjs'

const { values } = parseArgs({
  options: {
    backbone: { type: 'string' },
    height: { type: 'string' },
    width: { type: 'string' },
    accumulate: { type: 'string' },
    'learning-rate': { type: 'string' },
    weights: { type: 'string' },
    threads: { type: 'string' },
  },
})
const { backbone, weights } = values
const accumulate = Number(values.accumulate)
const learningRate = Number(values['learning-rate'])
const { image, mask } = pictureAndMask(Number(values.width), Number(values.height))

if (values.threads) await runtime.setThreads(Number(values.threads))
await writeStartingWeights()
const osvos = await OSVOS.open(weights)
const { libtorch, threads } = await runtime.info()

await serve({ torch: libtorch.version, threads }, { train, infer })

/** The network that both sides start from. The peer reads this file. */
async function writeStartingWeights() {
  const graph = networks.osvos({ backbone })
  // VGG16 starts from ImageNet weights in use; its own random start is so small that activations vanish.
  for (const { op, name, init } of graph.nodes) {
    if (op === 'conv' && name.startsWith('stages.')) init.weight = { distribution: 'kaimingNormalFanIn' }
  }
  const network = await Network.create(graph, { seed: 1 })
  await network.save(weights)
  network.dispose()
}

async function train(passes) {
  let trained
  const total = await seconds(async () => {
    const run = osvos.fit(image, mask, { iterations: Number(passes), accumulate, learningRate, augment: false })
    trained = await follow(run)
  })
  const { losses, means, result } = trained
  result.dispose()
  // Of at most 20 passes the mean is over all so far, so single passes follow from it.
  const steps = means.length > 20 ? undefined : means.map((mean, i) => mean * (i + 1) - (means[i - 1] ?? 0) * i)
  return { seconds: total, steps, losses }
}

async function infer() {
  let sum = 0
  let count = 1
  const total = await seconds(async () => {
    for await (const { probability } of osvos.segment([image])) {
      sum = probability.reduce((a, b) => a + b, 0)
      count = probability.length
    }
  })
  return { seconds: total, value: sum / count }
}
