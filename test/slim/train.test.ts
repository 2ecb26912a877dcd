import { join } from 'node:path'
import { graph, Network, slim } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { failureOf, refuses, scratch } from '../helpers/expect.ts'
import { bytesOf, differing, relative, stateOf } from '../helpers/tensors.ts'
import {
  floats,
  type Images,
  linearNetwork,
  randomImages,
  recordsOf,
  setTensor,
  smallNetwork,
  withNet,
} from './training.ts'

const folder = scratch()
const exact = { augment: false, shuffle: false, schedule: 'constant' } as const

describe('the update', () => {
  const images = randomImages([4, 1, 2, 2], 3, 8)
  const x = Array.from({ length: 4 }, (_, i) => Array.from(images.images.subarray(4 * i, 4 * i + 4), (v) => v / 255))

  /** Logistic regression by hand: losses, accuracies and W after `steps` of SGD. */
  function byHand(steps: number, rate: number, momentum: number, decay: number, nesterov: boolean) {
    const w = Array.from({ length: 3 }, () => [0, 0, 0, 0, 0]) // the last is the bias
    const velocity = w.map((row) => row.map(() => 0))
    const losses: number[] = []
    for (let step = 0; step < steps; step++) {
      const gradient = w.map((row) => row.map((value) => decay * value))
      let loss = 0
      for (const [i, pixels] of x.entries()) {
        const row = [...pixels, 1]
        const scores = w.map((weights) => weights.reduce((sum, value, p) => sum + value * row[p]!, 0))
        const total = scores.reduce((sum, value) => sum + Math.exp(value), 0)
        for (const [k, value] of scores.entries()) {
          const excess = Math.exp(value) / total - (k === images.labels[i] ? 1 : 0)
          for (const [p, pixel] of row.entries()) gradient[k]![p]! += (excess * pixel) / x.length
          if (k === images.labels[i]) loss -= Math.log(Math.exp(value) / total) / x.length
        }
      }
      losses.push(loss)
      for (const [k, row] of gradient.entries()) {
        for (const [p, g] of row.entries()) {
          const v = step === 0 ? g : momentum * velocity[k]![p]! + g
          velocity[k]![p] = v
          w[k]![p]! -= rate * (nesterov ? g + momentum * v : v)
        }
      }
    }
    return { losses, w }
  }

  test.each([
    ['plain', { learningRate: 0.5, momentum: 0, weightDecay: 0, nesterov: false }],
    ['momentum and weight decay', { learningRate: 0.5, momentum: 0.9, weightDecay: 0.1, nesterov: false }],
    ['Nesterov', { learningRate: 0.5, momentum: 0.9, weightDecay: 0.1, nesterov: true }],
  ])('by hand: %s', async (_, settings) => {
    const { learningRate, momentum, weightDecay, nesterov } = settings
    const wanted = byHand(5, learningRate, momentum, weightDecay, nesterov)
    await withNet(linearNetwork([1, 2, 2], 3), async (net) => {
      const run = slim.train(net, { train: images, steps: 5, batchSize: 4, ...exact, ...settings })
      const records = await recordsOf(run)
      expect(
        relative(
          records.map(({ loss }) => loss),
          wanted.losses,
        ),
      ).toBeLessThanOrEqual(1e-6)
      expect(records[0]!.losses).toEqual({ crossEntropy: records[0]!.loss })
      expect(records[0]!.accuracy).toBe(0.5) // all scores are equal, so class 0 it is: labels 0, 1, 2, 0
      const weights = await floats(net, 'classifier.weight')
      expect(
        relative(
          weights,
          wanted.w.flatMap((row) => row.slice(0, 4)),
        ),
      ).toBeLessThanOrEqual(1e-5)
      expect(
        relative(
          await floats(net, 'classifier.bias'),
          wanted.w.map((row) => row[4]!),
        ),
      ).toBeLessThanOrEqual(1e-5)
    })
  })

  test('the penalty moves every scale by its sign, a scale of 0 not at all, and is no part of the loss', async () => {
    const train = randomImages([4, 3, 8, 8], 3)
    const step = async (sparsity: number) =>
      await withNet(smallNetwork(), async (net) => {
        await setTensor(net, 'norm.weight', [0.5, -0.5, 0, 1, -1, 0])
        const settings = { train, steps: 1, batchSize: 4, learningRate: 0.25, sparsity, ...exact }
        const [record] = await recordsOf(slim.train(net, settings))
        return { loss: record!.loss, state: await stateOf(net) }
      })
    const [plain, sparse] = [await step(0), await step(0.5)]
    expect(sparse.loss).toBe(plain.loss)
    for (const [name, { data }] of plain.state) {
      const moved = Array.from(sparse.state.get(name)!.data as Float32Array, (v, i) => Number(v) - Number(data[i]))
      if (name === 'norm.weight') {
        for (const [i, sign] of [1, -1, 0, 1, -1, 0].entries()) expect(moved[i]).toBeCloseTo(-0.125 * sign, 6)
      } else if (name === 'norm2.weight') for (const shift of moved) expect(shift).toBeCloseTo(-0.125, 6)
      else expect(bytesOf(sparse.state.get(name)!).equals(bytesOf(plain.state.get(name)!)), name).toBe(true)
    }
  })

  test.each([
    ['steps', { epochs: 4 }, [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]],
    ['steps', { steps: 4 }, [1, 1, 0.1, 0.01]],
    ['steps', { epochs: 3 }, [1, 1, 1, 1, 0.1, 0.1]], // from the first epoch >= 1.5, which is also >= 2.25 - not: 3 is over
    ['steps', { epochs: 4, milestones: [0.25], factor: 0.5 }, [1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]],
    ['cosine', { steps: 4 }, [0, 1, 2, 3].map((step) => (1 + Math.cos((Math.PI * step) / 4)) / 2)],
    ['constant', { steps: 4 }, [1, 1, 1, 1]],
  ] as const)('the learning rate: %s %o', async (schedule, length, factors) => {
    await withNet(linearNetwork([1, 2, 2], 3), async (net) => {
      const settings = { ...length, milestones: 'milestones' in length ? [...length.milestones] : undefined }
      const run = slim.train(net, { train: images, batchSize: 2, learningRate: 0.01, schedule, ...settings })
      const rates = (await recordsOf(run)).map(({ learningRate }) => learningRate)
      expect(rates).toHaveLength(factors.length)
      for (const [i, factor] of factors.entries()) expect(rates[i]! / 0.01, `step ${i + 1}`).toBeCloseTo(factor, 9)
    })
  })

  test('masked channels are exactly 0 at once and stay so; the others learn', async () => {
    await withNet(smallNetwork(), async (net) => {
      const before = await stateOf(net)
      await setTensor(net, 'norm.bias', [-1, -2, 3, 4, 5, 6])
      const keep = Uint8Array.of(1, 0, 1, 0, 1, 1)
      const masks = [
        { name: 'norm', keep },
        { name: 'conv2.weight', keep: Uint8Array.of(0, 1, 1, 1, 1) },
      ]
      const train = randomImages([6, 3, 8, 8], 3)
      const settings = { steps: 8, batchSize: 3, learningRate: 0.05, momentum: 0.9, weightDecay: 0.01, sparsity: 0.01 }
      await slim.train(net, { train, masks, ...settings })
      for (const name of ['norm.weight', 'norm.bias']) {
        const values = await floats(net, name)
        for (const [i, value] of values.entries()) keep[i] ? expect(value).not.toBe(0) : expect(value).toBe(0)
      }
      const kernel = await floats(net, 'conv2.weight')
      expect(kernel.subarray(0, 54).every((value) => value === 0)).toBe(true)
      expect(kernel.subarray(54).every((value, i) => value !== before.get('conv2.weight')!.data[54 + i])).toBe(true)
    })
  })

  test('what is frozen stays, running statistics move', async () => {
    const of = smallNetwork()
    of.nodes.find(({ name }) => name === 'norm')!.frozen = true
    await withNet(of, async (net) => {
      const before = await stateOf(net)
      await slim.train(net, { train: randomImages([4, 3, 8, 8], 3), steps: 2, batchSize: 4 })
      const moved = [...(await stateOf(net))].filter(([name, now]) => !bytesOf(now).equals(bytesOf(before.get(name)!)))
      const names = moved.map(([name]) => name)
      for (const name of ['norm.weight', 'norm.bias']) expect(names).not.toContain(name)
      for (const name of ['norm.running_mean', 'norm2.weight', 'norm2.num_batches_tracked', 'conv.weight'])
        expect(names).toContain(name)
    })
  })
})

