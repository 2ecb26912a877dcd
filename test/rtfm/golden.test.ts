import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { losses, RTFM, type TensorData, weights } from 'torchvid'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { scratch, shared, sharedNote } from '../helpers/expect.ts'
import { formulaWeights, uniform01 } from '../helpers/formula.ts'
import { readFloats, writeFloats } from '../helpers/safetensors.ts'
import { relative } from '../helpers/tensors.ts'
import { type Features, traced } from './helpers.ts'

const folder = scratch()

const within = (value: number | undefined, wanted: number, tolerance: number, what: string) =>
  expect(Math.abs(value! - wanted) / Math.abs(wanted), `${what}: ${value}, wanted ${wanted}`).toBeLessThanOrEqual(
    tolerance,
  )

const norm = (values: ArrayLike<number>) => {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i]! ** 2
  return Math.sqrt(sum)
}

/** A detector without dropout that has the formula's weights, and these. */
async function formulaDetector(network: 'rtfm' | 'deepMil', seed: number) {
  const rtfm = await RTFM.create({ network, dropout: 0, device: 'cpu' })
  const file = join(folder, `${network}.safetensors`)
  const start = formulaWeights(rtfm.network.parameters(), seed)
  writeFloats(file, start)
  await rtfm.network.load(file)
  return { rtfm, start }
}

type Parts = Record<'total' | 'bce' | 'magnitude' | 'smooth' | 'sparse', number>

