import { join } from 'node:path'
import { graph, Network, networks, type PruneOptions, type PruneResult, slim, type TensorData, weights } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { scratch } from '../helpers/expect.ts'
import { differing, noise, relative, withNetwork } from '../helpers/tensors.ts'
import { exported, runOnnx } from '../onnx/helpers.ts'
import { randomise } from './masks.ts'
import { floats, randomImages, setTensor } from './training.ts'

const { add, build, concat, conv, globalAveragePool, input, linear, relu, relu6, sigmoid } = graph
type Value = graph.Value

/** Running statistics that follow within a few steps. */
const batchNorm = (x: Value, options: { name: string }) => graph.batchNorm(x, { ...options, momentum: 0.5 })

/** Scales of every third channel of every batch-norm that is not the last become 0, their shifts not. */
async function silence(network: Network, norms: string[]): Promise<void> {
  for (const norm of norms) {
    const [gamma, beta] = [await floats(network, `${norm}.weight`), await floats(network, `${norm}.bias`)]
    for (let i = 1; i < gamma.length; i += 3) {
      gamma[i] = 0
      beta[i] = 0.2 + 0.1 * i
    }
    await setTensor(network, `${norm}.weight`, gamma)
    await setTensor(network, `${norm}.bias`, beta)
  }
}

const normsOf = (network: Network) => network.graph.nodes.filter(({ op }) => op === 'batchNorm').map(({ name }) => name)

/** Cuts what has scale 0, with and without fold. */
async function cutZeros(network: Network, options: Partial<PruneOptions> = {}): Promise<[PruneResult, PruneResult]> {
  const cut = (fold: boolean) => slim.prune(network, { ratio: 1e-6, keepAtLeast: 1, score: 'scale', ...options, fold })
  return [await cut(true), await cut(false)]
}

async function outputOf(network: Network, image: TensorData, name = 'logits'): Promise<Float32Array> {
  return (await network.forward({ image }))[name]?.data as Float32Array
}

/** The worst difference to the whole network, relative to the largest value: folded, not folded. */
async function apart(network: Network, cuts: PruneResult[], image: TensorData, name?: string): Promise<number[]> {
  const whole = await outputOf(network, image, name)
  const all = []
  for (const { network: cut } of cuts) all.push(relative(await outputOf(cut, image, name), whole))
  return all
}

const image = () => input('image', [null, 3, 12, 12])
const head = (x: Value) => build({ logits: linear(globalAveragePool(x), { out: 4, name: 'classifier' }) })
const unit = (
  x: Value,
  name: string,
  options: Partial<Parameters<typeof conv>[1]> = {},
  activation: typeof relu | null = relu,
) => {
  const y = batchNorm(conv(x, { out: 9, kernel: 3, bias: false, ...options, name }), { name: `${name}_bn` })
  return activation ? activation(y) : y
}

/** Networks without zero padding. */
const unpadded: Record<string, { description: () => graph.Graph; strategies?: ('select' | 'group')[] }> = {
  'convolution, batch-norm, ReLU': { description: () => head(unit(unit(unit(image(), 'a'), 'b'), 'c')) },
  'other activations': {
    description: () => head(unit(unit(unit(image(), 'a', {}, relu6), 'b', {}, sigmoid), 'c', {}, null)),
  },
  'convolutions with biases': {
    description: () => head(unit(unit(image(), 'a', { bias: true }), 'b', { bias: true })),
  },
  'a convolution without batch-norm': {
    description: () => head(relu(conv(unit(image(), 'a'), { out: 5, kernel: 3, stride: 2, bias: false, name: 'b' }))),
  },
  'a linear layer': {
    description: () => {
      const x = relu(batchNorm(linear(input('image', [null, 12]), { out: 9, name: 'a' }), { name: 'a_bn' }))
      return build({ logits: linear(x, { out: 4, bias: false, name: 'classifier' }) })
    },
  },
  'padding around a 1x1 convolution alone': {
    description: () => head(unit(unit(unit(image(), 'a', { padding: 1 }), 'b', { kernel: 1 }), 'c', { kernel: 1 })),
  },
  concatenation: {
    description: () => {
      const x = image()
      const [a, b] = [unit(x, 'a'), unit(x, 'b')]
      return head(unit(concat([a, b, a]), 'c'))
    },
  },
  'pre-activation': {
    description: () => {
      const x = conv(image(), { out: 9, kernel: 3, name: 'stem' })
      return head(conv(relu(batchNorm(x, { name: 'a_bn' })), { out: 6, kernel: 3, bias: false, name: 'b' }))
    },
  },
  'a shared stream': {
    description: () => {
      const x = unit(image(), 'stem')
      const y = add([x, unit(unit(x, 'a', { kernel: 1 }), 'b', { kernel: 1 }, null)])
      return head(unit(relu(y), 'c'))
    },
  },
  'grouped convolution': { description: () => head(unit(unit(unit(image(), 'a'), 'b', { groups: 3 }), 'c')) },
  'depthwise convolution': {
    description: () => head(unit(unit(unit(image(), 'a'), 'b', { groups: 9 }), 'c', { kernel: 1 })),
  },
  'depthwise convolution without batch-norm': {
    description: () => {
      const x = conv(unit(image(), 'a'), { out: 9, kernel: 3, groups: 9, bias: true, name: 'b' })
      return head(unit(relu(x), 'c'))
    },
  },
}

