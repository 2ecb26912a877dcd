import { graph, Network, networks, slim } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { failureOf, refuses } from '../helpers/expect.ts'
import { bytesOf, stateOf } from '../helpers/tensors.ts'
import { type Images, linearNetwork, randomImages, setTensor, smallNetwork, withNet } from './training.ts'

const { build, input, linear } = graph

/** Scores are the pixels themselves. */
const identity = build({ logits: linear(input('image', [null, 3]), { out: 3, name: 'fc', bias: false }) })
// 51 = 0.2 x 255; mean and std make scores of 2 (x - 0.1): -0.2, 0.2, 0.6 ... 1.8
const set: Images = {
  images: Uint8Array.of(51, 0, 0, 0, 102, 51, 255, 204, 255, 0, 0, 51, 153, 153, 153),
  shape: [5, 3, 1, 1],
  labels: [0, 1, 0, 0, 0],
  mean: [0.1, 0.1, 0.1],
  std: [0.5, 0.5, 0.5],
}
const right = [true, true, true, false, true] // of equal scores the first counts
const loss =
  Array.from({ length: 5 }, (_, i) => {
    const scores = Array.from(set.images.subarray(3 * i, 3 * i + 3), (v) => (v / 255 - 0.1) / 0.5)
    return Math.log(scores.reduce((sum, v) => sum + Math.exp(v), 0)) - scores[set.labels[i]!]!
  }).reduce((a, b) => a + b, 0) / 5

test.each([1, 2, 3, 5, 256])('known scores, in batches of %i', async (batchSize) => {
  await withNet(identity, async (net) => {
    await setTensor(net, 'fc.weight', [1, 0, 0, 0, 1, 0, 0, 0, 1])
    const result = await slim.evaluate(net, set, { batchSize })
    expect(result.images).toBe(5)
    expect(result.accuracy).toBe(right.filter(Boolean).length / 5)
    expect(result.error).toBeCloseTo(1 - result.accuracy, 12)
    expect(result.loss).toBeCloseTo(loss, 6)
    expect(await slim.evaluate(net, Promise.resolve(set))).toEqual(await slim.evaluate(net, set))
  })
})

test('is inference: dropout is off, running statistics stay, images are not augmented', async () => {
  await withNet(smallNetwork(3, { dropout: 0.5 }), async (net) => {
    const before = await stateOf(net)
    const images = { ...randomImages([9, 3, 8, 8], 3), augment: { pad: 4, flip: 0.5 } }
    const first = await slim.evaluate(net, images, { batchSize: 4 })
    expect(await slim.evaluate(net, images, { batchSize: 4 })).toEqual(first)
    const out = await net.forward({
      image: { data: Float32Array.from(images.images, (v) => v / 255), shape: images.shape },
    })
    const scores = out.logits!.data as Float32Array
    const correct = images.labels as number[]
    const hits = correct.filter((label, i) => {
      const row = scores.subarray(3 * i, 3 * i + 3)
      return row.indexOf(Math.max(...row)) === label
    })
    expect(first.accuracy).toBe(hits.length / 9)
    for (const [name, tensor] of before)
      expect(bytesOf(await net.tensor(name)).equals(bytesOf(tensor)), name).toBe(true)
  })
})

test('aborts between batches; other calls have their turn meanwhile', async () => {
  await withNet(networks.vgg({ depth: 11 }), async (net) => {
    const images = randomImages([400, 3, 32, 32], 10)
    const controller = new AbortController()
    let over = false
    const evaluation = slim.evaluate(net, images, { batchSize: 1, signal: controller.signal }).finally(() => {
      over = true
    })
    const end = failureOf(() => evaluation)
    for (let i = 0; i < 3; i++) await net.tensor('classifier.bias')
    expect(over).toBe(false)
    controller.abort('enough')
    expect(await end).toBe('enough')
    expect(await failureOf(() => slim.evaluate(net, images, { signal: AbortSignal.abort('early') }))).toBe('early')
  })
})

test('a network disposed meanwhile', async () => {
  const net = await Network.create(networks.vgg({ depth: 11 }), { device: 'cpu' })
  const end = refuses('ERR_DISPOSED', /disposed/, () =>
    slim.evaluate(net, randomImages([200, 3, 32, 32], 10), { batchSize: 1 }),
  )
  await net.tensor('classifier.bias')
  net.dispose()
  await end
})

describe('refuses', () => {
  const images = randomImages([6, 3, 8, 8], 3)
  test.each<[string, 'ERR_INVALID_ARGUMENT' | 'ERR_SHAPE', RegExp, unknown, object?]>([
    ['no images', 'ERR_INVALID_ARGUMENT', /test/, undefined],
    [
      'a label that is no class',
      'ERR_INVALID_ARGUMENT',
      /test\.labels\[2\]: got 3, wanted 0 to 2/,
      { ...images, labels: [0, 1, 3, 0, 0, 0] },
    ],
    ['images of another size', 'ERR_SHAPE', /do not fit the network's input 'image'/, randomImages([6, 1, 8, 8], 3)],
    ['too few labels', 'ERR_SHAPE', /labels/, { ...images, labels: [1] }],
    ['a mean of two channels', 'ERR_SHAPE', /mean/, { ...images, mean: [1, 2] }],
    ['a batch of none', 'ERR_INVALID_ARGUMENT', /batchSize/, images, { batchSize: 0 }],
    ['a signal that is none', 'ERR_INVALID_ARGUMENT', /signal/, images, { signal: 'stop' }],
  ])('%s', async (_, code, message, given, options) => {
    await withNet(smallNetwork(), async (net) => {
      await refuses(code, message, () => slim.evaluate(net, given as Images, options))
    })
  })

  test('what is no network, or no classifier', async () => {
    await refuses('ERR_INVALID_ARGUMENT', /net: got/, () => slim.evaluate({} as Network, images))
    await withNet(build({ scores: linear(input('image', [null, 192]), { out: 3 }) }), async (net) => {
      await refuses('ERR_INVALID_ARGUMENT', /an output 'logits'/, () => slim.evaluate(net, images))
    })
    const map = build({ logits: graph.conv(input('image', [null, 3, null, null]), { out: 3, kernel: 1 }) })
    await withNet(map, async (net) => {
      await refuses('ERR_SHAPE', /\[1, 3, 8, 8\]/, () => slim.evaluate(net, images))
    })
    await withNet(linearNetwork([3, 4, 4], 3), async (net) => {
      await refuses('ERR_SHAPE', /do not fit/, () => slim.evaluate(net, images))
    })
  })
})
