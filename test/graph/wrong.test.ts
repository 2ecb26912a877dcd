import { graph, Network, networks, TorchvidError } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { failureOf, refuses } from '../helpers/expect.ts'
import { noise, randomFrom, withNetwork } from '../helpers/tensors.ts'

const create = (net: graph.Graph) => async () => (await Network.create(net, { device: 'cpu' })).dispose()
const x = () => graph.input('x', [null, 3, null, null])

/** A graph of one layer named `odd`, with anything in it. */
const one = (op: string, attributes: Record<string, unknown> = {}, rest: object = {}) =>
  ({
    format: 'torchvid-graph',
    version: 1,
    inputs: [{ name: 'x', shape: [null, 3, null, null] }],
    nodes: [{ op, name: 'odd', inputs: ['x'], attributes, ...rest }],
    outputs: { y: 'odd' },
  }) as graph.Graph

describe('a wrong graph fails when it is created, and the layer is named', () => {
  test.each([
    ['an unknown op', one('magic'), 'ERR_INVALID_ARGUMENT', /'odd' \(magic\).*no such op/],
    ['an unknown attribute', one('relu', { slope: 1 }), 'ERR_INVALID_ARGUMENT', /'odd' \(relu\).*'slope'/],
    ['a missing attribute', one('conv', { in: 3, kernel: [1, 1] }), 'ERR_INVALID_ARGUMENT', /'odd'.*'out'/],
    [
      'an attribute of the wrong type',
      one('conv', { in: 3, out: 'many', kernel: [1, 1] }),
      'ERR_INVALID_ARGUMENT',
      /'odd'.*'out'/,
    ],
    ['a kernel of 0', one('conv', { in: 3, out: 1, kernel: [0, 1] }), 'ERR_INVALID_ARGUMENT', /'odd'.*'kernel'/],
    [
      'a negative stride',
      one('conv', { in: 3, out: 1, kernel: [1, 1], stride: -1 }),
      'ERR_INVALID_ARGUMENT',
      /'odd'.*'stride'/,
    ],
    [
      'groups that do not divide',
      one('conv', { in: 3, out: 4, kernel: [1, 1], groups: 2 }),
      'ERR_INVALID_ARGUMENT',
      /'odd'.*groups/,
    ],
    [
      'an odd padding text',
      one('conv', { in: 3, out: 1, kernel: [1, 1], padding: 'valid' }),
      'ERR_INVALID_ARGUMENT',
      /'odd'.*padding/,
    ],
    ['wrong channels', one('conv', { in: 5, out: 1, kernel: [1, 1] }), 'ERR_SHAPE', /'odd'.*wanted 5 channels, got 3/],
    ['wrong channels of a norm', one('batchNorm', { channels: 4 }), 'ERR_SHAPE', /'odd'.*wanted 4 channels, got 3/],
    ['wrong features', one('linear', { in: 5, out: 1 }), 'ERR_SHAPE', /'odd' \(linear\)/],
    ['a kernel over one dimension on a picture', one('conv', { in: 3, out: 1, kernel: [3] }), 'ERR_SHAPE', /'odd'/],
    ['a pool that pads more than half', one('maxPool', { kernel: [2, 2], padding: 2 }), 'ERR_SHAPE', /'odd'/],
    ['an upsampling to nothing', one('upsample', { scale: 0.001 }), 'ERR_SHAPE', /'odd'/],
    ['a probability of 1', one('dropout', { probability: 1 }), 'ERR_INVALID_ARGUMENT', /'odd'.*probability/],
    ['a missing input', one('relu', {}, { inputs: ['z'] }), 'ERR_INVALID_ARGUMENT', /'odd'.*'z'/],
    ['too many inputs', one('relu', {}, { inputs: ['x', 'x'] }), 'ERR_INVALID_ARGUMENT', /'odd'.*2 inputs/],
    [
      'an init for a parameter that is not there',
      one('relu', {}, { init: { weight: { distribution: 'normal' } } }),
      'ERR_INVALID_ARGUMENT',
      /'odd'.*'weight'/,
    ],
    [
      'an unknown init',
      one('conv', { in: 3, out: 1, kernel: [1, 1] }, { init: { weight: { distribution: 'magic' } } }),
      'ERR_INVALID_ARGUMENT',
      /odd.*magic|magic.*odd/,
    ],
    ['a layer that takes its own output', one('relu', {}, { inputs: ['odd'] }), 'ERR_INVALID_ARGUMENT', /'odd'/],
    ['concat beyond the dimensions', one('concat', { dimension: 9 }), 'ERR_SHAPE', /'odd'/],
    [
      'a weight larger than any memory',
      one('conv', { in: 3, out: 2 ** 45, kernel: [1, 1] }),
      'ERR_OUT_OF_MEMORY',
      /'odd'/,
    ],
  ] as const)('%s', async (_, net, code, message) => {
    await refuses(code, message, create(net as graph.Graph))
  })

  test('two layers of one name', async () => {
    const net = graph.build({ y: graph.relu(graph.relu(x(), { name: 'twice' }), { name: 'twice' }) })
    await refuses('ERR_INVALID_ARGUMENT', /'twice'/, create(net))
  })

  test('two inputs of one name', async () => {
    const net = graph.build({ y: graph.add([graph.input('x', [null, 3]), graph.input('x', [null, 3])]) })
    await refuses('ERR_INVALID_ARGUMENT', /'x'/, create(net))
  })

  test('shapes that do not fit together', async () => {
    const net = graph.build({ y: graph.add([x(), graph.input('b', [null, 3, 5, 5])], { name: 'odd' }) })
    await refuses('ERR_SHAPE', /'odd' \(add\)/, create(net))
    const smaller = graph.build({
      y: graph.crop(graph.maxPool(x(), { kernel: 2 }), graph.input('b', [null, 3, 99, 99]), { name: 'odd' }),
    })
    await refuses('ERR_SHAPE', /'odd' \(crop\)/, create(smaller))
  })

  test('an output that names no layer, no output, no input', async () => {
    const net = graph.build({ y: graph.relu(x()) })
    await refuses('ERR_INVALID_ARGUMENT', /'nowhere'/, create({ ...net, outputs: { y: 'nowhere' } }))
    await refuses('ERR_INVALID_ARGUMENT', /output/, create({ ...net, outputs: {} }))
    await refuses('ERR_INVALID_ARGUMENT', /input/, create({ ...net, inputs: [] }))
  })

  test.each([
    undefined,
    null,
    5,
    'vgg',
    [],
    {},
    { format: 'torchvid-graph' },
    { format: 'torchvid-graph', version: 2 },
    { format: 'torchvid-graph', version: 1 },
  ])('no graph at all: %j', async (value) => {
    await refuses('ERR_INVALID_ARGUMENT', /./, create(value as any))
  })
})