describe('scales of 0 and shifts that are not: the folded network is the whole one', () => {
  for (const [name, { description }] of Object.entries(unpadded)) {
    test.each(['select', 'group'] as const)(`${name}, %s`, async (strategy) => {
      await withNetwork(description(), async (network) => {
        await randomise(network, 5)
        // A stream's channels go together: those of all that is added.
        await silence(network, normsOf(network))
        const cuts = await cutZeros(network, { strategy })
        const shape = network.graph.inputs[0]?.shape.map((size) => size ?? 2) as number[]
        const [folded, dropped] = (await apart(network, cuts, noise(shape, 2))) as [number, number]
        expect(cuts[0].report.channels.after).toBeLessThan(cuts[0].report.channels.before)
        expect(cuts[0].kept).toEqual(cuts[1].kept)
        expect(cuts[0].report.warnings).toEqual([])
        expect(folded).toBeLessThan(1e-5)
        // Had there been nothing to keep, this would show nothing.
        expect(dropped).toBeGreaterThan(1e-3)
        for (const { network: cut } of cuts) cut.dispose()
      })
    })
  }
})

test('zero padding: the pixels inside are those of the whole network, the border is nearer', async () => {
  const x = unit(unit(image(), 'a', { padding: 1 }), 'b', { padding: 1 })
  const description = build({ map: conv(x, { out: 2, kernel: 3, padding: 1, name: 'out' }) })
  await withNetwork(description, async (network) => {
    await randomise(network, 5)
    await silence(network, ['a_bn', 'b_bn'])
    const cuts = await cutZeros(network)
    const picture = noise([1, 3, 12, 12], 2)
    const [whole, folded, dropped] = await Promise.all(
      [network, ...cuts.map((cut) => cut.network)].map((each) => outputOf(each, picture, 'map')),
    )
    // Two convolutions of 3x3 read what was folded: two pixels on each side.
    const inside = (values?: Float32Array) =>
      values?.filter((_, i) => [i % 12, Math.floor(i / 12) % 12].every((place) => place >= 2 && place < 10))
    expect(inside(whole)).toHaveLength(2 * 64)
    expect(relative(inside(folded) ?? [], inside(whole) ?? [])).toBeLessThan(1e-5)
    expect(relative(inside(dropped) ?? [], inside(whole) ?? [])).toBeGreaterThan(1e-3)
    expect(relative(folded ?? [], whole ?? [])).toBeGreaterThan(1e-3)
    for (const { network: cut } of cuts) cut.dispose()
  })
})

