import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { graph, metrics, Network, networks, OSVOS } from 'torchvid'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { refuses, scratch, shared, sharedNote } from '../helpers/expect.ts'
import { disk } from '../helpers/pictures.ts'

const folder = scratch()
const { image, mask } = disk()
let parent: OSVOS
beforeAll(async () => {
  parent = await OSVOS.create({ backbone: 'mobilenet', device: 'cpu', seed: 1 })
})
afterAll(() => parent.dispose())

describe('learning', () => {
  test('a coloured disk is learned: J above 0.9, from random weights', async () => {
    const scene = disk(96, 64)
    const run = parent.fit(scene.image, scene.mask, { iterations: 100, learningRate: 3e-3, augment: false })
    const losses: number[] = []
    for await (const { loss } of run) losses.push(loss)
    const fitted = await run
    expect(losses.at(-1)!).toBeLessThan(losses[0]! / 3)
    for await (const { mask: found, width, height } of fitted.segment([scene.image])) {
      expect(await metrics.jaccard({ data: found, width, height }, scene.mask)).toBeGreaterThan(0.9)
    }
    fitted.dispose()
  })

  test.skipIf(shared === undefined)(
    `with ImageNet weights and augmentation, also where it moved to${sharedNote}`,
    async () => {
      const pretrained = join(shared!, 'weights/mobilenet_v1_imagenet.safetensors')
      const model = await OSVOS.create({ backbone: 'mobilenet', pretrained, device: 'cpu' })
      const first = disk(96, 64)
      const later = disk(96, 64, 14)
      const fitted = await model.fit(first.image, first.mask, { iterations: 60, learningRate: 1e-3, seed: 3 })
      const scores: number[] = []
      const truths = [first.mask, later.mask]
      for await (const { index, mask: found, width, height } of fitted.segment([first.image, later.image])) {
        scores.push(await metrics.jaccard({ data: found, width, height }, truths[index]!))
      }
      expect(scores[0]).toBeGreaterThan(0.9)
      expect(scores[1]).toBeGreaterThan(0.8)
      model.dispose()
      fitted.dispose()
    },
  )

  test.each(['mobilenet', 'vgg16'] as const)('%s that diverges ends with ERR_NOT_FINITE', async (backbone) => {
    const model = await OSVOS.create({ backbone, device: 'cpu' })
    const run = model.fit(image, mask, { iterations: 50, accumulate: 1, learningRate: 1e30 })
    const error = await refuses('ERR_NOT_FINITE', /step \d+ of 50.*learning rate/, () => run.result)
    expect(error.message).toMatch(/nan|inf/i)
    model.dispose()
  })
})

describe('open and create', () => {
  test('files that are no OSVOS model', async () => {
    const file = join(folder, 'vgg.safetensors')
    const network = await Network.create(networks.vgg({ cfg: [4, 'M', 4, 'M', 4, 'M', 4, 'M', 4] }), { device: 'cpu' })
    await network.save(file)
    network.dispose()
    await refuses('ERR_CHECKPOINT_MISMATCH', /logits.*fuse/, () => OSVOS.open(file))
    await refuses('ERR_IO', /missing/, () => OSVOS.open(join(folder, 'missing.safetensors')))
    await refuses('ERR_CHECKPOINT_MISMATCH', /lacks/, () => OSVOS.create({ backbone: 'mobilenet', pretrained: file }))
    await refuses('ERR_INVALID_ARGUMENT', /backbone/, () => OSVOS.create({ backbone: 'resnet' as any }))
    rmSync(file)
  })

  test('a graph of the user with an output named fuse is a model too', async () => {
    const picture = graph.input('image', [null, 3, null, null], {
      order: 'RGB',
      mean: [128, 128, 128],
      std: [64, 64, 64],
    })
    const net = graph.build({
      fuse: graph.conv(graph.relu(graph.conv(picture, { out: 8, kernel: 3, padding: 1 })), { out: 1, kernel: 1 }),
    })
    const network = await Network.create(net, { device: 'cpu' })
    const file = join(folder, 'own.safetensors')
    await network.save(file)
    const own = await OSVOS.open(file, { device: 'cpu' })
    const fitted = await own.fit(image, mask, { iterations: 60, learningRate: 0.05, augment: false })
    for await (const { mask: found, width, height } of fitted.segment([image])) {
      expect(await metrics.jaccard({ data: found, width, height }, mask)).toBeGreaterThan(0.9)
    }
    for (const each of [network, own, fitted]) each.dispose()
  })
})