describe('a run', () => {
  const set = { ...randomImages([10, 3, 8, 8], 3), augment: { pad: 2 } }
  const settings = { train: set, epochs: 3, batchSize: 4, learningRate: 0.05, seed: 5, sparsity: 1e-3 }
  const fresh = (seed = 3) => Network.create(smallNetwork(3, { dropout: 0.3 }), { device: 'cpu', seed })

  test('gives the network it was given, trained; epochs are counted', async () => {
    const net = await fresh()
    const before = await stateOf(net)
    const run = slim.train(net, settings)
    const records = await recordsOf(run)
    expect(await run).toBe(net)
    expect(records.map(({ step, steps, epoch, epochs }) => [step, steps, epoch, epochs])).toEqual(
      [1, 1, 1, 2, 2, 2, 3, 3, 3].map((epoch, i) => [i + 1, 9, epoch, 3]),
    )
    expect(bytesOf(await net.tensor('conv.weight')).equals(bytesOf(before.get('conv.weight')!))).toBe(false)
    expect((await net.tensor('norm.num_batches_tracked')).data[0]).toBe(9n)
    expect(net.parameters()).toHaveLength(before.size)
    net.dispose()
    await refuses('ERR_DISPOSED', /disposed/, () => net.tensor('conv.weight'))
  })

  test('is settled by its seed', async () => {
    const [a, b, c] = [await fresh(), await fresh(), await fresh()]
    await Promise.all([slim.train(a, settings), slim.train(b, settings)])
    await slim.train(c, { ...settings, seed: 6 })
    expect(await differing(a, b)).toEqual([])
    expect(await differing(a, c)).toContain('conv.weight')
    for (const net of [a, b, c]) net.dispose()
  })

  test.each([
    ['within an epoch', 5],
    ['between two epochs', 6],
    ['after its first step', 1],
  ])('interrupted %s and resumed comes to the same weights, bit by bit', async (_, keep) => {
    const path = join(folder, `stopped-at-${keep}.safetensors`)
    const [whole, resumed, plain] = [await fresh(), await fresh(8), await fresh()]
    const cut = slim.train(whole, { ...settings, checkpoint: { path, every: keep } })
    const wanted: number[] = []
    await failureOf(async () => {
      for await (const { loss, step } of cut) {
        wanted.push(loss)
        if (keep === 1 && step === 1) cut.abort('enough')
      }
      throw new Error('over')
    })
    const records = await recordsOf(slim.train(resumed, { ...settings, resume: path }))
    const all = await recordsOf(slim.train(plain, settings))
    const first = records[0]?.step ?? 10
    expect(first).toBeGreaterThan(1)
    if (keep > 1) expect(first).toBe(keep + 1)
    expect(records.map(({ loss }) => loss)).toEqual(all.slice(first - 1).map(({ loss }) => loss))
    expect(records.map(({ epoch }) => epoch)).toEqual(all.slice(first - 1).map(({ epoch }) => epoch))
    expect(await differing(resumed, plain)).toEqual([])
    for (const net of [whole, resumed, plain]) net.dispose()
  })

  test('aborted, or failed, leaves the network as it was', async () => {
    const [net, twin] = [await fresh(), await fresh()]
    const run = slim.train(net, {
      ...settings,
      epochs: 100_000,
      onProgress: ({ step }) => step > 2 && run.abort('enough'),
    })
    expect(await failureOf(() => run)).toBe('enough')
    expect(await differing(net, twin)).toEqual([])
    await refuses('ERR_NOT_FINITE', /learning rate/, () => slim.train(net, { ...settings, learningRate: 1e30 }))
    expect(await differing(net, twin)).toEqual([])
    net.dispose()
    twin.dispose()
  })

  test('lets the old weights answer while it trains, and other calls have their turn', async () => {
    const [net, twin] = [await fresh(), await fresh()]
    let turns = 0
    let running = true
    const tick = () => {
      turns++
      if (running) setImmediate(tick)
    }
    setImmediate(tick)
    const run = slim.train(net, { ...settings, epochs: 40 })
    let calls = 0
    void run.result.finally(() => {
      running = false
    })
    while (running) {
      const now = await net.tensor('conv.weight')
      if (running) {
        expect(bytesOf(now).equals(bytesOf(await twin.tensor('conv.weight')))).toBe(true)
        calls++
      }
    }
    await run
    expect(calls).toBeGreaterThan(10)
    expect(turns).toBeGreaterThan(10)
    expect(await differing(net, twin)).toContain('conv.weight')
    net.dispose()
    twin.dispose()
  })

  test('of a network disposed meanwhile rejects, and the network stays disposed', async () => {
    const net = await fresh()
    const run = slim.train(net, { ...settings, epochs: 30, onProgress: () => net.dispose() })
    await refuses('ERR_DISPOSED', /disposed/, () => run)
    await refuses('ERR_DISPOSED', /disposed/, () => net.tensor('conv.weight'))
  })

  test('learns: a set of two kinds to the last image, in three ways', async () => {
    const bright = (i: number, at: number) => (i % 2 === 0) === at % 8 < 4
    const images = Uint8Array.from(
      { length: 24 * 192 },
      (_, at) => (bright(Math.floor(at / 192), at) ? 200 : 50) + (at % 23),
    )
    const train: Images = {
      images,
      shape: [24, 3, 8, 8],
      labels: Array.from({ length: 24 }, (_, i) => i % 2),
      mean: [0.5, 0.5, 0.5],
    }
    const { conv, batchNorm, relu, flatten, linear, input, build } = graph
    const features = relu(batchNorm(conv(input('image', [null, 3, 8, 8]), { out: 6, kernel: 3, bias: false })))
    const of = build({ logits: linear(flatten(features, { channels: 216 }), { out: 2 }) })
    for (const schedule of ['steps', 'cosine', 'constant'] as const) {
      await withNet(of, async (net) => {
        const before = await slim.evaluate(net, train)
        const records = await recordsOf(
          slim.train(net, { train, epochs: 12, batchSize: 8, learningRate: 0.05, schedule }),
        )
        const after = await slim.evaluate(net, train)
        expect(before.accuracy).toBeLessThan(1)
        expect(after).toMatchObject({ accuracy: 1, error: 0, images: 24 })
        expect(after.loss).toBeLessThan(before.loss / 4)
        expect(records.at(-1)?.accuracy).toBe(1)
      })
    }
  })
})

