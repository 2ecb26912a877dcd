import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type graph as builders, Network, networks, type TensorData } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { rtfmContext, rtfmReach, rtfmWithContext } from '../../lib/networks/rtfm.ts'
import { refuses, scratch, shared, sharedNote } from '../helpers/expect.ts'
import { formulaWeights, uniform01 } from '../helpers/formula.ts'
import { readFloats, writeFloats } from '../helpers/safetensors.ts'
import { noise, relative, sizeOf, stateOf, tensor, withNetwork } from '../helpers/tensors.ts'

const folder = scratch()

/** Runs `use` with a network that has the goldens' weights. */
async function withFormula<T>(graph: builders.Graph, seed: number, use: (network: Network) => Promise<T>): Promise<T> {
  return await withNetwork(graph, async (network) => {
    const file = join(folder, `${expect.getState().currentTestName?.replace(/\W/g, '')}.safetensors`)
    writeFloats(file, formulaWeights(network.parameters(), seed))
    await network.load(file, { strict: false })
    return await use(network)
  })
}

/** Segments `from` to `to` of (1, crops, T, F). */
function piece({ data, shape }: TensorData, from: number, to: number): TensorData {
  const [, crops, segments, size] = shape as [number, number, number, number]
  const cut = tensor([1, crops, to - from, size], () => 0)
  for (let crop = 0; crop < crops; crop++) {
    const start = (crop * segments + from) * size
    cut.data.set((data as Float32Array).subarray(start, start + (to - from) * size), crop * (to - from) * size)
  }
  return cut
}

/** The largest |value| and the mean square of a tensor. */
async function spread(network: Network, name: string): Promise<{ largest: number; variance: number }> {
  const values = Array.from((await network.tensor(name)).data, Number)
  return {
    largest: values.reduce((largest, x) => Math.max(largest, Math.abs(x)), 0),
    variance: values.reduce((sum, x) => sum + x * x, 0) / values.length,
  }
}

