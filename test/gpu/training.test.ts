import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Network, networks, OSVOS, type Precision, RTFM, slim } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { collect } from '../helpers/collect.ts'
import { failureOf, leftovers, scratch } from '../helpers/expect.ts'
import { disk } from '../helpers/pictures.ts'
import { differing } from '../helpers/tensors.ts'
import { videos } from '../rtfm/helpers.ts'
import { linearNetwork, randomImages, smallNetwork } from '../slim/training.ts'
import { absent, device, floats, gpuNote, noGpu, norm, note, within } from './helpers.ts'

const folder = scratch()
const { image, mask } = disk(96, 80)
const images = randomImages([64, 3, 8, 8], 3)

interface Settings {
  precision?: Precision
  seed?: number
  resume?: string
  checkpoint?: { path: string; every: number }
  signal?: AbortSignal
}

interface Trained {
  losses: number[]
  network: Network
  dispose: () => void
}

/** A training of each kind, always from the same start: so many steps. */
const kinds: Record<string, (steps: number, settings: Settings) => Promise<Trained>> = {
  'OSVOS, VGG16, SGD': (steps, settings) => fitOsvos('vgg16', steps, settings),
  'OSVOS, MobileNet, Adam, augmented': (steps, settings) =>
    fitOsvos('mobilenet', steps, { ...settings, augment: true }),
  'OSVOS, a decoder that matches, AdamW': async (steps, settings) => {
    const osvos = await OSVOS.open('default', { device })
    const run = osvos.fit(image, mask, { preset: 'balanced', iterations: steps, ...settings })
    const losses = (await collect(run)).map(({ loss }) => loss)
    const fitted = await run
    osvos.dispose()
    return { losses, network: fitted.network, dispose: () => fitted.dispose() }
  },
  'slimming, shuffled, with dropout': async (steps, settings) => {
    const network = await Network.create(smallNetwork(3, { dropout: 0.2 }), { device, seed: 3 })
    const run = slim.train(network, { train: images, steps, batchSize: 16, learningRate: 0.05, ...settings })
    const losses = (await collect(run)).map(({ loss }) => loss)
    await run
    return { losses, network, dispose: () => network.dispose() }
  },
  'RTFM, Adam, with dropout': (steps, settings) => fitRtfm('rtfm', steps, settings),
  'MIL ranking, Adagrad': (steps, settings) => fitRtfm('deepMil', steps, settings),
}

async function fitOsvos(backbone: 'vgg16' | 'mobilenet', steps: number, settings: Settings & { augment?: boolean }) {
  const { augment = false, ...rest } = settings
  const graph = networks.osvos({ backbone })
  // Activations keep their size through all layers, as with ImageNet's weights.
  for (const node of graph.nodes) {
    if (node.op === 'conv' && /^(stages|conv)/.test(node.name)) {
      node.init = { ...node.init, weight: { distribution: 'kaimingNormalFanIn' } }
    }
  }
  const start = join(folder, `${backbone}.safetensors`)
  if (!existsSync(start)) {
    const network = await Network.create(graph, { device: 'cpu', seed: 2 })
    await network.save(start)
    network.dispose()
  }
  const osvos = await OSVOS.open(start, { device })
  const run = osvos.fit(image, mask, { iterations: steps, ...(augment ? {} : { augment: false }), ...rest })
  const losses = (await collect(run)).map(({ loss }) => loss)
  const fitted = await run
  osvos.dispose()
  return { losses, network: fitted.network, dispose: () => fitted.dispose() }
}

async function fitRtfm(network: 'rtfm' | 'deepMil', steps: number, settings: Settings): Promise<Trained> {
  const start = join(folder, `${network}.safetensors`)
  const options = { network, featureSize: 16, dropout: 0.5 }
  if (!existsSync(start)) {
    const made = await RTFM.create({ ...options, device: 'cpu', seed: 2 })
    await made.save(start)
    made.dispose()
  }
  const rtfm = await RTFM.open(start, { device })
  const run = rtfm.fit(videos(5, 4), { steps, batchSize: 2, seed: 11, ...settings })
  const losses = (await collect(run)).map(({ loss }) => loss)
  await run
  return { losses, network: rtfm.network, dispose: () => rtfm.dispose() }
}

