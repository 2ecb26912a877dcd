import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type graph as builders, type Network, networks, type TensorData } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { refuses, scratch, shared, sharedNote } from '../helpers/expect.ts'
import { formulaImage, formulaWeights } from '../helpers/formula.ts'
import { readFloats, writeFloats } from '../helpers/safetensors.ts'
import { noise, relative, sizeOf, stateOf, tensor, withNetwork } from '../helpers/tensors.ts'

const folder = scratch()

/** Numbers that are trained. */
function trained(network: Network): number {
  const rows = network.parameters().filter((row) => row.trainable)
  return rows.reduce((sum, { shape }) => sum + sizeOf(shape), 0)
}

/** The different numbers in a tensor. */
function distinct(tensor: TensorData | undefined): number[] {
  return [...new Set(Array.from(tensor?.data as ArrayLike<number | bigint>, Number))]
}

/** Names of the batch-norms, in the graph's order. */
function norms(graph: builders.Graph): string[] {
  return graph.nodes.filter(({ op }) => op === 'batchNorm').map(({ name }) => name)
}

function normChannels(graph: builders.Graph): number {
  return graph.nodes.reduce(
    (sum, { op, attributes }) => sum + (op === 'batchNorm' ? Number(attributes?.channels) : 0),
    0,
  )
}

describe('what they cost', () => {
  test.each([
    ['preresnet 20', 219_482, networks.preresnet({ depth: 20 })],
    ['preresnet 29', 312_218, networks.preresnet({ depth: 29 })],
    ['preresnet 56', 590_426, networks.preresnet({ depth: 56 })],
    ['preresnet 110', 1_146_842, networks.preresnet({ depth: 110 })],
    ['preresnet 164', 1_703_258, networks.preresnet()],
    ['densenet 40', 1_059_298, networks.densenet()],
    ['resnet 20', 269_722, networks.resnet()],
    ['resnet 56', 853_018, networks.resnet({ depth: 56 })],
    ['mlp', 784 * 500 + 500 * 300 + 300 * 10 + 10 + 2 * 800, networks.mlp()],
    ['mlp without batch-norm', 785 * 500 + 501 * 300 + 301 * 10, networks.mlp({ batchNorm: false })],
    ['vgg 11 for ImageNet', 132_868_840, networks.vgg({ depth: 11, head: 'imagenet' })],
  ])('%s has %i parameters', async (_, parameters, graph) => {
    await withNetwork(graph, async (network) => {
      expect(trained(network)).toBe(parameters)
      const image = [1, ...(graph.inputs[0]!.shape.slice(1) as number[])]
      expect((await network.summary({ image })).parameters).toBe(parameters)
    })
  })

  test('channels of all batch-norms', () => {
    expect(normChannels(networks.vgg({ depth: 19 }))).toBe(5_504)
    expect(normChannels(networks.preresnet({ depth: 164 }))).toBe(12_112)
  })

  test('multiply-accumulates of ResNet-20 and of VGG-11 for ImageNet', async () => {
    await withNetwork(networks.resnet({ depth: 20 }), async (network) => {
      expect((await network.summary({ image: [1, 3, 32, 32] })).macs).toBe(40_551_040)
    })
    await withNetwork(networks.vgg({ depth: 11, head: 'imagenet' }), async (network) => {
      expect((await network.summary({ image: [1, 3, 224, 224] })).macs).toBe(7_609_090_048)
    })
  })
})