describe('rtfm', () => {
  test('has the parameters of the reference, by its names', async () => {
    await withNetwork(networks.rtfm(), async (network) => {
      const trained = network.parameters().filter(({ trainable }) => trainable)
      expect(trained.reduce((sum, { shape }) => sum + sizeOf(shape), 0)).toBe(24_718_849)
      const { macs } = await network.summary({ features: [1, 1, 32, 2048] })
      expect(macs / 1e9).toBeCloseTo(0.79, 2)
    })
  })

  test('starts as the reference does', async () => {
    await withNetwork(networks.rtfm({ featureSize: 64 }), async (network) => {
      const bound = Math.sqrt(6 / (3 * 64 + 3 * 512))
      const { largest, variance } = await spread(network, 'Aggregate.conv_1.0.weight')
      expect(largest).toBeLessThanOrEqual(bound)
      expect(variance / (bound ** 2 / 3)).toBeCloseTo(1, 1)
      for (const name of ['Aggregate.conv_1.0.bias', 'fc1.bias', 'Aggregate.non_local.g.bias']) {
        expect((await spread(network, name)).largest).toBe(0)
      }
      const state = await stateOf(network)
      expect(new Set(state.get('Aggregate.non_local.W.1.weight')?.data as Float32Array)).toEqual(new Set([0]))
      expect(new Set(state.get('Aggregate.conv_1.2.weight')?.data as Float32Array)).toEqual(new Set([1]))
    })
  })

  test.skipIf(shared === undefined)(`scores and magnitudes of the reference${sharedNote}`, async () => {
    const base = join(shared as string, 'golden/rtfm/batch2')
    const { seed } = JSON.parse(readFileSync(`${base}.json`, 'utf8')) as { seed: number }
    const golden = readFloats(`${base}.safetensors`)
    const data = new Float32Array(uniform01('video', 10 * 53 * 2048, seed).map((u) => 2 * u ** 4))
    const features = { data, shape: [1, 10, 53, 2048] }
    await withFormula(networks.rtfm(), seed, async (network) => {
      const out = await network.forward({ features })
      expect(out.scores?.shape).toEqual([1, 53])
      expect(relative(out.scores!.data, golden.eval_scores_T53!.data)).toBeLessThan(1e-5)
      expect(relative(out.magnitudes!.data, golden.eval_magnitudes_T53!.data)).toBeLessThan(1e-5)
      expect(out.features?.shape).toEqual([1, 10, 53, 2048])
    })
  })

  test('magnitudes are the L2 norms of its features, averaged over crops; any number of crops and segments', async () => {
    await withFormula(networks.rtfm({ featureSize: 24 }), 3, async (network) => {
      for (const shape of [
        [2, 3, 7, 24],
        [1, 1, 1, 24],
      ]) {
        const [videos, crops, segments, size] = shape as [number, number, number, number]
        const out = await network.forward({ features: noise(shape) })
        expect(out.features?.shape).toEqual(shape)
        expect(out.scores?.shape).toEqual([videos, segments])
        const made = out.features?.data as Float32Array
        const wanted = tensor([videos, segments], (i) => {
          const [video, segment] = [Math.floor(i / segments), i % segments]
          const norms = Array.from({ length: crops }, (_, crop) => {
            const start = ((video * crops + crop) * segments + segment) * size
            return Math.hypot(...made.subarray(start, start + size))
          })
          return norms.reduce((a, b) => a + b, 0) / crops
        })
        expect(out.magnitudes?.shape).toEqual([videos, segments])
        expect(relative(out.magnitudes!.data, wanted.data)).toBeLessThan(1e-5)
      }
    })
  })

  test.each(['reference', 'paper'] as const)(
    'a long video in pieces, form %s: exactly what it is whole',
    async (form) => {
      const [crops, segments, size] = [2, 61, 24]
      const options = { featureSize: size, form }
      const features = noise([1, crops, segments, size])
      await withFormula(networks.rtfm(options), 5, async (network) => {
        const whole = await network.forward({ features })
        const [first, second] = [await network.view(rtfmContext(options)), await network.view(rtfmWithContext(options))]
        const borders = [0, 20, 40, segments]
        let context: TensorData | undefined
        for (let i = 0; i < 3; i++) {
          const part = (await first.forward({ features: piece(features, borders[i]!, borders[i + 1]!) })).context!
          const sum = context
          context = tensor(part.shape, (k) => Number(part.data[k]) + Number(sum?.data[k] ?? 0))
        }
        const { data, shape } = context!
        const average = tensor(shape, (k) => Number(data[k]) / segments)
        for (let i = 0; i < 3; i++) {
          const [from, to] = [borders[i]!, borders[i + 1]!]
          const [start, end] = [Math.max(from - rtfmReach, 0), Math.min(to + rtfmReach, segments)]
          const out = await second.forward({ features: piece(features, start, end), context: average })
          for (const name of ['scores', 'magnitudes']) {
            const inside = (out[name]!.data as Float32Array).subarray(from - start, to - start)
            expect(relative(inside, whole[name]!.data.slice(from, to) as Float32Array)).toBeLessThan(1e-5)
          }
          const tooShort = await second.forward({
            features: piece(features, Math.max(from - rtfmReach + 1, 0), Math.min(to + rtfmReach - 1, segments)),
            context: average,
          })
          const cut = from - Math.max(from - rtfmReach + 1, 0)
          const near = (tooShort.magnitudes!.data as Float32Array).subarray(cut, cut + to - from)
          expect(relative(near, whole.magnitudes!.data.slice(from, to) as Float32Array)).toBeGreaterThan(1e-5)
        }
        for (const view of [first, second]) view.dispose()
        expect((await network.forward({ features })).scores).toEqual(whole.scores)
      })
    },
  )

  test('the paper form adds the values instead of the input', async () => {
    const [reference, paper] = [networks.rtfm({ featureSize: 8 }), networks.rtfm({ featureSize: 8, form: 'paper' })]
    const shapes = (graph: builders.Graph) =>
      withNetwork(graph, async (network) => new Map(network.parameters().map(({ name, shape }) => [name, shape])))
    expect((await shapes(reference)).get('Aggregate.non_local.g.weight')).toEqual([256, 512, 1])
    expect((await shapes(paper)).get('Aggregate.non_local.g.weight')).toEqual([512, 512, 1])
    expect((await shapes(paper)).get('Aggregate.non_local.W.0.weight')).toEqual([512, 512, 1])
    const inputs = ({ nodes }: builders.Graph) => {
      const sum = nodes.find(({ op, inputs }) => op === 'add' && inputs.includes('Aggregate.non_local.W.1'))
      return sum?.inputs
    }
    expect(inputs(reference)).toEqual(['Aggregate.non_local.W.1', 'Aggregate.conv_4.1'])
    expect(inputs(paper)).toEqual(['Aggregate.non_local.W.1', 'Aggregate.non_local.g'])
  })

  test('tens of thousands of segments at once', async () => {
    await withFormula(networks.rtfm({ featureSize: 2 }), 1, async (network) => {
      const { scores } = await network.forward({ features: noise([1, 1, 12_000, 2]) }, { outputs: ['scores'] })
      expect(scores?.shape).toEqual([1, 12_000])
      expect((scores!.data as Float32Array).every((score) => score >= 0 && score <= 1)).toBe(true)
    })
  })

  test('dropout lies before both the magnitudes and the classifier', async () => {
    await withFormula(networks.rtfm({ featureSize: 16 }), 1, async (network) => {
      const out = await network.forward({ features: noise([2, 2, 8, 16]) }, { training: true, seed: 4 })
      const zeros = Array.from(out.features!.data, Number).filter((x) => x === 0).length
      expect(zeros / 512).toBeGreaterThan(0.6)
      expect(zeros / 512).toBeLessThan(0.8)
      const norms = out.features!.data as Float32Array
      expect(Number(out.magnitudes!.data[0])).toBeCloseTo(
        (Math.hypot(...norms.subarray(0, 16)) + Math.hypot(...norms.subarray(128, 144))) / 2,
        4,
      )
    })
  })

  test('bad settings are refused by name', async () => {
    await refuses('ERR_INVALID_ARGUMENT', /featureSize/, () => networks.rtfm({ featureSize: 0 }))
    await refuses('ERR_INVALID_ARGUMENT', /dropout.*from 0 to below 1/, () => networks.rtfm({ dropout: 1 }))
    await refuses('ERR_INVALID_ARGUMENT', /form.*'reference' or 'paper'/, () => networks.rtfm({ form: 'x' as 'paper' }))
    await refuses('ERR_INVALID_ARGUMENT', /crops/, () => networks.rtfm({ crops: 0.5 }))
    await withNetwork(networks.rtfm({ featureSize: 8, crops: 10 }), (network) =>
      refuses('ERR_SHAPE', /'features' has shape \[1, 5, 4, 8\], wanted \[any, 10, any, 8\]/, () =>
        network.forward({ features: noise([1, 5, 4, 8]) }),
      ),
    )
  })
})

