import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type graph as builders, type Network, networks, type TensorData } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { shared, sharedNote } from '../helpers/expect.ts'
import { formulaWeights, uniform01 } from '../helpers/formula.ts'
import { readFloats } from '../helpers/safetensors.ts'
import { relative, sizeOf, withNetwork } from '../helpers/tensors.ts'

const folder = shared === undefined ? '' : join(shared, 'golden/features')

/** What the goldens tell of a map. */
interface Statistics {
  shape: number[]
  mean: number
  std: number
  absmax: number
  sample: { index: number[]; value: number[] }
}

function golden(name: string) {
  return JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8'))
}

/** The goldens' clip: bytes by the formula, scaled. */
function clipOf(shape: number[], seed: number, scale: (byte: number) => number): TensorData {
  const bytes = uniform01('clip', sizeOf(shape), seed)
  return { shape, data: new Float32Array(bytes.map((u) => scale(Math.floor(u * 256)))) }
}

const inceptionScale = (x: number) => (x / 255) * 2 - 1
const resnetScale = (x: number) => (x - 114.75) / 57.375

/** Runs `use` with a network that has the goldens' weights. */
async function withFormula<T>(graph: builders.Graph, seed: number, use: (network: Network) => Promise<T>): Promise<T> {
  return await withNetwork(graph, async (network) => {
    for (const [name, value] of formulaWeights(network.parameters(), seed)) await network.handle.write(name, value)
    return await use(network)
  })
}

/** The graph with other layers' values as its outputs, by the layers' names. */
function endpoints(graph: builders.Graph, layers: Record<string, string>): builders.Graph {
  return { ...graph, outputs: layers }
}

function expectStatistics(name: string, value: TensorData, wanted: Statistics): void {
  expect(value.shape, name).toEqual(wanted.shape)
  const data = value.data as Float32Array
  const mean = data.reduce((sum, x) => sum + x, 0) / data.length
  const variance = data.reduce((sum, x) => sum + (x - mean) ** 2, 0) / data.length
  const largest = data.reduce((most, x) => Math.max(most, Math.abs(x)), 0)
  const gap = (a: number, b: number) => Math.abs(a - b) / wanted.absmax
  expect(gap(mean, wanted.mean), `mean of ${name}`).toBeLessThan(1e-5)
  expect(gap(Math.sqrt(variance), wanted.std), `deviation of ${name}`).toBeLessThan(1e-5)
  expect(gap(largest, wanted.absmax), `largest of ${name}`).toBeLessThan(1e-4)
  for (const [i, index] of wanted.sample.index.entries())
    expect(gap(data[index]!, wanted.sample.value[i]!), `${name}[${index}]`).toBeLessThan(1e-4)
}

/** The name of the ReLU that reads a layer's value, through sums and batch-norms. */
function after(graph: builders.Graph, name: string): string {
  let at = name
  for (;;) {
    const reader = graph.nodes.find(({ inputs }) => inputs.includes(at))
    if (reader === undefined) throw new Error(`nothing reads ${at}`)
    at = reader.name
    if (reader.op === 'relu') return at
  }
}

/** Expects the golden's features and logits of 16 frames of 224 x 224, from the same weights. */
async function expectFullSize(network: Network, name: string, scale: (byte: number) => number): Promise<void> {
  const { weights_seed, clip_seed, input } = golden(name)
  expect(weights_seed).toBe(1)
  const tensors = readFloats(join(folder, `${name}.safetensors`))
  const clip = clipOf(input.uint8_shape, clip_seed, scale)
  const { features, logits } = await network.forward({ clip }, { outputs: ['features', 'logits'] })
  expect(relative(features!.data, tensors.features!.data)).toBeLessThan(1e-5)
  expect(relative(logits!.data, tensors.logits!.data)).toBeLessThan(1e-5)
}

/** Mean cross-entropy of logits (N, classes). */
function crossEntropy({ data, shape }: TensorData, labels: number[]): number {
  const classes = shape[1]!
  const losses = labels.map((label, n) => {
    const row = Array.from(data.slice(n * classes, (n + 1) * classes), Number)
    const largest = Math.max(...row)
    return Math.log(row.reduce((sum, x) => sum + Math.exp(x - largest), 0)) + largest - row[label]!
  })
  return losses.reduce((a, b) => a + b, 0) / losses.length
}

function parameterCount(network: Network): number {
  return network
    .parameters()
    .filter(({ trainable }) => trainable)
    .reduce((sum, { shape }) => sum + sizeOf(shape), 0)
}

describe('what they cost', () => {
  const clip = [1, 3, 16, 224, 224]
  test.each([
    ['i3d', networks.i3d(), 12_697_264, clip, 27.79],
    ['i3dResnet50', networks.i3dResnet50(), 28_043_472, clip, 16.42],
    ['i3dResnet50, non-local', networks.i3dResnet50({ nonLocal: true }), 35_401_936, clip, 19.73],
    ['c3d', networks.c3d(), 79_991_015, [1, 3, 16, 112, 112], 38.55],
  ])('%s', async (_, graph, parameters, shape, giga) => {
    await withNetwork(graph, async (network) => {
      expect(parameterCount(network)).toBe(parameters)
      const { macs } = await network.summary({ clip: shape })
      expect(macs / 1e9).toBeCloseTo(giga, 1)
    })
  })
})

