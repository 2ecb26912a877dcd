// torchvid's side of bench/gpu, through the public API: does one unit of work per line (bench/side.mjs). With --once it does
// one short unit of its part and ends: what a profiler is to look at.
import fs from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { Network, networks, OSVOS, RTFM, runtime, slim } from 'torchvid'
import { answer, follow, formulaBytes, pictureAndMask, seconds, serve } from '../sides/serve.mjs'
import { plans } from './plans.mjs'
import { makeSet } from './rtfm-set.mjs'

const { values } = parseArgs({
  options: {
    part: { type: 'string' },
    network: { type: 'string' },
    device: { type: 'string', default: 'cuda' },
    folder: { type: 'string' },
    tiny: { type: 'boolean', default: false },
    once: { type: 'boolean', default: false },
  },
})
const { part, device, folder } = values
const plan = plans(part, values.tiny)
/** What both sides start from; the peer reads the file. */
const weights = (name) => path.join(folder, `start-${name}.safetensors`)

/** CIFAR-10's, per channel. */
const mean = [0.4914, 0.4822, 0.4465]
const std = [0.2023, 0.1994, 0.201]

/** Per part: sets up, and gives what to say when ready (`macs`: of one forward pass of a unit) and the units. */
const parts = {
  a: osvosPart,
  b: osvosPart,
  c: rtfmPart,
  d: slimPart,
}

const { facts, units, once } = await parts[part](values.network ?? plan.networks?.[0])
if (values.once) {
  for (const unit of once) answer({ unit: unit.join(' '), ...(await units[unit[0]](...unit.slice(1))) })
} else {
  const { libtorch } = await runtime.info()
  await serve({ torch: libtorch.version, device, ...facts }, units)
}

async function osvosPart(backbone) {
  const { width, height, accumulate, passes } = plan
  const { image, mask } = pictureAndMask(width, height)
  const graph = networks.osvos({ backbone })
  // VGG16 starts from ImageNet weights in use; its own random start is so small that activations vanish.
  for (const { op, name, init } of graph.nodes) {
    if (op === 'conv' && name.startsWith('stages.')) init.weight = { distribution: 'kaimingNormalFanIn' }
  }
  const network = await Network.create(graph, { device: 'cpu', seed: 1 })
  await network.save(weights(backbone))
  const { macs } = await network.summary({ image: [1, 3, height, width] })
  network.dispose()
  const osvos = await OSVOS.open(weights(backbone), { device })

  async function fit(count, precision, augment) {
    let trained
    const total = await seconds(async () => {
      const run = osvos.fit(image, mask, {
        iterations: Number(count),
        accumulate,
        learningRate: 1e-8,
        device,
        precision,
        ...(augment === 'plain' && { augment: false }),
      })
      trained = await follow(run)
      trained.result.dispose()
    })
    return { seconds: total, ...told(trained) }
  }
  /** `frame`: each frame is waited for before the next is begun; `stream`: the frames of a video. */
  async function frame(count) {
    let value
    const total = await seconds(async () => {
      for (let i = 0; i < count; i++) for await (const found of osvos.segment([image])) value = found.probability
    })
    return { seconds: total, value: meanOf(value) }
  }
  async function stream(count) {
    let value
    const frames = (function* () {
      for (let i = 0; i < count; i++) yield image
    })()
    const total = await seconds(async () => {
      for await (const found of osvos.segment(frames)) value = found.probability
    })
    return { seconds: total, value: meanOf(value) }
  }
  const once = part === 'a' ? [['fit', Math.min(passes, 100), 'auto', 'plain']] : [['stream', plan.frames]]
  return { facts: { macs }, units: { fit, frame, stream }, once }
}

async function rtfmPart() {
  const { size, batch, crops, segments } = plan
  const set = makeSet(folder, plan)
  const network = await Network.create(networks.rtfm({ featureSize: size }), { device: 'cpu', seed: 1 })
  await network.save(weights('rtfm'))
  const { macs } = await network.summary({ features: [2 * batch, crops, segments, size] })
  network.dispose()
  const videos = JSON.parse(fs.readFileSync(set, 'utf8'))

  /** Always from the same start. `inside`: a step by fit's own clock, the mean of the last ones. */
  async function train(steps, dropout, precision) {
    const rtfm = await RTFM.create({ featureSize: size, dropout: Number(dropout), device })
    await rtfm.network.load(weights('rtfm'))
    let trained
    const total = await seconds(async () => {
      const run = rtfm.fit(videos, {
        steps: Number(steps),
        batchSize: batch,
        shuffle: dropout !== '0',
        device,
        precision,
      })
      trained = await follow(run)
    })
    rtfm.dispose()
    return { seconds: total, ...told(trained) }
  }
  return { facts: { macs, set }, units: { train }, once: [['train', '50', '0.7', 'auto']] }
}

async function slimPart(name) {
  const { images: count, batch } = plan
  const make = { vgg16: () => networks.vgg({ depth: 16 }), preresnet164: () => networks.preresnet({ depth: 164 }) }[
    name
  ]
  const train = {
    images: formulaBytes('images', count * 3 * 32 * 32, 1),
    shape: [count, 3, 32, 32],
    labels: Array.from({ length: count }, (_, i) => i % 10),
    mean,
    std,
  }
  const start = await Network.create(make(), { device: 'cpu', seed: 1 })
  await start.save(weights(name))
  const { macs } = await start.summary({ image: [batch, 3, 32, 32] })
  start.dispose()

  /** Always from the same start. */
  async function trainSteps(number, precision, augment) {
    const network = await Network.open(weights(name), { device })
    let trained
    const total = await seconds(async () => {
      const run = slim.train(network, {
        train,
        steps: Number(number),
        batchSize: batch,
        learningRate: 0.01,
        schedule: 'constant',
        momentum: 0.9,
        nesterov: false,
        weightDecay: 1e-4,
        sparsity: 1e-4,
        shuffle: augment !== 'plain',
        augment: augment !== 'plain' && { pad: 4, flip: 0.5 },
        device,
        precision,
      })
      trained = await follow(run)
    })
    network.dispose()
    return { seconds: total, ...told(trained) }
  }
  return {
    facts: { macs },
    units: { train: trainSteps },
    once: [['train', Math.min(plan.steps[name], 100), 'auto', 'plain']],
  }
}

/** Enough of the losses to compare, and to see that it learns; the last steps' mean seconds. */
function told({ losses, means }) {
  const ends = losses.length <= 20 ? losses : [...losses.slice(0, 10), ...losses.slice(-10)]
  return { inside: means.at(-1), losses: ends }
}

function meanOf(values) {
  let sum = 0
  for (const value of values) sum += value
  return sum / values.length
}
