import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { graph, Network, networks, type TensorData } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { encodeModel } from '../../lib/onnx/encode.ts'
import { exportOnnx } from '../../lib/onnx/export.ts'
import { type ModelProto, messages } from '../../lib/onnx/schema.ts'
import { failureOf, leftovers, refuses, scratch } from '../helpers/expect.ts'
import { bytesOf, withNetwork } from '../helpers/tensors.ts'
import { agree, declaredShape, exported, randomNetwork } from './helpers.ts'

const folder = scratch()
const { add, conv, flatten, globalAveragePool, input, linear, relu, upsample } = graph
const maps = [null, 2, null, null]

const small = () =>
  graph.build({ y: conv(relu(input('x', maps)), { out: 3, kernel: 3, name: 'first' }) }, { task: 'test', depth: '1' })

/** Exports a graph and reads the file back as the message that it is. */
async function read(net: graph.Graph, options?: Parameters<Network['exportOnnx']>[1]): Promise<ModelProto> {
  const file = join(folder, 'read.onnx')
  await withNetwork(net, (network) => network.exportOnnx(file, options))
  return messages.model.toObject(messages.model.decode(readFileSync(file)), { longs: Number }) as ModelProto
}

const props = ({ metadataProps }: ModelProto) => Object.fromEntries(metadataProps.map(({ key, value }) => [key, value]))

describe('the file', () => {
  test('says who made it, what it is, and how it takes its pictures', async () => {
    const model = await read(networks.osvos({ backbone: 'mobilenet' }))
    expect(model).toMatchObject({ producerName: 'torchvid', irVersion: 8, opsetImport: [{ version: 17 }] })
    expect(model.producerVersion).toMatch(/^\d+\.\d+\.\d+/)
    expect(props(model)).toMatchObject({ 'torchvid.label.task': 'osvos', 'torchvid.label.backbone': 'mobilenet' })
    expect(JSON.parse(props(model)['torchvid.pixels.image']!)).toEqual({
      order: 'RGB',
      mean: [127.5, 127.5, 127.5],
      std: [127.5, 127.5, 127.5],
    })
    expect(model.graph?.input[0]?.docString).toMatch(/RGB.*127\.5.*0\.\.255/)
    expect(model.graph?.input[0]?.type.tensorType.shape.dim).toEqual([
      { dimParam: 'batch' },
      { dimValue: 3 },
      { dimParam: 'height' },
      { dimParam: 'width' },
    ])
  })

  test('holds the weights bit by bit under their state_dict names, and no counters', async () => {
    const net = graph.build({
      y: graph.batchNorm(conv(input('x', maps), { out: 3, kernel: 3, name: 'a.0' }), { name: 'a.1' }),
    })
    const network = await randomNetwork(net, folder)
    const file = join(folder, 'weights.onnx')
    await network.exportOnnx(file)
    const model = messages.model.toObject(messages.model.decode(readFileSync(file)), { longs: Number }) as ModelProto
    const stored = new Map(model.graph?.initializer?.map((row) => [row.name, row]))
    const names = network.parameters().map(({ name }) => name)
    expect([...stored.keys()].sort()).toEqual(names.filter((name) => !name.endsWith('num_batches_tracked')).sort())
    for (const [name, { dims, rawData }] of stored) {
      const tensor = (await network.tensor(name)) as TensorData
      expect(dims).toEqual(tensor.shape)
      expect(bytesOf(tensor).equals(rawData as Uint8Array)).toBe(true)
    }
    network.dispose()
  })

  test('names nodes and values as the graph does', async () => {
    const { graph: body } = await read(small())
    expect(body?.node.map(({ name }) => name)).toEqual(['relu_1', 'first'])
    expect(body?.node.map(({ output }) => output[0])).toEqual(['relu_1', 'y'])
  })

  test.each([15, 16, 18, 19, 20, 21, 22])('opset %i', async (opset) => {
    const x = input('x', maps)
    const y = upsample(graph.relu6(conv(x, { out: 3, kernel: 3, stride: 2, dilation: 2, padding: 'same' })), {
      like: x,
    })
    const logits = linear(globalAveragePool(graph.padChannels(y, { before: 1 })), { out: 4 })
    const network = await randomNetwork(graph.build({ y, logits, flat: flatten(y) }), folder)
    await agree(network, await exported(network, folder, { opset }), { x: [2, 2, 7, 9] })
    network.dispose()
  })
})

