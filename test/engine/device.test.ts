import { afterAll, expect, test } from 'vitest'
import { type NativeNetwork, native } from '../../lib/native.ts'
import { info } from '../../lib/runtime.ts'
import type { TensorData } from '../../lib/types.ts'

const graph = {
  format: 'torchvid-graph',
  version: 1,
  inputs: [{ name: 'x', shape: [null, 2] }],
  nodes: [{ op: 'relu', name: 'a', inputs: ['x'] }],
  outputs: { y: 'a' },
}
const made: NativeNetwork[] = []
const create = async (device: string) => {
  const network = await native().createNetwork(graph, { seed: 0, device })
  made.push(network)
  return network
}
afterAll(() => {
  for (const network of made) network.dispose()
})

const { devices, cudaReason } = await info()
const gpus = devices.filter(({ name }) => name !== 'cpu')

test('info names the CPU first, and why there is no GPU', () => {
  expect(devices[0]).toMatchObject({ name: 'cpu', memory: expect.any(Number), free: expect.any(Number) })
  if (gpus.length === 0) expect(cudaReason).toMatch(/CPU build|TORCHVID_CUDA|driver|CUDA/)
})

test("'auto' is the first GPU, or the CPU where there is none", async () => {
  expect((await create('auto')).device()).toBe(gpus[0]?.name ?? 'cpu')
  expect((await create('cpu')).device()).toBe('cpu')
})

test.skipIf(gpus.length > 0)('a GPU that is missing is refused with the reason', async () => {
  const error = await create('cuda').catch((reason: unknown) => reason)
  expect(error).toMatchObject({ code: 'ERR_DEVICE_UNAVAILABLE' })
  expect((error as Error).message).toContain(cudaReason)
  expect((error as Error).message).toContain("'cuda'")
})

test.each(['cuda:99', 'cuda:', 'cuda:x', 'tpu', ''])('%j is no device here', async (device) => {
  const error = await create(device).catch((reason: unknown) => reason)
  expect(error).toMatchObject({ code: 'ERR_DEVICE_UNAVAILABLE' })
  expect((error as Error).message).toContain(`'${device}'`)
})

/** Whole numbers of 1 / 16: their products and sums are exact, in whatever order they are made. */
function sixteenths(shape: number[], seed: number): TensorData {
  let state = seed
  const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => {
    state = (state * 1103515245 + 12345) % 2147483648
    return ((state >> 16) % 8) / 16
  })
  return { data, shape }
}

function labelsOf(shape: number[], seed: number): TensorData {
  const { data } = sixteenths(shape, seed)
  return { data: Float32Array.from(data as Float32Array, (value) => (value > 0.3 ? 1 : 0)), shape }
}

test.each([
  { height: 7, width: 9, window: 2, objects: 2 },
  { height: 3, width: 20, window: 6, objects: 1 },
  { height: 1, width: 1, window: 3, objects: 3 },
  { height: 12, width: 5, window: 0, objects: 1 },
])('the search by bands finds what the search by cells finds: %j', async ({ height, width, window, objects }) => {
  const query = sixteenths([height, width, 4], 1)
  const keys = sixteenths([height, width, 4], 2)
  const labels = labelsOf([objects, height, width], 3)
  const byCell = await native().localSimilarities(query, keys, labels, { window, byBand: false })
  const byBand = await native().localSimilarities(query, keys, labels, { window, byBand: true })
  expect(byBand).toEqual(byCell)
  expect(byCell.values.shape).toEqual([objects, 2, height * width])
})

test('where an object has no cell in reach, its similarity is -1 in both searches', async () => {
  const keys = sixteenths([4, 4, 4], 1)
  const labels = { data: new Float32Array(16), shape: [1, 4, 4] }
  for (const byBand of [false, true]) {
    const { values } = await native().localSimilarities(keys, keys, labels, { window: 1, byBand })
    expect([...values.data].slice(0, 16)).toEqual(new Array(16).fill(-1))
  }
})