describe.skipIf(shared === undefined)(`the references' numbers${sharedNote}`, () => {
  test('i3d: every endpoint, features, logits; the loss with batch statistics', async () => {
    const { seed, input, endpoints: layers, train } = golden('i3d_inception_16x64x64')
    const tensors = readFloats(join(folder, 'i3d_inception_16x64x64.safetensors'))
    const clip = clipOf(input.uint8_shape, seed, inceptionScale)
    const graph = networks.i3d({ dropout: 0 })
    const names = Object.keys(layers).filter((name) => name !== 'logits' && !name.startsWith('avg'))
    expect(names).toHaveLength(16)
    const outputs = Object.fromEntries(
      names.map((name) => [name, graph.nodes.some((node) => node.name === name) ? name : `${name}.relu`]),
    )
    await withFormula(endpoints(graph, { ...outputs, ...graph.outputs }), seed, async (network) => {
      await expectFullSize(network, 'i3d_inception_full', inceptionScale)
      const out = await network.forward({ clip })
      for (const name of names) expectStatistics(name, out[name]!, layers[name])
      expect(relative(out.Mixed_5c!.data, tensors.Mixed_5c!.data)).toBeLessThan(1e-5)
      expect(relative(out.features!.data, tensors.features_global_mean!.data)).toBeLessThan(1e-5)
      expect(relative(out.logits!.data, tensors.logits_global_mean!.data)).toBeLessThan(1e-5)
      expect(out.logits!.shape).toEqual([1, 400])
      const { logits } = await network.forward({ clip }, { training: true, outputs: ['logits'] })
      expect(Math.abs(crossEntropy(logits!, [train.label]) / train.loss - 1)).toBeLessThan(1e-5)
    })
  })

  test.each([
    ['i3d_r50_16x64x64', false],
    ['i3d_r50_nl_16x64x64', true],
  ])('%s: every layer, features, logits; the loss with batch statistics', async (name, nonLocal) => {
    const { seed, input, layers, train } = golden(name)
    const tensors = readFloats(join(folder, `${name}.safetensors`))
    const clip = clipOf(input.uint8_shape, seed, resnetScale)
    const graph = networks.i3dResnet50({ nonLocal, dropout: 0 })
    const blocks = [3, 4, 6, 3]
    const maps: Record<string, string> = { conv1: 'conv1', maxpool1: 'maxpool1', maxpool2: 'maxpool2' }
    for (const layer of Object.keys(layers)) {
      const last = layer.match(/^layer(\d)$/)?.[1]
      if (layer.endsWith('.nl')) maps[layer] = graph.nodes.find(({ inputs }) => inputs.includes(`${layer}.bn`))!.name
      if (last === undefined) continue
      const block = `${layer}.${blocks[Number(last) - 1]! - 1}`
      const nl = graph.nodes.find(({ inputs }) => inputs.includes(`${block}.nl.bn`))?.name
      maps[layer] = nl ?? after(graph, `${block}.bn3`)
    }
    const told = Object.keys(layers).filter((layer) => layers[layer].mean !== undefined && layer in maps)
    expect(told.length).toBeGreaterThanOrEqual(7)
    await withFormula(endpoints(graph, { ...maps, ...graph.outputs }), seed, async (network) => {
      await expectFullSize(network, name.replace('16x64x64', 'full'), resnetScale)
      const out = await network.forward({ clip })
      for (const layer of told) expectStatistics(layer, out[layer]!, layers[layer])
      expect(relative(out.features!.data, tensors.features!.data)).toBeLessThan(1e-5)
      expect(relative(out.logits!.data, tensors.logits!.data)).toBeLessThan(1e-5)
      const { logits } = await network.forward({ clip }, { training: true, outputs: ['logits'] })
      expect(Math.abs(crossEntropy(logits!, train.labels) / train.loss - 1)).toBeLessThan(1e-5)
    })
  })

  test('c3d: every pool, fc6, fc7, logits; both ways to make 7 rows 4', async () => {
    const { weights_seed, clip_seed, input, layers } = golden('c3d')
    const tensors = readFloats(join(folder, 'c3d.safetensors'))
    const clip = clipOf(input.uint8_shape, clip_seed, (x) => x - 128)
    const padded = networks.c3d({ pool5: 'padded' })
    const names = Object.keys(layers).filter((name) => padded.nodes.some((node) => node.name === name))
    expect(names.length).toBeGreaterThanOrEqual(9)
    const outputs = { ...Object.fromEntries(names.map((name) => [name, name])), ...padded.outputs, relu7: 'fc7.relu' }
    await withFormula(endpoints(padded, outputs), weights_seed, async (network) => {
      expect(parameterCount(network)).toBe(79_991_015)
      const out = await network.forward({ clip })
      for (const name of names) expectStatistics(name, out[name]!, layers[name])
      expect(relative(out.features!.data, tensors.fc6_relu!.data)).toBeLessThan(1e-5)
      expect(relative(out.relu7!.data, tensors.fc7_relu!.data)).toBeLessThan(1e-5)
      expect(relative(out.logits!.data, tensors.logits!.data)).toBeLessThan(1e-5)
      const view = await network.view(endpoints(networks.c3d(), { features: 'fc6.relu', relu7: 'fc7.relu' }))
      const ceil = await view.forward({ clip })
      expect(relative(ceil.features!.data, tensors.fc6_relu_pool5_ceil!.data)).toBeLessThan(1e-5)
      expect(relative(ceil.relu7!.data, tensors.fc7_relu_pool5_ceil!.data)).toBeLessThan(1e-5)
      view.dispose()
    })
  })
})