describe('where the contribution goes', () => {
  test('into a bias that is there, the running mean that follows, or a new bias', async () => {
    const x = conv(unit(unit(image(), 'a'), 'b', { bias: true }), { out: 5, kernel: 3, bias: false, name: 'c' })
    await withNetwork(head(relu(x)), async (network) => {
      await randomise(network, 5)
      await silence(network, ['a_bn', 'b_bn'])
      const [folded, dropped] = await cutZeros(network)
      const names = (net: Network) => net.parameters().map(({ name }) => name)
      expect(names(folded.network).filter((name) => !names(dropped.network).includes(name))).toEqual(['c.bias'])
      for (const name of names(dropped.network)) {
        const same = `${await floats(folded.network, name)}` === `${await floats(dropped.network, name)}`
        expect(same, name).toBe(name !== 'b.bias')
      }
      expect(folded.network.graph.nodes.find(({ name }) => name === 'c')?.attributes?.bias).toBe(true)
      const layer = folded.report.layers.find(({ name }) => name === 'c')
      expect(layer?.parameters.after).toBe(5 * 6 * 9 + 5)
      for (const { network: cut } of [folded, dropped]) cut.dispose()
    })
    await withNetwork(head(unit(unit(image(), 'a'), 'b')), async (network) => {
      await randomise(network, 5)
      await silence(network, ['a_bn'])
      const [folded, dropped] = await cutZeros(network)
      expect(await differing(folded.network, dropped.network)).toEqual(['b_bn.running_mean'])
      for (const { network: cut } of [folded, dropped]) cut.dispose()
    })
  })

  test('saved, exported to PyTorch and to ONNX, a folded network stays what it is', async () => {
    const folder = scratch()
    const x = conv(unit(image(), 'a'), { out: 5, kernel: 3, bias: false, name: 'b' })
    const some = {
      biased: head(relu(x)),
      resnet: networks.resnet({ depth: 8 }),
      vgg: networks.vgg({ cfg: [8, 'M', 8] }),
    }
    for (const [name, description] of Object.entries(some)) {
      for (const strategy of ['select', 'group'] as const) {
        await withNetwork(description, async (network) => {
          await randomise(network, 5)
          const { network: cut } = await slim.prune(network, { ratio: 0.4, keepAtLeast: 1, fold: true, strategy })
          const picture = noise(network.graph.inputs[0]?.shape.map((size) => size ?? 2) as number[], 2)
          const wanted = await outputOf(cut, picture)
          const file = (ending: string) => join(folder, `${name}-${strategy}.${ending}`)

          await cut.save(file('safetensors'))
          const reopened = await Network.open(file('safetensors'))
          expect(await differing(reopened, cut)).toEqual([])
          expect(await outputOf(reopened, picture)).toEqual(wanted)

          await cut.exportPyTorch(file('pth'))
          const names = (await weights.list(file('pth'))).map((each) => each.name)
          expect(names).toEqual(cut.parameters().map((each) => each.name))
          const other = await Network.create(cut.graph, { device: 'cpu', seed: 9 })
          await other.load(file('pth'))
          expect(await differing(other, cut)).toEqual([])

          const session = await exported(cut, folder, { inputs: { image: picture.shape } })
          const { logits } = await runOnnx(session, { image: picture })
          expect(relative((logits as TensorData).data, wanted)).toBeLessThan(1e-5)
          for (const each of [reopened, other, cut]) each.dispose()
        })
      }
    }
  })
})

describe('constants that cannot be folded without fold: true', () => {
  // A removed channel is a constant behind the depthwise convolution's bias, and the next one pads it with zeros.
  const blurred = (): graph.Graph => {
    const x = conv(unit(image(), 'a', { out: 16 }), { out: 16, kernel: 3, groups: 16, name: 'b' })
    return head(unit(relu(x), 'c', { out: 16, padding: 1 }))
  }
  const options = { ratio: 0.4, keepAtLeast: 1 }
  test('stay, which is said; fold takes them out', async () => {
    await withNetwork(blurred(), async (network) => {
      await randomise(network, 3)
      await setTensor(network, 'b.bias', new Float32Array(16).fill(0.5))
      const kept = await slim.prune(network, options)
      expect(kept.kept.a_bn).toHaveLength(16)
      expect(kept.report.warnings).toEqual([expect.stringMatching(/channels cannot go.*fold: true/s)])
      const folded = await slim.prune(network, { ...options, fold: true })
      expect(folded.report.warnings).toEqual([])
      expect(folded.kept.a_bn?.length).toBeLessThan(16)
      for (const { network: cut } of [kept, folded]) cut.dispose()
    })
  })

  test('do not make a target a promise that is not kept', async () => {
    await withNetwork(blurred(), async (network) => {
      await randomise(network, 3)
      await setTensor(network, 'b.bias', new Float32Array(16).fill(0.5))
      const target = { macs: 0.3 }
      const { report } = await slim.prune(network, { target, keepAtLeast: 1, fold: true })
      expect(report.macs.after).toBeLessThanOrEqual(0.3 * report.macs.before)
      const without = await slim.prune(network, { target, keepAtLeast: 1 }).catch((error) => error)
      // Either it is reached, or the refusal says what is possible.
      if (without instanceof Error) expect(without.message).toMatch(/target: .*are left/s)
      else expect(without.report.macs.after).toBeLessThanOrEqual(0.3 * without.report.macs.before)
    })
  })

  test('widths stay multiples', async () => {
    await withNetwork(blurred(), async (network) => {
      await randomise(network, 3)
      const folded = await slim.prune(network, { ...options, roundTo: 4, fold: true })
      const gone = Array.from({ length: 16 }, (_, i) => i).filter((i) => !folded.kept.a_bn?.includes(i))
      expect(gone.length).toBeGreaterThan(3)
      folded.network.dispose()
      const bias = new Float32Array(16)
      for (const channel of gone.slice(0, 2)) bias[channel] = 0.5
      await setTensor(network, 'b.bias', bias)
      const { network: cut, report } = await slim.prune(network, { ...options, roundTo: 4 })
      for (const { name, channels } of report.layers)
        if (channels.after !== channels.before) expect(channels.after % 4, `${name}: ${channels.after}`).toBe(0)
      cut.dispose()
    })
  })
})

