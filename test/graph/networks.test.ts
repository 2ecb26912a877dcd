import { graph, Network, networks } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { expectClose, noise, sizeOf, stateOf, tensor, withNetwork } from '../helpers/tensors.ts'

describe('what networks cost', () => {
  test.each([
    [11, 9_228_362],
    [13, 9_413_066],
    [16, 14_724_042],
    [19, 20_035_018],
  ])('vgg%i has %i parameters', async (depth, parameters) => {
    await withNetwork(networks.vgg({ depth }), async (network) => {
      const summary = await network.summary({ image: [1, 3, 32, 32] })
      expect(summary.parameters).toBe(parameters)
      const trainable = network.parameters().filter((row) => row.trainable)
      expect(trainable.reduce((sum, { shape }) => sum + sizeOf(shape), 0)).toBe(parameters)
      expect(summary.layers.map(({ name }) => name)).toEqual(network.graph.nodes.map(({ name }) => name))
    })
  })

  test('vgg19 takes 398,136,320 multiply-accumulates a picture, twice as many for two', async () => {
    await withNetwork(networks.vgg({ depth: 19 }), async (network) => {
      const one = await network.summary({ image: [1, 3, 32, 32] })
      const two = await network.summary({ image: [2, 3, 32, 32] })
      expect(one.macs).toBe(398_136_320)
      expect(two.macs).toBe(2 * one.macs)
      expect(two.activationBytes).toBe(2 * one.activationBytes)
      expect(one.layers[0]).toEqual({
        name: 'feature.0',
        op: 'conv',
        shape: [1, 64, 32, 32],
        parameters: 1728,
        macs: 1728 * 1024,
        activationBytes: 4 * 64 * 1024,
      })
    })
  })

  test('macs of depthwise, transposed and linear layers, and of matmul', async () => {
    const x = graph.input('x', [null, 4, 6, 6])
    const net = graph.build({
      depthwise: graph.conv(x, { out: 4, kernel: 3, groups: 4, padding: 1, name: 'depthwise' }),
      up: graph.convTranspose(x, { out: 2, kernel: 4, stride: 2, name: 'up' }),
      fc: graph.linear(graph.globalAveragePool(x), { out: 5, name: 'fc' }),
      product: graph.matmul(x, x, { name: 'product' }),
    })
    await withNetwork(net, async (network) => {
      const { layers } = await network.summary({ x: [2, 4, 6, 6] })
      const macs = Object.fromEntries(layers.map((layer) => [layer.name, layer.macs]))
      expect(macs).toMatchObject({
        depthwise: 2 * 36 * 4 * 9,
        up: 2 * 36 * 4 * 2 * 16,
        fc: 2 * 20,
        product: 2 * 4 * 6 * 36,
      })
    })
  })

  test('osvos vgg16: 52 tensors, 15,267,157 parameters, names as the reference', async () => {
    await withNetwork(networks.osvos({ backbone: 'vgg16' }), async (network) => {
      const rows = network.parameters()
      expect(rows).toHaveLength(52)
      expect(rows.reduce((sum, { shape }) => sum + sizeOf(shape), 0)).toBe(15_267_157)
      const stages = ['0.0', '0.2', '1.1', '1.3', '2.1', '2.3', '2.5', '3.1', '3.3', '3.5', '4.1', '4.3', '4.5']
      const sides = [0, 1, 2, 3]
      const both = (layer: string) => [`${layer}.weight`, `${layer}.bias`]
      const names = [
        ...sides.flatMap((i) => [`upscale.${i}.weight`, `upscale_.${i}.weight`]),
        ...stages.flatMap((i) => both(`stages.${i}`)),
        ...sides.flatMap((i) => [...both(`side_prep.${i}`), ...both(`score_dsn.${i}`)]),
        ...both('fuse'),
      ]
      expect(rows.map(({ name }) => name).sort()).toEqual(names.sort())
      const shapes = Object.fromEntries(rows.map(({ name, shape }) => [name, shape]))
      expect(shapes['stages.0.0.weight']).toEqual([64, 3, 3, 3])
      expect(shapes['upscale.3.weight']).toEqual([16, 16, 32, 32])
      expect(shapes['fuse.weight']).toEqual([1, 64, 1, 1])
      expect(rows.filter(({ trainable }) => !trainable).every(({ name }) => name.startsWith('upscale'))).toBe(true)
    })
  })

  test.each([
    ['vgg16', ['side1', 'side2', 'side3', 'side4', 'fuse']],
    ['mobilenet', ['side1', 'side2', 'side3', 'side4', 'side5', 'fuse']],
  ] as const)('osvos %s gives %j at the size of the picture', async (backbone, outputs) => {
    await withNetwork(networks.osvos({ backbone }), async (network) => {
      const out = await network.forward({ image: noise([1, 3, 37, 51]) })
      expect(Object.keys(out).sort()).toEqual([...outputs].sort())
      for (const { shape } of Object.values(out)) expect(shape).toEqual([1, 1, 37, 51])
    })
  })

  test('mobilenet, and the widths of a slimmed vgg', async () => {
    await withNetwork(networks.mobilenet({ classes: 7 }), async (network) => {
      const out = await network.forward({ image: noise([2, 3, 64, 64]) })
      expect(out.logits?.shape).toEqual([2, 7])
      expect(out.features?.shape).toEqual([2, 1024])
      const { parameters } = await network.summary({ image: [1, 3, 224, 224] })
      expect(parameters).toBe(3_206_976 + 7 * 1025) // as Keras counts its trainable ones; with 1000 classes 4.2 M
    })
    await withNetwork(networks.vgg({ cfg: [8, 'M', 16, 'M', 16, 'M', 4, 'M', 5], classes: 3 }), async (network) => {
      expect((await network.forward({ image: noise([2, 3, 32, 32]) })).logits?.shape).toEqual([2, 3])
    })
  })
})

