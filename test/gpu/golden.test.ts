import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Network, networks, OSVOS, RTFM, slim, weights } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { collect } from '../helpers/collect.ts'
import { scratch, shared, sharedNote } from '../helpers/expect.ts'
import { formulaImage, formulaWeights, uniform01 } from '../helpers/formula.ts'
import { readFloats, writeFloats } from '../helpers/safetensors.ts'
import { noise, relative, tensor } from '../helpers/tensors.ts'
import { absent, device, floats, norm, note, twins, within } from './helpers.ts'

// The references' numbers, at float32 with TF32 off, within the bounds that the CPU's tests keep.

const folder = scratch()
const skip = absent || shared === undefined
const why = note || sharedNote
const precision = 'float32'
const readGolden = (name: string) => JSON.parse(readFileSync(join(shared!, 'golden', `${name}.json`), 'utf8'))

/** A network's weights by the goldens' formula, from a file. */
async function load(network: Network, seed: number, name: string) {
  const file = join(folder, `${name}.safetensors`)
  const start = formulaWeights(network.parameters(), seed)
  writeFloats(file, start)
  await network.load(file, { strict: false })
  return start
}

describe.skipIf(skip).each(['forward_64x96', 'forward_75x101'])(`OSVOS: %s${why}`, (name) => {
  const given = () => {
    const golden = readGolden(`osvos/${name}`)
    const { H: height, W: width, seed, mask } = golden
    const area = height * width
    const rgb = formulaImage(3 * area, seed)
    const mean = [104.00699, 116.66877, 122.67892]
    const image = tensor([1, 3, height, width], (i) => {
      const channel = Math.floor(i / area)
      return Math.fround(rgb[(2 - channel) * area + (i % area)]! - Math.fround(mean[channel]!))
    })
    const picture = {
      data: Uint8Array.from(rgb, (_, i) => rgb[(i % 3) * area + Math.floor(i / 3)]!),
      width,
      height,
      channels: 3 as const,
    }
    const inside = (x: number, y: number) =>
      y >= mask.rows[0] && y < mask.rows[1] && x >= mask.cols[0] && x < mask.cols[1]
    const marks = Uint8Array.from({ length: area }, (_, i) => (inside(i % width, Math.floor(i / width)) ? 255 : 0))
    const tensors = readFloats(join(shared!, 'golden/osvos', `${name}.safetensors`))
    return { golden, tensors, seed, image, picture, mask: { data: marks, width, height, channels: 1 as const } }
  }
  const model = async (seed: number) => {
    const osvos = await OSVOS.create({ backbone: 'vgg16', device })
    await load(osvos.network, seed, name)
    return osvos
  }

  test('logits', async () => {
    const { tensors, seed, image } = given()
    const osvos = await model(seed)
    const out = await osvos.network.forward({ image })
    for (const [i, output] of ['side1', 'side2', 'side3', 'side4', 'fuse'].entries()) {
      expect(relative(out[output]!.data, tensors[`logits.${i}`]!.data), output).toBeLessThanOrEqual(1e-4)
    }
    osvos.dispose()
  })

  test('the online gradient of every parameter', async () => {
    const { golden, seed, picture, mask } = given()
    const osvos = await model(seed)
    const plain = { accumulate: 1, augment: false, learningRate: 1, momentum: 0, weightDecay: 0 } as const
    const fitted = await osvos.fit(picture, mask, { iterations: 1, ...plain, device, precision })
    for (const [parameter, wanted] of Object.entries(golden.grad_norm_fuse_only as Record<string, number>)) {
      const rate = (parameter.startsWith('fuse') ? 0.01 : 1) * (parameter.endsWith('.bias') ? 2 : 1)
      const moved = norm(await floats(fitted.network, parameter), await floats(osvos.network, parameter)) / rate
      within(moved, wanted, 1e-4, parameter)
    }
    for (const each of [osvos, fitted]) each.dispose()
  })

  test('twenty passes, four updates', async () => {
    const { golden, tensors, seed, picture, mask, image } = given()
    const osvos = await model(seed)
    const settings = { iterations: 20, accumulate: 5, augment: false, learningRate: 1e-8 } as const
    const run = osvos.fit(picture, mask, { ...settings, device, precision })
    const trace = (await collect(run)).map(({ loss }) => loss)
    const fitted = await run
    const wanted = golden.online_loss_trace_20_passes_accumulate_5 as number[]
    expect(trace).toHaveLength(20)
    for (const [i, loss] of trace.entries()) within(loss, wanted[i]!, i < 5 ? 1e-5 : 1e-3, `pass ${i + 1}`)
    const movement = golden.online_param_delta_norm_after_4_updates as Record<string, number>
    for (const [parameter, delta] of Object.entries(movement)) {
      const moved = norm(await floats(fitted.network, parameter), await floats(osvos.network, parameter))
      if (delta === 0) expect(moved, parameter).toBe(0)
      else within(moved, delta, 1e-3, parameter)
    }
    const after = await fitted.network.forward({ image }, { outputs: ['fuse'] })
    expect(relative(after.fuse!.data, tensors.logits_after_4_updates!.data)).toBeLessThanOrEqual(1e-3)
    for (const each of [osvos, fitted]) each.dispose()
  })
})