describe('names of outputs', () => {
  const x = () => input('x', maps)
  /** All of these work in ONNX Runtime and give what forward gives. */
  const works = async (net: graph.Graph, shapes: Record<string, number[]> = { x: [1, 2, 4, 5] }) => {
    const network = await randomNetwork(net, folder)
    const session = await exported(network, folder)
    await agree(network, session, shapes)
    network.dispose()
  }
  test('a value that is two outputs, and used besides', async () => {
    const shared = relu(x(), { name: 'shared' })
    await works(graph.build({ a: shared, b: shared, c: relu(shared) }))
  })
  test('an output named as another layer, as a weight, or as its own layer', async () => {
    const one = relu(x(), { name: 'one' })
    const two = conv(one, { out: 2, kernel: 1, name: 'two' })
    await works(graph.build({ two: one, one: two }))
    await works(graph.build({ 'two.weight': two }))
    await works(graph.build({ two }))
  })
  test('an input that is an output', async () => {
    const image = x()
    await works(graph.build({ copy: image, y: relu(image) }))
  })
  test('one named as an input is renamed', async () => {
    const image = x()
    await works(graph.build({ x: relu(image), y: image }))
    await works(graph.build({ x: image }))
    const taken = await randomNetwork(graph.build({ x: relu(image), x_output: image }), folder)
    expect((await exported(taken, folder)).outputNames).toEqual(['x_output_output', 'x_output'])
    taken.dispose()
  })
})

describe('shapes', () => {
  const named = (session: Awaited<ReturnType<typeof exported>>) => [
    declaredShape(session.inputMetadata, 'x'),
    declaredShape(session.outputMetadata, 'y'),
  ]
  test('free sizes bear names, the caller chooses which are free', async () => {
    await withNetwork(graph.build({ y: relu(input('x', maps)) }), async (network) => {
      const shape = async (x: (number | string | null)[] | undefined) =>
        named(await exported(network, folder, x && { inputs: { x } }))
      expect(await shape(undefined)).toEqual(new Array(2).fill(['batch', 2, 'height', 'width']))
      expect(await shape([1, 2, null, 8])).toEqual(new Array(2).fill([1, 2, 'height', 8]))
      expect(await shape(['n', 2, 'side', 'side'])).toEqual(new Array(2).fill(['n', 2, 'side', 'side']))
      expect(await shape([4, 2, 6, 8])).toEqual(new Array(2).fill([4, 2, 6, 8]))
    })
    await withNetwork(small(), async (network) => {
      const [, y] = named(await exported(network, folder))
      expect(y).toEqual(['batch', 3, 'y_2', 'y_3'])
    })
  })

  test('two inputs whose free sizes are equal', async () => {
    const net = graph.build({ y: add([input('x', maps), input('z', maps)]) })
    await withNetwork(net, async (network) => {
      const session = await exported(network, folder)
      await agree(network, session, { x: [2, 2, 5, 6], z: [2, 2, 5, 6] })
    })
  })

  test('a graph that claims to take any size but does not', async () => {
    const net = graph.build({ y: linear(flatten(input('x', [null, 1, null, null])), { in: 4096, out: 2 }) })
    await withNetwork(net, async (network) => {
      await refuses('ERR_SHAPE', /every size that its inputs leave free.*Give whole sizes/, () =>
        network.exportOnnx(join(folder, 'claims.onnx')),
      )
      const shapes = { x: [null, 1, 64, 64] }
      await agree(network, await exported(network, folder, { inputs: shapes }), { x: [3, 1, 64, 64] })
    })
  })
})

