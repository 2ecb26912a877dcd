import { join } from 'node:path'
import { graph, Network, networks, type PruneOptions, type PruneResult, slim, type TensorData, weights } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { scratch } from '../helpers/expect.ts'
import { differing, noise, relative, withNetwork } from '../helpers/tensors.ts'
import { exported, runOnnx } from '../onnx/helpers.ts'
import { randomise } from './masks.ts'
import { floats, randomImages, setTensor } from './training.ts'

const { add, batchNorm, build, concat, conv, globalAveragePool, input, linear, relu, relu6, sigmoid } = graph
type Value = graph.Value

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
      const [a, b] = [unit(image(), 'a'), unit(image(), 'b')]
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

describe('random scales: folding brings the logits nearer to the whole network', () => {
  /** Running statistics that belong to the weights, as training leaves them. */
  async function settle(network: Network, shape: [number, number, number, number]): Promise<void> {
    await slim.train(network, {
      train: randomImages(shape, 2),
      steps: 40,
      batchSize: shape[0],
      learningRate: 1e-30,
      schedule: 'constant',
      sparsity: 0,
    })
  }
  const some: Record<string, { description: graph.Graph; shape: [number, number, number, number] }> = {
    vgg: { description: networks.vgg({ cfg: [16, 24, 'M', 24, 24], input: [3, 16, 16] }), shape: [16, 3, 16, 16] },
    preresnet: { description: networks.preresnet({ depth: 11 }), shape: [6, 3, 32, 32] },
    resnet: { description: networks.resnet({ depth: 8 }), shape: [6, 3, 32, 32] },
    densenet: { description: networks.densenet({ depth: 10 }), shape: [6, 3, 32, 32] },
    mlp: { description: networks.mlp(), shape: [32, 1, 28, 28] },
  }
  for (const [name, { description, shape }] of Object.entries(some)) {
    test.each(['select', 'group'] as const)(`${name}, %s`, async (strategy) => {
      let [folded, dropped] = [0, 0]
      for (let seed = 1; seed <= 4; seed++) {
        await withNetwork(description, async (network) => {
          await randomise(network, seed)
          await settle(network, shape)
          const options = { strategy, ratio: 0.3, keepAtLeast: 1, score: 'scale' as const }
          const cuts = [await slim.prune(network, { ...options, fold: true }), await slim.prune(network, options)]
          const { images } = randomImages(shape, 2)
          const data = Float32Array.from(images.subarray(0, images.length / 2), (value) => value / 255)
          const flat = network.graph.inputs[0]?.shape.length === 2
          const [count, ...sizes] = [shape[0] / 2, ...shape.slice(1)]
          const picture = { data, shape: flat ? [count as number, 784] : [count as number, ...sizes] }
          const wanted = await outputOf(network, picture)
          const error = async (cut?: PruneResult) => {
            const got = await outputOf(cut?.network as Network, picture)
            return got.reduce((sum, value, i) => sum + (value - (wanted[i] as number)) ** 2, 0)
          }
          folded += Math.log(await error(cuts[0]))
          dropped += Math.log(await error(cuts[1]))
          for (const { network: cut } of cuts) cut.dispose()
        })
      }
      expect(folded / 4).toBeLessThan(dropped / 4)
      console.log(name, strategy, Math.exp((folded - dropped) / 4).toFixed(3))
    })
  }
})
