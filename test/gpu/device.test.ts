import { join } from 'node:path'
import { graph, Network, OSVOS, RTFM, runtime } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { refuses, scratch } from '../helpers/expect.ts'
import { disk } from '../helpers/pictures.ts'
import { noise } from '../helpers/tensors.ts'
import { absence, absent, gpuNote, isCuda, noGpu, note } from './helpers.ts'

const folder = scratch()
const net = () => graph.build({ y: graph.relu(graph.input('x', [null, 2, null, null])) })

test.runIf(process.env.TORCHVID_REQUIRE_GPU === '1')('there is a GPU, and it works', () => {
  expect(absence).toBeUndefined()
  expect(isCuda).toBe(true)
})

describe.skipIf(absent)(`the device${note}`, () => {
  test('a missing one is refused, by its name', async () => {
    for (const device of ['cuda:7', 'cuda:63'] as const) {
      const { devices } = await runtime.info()
      if (devices.some(({ name }) => name === device)) continue
      await refuses('ERR_DEVICE_UNAVAILABLE', new RegExp(device), () => Network.create(net(), { device }))
      await refuses('ERR_DEVICE_UNAVAILABLE', new RegExp(device), () => OSVOS.create({ backbone: 'mobilenet', device }))
      await refuses('ERR_DEVICE_UNAVAILABLE', new RegExp(device), () => RTFM.create({ featureSize: 16, device }))
    }
  })

  test('what is no device is an argument out of range, or unavailable', async () => {
    for (const device of ['cuda:-1', 'cuda:x', 'gpu', 'meta', '']) {
      const error = await Network.create(net(), { device: device as 'cpu' }).then(
        () => undefined,
        ({ code }) => code,
      )
      expect(['ERR_INVALID_ARGUMENT', 'ERR_DEVICE_UNAVAILABLE'], device).toContain(error)
    }
  })
})

describe.skipIf(noGpu)(`a GPU${gpuNote}`, () => {
  test('is listed, with its memory', async () => {
    const { devices } = await runtime.info()
    const gpu = devices.find(({ name }) => name.startsWith('cuda'))
    expect(gpu, JSON.stringify(devices)).toBeDefined()
    expect(gpu!.memory).toBeGreaterThan(2 ** 30)
    expect(devices.find(({ name }) => name === 'cpu')).toBeDefined()
  })

  test("by every name it has, 'auto' and the default among them", async () => {
    for (const options of [{}, { device: 'auto' }, { device: 'cuda' }, { device: 'cuda:0' }] as const) {
      const network = await Network.create(net(), options)
      expect(network.handle.device()).toMatch(/^cuda(:0)?$/)
      const x = noise([1, 2, 3, 3])
      const { y } = await network.forward({ x })
      expect([...y!.data]).toEqual([...x.data].map((value) => Math.max(value, 0)))
      network.dispose()
    }
  })

  test('and the CPU work side by side', async () => {
    const pair = await Promise.all([
      Network.create(net(), { device: 'cpu' }),
      Network.create(net(), { device: 'cuda' }),
    ])
    const x = noise([2, 2, 64, 64])
    const results = await Promise.all(Array.from({ length: 20 }, (_, i) => pair[i % 2]!.forward({ x })))
    for (const { y } of results) expect(y!.data).toEqual(results[0]!.y!.data)
    for (const network of pair) network.dispose()
  })

  test('trains what is on it alone: a network on the CPU is refused, and stays usable', async () => {
    const { image, mask } = disk()
    const osvos = await OSVOS.create({ backbone: 'mobilenet', device: 'cpu' })
    await expect(osvos.fit(image, mask, { iterations: 3, device: 'cuda' })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: expect.stringMatching(/cpu.*cuda:0/),
    })
    const fitted = await osvos.fit(image, mask, { iterations: 3 })
    for (const each of [osvos, fitted]) each.dispose()
  })

  test('saves what the CPU opens', async () => {
    const x = graph.input('x', [null, 3, null, null])
    const made = graph.build({ y: graph.batchNorm(graph.conv(x, { out: 4, kernel: 3 })) })
    const network = await Network.create(made, { device: 'cuda', seed: 5 })
    const file = join(folder, 'network.safetensors')
    await network.save(file)
    const opened = await Network.open(file, { device: 'cpu' })
    for (const { name } of network.parameters()) {
      expect((await opened.tensor(name)).data, name).toEqual((await network.tensor(name)).data)
    }
    for (const each of [network, opened]) each.dispose()
  })
})
