import { graph, Network, slim } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { randomFrom } from '../helpers/tensors.ts'
import { floats, type Images, linearNetwork, recordsOf, withNet } from './training.ts'

describe('order', () => {
  // logits = [x, 0]: an image of one pixel betrays itself by its loss, log(1 + e^-x) for label 0.
  const { build, input, flatten, linear, concat } = graph
  const x = flatten(input('image', [null, 1, 1, 1]), { channels: 1 })
  const one = { weight: { distribution: 'constant' as const, value: 1 } }
  const zero = { weight: { distribution: 'constant' as const, value: 0 } }
  const scores = [one, zero].map((init) => linear(x, { out: 1, bias: false, init }))
  const of = build({ logits: concat(scores) })
  const lossOf = (byte: number) => Math.log1p(Math.exp(-byte / 255))
  const set: Images = {
    images: Uint8Array.from({ length: 11 }, (_, i) => 20 * i),
    shape: [11, 1, 1, 1],
    labels: new Uint8Array(11),
  }

  /** Which images each step of a run saw, and its records' epochs. */
  const seen = async (options: { epochs: number; shuffle?: boolean; seed?: number }) =>
    await withNet(of, async (net) => {
      const records = await recordsOf(
        slim.train(net, { train: set, batchSize: 1, learningRate: 1e-30, sparsity: 0, ...options }),
      )
      const all = [...set.images].map(lossOf)
      return records.map(({ loss }) => all.findIndex((each) => Math.abs(each - loss) < 1e-5))
    })
  const epochsOf = (order: number[]) =>
    Array.from({ length: order.length / 11 }, (_, i) => order.slice(11 * i, 11 * i + 11))
  const inOrder = Array.from({ length: 11 }, (_, i) => i)

  test('shuffled, every epoch has each image once, in an order of its own that the seed settles', async () => {
    const epochs = epochsOf(await seen({ epochs: 4, seed: 2 }))
    for (const epoch of epochs) {
      expect([...epoch].sort((a, b) => a - b)).toEqual(inOrder)
      expect(epoch).not.toEqual(inOrder)
    }
    expect(new Set(epochs.map(String)).size).toBe(4)
    expect(epochsOf(await seen({ epochs: 2, seed: 2 }))).toEqual(epochs.slice(0, 2))
    expect(epochsOf(await seen({ epochs: 1, seed: 3 }))[0]).not.toEqual(epochs[0])
  })

  test('not shuffled, the order is the set’s', async () => {
    expect(await seen({ epochs: 2, shuffle: false })).toEqual([...inOrder, ...inOrder])
  })

  test('the last batch of an epoch may be smaller, and counts its images alone', async () => {
    await withNet(of, async (net) => {
      const run = slim.train(net, {
        train: set,
        batchSize: 4,
        epochs: 2,
        learningRate: 1e-30,
        shuffle: false,
        sparsity: 0,
      })
      const losses = (await recordsOf(run)).map(({ loss }) => loss)
      const mean = (from: number, to: number) => {
        const some = [...set.images.subarray(from, to)].map(lossOf)
        return some.reduce((a, b) => a + b, 0) / some.length
      }
      const epoch = [mean(0, 4), mean(4, 8), mean(8, 11)]
      expect(losses).toHaveLength(6)
      for (const [i, wanted] of [...epoch, ...epoch].entries()) expect(losses[i]).toBeCloseTo(wanted, 6)
    })
  })
})