describe('random scales: folding brings the logits nearer to the whole network', () => {
  const padded = { padding: 1 }
  const wide = { padding: 1, out: 16 }
  const some: Record<string, () => Value> = {
    plain: () => unit(unit(unit(image(), 'a', wide), 'b', wide), 'c', wide),
    residual: () => {
      const x = unit(image(), 'stem', wide)
      return relu(add([x, unit(unit(x, 'a', padded), 'b', wide, null)]))
    },
    'pre-activation': () => {
      const x = conv(image(), { out: 16, kernel: 3, padding: 1, name: 'stem' })
      const y = conv(unit(relu(batchNorm(x, { name: 'one' })), 'a', wide), { out: 16, kernel: 1, name: 'b' })
      return relu(batchNorm(add([x, y]), { name: 'two' }))
    },
    concatenation: () => {
      const x = unit(image(), 'stem', wide)
      return unit(concat([x, unit(x, 'a', padded)]), 'b', wide)
    },
    depthwise: () => {
      const x = unit(unit(image(), 'a', wide), 'b', { ...wide, groups: 16 })
      return unit(unit(unit(x, 'c', { kernel: 1, out: 16 }), 'd', { ...wide, groups: 16 }), 'e', { kernel: 1 })
    },
  }

  /** Squared difference of the logits of a cut to those of the whole network, folded over not folded. */
  async function gain(network: Network, seed: number, strategy: 'select' | 'group'): Promise<number> {
    const shape: [number, number, number, number] = [16, 3, 12, 12]
    const images = randomImages(shape, 2)
    await randomise(network, seed)
    // Running statistics become those of the weights, as training leaves them; nothing is learnt.
    const still = { learningRate: 1e-30, schedule: 'constant' as const, sparsity: 0 }
    await slim.train(network, { train: images, steps: 8, batchSize: 16, ...still })
    const options = { strategy, ratio: 0.3, keepAtLeast: 1, score: 'scale' as const }
    const picture = { data: Float32Array.from(images.images, (value) => value / 255), shape }
    const wanted = await outputOf(network, picture)
    const errors: number[] = []
    for (const fold of [true, false]) {
      const { network: cut } = await slim.prune(network, { ...options, fold })
      const got = await outputOf(cut, picture)
      errors.push(got.reduce((sum, value, i) => sum + (value - (wanted[i] as number)) ** 2, 0))
      cut.dispose()
    }
    return (errors[0] as number) / (errors[1] as number)
  }

  for (const [name, body] of Object.entries(some)) {
    test.each(['select', 'group'] as const)(`${name}, %s`, async (strategy) => {
      await withNetwork(head(body()), async (network) => {
        const gains: number[] = []
        for (let seed = 1; seed <= 4; seed++) gains.push(await gain(network, seed, strategy))
        const mean = Math.exp(gains.reduce((sum, value) => sum + Math.log(value), 0) / gains.length)
        expect(mean, `${gains}`).toBeLessThan(0.8)
      })
    })
  }
})