describe('finetune', () => {
  const set = randomImages([8, 3, 8, 8], 3)

  test('has no penalty and a constant rate of 0.001 over 40 epochs', async () => {
    const [tuned, trained] = [
      await Network.create(smallNetwork(), { seed: 3 }),
      await Network.create(smallNetwork(), { seed: 3 }),
    ]
    const records = await recordsOf(slim.finetune(tuned, { train: set, batchSize: 4 }))
    expect(records).toHaveLength(80)
    for (const { learningRate } of records) expect(learningRate).toBe(0.001)
    await slim.train(trained, {
      train: set,
      batchSize: 4,
      epochs: 40,
      learningRate: 0.001,
      schedule: 'constant',
      sparsity: 0,
    })
    expect(await differing(tuned, trained)).toEqual([])
    tuned.dispose()
    trained.dispose()
  })

  test('learns a teacher without labels; the loss by hand; the teacher stays', async () => {
    const image = [2, 3, 3] as [number, number, number]
    const { input, conv, flatten, linear, build } = graph
    const map = conv(input('image', [null, ...image]), { out: 4, kernel: 3, padding: 1, name: 'conv' })
    const of = build({ map, logits: linear(flatten(map, { channels: 36 }), { out: 3, name: 'fc' }) })
    const [teacher, twin, student] = await Promise.all(
      [4, 4, 9].map((seed) => Network.create(of, { device: 'cpu', seed })),
    )
    const { images, shape } = randomImages([5, ...image], 3)
    const pixels = { image: { data: Float32Array.from(images, (v) => v / 255), shape } }
    const [wanted, given] = [await teacher!.forward(pixels), await student!.forward(pixels)]
    const byHand = (output: string) => {
      const [target, guess] = [wanted[output]!.data as Float32Array, given[output]!.data as Float32Array]
      const mean = target.reduce((a, b) => a + b, 0) / target.length
      const variance = target.reduce((sum, v) => sum + (v - mean) ** 2, 0) / target.length
      return guess.reduce((sum, v, i) => sum + (v - target[i]!) ** 2, 0) / target.length / variance
    }
    const train = { images, shape, labels: [] }
    const run = slim.finetune(student!, {
      train,
      teacher: teacher!,
      outputs: { map: 2, logits: 0.5 },
      steps: 300,
      batchSize: 5,
      learningRate: 0.003,
      shuffle: false,
    })
    const records = await recordsOf(run)
    expect(records[0]!.losses.map! / byHand('map')).toBeCloseTo(1, 4)
    expect(records[0]!.losses.logits! / byHand('logits')).toBeCloseTo(1, 4)
    expect(records[0]!.loss / (2 * byHand('map') + 0.5 * byHand('logits'))).toBeCloseTo(1, 4)
    expect(records[0]!.accuracy).toBeUndefined()
    expect(records.at(-1)!.loss).toBeLessThan(records[0]!.loss / 10)
    expect(await differing(teacher!, twin!)).toEqual([])
    for (const net of [teacher, twin, student]) net!.dispose()
  })
})
