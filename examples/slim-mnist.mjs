// Slims two networks on MNIST, from scratch: the slimming paper's MLP and a small VGG.
//   node examples/slim-mnist.mjs ../shared/data/mnist [mlp|vgg] [report.json]
// The folder holds MNIST's idx files. Where training and test images are in one file, the first 60,000 train.
import { writeFileSync } from 'node:fs'
import { data, Network, networks, slim } from 'torchvid'

const [folder = '../shared/data/mnist', which = 'mlp', file] = process.argv.slice(2)
const all = await data.mnist(folder)
const train = data.subset(all, 0, 60000)
const test = all.shape[0] > 60000 ? data.subset(all, 60000) : await data.mnist(folder, { split: 'test' })

const small = [32, 'M', 64, 'M', 128]
const settings = {
  mlp: {
    graph: networks.mlp({ layers: [784, 500, 300, 10] }),
    options: {
      epochs: 40,
      sparsity: 1e-3,
      augment: { pad: 1, flip: 0 },
      fineTune: { epochs: 40, learningRate: 0.05, schedule: 'cosine' },
    },
  },
  vgg: {
    graph: networks.vgg({ cfg: small, input: [1, 28, 28], classes: 10 }),
    options: {
      epochs: 5,
      sparsity: 3e-3,
      augment: { pad: 1, flip: 0 },
      fineTune: { epochs: 5, learningRate: 0.02, schedule: 'cosine' },
    },
  },
}[which]
const net = await Network.create(settings.graph, { seed: 1 })
const run = slim(net, { train, test, ratio: 0.8, learningRate: 0.1, seed: 1, ...settings.options })
let epoch = 0
for await (const p of run) {
  if (p.epoch === epoch) continue
  epoch = p.epoch
  console.error(
    `${p.stage} epoch ${p.epoch}/${p.epochs}, loss ${p.loss.toFixed(4)}, ${Math.round(p.secondsLeft)} s left`,
  )
}
const { report } = await run
for (const { stage, accuracy, parameters, macs, seconds } of report.stages) {
  console.log(
    `${stage.padEnd(9)} error ${(100 * (1 - accuracy)).toFixed(2)} %  ${parameters} parameters  ${macs} MACs  ${seconds.toFixed(0)} s`,
  )
}
for (const { name, op, channels } of report.layers) {
  if (op === 'batchNorm') console.log(`${name.padEnd(12)} ${channels.before} -> ${channels.after} channels`)
}
if (file) writeFileSync(file, JSON.stringify(report))
