import { afterAll, expect, test } from 'vitest'
import { type NativeNetwork, native, nativeFunctions, nativeNetworkMethods } from '../lib/native.ts'

const graph = {
  format: 'torchvid-graph',
  version: 1,
  inputs: [{ name: 'x', shape: [null, 2] }],
  nodes: [{ op: 'relu', name: 'a', inputs: ['x'] }],
  outputs: { y: 'a' },
}
const network: Promise<NativeNetwork> = native().createNetwork(graph, { seed: 0, device: 'cpu' })
afterAll(async () => (await network).dispose())

test('the addon exports what lib/native.ts declares, and nothing else', () => {
  expect(Object.keys(native()).sort()).toEqual([...nativeFunctions].sort())
})

test('a native network has the methods that lib/native.ts declares, and no others', async () => {
  const prototype = Object.getPrototypeOf(await network)
  const methods = Object.getOwnPropertyNames(prototype).filter((name) => name !== 'constructor')
  expect(methods.sort()).toEqual([...nativeNetworkMethods].sort())
})

test('a native network cannot be constructed, nor passed off as one', async () => {
  const NativeNetwork = Object.getPrototypeOf(await network).constructor
  expect(() => new NativeNetwork()).toThrow(TypeError)
  const settings = {
    pixels: { order: 'RGB' as const, mean: [0, 0, 0], std: [1, 1, 1] },
    output: 'y',
    threshold: 0.5,
    maxSize: 0,
  }
  const frame = { data: new Uint8Array(3), width: 1, height: 1, channels: 3 as const }
  const fake = Object.create(Object.prototype) as NativeNetwork
  expect(() => native().segment([fake], [1], frame, settings)).toThrow(/network: wanted a native network/)
})

test('methods on a foreign object fail without a crash', async () => {
  const { forward } = Object.getPrototypeOf(await network)
  expect(() => forward.call({}, {}, {})).toThrow()
})