describe('deepMil', () => {
  test('starts from Glorot normal weights and zero biases', async () => {
    await withNetwork(networks.deepMil(), async (network) => {
      const { variance } = await spread(network, 'fc1.weight')
      expect(variance / (2 / (4096 + 512))).toBeCloseTo(1, 1)
      expect((await spread(network, 'fc1.bias')).largest).toBe(0)
    })
  })

  test.skipIf(shared === undefined)(`scores of the reference on real features${sharedNote}`, async () => {
    const golden = JSON.parse(readFileSync(join(shared as string, 'golden/rtfm/mil_ranking.json'), 'utf8'))
    const { abnormal, normal, scores_abnormal0, scores_normal0 } = golden.real_features
    await withFormula(networks.deepMil(), golden.seed, async (network) => {
      for (const [name, wanted] of [
        [abnormal[0], scores_abnormal0],
        [normal[0], scores_normal0],
      ]) {
        const file = readFileSync(join(shared as string, `data/rtfm/ucf-crime-c3d/${name}.npy`))
        const start = 10 + file.readUInt16LE(8)
        const data = new Float32Array(Uint8Array.from(file.subarray(start)).buffer)
        expect(data.length).toBe(32 * 4096)
        const { scores } = await network.forward({ features: { data, shape: [1, 1, 32, 4096] } })
        expect(relative(scores!.data, wanted)).toBeLessThan(1e-5)
      }
    })
  })
})

describe('view', () => {
  const graph = () => networks.deepMil({ featureSize: 4 })

  test('shares tensors both ways, and lives on after the network it came from', async () => {
    const features = noise([1, 1, 3, 4])
    const network = await Network.create(graph(), { device: 'cpu', seed: 1 })
    const view = await network.view(graph())
    expect((await view.forward({ features })).scores).toEqual((await network.forward({ features })).scores)
    const file = join(folder, 'other.safetensors')
    await withNetwork(graph(), (other) => other.save(file), { seed: 2 })
    const before = await view.forward({ features })
    await network.load(file)
    const after = await view.forward({ features })
    expect(after.scores).not.toEqual(before.scores)
    expect(after.scores).toEqual((await network.forward({ features })).scores)
    await withNetwork(graph(), (other) => other.save(file), { seed: 3 })
    await view.load(file)
    expect((await network.forward({ features })).scores).toEqual((await view.forward({ features })).scores)
    network.dispose()
    expect((await view.forward({ features })).scores?.shape).toEqual([1, 3])
    view.dispose()
    await refuses('ERR_DISPOSED', /disposed/, () => view.forward({ features }))
  })

  test('batch-norm folded into a convolution follows the network', async () => {
    const { conv, batchNorm, input, build } = (await import('torchvid')).graph
    const make = () =>
      build({ y: batchNorm(conv(input('x', [null, 2, null]), { out: 2, kernel: [1], name: 'a' }), { name: 'b' }) })
    await withNetwork(make(), async (network) => {
      const view = await network.view(make())
      const x = noise([1, 2, 5])
      const before = await view.forward({ x })
      await network.forward({ x: noise([4, 2, 9], 2) }, { training: true }) // running statistics move
      const after = await view.forward({ x })
      expect(after).not.toEqual(before)
      expect(after).toEqual(await network.forward({ x }))
      view.dispose()
    })
  })

  test('a tensor that is missing or has another shape is named', async () => {
    await withNetwork(graph(), async (network) => {
      await refuses('ERR_CHECKPOINT_MISMATCH', /'fc1'.*'fc1.weight' has shape \[512, 4\], wanted \[512, 5\]/, () =>
        network.view(networks.deepMil({ featureSize: 5 })),
      )
      await refuses('ERR_CHECKPOINT_MISMATCH', /no tensor 'bn1.weight'/, () =>
        network.view(networks.mlp({ layers: [4, 512, 2], input: [1, 2, 2] })),
      )
      await refuses('ERR_INVALID_ARGUMENT', /graph/, () => network.view({} as builders.Graph))
    })
  })
})