describe('builders refuse what they can see', () => {
  test.each([
    ['no value', () => graph.relu(5 as any)],
    ['undefined', () => graph.relu(undefined as any)],
    ['unknown channels', () => graph.conv(graph.flatten(x()), { out: 1, kernel: 1 })],
    ['half a channel', () => graph.conv(x(), { out: 0.5, kernel: 1 })],
    ['upsample with neither scale nor like', () => graph.upsample(x(), {})],
    ['upsample with both', () => graph.upsample(x(), { scale: 2, like: x() })],
    ['build from something else', () => graph.build({ y: 'relu_1' as any })],
    ['vgg of no depth', () => networks.vgg({ depth: 12 })],
    ['osvos of no trunk', () => networks.osvos({ backbone: 'resnet' as any })],
  ])('%s', async (_, make) => {
    await refuses('ERR_INVALID_ARGUMENT', /./, make)
  })
})

describe('forward refuses wrong inputs', () => {
  const net = networks.vgg({ cfg: [4, 'M', 4, 'M', 4, 'M', 4, 'M', 4] })
  const data = () => new Float32Array(3072)
  test.each([
    ['wrong channels', { image: { data: new Float32Array(2048), shape: [1, 2, 32, 32] } }, 'ERR_SHAPE'],
    ['too few dimensions', { image: { data: data(), shape: [3, 32, 32] } }, 'ERR_SHAPE'],
    ['data and shape that differ', { image: { data: new Float32Array(5), shape: [1, 3, 32, 32] } }, 'ERR_SHAPE'],
    ['a negative size', { image: { data: data(), shape: [-1, 3, 32, -32] } }, 'ERR_SHAPE'],
    ['an empty batch', { image: { data: new Float32Array(0), shape: [0, 3, 32, 32] } }, 'ERR_SHAPE'],
    ['a huge shape', { image: { data: new Float32Array(0), shape: [1, 3, 2 ** 31, 2 ** 31] } }, 'ERR_SHAPE'],
    ['half a size', { image: { data: data(), shape: [0.5, 3, 32, 64] } }, 'ERR_INVALID_ARGUMENT'],
    ['plain numbers', { image: { data: [1, 2, 3], shape: [3] } }, 'ERR_INVALID_ARGUMENT'],
    ['16-bit numbers', { image: { data: new Uint16Array(3072), shape: [1, 3, 32, 32] } }, 'ERR_INVALID_ARGUMENT'],
    ['an unknown input', { picture: { data: data(), shape: [1, 3, 32, 32] } }, 'ERR_INVALID_ARGUMENT'],
    ['no input', {}, 'ERR_INVALID_ARGUMENT'],
    ['null', { image: null }, 'ERR_INVALID_ARGUMENT'],
    ['no object', 'image', 'ERR_INVALID_ARGUMENT'],
  ] as [string, any, 'ERR_SHAPE' | 'ERR_INVALID_ARGUMENT'][])('%s', async (_, inputs, code) => {
    await withNetwork(net, async (network) => {
      await refuses(code, /./, () => network.forward(inputs))
    })
  })

  test('an unknown output, an odd seed, an unknown tensor', async () => {
    await withNetwork(net, async (network) => {
      const image = { data: data(), shape: [1, 3, 32, 32] }
      await refuses('ERR_INVALID_ARGUMENT', /'nothing'.*'logits'/, () =>
        network.forward({ image }, { outputs: ['nothing'] }),
      )
      await refuses('ERR_INVALID_ARGUMENT', /seed/, () => network.forward({ image }, { seed: -1 }))
      await refuses('ERR_INVALID_ARGUMENT', /'feature.99.weight'/, () => network.tensor('feature.99.weight'))
      await refuses('ERR_SHAPE', /./, () => network.summary({ image: [1, 3, 0, 32] }))
      await refuses('ERR_INVALID_ARGUMENT', /./, () => network.summary({ image: ['a'] as any }))
    })
  })

  test('a picture too small for the pools fails by name, and the network still works', async () => {
    const pooled = graph.build({ y: graph.maxPool(graph.maxPool(x(), { kernel: 2 }), { kernel: 2, name: 'second' }) })
    await withNetwork(pooled, async (network) => {
      await refuses('ERR_SHAPE', /'second'/, () => network.forward({ x: noise([1, 3, 3, 3]) }))
      expect((await network.forward({ x: noise([1, 3, 4, 4]) })).y?.shape).toEqual([1, 3, 1, 1])
    })
  })
})