describe.skipIf(shared === undefined)(`RTFM: the reference's numbers${sharedNote}`, () => {
  const [crops, segments, size] = [10, 32, 2048]
  const base = join(shared ?? '', 'golden/rtfm/batch2')
  const golden = shared === undefined ? {} : JSON.parse(readFileSync(`${base}.json`, 'utf8'))
  const { batch, seed } = golden as { batch: number; seed: number }
  const features = (name: string, count: number, from: number) =>
    Float32Array.from(uniform01(name, count, from), (u) => 2 * u ** 4)
  const both = () => {
    const count = batch * crops * segments * size
    return { normal: features('normal', count, seed), abnormal: features('abnormal', count, seed + 1000) }
  }
  /** (crops, T, F) of one video to (T, crops, F). */
  const bag = (all: Float32Array, index: number): Features => {
    const data = new Float32Array(segments * crops * size)
    for (let crop = 0; crop < crops; crop++) {
      for (let t = 0; t < segments; t++) {
        const from = ((index * crops + crop) * segments + t) * size
        data.set(all.subarray(from, from + size), (t * crops + crop) * size)
      }
    }
    return { data, shape: [segments, crops, size] }
  }
  const bags = (all: Float32Array) => Array.from({ length: batch }, (_, i) => bag(all, i))

  // One for all tests, in this order: what each leaves behind does not matter to the next.
  let given: Awaited<ReturnType<typeof formulaDetector>>
  beforeAll(async () => {
    given = await formulaDetector('rtfm', seed)
  })
  afterAll(() => given.rtfm.dispose())

  test('a video of 53 segments, scored', async () => {
    const tensors = readFloats(`${base}.safetensors`)
    const { rtfm } = given
    const all = features('video', crops * 53 * size, seed)
    const data = new Float32Array(all.length)
    for (let crop = 0; crop < crops; crop++) {
      for (let t = 0; t < 53; t++) {
        const from = (crop * 53 + t) * size
        data.set(all.subarray(from, from + size), (t * crops + crop) * size)
      }
    }
    const { scores, magnitudes } = await rtfm.score({ data, shape: [53, crops, size] })
    expect(relative(scores, tensors.eval_scores_T53!.data)).toBeLessThanOrEqual(1e-5)
    expect(relative(magnitudes!, tensors.eval_magnitudes_T53!.data)).toBeLessThanOrEqual(1e-5)
  })

  test('a batch in training: scores, magnitudes, losses, and the segments that count', async () => {
    const tensors = readFloats(`${base}.safetensors`)
    const { rtfm } = given
    const { normal, abnormal } = both()
    const data = new Float32Array(2 * normal.length)
    data.set(normal)
    data.set(abnormal, normal.length)
    const out = await rtfm.network.forward(
      { features: { data, shape: [2 * batch, crops, segments, size] } },
      { training: true },
    )
    expect(relative(out.scores!.data, tensors.scores!.data)).toBeLessThanOrEqual(1e-5)
    expect(relative(out.magnitudes!.data, tensors.magnitudes!.data)).toBeLessThanOrEqual(1e-5)
    const half = (x: TensorData, second: number): TensorData => {
      const count = x.data.length / 2
      return { data: x.data.slice(second * count, (second + 1) * count), shape: [batch, ...x.shape.slice(1)] }
    }
    const part = (second: number) => ({
      scores: half(out.scores!, second),
      magnitudes: half(out.magnitudes!, second),
      features: half(out.features!, second),
    })
    const { loss, gradient, ...parts } = await losses.rtfm(part(1), part(0))
    const { total, ...wanted } = golden.loss as Parts
    within(loss, total, 1e-5, 'loss')
    for (const [name, value] of Object.entries(wanted)) within(parts[name as keyof typeof parts], value, 1e-5, name)
    for (const kind of ['abnormal', 'normal'] as const) {
      const { data } = gradient[kind].features
      // The loss depends on the features of the chosen segments alone.
      const chosen = Array.from({ length: batch }, (_, b) =>
        Array.from({ length: segments }, (_, t) => t).filter((t) => {
          const from = (b * crops * segments + t) * size
          return (data as Float32Array).subarray(from, from + size).some((x) => x !== 0)
        }),
      )
      const top = golden[`topk_${kind}`] as number[][]
      expect(chosen).toEqual(top.map((row) => row.toSorted((a, b) => a - b)))
    }
  })

  test('gradients of every parameter, three steps of Adam, parameters after them', async () => {
    const { learningRate, weightDecay } = { learningRate: golden.adam_3_steps.lr, weightDecay: 0.005 }
    expect(golden.adam_3_steps.weight_decay).toBe(weightDecay)
    const { rtfm, start } = given
    expect(rtfm.settings.objective).toBe('reference')
    const { normal, abnormal } = both()
    const videos = { normal: bags(normal), abnormal: bags(abnormal) }
    const path = join(folder, 'step.safetensors')
    const settings = { batchSize: batch, learningRate, weightDecay, shuffle: false, precision: 'float32' as const }
    const first = await traced(rtfm.fit(videos, { ...settings, steps: 1, checkpoint: { path, every: 1 } }))

    for (const [name, wanted] of Object.entries(golden.grad_norm as Record<string, number>)) {
      // Adam's first moment is then a tenth of the gradient, to which the decay was added.
      const moment = (await weights.read(path, `torchvid.optimizer.first.${name}`)).data as Float32Array
      const before = start.get(name)!.data as Float32Array
      const gradient = Float64Array.from(moment, (m, i) => 10 * m - weightDecay * before[i]!)
      // Batch-norm undoes this bias: what the reference has there is rounding.
      if (wanted < 1e-6) expect(norm(gradient), name).toBeLessThan(1e-6)
      else within(norm(gradient), wanted, 1e-4, `gradient of ${name}`)
    }

    const rest = await traced(rtfm.fit(videos, { ...settings, steps: 3, resume: path }))
    const records = [...first.records, ...rest.records]
    expect(records.map(({ step }) => step)).toEqual([1, 2, 3])
    for (const [i, { total, ...parts }] of (golden.adam_3_steps.loss as Parts[]).entries()) {
      const tolerance = i === 0 ? 1e-5 : 1e-4
      within(records[i]!.loss, total, tolerance, `step ${i + 1}`)
      expect(Object.keys(records[i]!.losses).sort()).toEqual(['bce', 'magnitude', 'smooth', 'sparse'])
      for (const [name, value] of Object.entries(parts)) {
        // The smallest part is a difference of scores that are almost equal.
        const error = Math.abs(records[i]!.losses[name]! - value)
        expect(error, `${name} of step ${i + 1}`).toBeLessThanOrEqual(
          Math.max(tolerance * value, i === 0 ? 1e-8 : 1e-6),
        )
      }
    }
    for (const [name, wanted] of Object.entries(golden.param_norm_after_3_steps as Record<string, number>))
      within(norm((await rtfm.network.tensor(name)).data as Float32Array), wanted, 1e-4, name)
  })
})