describe('names', () => {
  test('preresnet: a block, in order', async () => {
    await withNetwork(networks.preresnet({ depth: 11 }), async (network) => {
      const names = network.parameters().map(({ name }) => name)
      const norm = (layer: string) =>
        ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked'].map((last) => `${layer}.${last}`)
      const block = (layer: string) => [
        ...norm(`${layer}.bn1`),
        `${layer}.select.indexes`,
        `${layer}.conv1.weight`,
        ...norm(`${layer}.bn2`),
        `${layer}.conv2.weight`,
        ...norm(`${layer}.bn3`),
        `${layer}.conv3.weight`,
        `${layer}.downsample.0.weight`,
      ]
      const blocks = ['layer1.0', 'layer2.0', 'layer3.0'].flatMap(block)
      const end = [...norm('bn'), 'select.indexes', 'fc.weight', 'fc.bias']
      expect(names).toEqual(['conv1.weight', ...blocks, ...end])
    })
  })

  test('only the first block of a layer has a convolution in its shortcut', () => {
    const { nodes } = networks.preresnet({ depth: 29 })
    const shortcuts = nodes.filter(({ name }) => name.includes('downsample')).map(({ name }) => name)
    expect(shortcuts).toEqual([1, 2, 3].map((layer) => `layer${layer}.0.downsample.0`))
  })

  test("resnet's shortcut: every second pixel, the new channels half before and half after", () => {
    const { nodes } = networks.resnet({ depth: 20 })
    const shortcuts = nodes.filter(({ op }) => op === 'subsample' || op === 'padChannels')
    expect(shortcuts.map(({ attributes }) => attributes)).toEqual([
      { stride: [2, 2] },
      { before: 8, after: 8 },
      { stride: [2, 2] },
      { before: 16, after: 16 },
    ])
  })

  test('densenet, mlp and the heads of vgg', async () => {
    const layers = (graph: builders.Graph) =>
      graph.nodes.filter(({ op }) => ['conv', 'linear', 'batchNorm', 'select'].includes(op)).map(({ name }) => name)
    const layer = (name: string) => [`${name}.bn1`, `${name}.select`, `${name}.conv1`]
    const blocks = ['dense1.0', 'trans1', 'dense2.0', 'trans2', 'dense3.0'].flatMap(layer)
    expect(layers(networks.densenet({ depth: 7 }))).toEqual(['conv1', ...blocks, 'bn', 'select', 'fc'])
    expect(layers(networks.mlp())).toEqual(['fc1', 'bn1', 'fc2', 'bn2', 'fc3'])
    const imagenet = layers(networks.vgg({ depth: 11, head: 'imagenet' }))
    const features = [0, 1, 4, 5, 8, 9, 11, 12, 15, 16, 18, 19, 22, 23, 25, 26].map((i) => `features.${i}`)
    expect(imagenet).toEqual([...features, 'classifier.0', 'classifier.3', 'classifier.6'])
  })

  test('each says which network it is', () => {
    const { vgg, preresnet, densenet, resnet, mlp, mobilenet } = networks
    for (const [network, make] of Object.entries({ vgg, preresnet, densenet, resnet, mlp, mobilenet })) {
      expect(make().labels).toMatchObject({ network })
    }
  })

  test.skipIf(!shared)(`resnet: those of resnet20-12fca82f.th${sharedNote}`, async () => {
    const bytes = readFileSync(join(shared!, 'weights/resnet20-12fca82f.th'), 'latin1')
    const inFile = new Set(
      [...bytes.matchAll(/module\.([\w.]+\.(?:weight|bias|running_mean|running_var))/g)].map((m) => m[1]),
    )
    await withNetwork(networks.resnet({ depth: 20 }), async (network) => {
      const names = network.parameters().map(({ name }) => name)
      expect(new Set(names.filter((name) => !name.endsWith('num_batches_tracked')))).toEqual(inFile)
      expect(inFile.size).toBe(97)
    })
  })
})