describe('wrong use', () => {
  const cases: [string, RegExp, string, unknown, unknown?][] = [
    ['ERR_INVALID_ARGUMENT', /path/, 'no path', ''],
    ['ERR_INVALID_ARGUMENT', /options/, 'no options object', undefined, null],
    ['ERR_INVALID_ARGUMENT', /inputs: got 3/, 'inputs that are no object', undefined, { inputs: 3 }],
    ['ERR_INVALID_ARGUMENT', /inputs\.x: got undefined/, 'a missing input', undefined, { inputs: {} }],
    [
      'ERR_INVALID_ARGUMENT',
      /"image".*by its name: 'x'/,
      'an unknown input',
      undefined,
      { inputs: { image: [1, 2, 4, 4] } },
    ],
    ['ERR_INVALID_ARGUMENT', /inputs\.x/, 'a size of 0', undefined, { inputs: { x: [0, 2, 4, 4] } }],
    ['ERR_INVALID_ARGUMENT', /inputs\.x/, 'half a size', undefined, { inputs: { x: [1, 2, 4.5, 4] } }],
    ['ERR_INVALID_ARGUMENT', /inputs\.x/, 'an empty name', undefined, { inputs: { x: ['', 2, 4, 4] } }],
    ['ERR_SHAPE', /takes \[any, 2, any, any\]/, 'other channels', undefined, { inputs: { x: [1, 3, 4, 4] } }],
    ['ERR_SHAPE', /takes \[any, 2, any, any\]/, 'free channels', undefined, { inputs: { x: [1, null, 4, 4] } }],
    ['ERR_SHAPE', /takes \[any, 2, any, any\]/, 'too few sizes', undefined, { inputs: { x: [1, 2, 4] } }],
    [
      'ERR_SHAPE',
      /first.*kernel is larger/,
      'a picture smaller than the kernel',
      undefined,
      { inputs: { x: [1, 2, 2, 2] } },
    ],
    ['ERR_INVALID_ARGUMENT', /opset.*15 to 22/, 'an old opset', undefined, { opset: 11 }],
    ['ERR_INVALID_ARGUMENT', /opset/, 'a text as opset', undefined, { opset: '17' }],
  ]
  test.each(cases)('%s, %s: %s', async (code, message, _, path = join(folder, 'wrong.onnx'), options = {}) => {
    await withNetwork(small(), async (network) => {
      await refuses(code as 'ERR_SHAPE', message, () => network.exportOnnx(path as string, options as object))
    })
    expect(existsSync(join(folder, 'wrong.onnx'))).toBe(false)
  })

  test('a folder that cannot be written to', async () => {
    const blocked = join(folder, 'blocked')
    writeFileSync(blocked, '')
    await withNetwork(small(), (network) =>
      refuses('ERR_IO', /could not be written/, () => network.exportOnnx(join(blocked, 'a.onnx'))),
    )
  })

  test('a disposed network: before, and while the file is being written', async () => {
    const file = join(folder, 'disposed.onnx')
    const network = await Network.create(small(), { device: 'cpu' })
    const underWay = network.exportOnnx(file)
    network.dispose()
    await refuses('ERR_DISPOSED', /disposed/, () => underWay)
    await refuses('ERR_DISPOSED', /disposed/, () => network.exportOnnx(file))
    expect(existsSync(file)).toBe(false)
  })

  test('an error between two weights leaves the old file and nothing else', async () => {
    const file = join(folder, 'kept.onnx')
    writeFileSync(file, 'old')
    const network = await Network.create(small(), { device: 'cpu' })
    const read = async (name: string) => {
      if (name.endsWith('bias')) network.dispose()
      return await network.tensor(name)
    }
    const handle = new Proxy(network.handle, {
      get: (target, key: 'read' | 'summary') => (key === 'read' ? read : target[key].bind(target)),
    })
    const disposing = Object.create(network, { handle: { value: handle } }) as Network
    await refuses('ERR_DISPOSED', /disposed/, () => disposing.exportOnnx(file))
    expect(readFileSync(file, 'utf8')).toBe('old')
    expect(leftovers(folder)).toEqual([])
    expect(readdirSync(folder).filter((name) => name.startsWith('.'))).toEqual([])
  })

  test('an op that ONNX lacks is named with its layer', async () => {
    const net = { ...small(), nodes: [{ op: 'warp', name: 'bend', inputs: ['x'] }] }
    const file = join(folder, 'warp.onnx')
    expect(await failureOf(() => exportOnnx({ graph: net } as never, file))).toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: expect.stringMatching(/layer 'bend': the op 'warp' cannot/),
    })
    expect(existsSync(file)).toBe(false)
  })

  test('more than the format holds is refused before anything is written', async () => {
    const [head, body] = [
      { irVersion: 8, opsetImport: [], producerName: '', producerVersion: '', metadataProps: [] },
      { name: 'g', node: [], input: [], output: [] },
    ]
    const huge = { name: 'w', dataType: 1, dims: [2 ** 30], bytes: 2 ** 32, read: () => new Uint8Array() }
    expect(await failureOf(() => encodeModel(head, body, [huge]))).toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: expect.stringMatching(/takes 4\.29 GB, an ONNX file holds at most 2\.15 GB.*Slim/),
    })
  })
})