describe.skipIf(skip)(`slimming: three sparse steps${why}`, () => {
  test.each(['vgg11_50', 'vgg16_70', 'preresnet29_40', 'densenet40_40'])('%s', async (name) => {
    const { batch, seed, labels, depth, arch, sparse_train: wanted } = readGolden(`slim/${name}`)
    const { vgg, preresnet, densenet } = networks
    const make = { vgg, resnet: preresnet, densenet }[arch as 'vgg' | 'resnet' | 'densenet']
    const net = await Network.create(make({ depth, classes: 10 }), { device })
    await load(net, seed, name)
    const train = {
      images: formulaImage(batch * 3072, seed),
      shape: [batch, 3, 32, 32] as [number, number, number, number],
      labels,
      mean: [0.4914, 0.4822, 0.4465],
      std: [0.2023, 0.1994, 0.201],
    }
    const recipe = {
      learningRate: wanted.lr,
      momentum: wanted.momentum,
      weightDecay: wanted.weight_decay,
      sparsity: wanted.s,
      schedule: 'constant',
      augment: false,
      shuffle: false,
    } as const
    const run = slim.train(net, { train, steps: 3, batchSize: batch, ...recipe, device, precision })
    const losses = (await collect(run)).map(({ loss }) => loss)
    await run
    expect(relative(losses, wanted.loss), `${losses}`).toBeLessThanOrEqual(1e-4)
    const norms: Record<string, number> = { ...wanted.param_norm_after }
    for (const [layer, value] of Object.entries(wanted.gamma_norm_after)) norms[`${layer}.weight`] = value as number
    for (const [parameter, value] of Object.entries(norms)) {
      within(norm(await floats(net, parameter)), value, 1e-4, parameter)
    }
    net.dispose()
  })
})