describe('how they start', () => {
  const deviation = (data: ArrayLike<number | bigint>) => {
    const values = Array.from(data, Number)
    const mean = values.reduce((a, b) => a + b, 0) / values.length
    return Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length)
  }

  test.each([
    ['vgg', 0.5, networks.vgg({ depth: 11 }), { 'feature.4': 9 * 128, 'feature.22': 9 * 512 }],
    [
      'preresnet',
      0.5,
      networks.preresnet({ depth: 11 }),
      { conv1: 9 * 16, 'layer3.0.conv2': 9 * 64, 'layer2.0.conv3': 128 },
    ],
    [
      'densenet',
      0.5,
      networks.densenet({ depth: 13 }),
      { conv1: 9 * 24, 'dense3.2.conv1': 9 * 12, 'trans2.conv1': 96 },
    ],
    ['resnet', 1, networks.resnet(), { 'layer2.0.conv1': 9 * 16, 'layer3.0.conv1': 9 * 32, linear: 64 }],
  ])('%s: convolutions from N(0, sqrt(2 / fan)), scales from %d', async (_, gamma, graph, fans) => {
    const state = await withNetwork(graph, stateOf, { seed: 5 })
    for (const [layer, fan] of Object.entries(fans)) {
      const { data } = state.get(`${layer}.weight`)!
      const tolerance = 4 / Math.sqrt(2 * data.length) // four standard errors
      expect(Math.abs(deviation(data) / Math.sqrt(2 / fan) - 1), layer).toBeLessThan(tolerance)
    }
    for (const norm of norms(graph)) {
      expect(distinct(state.get(`${norm}.weight`))).toEqual([gamma])
      expect(distinct(state.get(`${norm}.bias`))).toEqual([0])
    }
    for (const [name, indexes] of state) if (name.endsWith('indexes')) expect(distinct(indexes)).toEqual([1])
  })

  test("vgg's linear layers from N(0, 0.01), the others as PyTorch's", async () => {
    const vgg = await withNetwork(networks.vgg({ depth: 11 }), stateOf)
    expect(Math.abs(deviation(vgg.get('classifier.weight')!.data) / 0.01 - 1)).toBeLessThan(0.05)
    expect(distinct(vgg.get('classifier.bias'))).toEqual([0])
    const preresnet = await withNetwork(networks.preresnet({ depth: 11 }), stateOf)
    const { data } = preresnet.get('fc.weight')!
    const largest = Math.max(...Array.from(data as ArrayLike<number>, Math.abs))
    expect(largest).toBeGreaterThan(0.99 / 16) // uniform within 1 / sqrt(256)
    expect(largest).toBeLessThanOrEqual(1 / 16)
  })
})

describe.skipIf(!shared)(`goldens${sharedNote}`, () => {
  const make = { vgg: networks.vgg, resnet: networks.preresnet, densenet: networks.densenet }
  const [mean, std] = [
    [0.4914, 0.4822, 0.4465],
    [0.2023, 0.1994, 0.201],
  ]

  test.each(['vgg11_50', 'vgg16_70', 'preresnet29_40', 'densenet40_40'])('%s: logits, layers, cfg', async (name) => {
    const base = join(shared!, 'golden/slim', name)
    const golden = JSON.parse(readFileSync(`${base}.json`, 'utf8'))
    const network = make[golden.arch as keyof typeof make]
    const graph = network({ depth: golden.depth, classes: 10 })
    expect(norms(graph)).toEqual(Object.keys(golden.kept))
    await withNetwork(graph, async (network) => {
      expect(trained(network)).toBe(golden.parameters_before)
      const file = join(folder, `${name}.safetensors`)
      writeFloats(file, formulaWeights(network.parameters(), golden.seed))
      await network.load(file, { strict: false })
      const shape = [golden.batch, 3, 32, 32]
      const bytes = formulaImage(sizeOf(shape), golden.seed)
      const image = tensor(shape, (i) => {
        const channel = Math.floor(i / 1024) % 3
        return (bytes[i]! / 255 - mean![channel]!) / std![channel]!
      })
      const { logits } = await network.forward({ image })
      expect(relative(logits!.data, readFloats(`${base}.safetensors`).base!.data)).toBeLessThan(1e-4)
    })
    // The cfg of the slimmed network alone gives the same depth and the slimmed layers.
    await withNetwork(network({ cfg: golden.cfg }), async (slimmed) => {
      expect(trained(slimmed)).toBe(golden.parameters_after)
      expect(norms(slimmed.graph)).toEqual(Object.keys(golden.kept))
    })
  })
})