describe.skipIf(shared === undefined)(`MIL ranking: the authors' numbers${sharedNote}`, () => {
  const file = join(shared ?? '', 'golden/rtfm/mil_ranking.json')
  const golden = shared === undefined ? {} : JSON.parse(readFileSync(file, 'utf8'))

  test('losses and gradients of given scores', async () => {
    const { abnormal, normal, loss: wanted, ...rest } = golden.formula_scores
    const scores = (name: string, shape: [number, number], seed: number): TensorData => ({
      data: Float32Array.from(uniform01(name, shape[0] * shape[1], seed)),
      shape,
    })
    const given = [scores('abnormal', abnormal, golden.seed), scores('normal', normal, golden.seed + 1000)] as const
    const { loss, gradient, ...parts } = await losses.milRanking(...given)
    within(loss, wanted.total, 1e-5, 'loss')
    for (const name of ['hinge', 'smooth', 'sparse'] as const) within(parts[name], wanted[name], 1e-5, name)
    for (const kind of ['abnormal', 'normal'] as const) {
      const data = gradient[kind].data as Float32Array
      expect(relative(data.subarray(0, 32), rest[`gradient_${kind}_row0`])).toBeLessThanOrEqual(1e-5)
      within(norm(data), rest.gradient_norm[kind], 1e-5, `gradient by ${kind}`)
    }
  })

  test('scores of real features, four steps of Adagrad, scores after them', async () => {
    const { abnormal, normal, ...real } = golden.real_features
    const path = (name: string) => join(shared!, 'data/rtfm/ucf-crime-c3d', `${name}.npy`)
    const { rtfm: mil } = await formulaDetector('deepMil', golden.seed)
    expect(mil.settings).toMatchObject({ objective: 'milRanking', featureSize: 4096 })
    for (const [name, wanted] of [
      [abnormal[0], real.scores_abnormal0],
      [normal[0], real.scores_normal0],
    ]) {
      const { scores, magnitudes } = await mil.score(path(name))
      expect(relative(scores, wanted)).toBeLessThanOrEqual(1e-5)
      expect(magnitudes).toBeUndefined()
    }
    const { records } = await traced(
      mil.fit(
        { normal: normal.map(path), abnormal: abnormal.map(path) },
        { steps: 4, batchSize: 4, learningRate: 0.01, shuffle: false, precision: 'float32' },
      ),
    )
    expect(records).toHaveLength(4)
    for (const [i, { total, ...parts }] of (real.loss_before_each_of_4_adagrad_steps as Parts[]).entries()) {
      const tolerance = i === 0 ? 1e-5 : 1e-3
      within(records[i]!.loss, total, tolerance, `step ${i + 1}`)
      expect(Object.keys(records[i]!.losses).sort()).toEqual(['hinge', 'smooth', 'sparse'])
      for (const [name, value] of Object.entries(parts)) {
        const error = Math.abs(records[i]!.losses[name]! - value)
        expect(error, `${name} of step ${i + 1}`).toBeLessThanOrEqual(Math.max(tolerance * value, 1e-8))
      }
    }
    const { scores } = await mil.score(path(abnormal[0]))
    expect(relative(scores, real.scores_abnormal0_after)).toBeLessThanOrEqual(1e-3)
    mil.dispose()
  })
})
