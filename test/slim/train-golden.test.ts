import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { networks, slim } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { scratch, shared, sharedNote } from '../helpers/expect.ts'
import { formulaImage, formulaWeights } from '../helpers/formula.ts'
import { writeFloats } from '../helpers/safetensors.ts'
import { relative } from '../helpers/tensors.ts'
import { floats, norm, recordsOf, withNet } from './training.ts'

const folder = scratch()
const goldens = ['vgg11_50', 'vgg16_70', 'preresnet29_40', 'densenet40_40']
describe.skipIf(shared === undefined)(`three sparse steps of the references${sharedNote}`, () => {
  test.each(goldens)('%s: losses, scales and parameters after', async (name) => {
    const golden = JSON.parse(readFileSync(join(shared!, 'golden/slim', `${name}.json`), 'utf8'))
    const { batch, seed, labels, depth, sparse_train: wanted } = golden
    const { vgg, preresnet, densenet } = networks
    const make = { vgg, resnet: preresnet, densenet }[golden.arch as 'vgg' | 'resnet' | 'densenet']
    await withNet(make({ depth, classes: 10 }), async (net) => {
      const file = join(folder, `${name}.safetensors`)
      writeFloats(file, formulaWeights(net.parameters(), seed))
      await net.load(file, { strict: false })
      const run = slim.train(net, {
        train: {
          images: formulaImage(batch * 3072, seed),
          shape: [batch, 3, 32, 32],
          labels,
          mean: [0.4914, 0.4822, 0.4465],
          std: [0.2023, 0.1994, 0.201],
        },
        augment: false,
        shuffle: false,
        schedule: 'constant',
        steps: 3,
        batchSize: batch,
        learningRate: wanted.lr,
        momentum: wanted.momentum,
        weightDecay: wanted.weight_decay,
        sparsity: wanted.s,
      })
      const losses = (await recordsOf(run)).map(({ loss }) => loss)
      expect(relative(losses, wanted.loss), `${losses}`).toBeLessThanOrEqual(1e-4)
      const norms = { ...wanted.param_norm_after }
      for (const [layer, value] of Object.entries(wanted.gamma_norm_after)) norms[`${layer}.weight`] = value
      expect(Object.keys(norms).length).toBeGreaterThan(20)
      for (const [parameter, value] of Object.entries(norms as Record<string, number>)) {
        const after = norm(await floats(net, parameter))
        expect(Math.abs(after - value) / value, `${parameter}: ${after}, wanted ${value}`).toBeLessThanOrEqual(1e-4)
      }
    })
  })
})
