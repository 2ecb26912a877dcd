import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { losses, Network, networks, OSVOS, type TensorData } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { scratch, shared, sharedNote } from '../helpers/expect.ts'
import { formulaImage, formulaWeights } from '../helpers/formula.ts'
import { readFloats, writeFloats } from '../helpers/safetensors.ts'
import { relative, tensor } from '../helpers/tensors.ts'

const folder = scratch()
const outputs = ['side1', 'side2', 'side3', 'side4', 'fuse']
const mean = [104.00699, 116.66877, 122.67892]

/** What a golden file says, and what goes into the network for it. */
function setUp(name: string) {
  const base = join(shared!, 'golden/osvos', name)
  const golden = JSON.parse(readFileSync(`${base}.json`, 'utf8'))
  const { H: height, W: width, seed, mask } = golden
  const [rows, columns] = [mask.rows as [number, number], mask.cols as [number, number]]
  const area = height * width
  const rgb = formulaImage(3 * area, seed)
  const image = tensor([1, 3, height, width], (i) => {
    const channel = Math.floor(i / area)
    return Math.fround(rgb[(2 - channel) * area + (i % area)]! - Math.fround(mean[channel]!))
  })
  const inside = (i: number) => {
    const [y, x] = [Math.floor(i / width), i % width]
    return y >= rows[0] && y < rows[1] && x >= columns[0] && x < columns[1]
  }
  const labels = tensor([1, 1, height, width], (i) => (inside(i) ? 1 : 0))
  const picture = {
    data: Uint8Array.from(rgb, (_, i) => rgb[(i % 3) * area + Math.floor(i / 3)]!),
    width,
    height,
    channels: 3 as const,
  }
  const maskPicture = { data: Uint8Array.from(labels.data, (v) => v * 255), width, height, channels: 1 as const }
  return { golden, tensors: readFloats(`${base}.safetensors`), seed, image, labels, picture, mask: maskPicture }
}

async function weightsFor(seed: number): Promise<string> {
  const file = join(folder, `formula-${seed}.safetensors`)
  const network = await Network.create(networks.osvos({ backbone: 'vgg16' }), { device: 'cpu' })
  writeFloats(file, formulaWeights(network.parameters(), seed))
  network.dispose()
  return file
}

const within = (value: number, wanted: number, tolerance: number, what: string) =>
  expect(Math.abs(value - wanted) / Math.abs(wanted), `${what}: ${value}, wanted ${wanted}`).toBeLessThanOrEqual(
    tolerance,
  )

const norm = (a: ArrayLike<number>, b?: ArrayLike<number>) => {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += (a[i]! - (b?.[i] ?? 0)) ** 2
  return Math.sqrt(sum)
}

const floats = async (network: Network, name: string) => (await network.tensor(name)).data as Float32Array

describe.skipIf(shared === undefined).each(['forward_64x96', 'forward_75x101'])(
  `the reference's numbers: %s${sharedNote}`,
  (name) => {
    const given = shared === undefined ? (undefined as unknown as ReturnType<typeof setUp>) : setUp(name)

    /** A model with the formula weights. */
    const model = async () => {
      const osvos = await OSVOS.create({ backbone: 'vgg16', device: 'cpu' })
      const result = await osvos.network.load(await weightsFor(given.seed), { strict: false })
      expect(result.missing.every((row) => row.startsWith('upscale'))).toBe(true)
      expect(result.unexpected).toEqual([])
      return osvos
    }

    test('logits, losses by both reductions', async () => {
      const { golden, tensors, image, labels } = given
      const osvos = await model()
      const out = await osvos.network.forward({ image })
      for (const [i, output] of outputs.entries()) {
        const logits = out[output] as TensorData
        expect(relative(logits.data, tensors[`logits.${i}`]!.data), output).toBeLessThanOrEqual(1e-4)
        const sum = await losses.classBalancedCrossEntropy(logits, labels)
        within(sum.loss, golden.loss[i], 1e-5, `loss of ${output}`)
        const average = await losses.classBalancedCrossEntropy(logits, labels, { reduction: 'mean' })
        within(average.loss, golden.loss_size_average[i], 1e-5, `mean loss of ${output}`)
      }
      osvos.dispose()
    })

    test('the online gradient, parameter by parameter, as one large step of the optimiser shows it', async () => {
      const { golden, picture, mask } = given
      const osvos = await model()
      const fitted = await osvos.fit(picture, mask, {
        iterations: 1,
        accumulate: 1,
        augment: false,
        learningRate: 1, // the gradient is then far larger than the weight it is taken from
        momentum: 0,
        weightDecay: 0,
      })
      for (const [parameter, wanted] of Object.entries(golden.grad_norm_fuse_only as Record<string, number>)) {
        const rate = (parameter.startsWith('fuse') ? 0.01 : 1) * (parameter.endsWith('.bias') ? 2 : 1)
        const moved = norm(await floats(fitted.network, parameter), await floats(osvos.network, parameter)) / rate
        within(moved, wanted, 1e-4, parameter)
      }
      osvos.dispose()
      fitted.dispose()
    })

    test('twenty passes, four updates: loss trace, parameter movement, logits after', async () => {
      const { golden, tensors, picture, mask, image } = given
      const osvos = await model()
      const run = osvos.fit(picture, mask, {
        iterations: 20,
        accumulate: 5,
        augment: false,
        learningRate: 1e-8,
        precision: 'float32',
      })
      const trace: number[] = []
      for await (const { loss } of run) trace.push(loss)
      const fitted = await run
      const wanted = golden.online_loss_trace_20_passes_accumulate_5 as number[]
      expect(trace).toHaveLength(20)
      for (const [i, loss] of trace.entries()) within(loss, wanted[i]!, i < 5 ? 1e-5 : 1e-3, `pass ${i + 1}`)
      const movement = golden.online_param_delta_norm_after_4_updates as Record<string, number>
      expect(Object.keys(movement).length).toBeGreaterThan(40)
      for (const [parameter, delta] of Object.entries(movement)) {
        const moved = norm(await floats(fitted.network, parameter), await floats(osvos.network, parameter))
        if (delta === 0) expect(moved, parameter).toBe(0)
        else within(moved, delta, 1e-3, parameter)
      }
      const after = await fitted.network.forward({ image }, { outputs: ['fuse'] })
      expect(relative(after.fuse!.data, tensors.logits_after_4_updates!.data)).toBeLessThanOrEqual(1e-3)
      osvos.dispose()
      fitted.dispose()
    })
  },
)