describe.skipIf(skip)(`RTFM${why}`, () => {
  const [crops, segments, size] = [10, 32, 2048]
  const features = (name: string, count: number, seed: number) =>
    Float32Array.from(uniform01(name, count, seed), (u) => 2 * u ** 4)
  /** (crops, T, F) at `index` to (T, crops, F). */
  const bag = (all: Float32Array, index: number, length = segments) => {
    const data = new Float32Array(length * crops * size)
    for (let crop = 0; crop < crops; crop++) {
      for (let t = 0; t < length; t++) {
        const from = ((index * crops + crop) * length + t) * size
        data.set(all.subarray(from, from + size), (t * crops + crop) * size)
      }
    }
    return { data, shape: [length, crops, size] }
  }

  test('a video scored; gradients; three steps of Adam', async () => {
    const golden = readGolden('rtfm/batch2')
    const { batch, seed } = golden as { batch: number; seed: number }
    const tensors = readFloats(join(shared!, 'golden/rtfm/batch2.safetensors'))
    const rtfm = await RTFM.create({ dropout: 0, device })
    const start = await load(rtfm.network, seed, 'rtfm')

    const { scores, magnitudes } = await rtfm.score(bag(features('video', crops * 53 * size, seed), 0, 53))
    expect(relative(scores, tensors.eval_scores_T53!.data)).toBeLessThanOrEqual(1e-5)
    expect(relative(magnitudes!, tensors.eval_magnitudes_T53!.data)).toBeLessThanOrEqual(1e-5)

    const count = batch * crops * segments * size
    const bags = (name: string, from: number) => {
      const all = features(name, count, from)
      return Array.from({ length: batch }, (_, i) => bag(all, i))
    }
    const videos = { normal: bags('normal', seed), abnormal: bags('abnormal', seed + 1000) }
    const { lr: learningRate, weight_decay: weightDecay } = golden.adam_3_steps
    const path = join(folder, 'step.safetensors')
    const settings = { batchSize: batch, learningRate, weightDecay, shuffle: false, device, precision } as const
    const first = rtfm.fit(videos, { ...settings, steps: 1, checkpoint: { path, every: 1 } })
    const records = await collect(first)
    await first
    for (const [name, wanted] of Object.entries(golden.grad_norm as Record<string, number>)) {
      // Adam's first moment is then a tenth of the gradient, to which the decay was added.
      const moment = (await weights.read(path, `torchvid.optimizer.first.${name}`)).data as Float32Array
      const before = start.get(name)!.data as Float32Array
      const gradient = norm(Float64Array.from(moment, (m, i) => 10 * m - weightDecay * before[i]!))
      // Batch-norm undoes this bias: what the reference has there is rounding.
      if (wanted < 1e-6) expect(gradient, name).toBeLessThan(1e-5)
      else within(gradient, wanted, 1e-4, `gradient of ${name}`)
    }
    const rest = rtfm.fit(videos, { ...settings, steps: 3, resume: path })
    records.push(...(await collect(rest)))
    await rest
    expect(records.map(({ step }) => step)).toEqual([1, 2, 3])
    for (const [i, { total }] of (golden.adam_3_steps.loss as { total: number }[]).entries()) {
      within(records[i]!.loss, total, i === 0 ? 1e-5 : 1e-4, `step ${i + 1}`)
    }
    for (const [name, wanted] of Object.entries(golden.param_norm_after_3_steps as Record<string, number>)) {
      within(norm(await floats(rtfm.network, name)), wanted, 1e-4, name)
    }
    rtfm.dispose()
  })

  test('MIL ranking: real features, four steps of Adagrad', async () => {
    const { seed, real_features: real } = readGolden('rtfm/mil_ranking')
    const path = (name: string) => join(shared!, 'data/rtfm/ucf-crime-c3d', `${name}.npy`)
    const mil = await RTFM.create({ network: 'deepMil', dropout: 0, device })
    await load(mil.network, seed, 'mil')
    expect(relative((await mil.score(path(real.abnormal[0]))).scores, real.scores_abnormal0)).toBeLessThanOrEqual(1e-5)
    const run = mil.fit(
      { normal: real.normal.map(path), abnormal: real.abnormal.map(path) },
      { steps: 4, batchSize: 4, learningRate: 0.01, shuffle: false, device, precision },
    )
    const records = await collect(run)
    await run
    for (const [i, { total }] of (real.loss_before_each_of_4_adagrad_steps as { total: number }[]).entries()) {
      within(records[i]!.loss, total, i === 0 ? 1e-5 : 1e-3, `step ${i + 1}`)
    }
    const { scores } = await mil.score(path(real.abnormal[0]))
    expect(relative(scores, real.scores_abnormal0_after)).toBeLessThanOrEqual(1e-3)
    mil.dispose()
  })
})

describe.skipIf(absent)(`whole networks on the device, beside the CPU, with random weights${note}`, () => {
  const image = [2, 3, 64, 96]
  const square = [2, 3, 32, 32]
  test.each([
    ['osvos vgg16', () => networks.osvos({ backbone: 'vgg16' }), { image }],
    ['osvos mobilenet', () => networks.osvos({ backbone: 'mobilenet' }), { image }],
    ['vgg16', () => networks.vgg({ depth: 16 }), { image: square }],
    ['preresnet29', () => networks.preresnet({ depth: 29 }), { image: square }],
    ['densenet40', () => networks.densenet({ depth: 40 }), { image: square }],
    ['matcher', () => networks.matcher(), { image, cues: [2, 7, 8, 12] }],
    ['rtfm', () => networks.rtfm({ featureSize: 64 }), { features: [2, 10, 32, 64] }],
    ['deepMil', () => networks.deepMil({ featureSize: 64 }), { features: [2, 1, 32, 64] }],
  ] as [string, () => Parameters<typeof Network.create>[0], Record<string, number[]>][])(
    '%s',
    async (_, make, shapes) => {
      const [cpu, other] = await twins(make(), folder)
      const inputs = Object.fromEntries(Object.entries(shapes).map(([name, shape], i) => [name, noise(shape, 5 + i)]))
      const [wanted, got] = [await cpu.forward(inputs), await other.forward(inputs)]
      for (const [name, value] of Object.entries(wanted)) {
        expect(got[name]!.shape, name).toEqual(value.shape)
        expect(relative(got[name]!.data, value.data), name).toBeLessThanOrEqual(1e-4)
      }
      for (const network of [cpu, other]) network.dispose()
    },
  )
})
