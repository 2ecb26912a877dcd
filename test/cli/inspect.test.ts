import { join } from 'node:path'
import { graph, Network, networks } from 'torchvid'
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { scratch, torchvid } from './helpers.ts'

const folder = scratch()
const model = join(folder, 'small.safetensors')
const weights = join(folder, 'small.pth')
const free = join(folder, 'free.safetensors')
const hostile = join(folder, 'hostile.safetensors')

async function saved(network: graph.Graph | ReturnType<typeof networks.vgg>, file: string, exported?: string) {
  const made = await Network.create(network as ReturnType<typeof networks.vgg>)
  await made.save(file)
  if (exported !== undefined) await made.exportPyTorch(exported)
  made.dispose()
}

beforeAll(async () => {
  await saved(networks.vgg({ cfg: [16, 'M', 24], input: [1, 28, 28], classes: 7 }), model, weights)
  await saved(networks.mobilenet({ classes: 3 }), free)
  const image = graph.input('image', [null, 3, 8, 8])
  await saved(graph.build({ logits: graph.conv(image, { out: 2, kernel: 1, name: '\u001b[31mred\r\u202e' }) }), hostile)
})

afterEach(() => {
  vi.unstubAllEnvs()
})

test('a file with its graph: layers, costs, totals, inputs, outputs, labels', async () => {
  const { status, stdout, stderr } = await torchvid(['inspect', model])
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  const lines = stdout.split('\n')
  expect(lines[0]).toMatch(/^layer +op +output +parameters +MACs$/)
  // 3x3 on 28x28 with one channel and 16; 14x14 after the pool.
  expect(stdout).toMatch(/^feature\.0 +conv +1x16x28x28 +144 +112,896$/m)
  expect(stdout).toMatch(/^feature\.1 +batchNorm +1x16x28x28 +32$/m)
  expect(stdout).toMatch(/^feature\.4 +conv +1x24x14x14 +3,456 +677,376$/m)
  expect(stdout).toMatch(/^classifier +linear +1x7 +175 +168$/m)
  expect(stdout).toMatch(/^total +3,855 +790,440$/m)
  expect(stdout).toMatch(/^Input +image \[any, 1, 28, 28\], here 1x1x28x28$/m)
  expect(stdout).toMatch(/^Output +logits 1x7 \(classifier\)$/m)
  expect(stdout).toMatch(/^Label +network: vgg$/m)
})

test('--json: one object with the same, and the sizes as they are declared', async () => {
  const { status, stdout } = await torchvid(['inspect', model, '--json', '--channels'])
  expect(status).toBe(0)
  const found = JSON.parse(stdout)
  expect(found).toMatchObject({
    ...{ kind: 'network', shapes: { image: [1, 1, 28, 28] }, totals: { parameters: 3855, macs: 790_440 } },
    ...{ inputs: [{ name: 'image', shape: [null, 1, 28, 28] }], labels: { network: 'vgg' } },
  })
  expect(found.layers[0]).toMatchObject({ name: 'feature.0', op: 'conv', parameters: 144, shape: [1, 16, 28, 28] })
  expect(found.channels).toEqual([
    { name: 'feature.1', channels: 16, min: 0.5, median: 0.5, max: 0.5, below: 0 },
    { name: 'feature.5', channels: 24, min: 0.5, median: 0.5, max: 0.5, below: 0 },
  ])
})

describe('--input', () => {
  const macs = async (...args: string[]) => {
    const { status, stdout } = await torchvid(['inspect', free, '--json', ...args])
    expect(status).toBe(0)
    return JSON.parse(stdout).totals.macs as number
  }

  test('sets free sizes, 224 without it', async () => {
    expect(await macs()).toBe(await macs('--input', '1x3x224x224'))
    const [large, small] = [await macs('--input', 'image=1x3x128x128'), await macs('--input', '1x3x64x64')]
    // All but the classifier counts pixels.
    expect((large - 3072) / (small - 3072)).toBe(4)
  })

  test.each([
    ['1x3x', 2],
    ['big', 2],
    ['picture=1x3x64x64', 2],
  ])('%s is wrong usage', async (shape, code) => {
    const { status, stderr } = await torchvid(['inspect', free, '--input', shape])
    expect(status).toBe(code)
    expect(stderr).toMatch(/^ERR_INVALID_ARGUMENT: .*--input/)
  })

  test('of sizes that do not fit is an error of shape', async () => {
    const { status, stderr } = await torchvid(['inspect', free, '--input', '1x5x64x64'])
    expect(status).toBe(1)
    expect(stderr).toMatch(/^ERR_SHAPE: /)
  })
})

