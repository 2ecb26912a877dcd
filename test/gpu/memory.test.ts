import { graph, Network, OSVOS, slim } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { refuses } from '../helpers/expect.ts'
import { disk } from '../helpers/pictures.ts'
import { noise } from '../helpers/tensors.ts'
import { randomImages } from '../slim/training.ts'
import { device, gpuNote, noGpu } from './helpers.ts'

/** Each pixel becomes so many maps: a batch of small pictures asks for more memory than any GPU has. */
const widening = () => {
  const { build, input, conv, globalAveragePool, linear } = graph
  const image = input('image', [null, 3, 64, 64])
  const wide = conv(image, { out: 65_536, kernel: 1, name: 'wide' })
  return build({ logits: linear(globalAveragePool(wide), { out: 3, name: 'classifier' }) })
}
/** 1024 x 65536 x 64 x 64 floats are 1 TiB. */
const batch = 1024

describe.skipIf(noGpu)(`out of memory${gpuNote}`, () => {
  test('in inference: told by its code; the next call works', async () => {
    const network = await Network.create(widening(), { device })
    const image = noise([batch, 3, 64, 64])
    for (let i = 0; i < 2; i++) {
      await refuses('ERR_OUT_OF_MEMORY', /memory/i, () => network.forward({ image }))
      const { logits } = await network.forward({ image: noise([1, 3, 64, 64]) })
      expect([...logits!.data].every((value) => Number.isFinite(Number(value)))).toBe(true)
    }
    network.dispose()
  })

  test('in training: told by its code, the network as it was; the same network trains on', async () => {
    const network = await Network.create(widening(), { device })
    const before = (await network.tensor('classifier.weight')).data.slice()
    const recipe = { steps: 3, learningRate: 0.01, augment: false } as const
    const large = { train: randomImages([batch, 3, 64, 64], 3), batchSize: batch, ...recipe }
    await refuses('ERR_OUT_OF_MEMORY', /memory/i, () => slim.train(network, large))
    expect((await network.tensor('classifier.weight')).data).toEqual(before)
    const small = { train: randomImages([4, 3, 64, 64], 3), batchSize: 4, ...recipe }
    const losses: number[] = []
    const run = slim.train(network, small)
    for await (const { loss } of run) losses.push(loss)
    await run
    expect(losses).toHaveLength(3)
    expect(losses.every(Number.isFinite)).toBe(true)
    network.dispose()
  })

  test('one training runs out while another goes on: the other does not notice', async () => {
    const { image, mask } = disk(160, 128)
    const osvos = await OSVOS.create({ backbone: 'mobilenet', device })
    const settings = { iterations: 60, seed: 3 }
    const traced = async (run: ReturnType<OSVOS['fit']>) => {
      const losses: number[] = []
      for await (const { loss } of run) losses.push(loss)
      ;(await run).dispose()
      return losses
    }
    const alone = await traced(osvos.fit(image, mask, settings))
    const going = traced(osvos.fit(image, mask, settings))
    const network = await Network.create(widening(), { device })
    await refuses('ERR_OUT_OF_MEMORY', /memory/i, () => network.forward({ image: noise([batch, 3, 64, 64]) }))
    expect(await going).toEqual(alone)
    network.dispose()
    osvos.dispose()
  })

  test('memory of disposed networks comes back: many are made and freed', async () => {
    const { build, input, linear } = graph
    const x = input('x', [null, 16_384])
    const zero = { weight: { distribution: 'constant' as const }, bias: { distribution: 'constant' as const } }
    const net = build({ y: linear(x, { in: 16_384, out: 16_384, init: zero }) }) // 1 GiB each
    for (let i = 0; i < 160; i++) (await Network.create(net, { device })).dispose()
  }, 300_000)
})