describe('how parameters start', () => {
  const start = (net: graph.Graph, seed?: number) => withNetwork(net, stateOf, { seed })

  test('the same seed, the same weights; another seed, others', async () => {
    const net = networks.vgg({ cfg: [8, 'M', 8, 'M', 8, 'M', 8, 'M', 8] })
    const [one, same, other] = [await start(net, 3), await start(net, 3), await start(net, 4)]
    for (const [name, { data }] of one) expect(data).toEqual(same.get(name)?.data)
    expect(one.get('feature.0.weight')?.data).not.toEqual(other.get('feature.0.weight')?.data)
    expect(one.get('classifier.weight')?.data).not.toEqual(other.get('classifier.weight')?.data)
    expect((await start(net)).get('feature.0.weight')).toEqual((await start(net, 0)).get('feature.0.weight'))
  })

  test.each([1, 2, 3, 4, 8])('bilinear kernels of size %i by the formula, zero off the diagonal', async (k) => {
    const x = graph.input('x', [null, 2, null, null])
    const init = { weight: { distribution: 'bilinear' as const } }
    const state = await start(
      graph.build({ y: graph.convTranspose(x, { out: 2, kernel: k, bias: false, init, name: 'up' }) }),
    )
    const f = Math.floor((k + 1) / 2)
    const c = k % 2 === 1 ? f - 1 : f - 0.5
    const line = (i: number) => 1 - Math.abs(i - c) / f
    const wanted = tensor([2, 2, k, k], (i) => {
      const [row, column] = [Math.floor(i / (2 * k * k)), Math.floor(i / (k * k)) % 2]
      return row === column ? line(Math.floor(i / k) % k) * line(i % k) : 0
    })
    expectClose(state.get('up.weight'), wanted, 1e-6)
  })

  test('every distribution has its mean and spread', async () => {
    const x = graph.input('x', [null, 50, null, null])
    const make = (distribution: graph.Init['distribution'], value?: number) =>
      graph.conv(x, {
        out: 100,
        kernel: 3,
        init: { weight: { distribution, value }, bias: { distribution: 'constant', value: 0.25 } },
        name: distribution,
      })
    const net = graph.build({
      a: make('constant', 3),
      b: make('normal', 0.5),
      c: make('uniform', 0.5),
      d: make('kaimingUniform'),
      e: make('kaimingNormalFanIn'),
      f: make('kaimingNormalFanOut'),
      g: make('xavierUniform'),
    })
    const state = await start(net, 1)
    const spread = (name: string) => {
      const data = [...(state.get(`${name}.weight`)!.data as Float32Array)]
      const mean = data.reduce((a, b) => a + b, 0) / data.length
      const deviation = Math.sqrt(data.reduce((a, b) => a + (b - mean) ** 2, 0) / data.length)
      return { mean, deviation, largest: data.reduce((a, b) => Math.max(a, Math.abs(b)), 0) }
    }
    const [fanIn, fanOut] = [450, 900]
    const wanted = {
      normal: 0.5,
      uniform: 0.5 / Math.sqrt(3),
      kaimingUniform: Math.sqrt(1 / fanIn / 3),
      kaimingNormalFanIn: Math.sqrt(2 / fanIn),
      kaimingNormalFanOut: Math.sqrt(2 / fanOut),
      xavierUniform: Math.sqrt(6 / (fanIn + fanOut) / 3),
    }
    for (const [name, deviation] of Object.entries(wanted)) {
      const found = spread(name)
      expect(found.deviation / deviation, name).toBeCloseTo(1, 1)
      expect(Math.abs(found.mean), name).toBeLessThan(0.03 * deviation)
      if (/niform/.test(name))
        expect(found.largest, name).toBeLessThanOrEqual(Math.fround(Math.sqrt(3) * deviation) * 1.0001)
    }
    expect(spread('constant')).toEqual({ mean: 3, deviation: 0, largest: 3 })
    expect(state.get('normal.bias')?.data).toEqual(new Float32Array(100).fill(0.25))
  })
})

test('a clone has tensors of its own', async () => {
  const network = await Network.create(networks.vgg({ cfg: [4, 'M', 4, 'M', 4, 'M', 4, 'M', 4] }), { device: 'cpu' })
  const copy = await network.clone()
  await copy.handle.write('classifier.bias', { data: new Float32Array(10).fill(9), shape: [10] })
  expect((await network.tensor('classifier.bias')).data).toEqual(new Float32Array(10))
  network.dispose()
  expect((await copy.tensor('classifier.bias')).data).toEqual(new Float32Array(10).fill(9))
  copy.dispose()
})