test('graphs damaged at random are refused with a code, or work', async () => {
  const random = randomFrom(1)
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)] as T
  const odd = [
    -1,
    0,
    1,
    2,
    3,
    7,
    0.5,
    2 ** 53,
    2 ** 45,
    1e300,
    -1e300,
    'same',
    '',
    true,
    false,
    null,
    [],
    [0],
    [1, 1],
    [2, 3],
    [1, 1, 1],
    {},
    undefined,
  ]
  const base = JSON.stringify(
    graph.build({
      y: graph.linear(
        graph.globalAveragePool(
          graph.concat([
            graph.maxPool(graph.relu(graph.batchNorm(graph.conv(x(), { out: 4, kernel: 3, padding: 1, stride: 1 }))), {
              kernel: 2,
            }),
            graph.averagePool(graph.conv(x(), { out: 2, kernel: 3, padding: 'same', groups: 1 }), { kernel: 2 }),
          ]),
        ),
        { out: 2 },
      ),
    }),
  )
  let refused = 0
  for (let round = 0; round < 400; round++) {
    const net = JSON.parse(base) as any
    const node = pick(net.nodes) as any
    const target = pick([node, node.attributes ?? node, node.attributes ?? node, net, pick(net.inputs)]) as any
    target[pick(Object.keys(target))] = pick(odd)
    try {
      const network = await Network.create(net, { device: 'cpu' })
      network.dispose()
    } catch (error) {
      refused++
      expect(error, JSON.stringify(net)).toBeInstanceOf(TorchvidError)
    }
  }
  expect(refused).toBeGreaterThan(200)
})

test('after dispose every call is refused, and disposing again does nothing', async () => {
  const network = await Network.create(networks.vgg({ cfg: [4, 'M', 4, 'M', 4, 'M', 4, 'M', 4] }), { device: 'cpu' })
  network.dispose()
  network.dispose()
  const image = { data: new Float32Array(3072), shape: [1, 3, 32, 32] }
  const calls = [
    () => network.forward({ image }),
    () => network.parameters(),
    () => network.tensor('classifier.weight'),
    () => network.summary({ image: [1, 3, 32, 32] }),
    () => network.clone(),
    () => network.save('never-written.safetensors'),
  ]
  for (const call of calls) await refuses('ERR_DISPOSED', /disposed/, call)
})

test('disposing while a call is under way: it ends with a result or ERR_DISPOSED', async () => {
  const network = await Network.create(networks.vgg({ cfg: [64, 64, 'M', 64, 'M', 64, 'M', 64, 'M', 64] }), {
    device: 'cpu',
  })
  const image = noise([64, 3, 32, 32])
  const calls = Array.from({ length: 4 }, () => failureOf(() => network.forward({ image })))
  network.dispose()
  for (const error of await Promise.all(calls)) expect(error).toMatchObject({ code: 'ERR_DISPOSED' })
})