test('--channels: what a cut would meet, and how many scales are small', async () => {
  const network = await Network.open(model)
  const data = Float32Array.from({ length: 16 }, (_, i) => (i < 4 ? -0.001 * i : 0.25 * i))
  await (network as any).handle.write('feature.1.weight', { data, shape: [16] })
  const file = join(folder, 'scaled.safetensors')
  await network.save(file)
  network.dispose()
  const { stdout } = await torchvid(['inspect', file, '--channels'])
  expect(stdout).toMatch(/^batch-norm +channels +min \|gamma\| +median +max +<= 0\.01$/m)
  expect(stdout).toMatch(/^feature\.1 +16 +0\.00 +1\.88 +3\.75 +25\.0 %$/m)
  expect(stdout).toContain('4 of 40 channels (10.0 %) have a scale at or below 0.01.')
  const wider = await torchvid(['inspect', file, '--channels', '--threshold', '0.5'])
  expect(wider.stdout).toContain('28 of 40 channels (70.0 %)')
})

test('weights alone, and --tensors: the tensors, without LibTorch', async () => {
  vi.stubEnv('TORCHVID_LIBTORCH', join(folder, 'nowhere'))
  for (const args of [[weights], [model, '--tensors']]) {
    const { status, stdout } = await torchvid(['inspect', ...args])
    expect(status).toBe(0)
    expect(stdout).toMatch(/^tensor +type +shape +numbers$/m)
    expect(stdout).toMatch(/^feature\.4\.weight +F32 +24x16x3x3 +3,456$/m)
  }
  const { stdout } = await torchvid(['inspect', weights, '--json'])
  expect(JSON.parse(stdout)).toMatchObject({
    kind: 'weights',
    tensors: expect.arrayContaining([{ name: 'classifier.bias', dtype: 'F32', shape: [7] }]),
  })
})

test("--channels of weights alone takes what has running statistics for batch-norms; a network's name is as good as a file", async () => {
  const found = await torchvid(['inspect', weights, '--channels'])
  expect(found.stdout).toMatch(/^feature\.5 +24 +0\.500 +0\.500 +0\.500 +0\.0 %$/m)
  const named = await torchvid(['inspect', 'vgg16', '--classes', '10'])
  expect(named.stdout).toMatch(/^total +14,724,042 +313,201,664$/m)
})

test('names from a file cannot drive the terminal', async () => {
  for (const args of [[hostile], [hostile, '--tensors']]) {
    const { status, stdout } = await torchvid(['inspect', ...args])
    expect(status).toBe(0)
    expect(stdout).toContain('\\u{1b}[31mred\\u{d}\\u{202e}')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what must not come out
    expect(stdout).not.toMatch(/[\u001b\r\u202e]/)
  }
})

test.each([
  ['a file that is not there', join('no', 'such.safetensors'), 1, /^ERR_IO: MODEL/],
  ['a name that there is not', 'alexnet', 2, /^ERR_INVALID_ARGUMENT: MODEL.*vgg11/],
  ['a file of another kind', join(import.meta.dirname, 'inspect.test.ts'), 1, /^ERR_CHECKPOINT_FORMAT: /],
])('%s', async (_, given, code, message) => {
  const { status, stdout, stderr } = await torchvid(['inspect', given])
  expect({ status, stdout }).toEqual({ status: code, stdout: '' })
  expect(stderr).toMatch(message)
})