describe.skipIf(absent).each(Object.keys(kinds))(`%s${note}`, (name) => {
  const train = kinds[name] as (typeof kinds)[string]
  // Long enough for what is captured after some plain passes to be used, and for several updates.
  const steps = 40

  test('twice from one seed: the same, bit by bit', async () => {
    const [once, again] = [await train(steps, { seed: 4 }), await train(steps, { seed: 4 })]
    expect(once.losses).toHaveLength(steps)
    expect(again.losses).toEqual(once.losses)
    expect(await differing(again.network, once.network)).toEqual([])
    for (const each of [once, again]) each.dispose()
  })

  test.each([7, 25])('interrupted after step %i and resumed: the same, bit by bit', async (at) => {
    const path = join(folder, `${name.replaceAll(/\W/g, '')}-${at}.safetensors`)
    const whole = await train(steps, { seed: 4 })
    const controller = new AbortController()
    // The checkpoint of step `at` is the only one: the run is aborted when it is there.
    const cut = train(steps, { seed: 4, checkpoint: { path, every: at }, signal: controller.signal })
    const watch = setInterval(() => existsSync(path) && controller.abort('enough'), 1)
    const ended = await cut.then(
      (trained) => trained.dispose(),
      (reason: unknown) => reason,
    )
    clearInterval(watch)
    if (ended !== undefined) expect(ended).toBe('enough')
    const resumed = await train(steps, { seed: 4, resume: path })
    expect(resumed.losses).toEqual(whole.losses.slice(steps - resumed.losses.length))
    expect(await differing(resumed.network, whole.network)).toEqual([])
    for (const each of [whole, resumed]) each.dispose()
  })

  test('aborted: rejects with the reason, leaves nothing half-written, and the device free for the next', async () => {
    const reason = new Error('enough')
    const controller = new AbortController()
    setTimeout(() => controller.abort(reason), 300)
    const begin = performance.now()
    expect(await failureOf(() => train(1_000_000, { signal: controller.signal }))).toBe(reason)
    expect(performance.now() - begin).toBeLessThan(60_000)
    expect(leftovers(folder)).toEqual([])
    const next = await train(2, {})
    expect(next.losses.every(Number.isFinite)).toBe(true)
    next.dispose()
  })
})

// The set lies on a GPU, where pictures are picked, cropped, flipped and normalised.
test.skipIf(absent).each([
  ['in order', { shuffle: false, augment: false }],
  ['shuffled, cropped and flipped', { shuffle: true, augment: { pad: 2, flip: 0.5 } }],
] as const)(`slimming sees the pictures it sees on the CPU: %s${note}`, async (_, settings) => {
  const weights: Float32Array[] = []
  for (const place of ['cpu', device] as const) {
    const network = await Network.create(linearNetwork([3, 8, 8], 3), { device: place })
    const train = { ...images, mean: [0.4, 0.5, 0.6], std: [0.2, 0.3, 0.4] }
    await slim.train(network, { train, steps: 15, batchSize: 12, precision: 'float32', seed: 4, ...settings })
    weights.push(await floats(network, 'classifier.weight'))
    network.dispose()
  }
  const [cpu, other] = weights as [Float32Array, Float32Array]
  expect(norm(cpu)).toBeGreaterThan(0.1)
  expect(norm(cpu, other) / norm(cpu)).toBeLessThan(1e-5)
})

describe.skipIf(noGpu)(`bfloat16 beside float32${gpuNote}`, () => {
  /**
   * Bounds, relative to float32's losses: of the first loss, where the weights are the same, either way; and by how much the
   * mean of the last ten may be higher. (Lower it may be by any amount: when a short training comes off its plateau is chance.)
   */
  const bounds: Record<string, [first: number, last: number]> = {
    'OSVOS, VGG16, SGD': [0.02, 0.05],
    'OSVOS, MobileNet, Adam, augmented': [0.02, 0.15],
    'OSVOS, a decoder that matches, AdamW': [0.05, 0.25],
    'slimming, shuffled, with dropout': [0.02, 0.1],
    'RTFM, Adam, with dropout': [0.02, 0.15],
    'MIL ranking, Adagrad': [0.02, 0.15],
  }
  const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length

  test.each(Object.entries(bounds))('%s', async (name, [first, last]) => {
    const train = kinds[name] as (typeof kinds)[string]
    const precise = await train(60, { seed: 4, precision: 'float32' })
    const rough = await train(60, { seed: 4, precision: 'bfloat16' })
    const auto = await train(60, { seed: 4, precision: 'auto' })
    expect(auto.losses, "'auto' is bfloat16 on a GPU").toEqual(rough.losses)
    expect(rough.losses, 'bfloat16 has an effect').not.toEqual(precise.losses)
    within(rough.losses[0], precise.losses[0]!, first, 'first loss')
    const excess = mean(rough.losses.slice(-10)) / mean(precise.losses.slice(-10)) - 1
    expect(excess, 'last losses').toBeLessThanOrEqual(last)
    for (const each of [precise, rough, auto]) each.dispose()
  })

  test('an object learnt in bfloat16 is found as well as in float32', async () => {
    const found: Record<string, Uint8Array> = {}
    for (const precision of ['float32', 'bfloat16'] as const) {
      const osvos = await OSVOS.create({ backbone: 'mobilenet', device, seed: 1 })
      const fitted = await osvos.fit(image, mask, { iterations: 200, precision, seed: 4 })
      for await (const frame of fitted.segment([image])) found[precision] = frame.mask
      for (const each of [osvos, fitted]) each.dispose()
    }
    const { float32, bfloat16 } = found as Record<'float32' | 'bfloat16', Uint8Array>
    let [both, either] = [0, 0]
    for (const [i, value] of float32.entries()) {
      both += value & bfloat16[i]!
      either += value | bfloat16[i]!
    }
    expect(either).toBeGreaterThan(0)
    expect(both / either).toBeGreaterThan(0.9)
  })
})