describe('forms', () => {
  test.each([
    ['a small vgg for MNIST', networks.vgg({ input: [1, 28, 28], cfg: [4, 'M', 8, 'M', 8, 'M', 6], classes: 7 }), 7],
    [
      'a vgg with the ImageNet head',
      networks.vgg({ input: [3, 40, 64], cfg: [4, 'M', 'M', 'M', 2], head: 'imagenet', classes: 9 }),
      9,
    ],
    ['an mlp of another size', networks.mlp({ layers: [48, 6, 3], input: [3, 4, 4] }), 3],
    ['an mlp without hidden layers', networks.mlp({ layers: [784, 4] }), 4],
    ['a resnet for larger pictures', networks.resnet({ depth: 8, classes: 3, input: [3, 48, 40] }), 3],
    ['a preresnet for 100 classes', networks.preresnet({ depth: 11, classes: 100 }), 100],
    ['a densenet of growth 4', networks.densenet({ depth: 10, growth: 4, classes: 5 }), 5],
  ])('%s', async (_, graph, classes) => {
    await withNetwork(graph, async (network) => {
      const shape = [2, ...(graph.inputs[0]!.shape.slice(1) as number[])]
      const { logits } = await network.forward({ image: noise(shape) })
      expect(logits?.shape).toEqual([2, classes])
      expect([...logits!.data].every((x) => Number.isFinite(Number(x)))).toBe(true)
    })
  })

  test("the ImageNet head's first layer takes what the pools leave", async () => {
    const graph = networks.vgg({ depth: 11, head: 'imagenet' })
    const [first] = graph.nodes.filter(({ name }) => name === 'classifier.0')
    expect(first?.attributes).toMatchObject({ in: 25088, out: 4096 })
    const dropouts = graph.nodes.filter(({ op }) => op === 'dropout')
    expect(dropouts.map(({ attributes }) => attributes?.probability)).toEqual([0.5, 0.5])
    expect(graph.outputs).toEqual({ logits: 'classifier.6' })
  })
})

describe('what they refuse', () => {
  const { vgg, preresnet, densenet, resnet, mlp } = networks
  const cfg = [16, 16, 16, 64, 32, 32, 128, 64, 64, 256] // of preresnet 11
  test.each([
    ['a depth that is not 9n + 2', () => preresnet({ depth: 21 }), /depth: got 21, wanted 9n \+ 2: 11, 20, 29/],
    ['a depth of no blocks', () => preresnet({ depth: 2 }), /depth: got 2, wanted a whole number of at least 11/],
    ['a cfg of no depth', () => preresnet({ cfg: cfg.slice(1) }), /cfg: got "9 numbers", wanted 9n \+ 1 numbers/],
    ['an empty cfg', () => densenet({ cfg: [] }), /cfg: got "0 numbers", wanted 3n \+ 3/],
    ['depth and cfg at odds', () => preresnet({ depth: 20, cfg }), /depth: got 20, wanted 11, which is the depth/],
    [
      'a selection of more channels than there are',
      () => preresnet({ cfg: [17, ...cfg.slice(1)] }),
      /cfg\[0\]: got 17, wanted a whole number from 1 to 16/,
    ],
    ['a layer without channels', () => preresnet({ cfg: [16, 0, ...cfg.slice(2)] }), /cfg\[1\]: got 0/],
    [
      'the same in a densenet',
      () => densenet({ depth: 7, cfg: [24, 36, 37, 48, 48, 60] }),
      /cfg\[2\]: got 37, wanted a whole number from 1 to 36/,
    ],
    ['a depth that is not 6n + 2', () => resnet({ depth: 18 }), /depth: got 18, wanted 6n \+ 2: 8, 14, 20/],
    ['an unknown VGG', () => vgg({ depth: 12 }), /depth: got 12, wanted 11, 13, 16 or 19, or cfg/],
    ['an unknown head', () => vgg({ head: 'tail' as 'cifar' }), /head: got "tail"/],
    ['a cfg that is none', () => vgg({ cfg: 'A' as never }), /cfg: got "A", wanted a list of widths/],
    ['a width that is none', () => vgg({ cfg: [8, 'P' as 'M'] }), /cfg\[1\]: got "P"/],
    [
      'pictures too small for the pools',
      () => vgg({ input: [3, 8, 32] }),
      /input: got \[3, 8, 32\], wanted pictures of at least 16x16/,
    ],
    [
      'an input that is no shape',
      () => resnet({ input: [3, 32] as never }),
      /input: got \[3, 32\], wanted \[channels, height, width\]/,
    ],
    [
      'a layer list that does not fit the picture',
      () => mlp({ layers: [100, 10] }),
      /layers\[0\]: got 100, wanted 784/,
    ],
    ['too few layers', () => mlp({ layers: [784] }), /layers: got \[784\], wanted a list of at least two/],
    ['no classes', () => densenet({ classes: 0 }), /classes: got 0/],
  ])('%s', async (_, action, message) => {
    await refuses('ERR_INVALID_ARGUMENT', message, action)
  })
})