describe('what the network sees', () => {
  const size = 6
  const random = randomFrom(4)
  const image = Uint8Array.from({ length: 2 * size * size }, () => 1 + Math.floor(random() * 255)) // never black
  const [mean, std] = [
    [0.25, 0.7],
    [0.5, 0.3],
  ]
  const f = Math.fround
  const normalised = (byte: number, c: number) => f(f(f(byte / 255) - f(mean[c]!)) / f(std[c]!))

  /**
   * The picture of one step on one image of class 0: from weights of 0, the two classes' gradients are -x / 2 and x / 2, so
   * the weights of class 0 are x / 2 after a step of rate 1, to the last bit.
   */
  const picture = async (augment: Images['augment'], seed = 0) =>
    await withNet(linearNetwork([2, size, size], 2), async (net) => {
      const train: Images = { images: image, shape: [1, 2, size, size], labels: [0], mean, std, augment }
      await slim.train(net, {
        train,
        steps: 1,
        batchSize: 1,
        learningRate: 1,
        momentum: 0,
        weightDecay: 0,
        sparsity: 0,
        seed,
      })
      return (await floats(net, 'classifier.weight')).subarray(0, image.length).map((value) => value * 2)
    })

  /** The picture that a crop and flip make, by hand. */
  const placed = (top: number, left: number, flip: boolean) =>
    Float32Array.from({ length: image.length }, (_, at) => {
      const [c, y, column] = [Math.floor(at / size ** 2), Math.floor(at / size) % size, at % size]
      const [row, x] = [y + top, (flip ? size - 1 - column : column) + left]
      const inside = row >= 0 && row < size && x >= 0 && x < size
      return normalised(inside ? image[(c * size + row) * size + x]! : 0, c)
    })
  const key = (values: Float32Array) => Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString('hex')

  test('without augmentation: (byte / 255 - mean) / std, in single precision, exactly', async () => {
    expect(key(await picture(false))).toBe(key(placed(0, 0, false)))
    expect(key(await picture(undefined))).toBe(key(placed(0, 0, false)))
  })

  test('every crop within the padding and both flips occur, black outside, and nothing else', async () => {
    const wanted = new Map<string, string>()
    for (let top = -1; top <= 1; top++) {
      for (let left = -1; left <= 1; left++) {
        for (const flip of [false, true]) wanted.set(key(placed(top, left, flip)), `${top} ${left} ${flip}`)
      }
    }
    expect(wanted.size).toBe(18)
    const found = new Set<string | undefined>()
    for (let seed = 0; seed < 150; seed++) found.add(wanted.get(key(await picture({ pad: 1 }, seed))))
    expect([...found].sort()).toEqual([...wanted.values()].sort())
  })

  test('the defaults are 4 pixels and a flip of every other; a run may say otherwise', async () => {
    const isPlaced = (pad: number, flips: boolean[], values: Float32Array) => {
      for (let top = -pad; top <= pad; top++)
        for (let left = -pad; left <= pad; left++)
          for (const flip of flips)
            if (key(placed(top, left, flip)) === key(values)) return Math.max(Math.abs(top), Math.abs(left))
      return undefined
    }
    const reach = new Set<number | undefined>()
    for (let seed = 0; seed < 60; seed++) reach.add(isPlaced(4, [false, true], await picture({}, seed)))
    expect(reach.has(undefined)).toBe(false)
    expect(Math.max(...(reach as Set<number>))).toBe(4)
    for (let seed = 0; seed < 10; seed++) {
      expect(isPlaced(0, [true], await picture({ pad: 0, flip: 1 }, seed))).toBe(0)
      expect(isPlaced(2, [false], await picture({ pad: 2, flip: 0 }, seed))).toBeDefined()
    }
    // Padding far beyond the picture may leave nothing of it.
    const far = await picture({ pad: 100 }, 1)
    expect(key(far)).toBe(key(placed(100, 100, false)))
  })

  test('the images of a batch are drawn one by one', async () => {
    // Ten equal images of classes 0..9: of each class' weights, the image's own part stands out.
    const n = 10
    const images = new Uint8Array(n * image.length)
    for (let i = 0; i < n; i++) images.set(image, i * image.length)
    const pictures = await withNet(linearNetwork([2, size, size], n + 1), async (net) => {
      const train: Images = {
        images,
        shape: [n, 2, size, size],
        labels: Array.from({ length: n }, (_, i) => i),
        mean,
        std,
      }
      const settings = {
        steps: 1,
        batchSize: n,
        learningRate: n,
        momentum: 0,
        weightDecay: 0,
        sparsity: 0,
        augment: { pad: 3 },
      }
      await slim.train(net, { train, ...settings })
      const weights = await floats(net, 'classifier.weight')
      const common = weights.subarray(n * image.length)
      return Array.from({ length: n }, (_, i) =>
        weights.subarray(i * image.length, (i + 1) * image.length).map((v, p) => v - common[p]!),
      )
    })
    const places = pictures.map((values) => {
      for (let top = -3; top <= 3; top++)
        for (let left = -3; left <= 3; left++)
          for (const flip of [false, true]) {
            if (placed(top, left, flip).every((v, i) => Math.abs(v - values[i]!) < 1e-4))
              return `${top} ${left} ${flip}`
          }
      return 'nowhere'
    })
    expect(places).not.toContain('nowhere')
    expect(new Set(places).size).toBeGreaterThan(5)
  })

  test('a large batch, laid out with channels last, is the same pictures', async () => {
    const { build, input, conv, globalAveragePool, linear } = graph
    const of = build({
      logits: linear(globalAveragePool(conv(input('image', [null, 3, null, null]), { out: 4, kernel: 3 })), { out: 2 }),
    })
    const side = 96
    const images = Uint8Array.from({ length: 4 * 3 * side * side }, () => Math.floor(random() * 256))
    const set: Images = {
      images,
      shape: [4, 3, side, side],
      labels: [0, 1, 1, 0],
      mean: [0.1, 0.2, 0.3],
      std: [1, 2, 3],
    }
    const net = await Network.create(of, { device: 'cpu', seed: 1 })
    const large = await slim.evaluate(net, set, { batchSize: 4 }) // 4 x 96 x 96 pixels: above the limit
    const small = await slim.evaluate(net, set, { batchSize: 1 })
    expect(large.loss).toBeCloseTo(small.loss, 5)
    net.dispose()
  })
})
