import { join } from 'node:path'
import { type Device, graph, Network, runtime, type TorchvidError } from 'torchvid'
import { expect } from 'vitest'
import { formulaWeights } from '../helpers/formula.ts'
import { writeFloats } from '../helpers/safetensors.ts'
import { selection, sizeOf, tensor } from '../helpers/tensors.ts'

/**
 * What is tested against the CPU: the first GPU. `TORCHVID_TEST_DEVICE=cpu` rehearses the tests where there is none; those
 * of what only a GPU does are skipped then.
 */
export const device = (process.env.TORCHVID_TEST_DEVICE ?? 'cuda') as Device
export const isCuda = device.startsWith('cuda')

/** Why there is nothing to test on here, or undefined. */
export const absence = await whyAbsent()

/** Skips tests that need the device. */
export const absent = absence !== undefined
/** Skips tests of what only a GPU does. */
export const noGpu = absent || !isCuda
/** Says on the test's title why it does not run here. */
export const note = absent ? ` (skipped: no GPU that works: ${absence})` : ''
export const gpuNote = noGpu && !absent ? ' (skipped: a rehearsal on the CPU)' : note

async function whyAbsent(): Promise<string | undefined> {
  try {
    const { libtorch } = await runtime.info()
    const x = graph.input('x', [null, 2])
    const network = await Network.create(graph.build({ y: graph.relu(x) }), { device })
    const { y } = await network.forward({ x: tensor([1, 2], (i) => i - 1) })
    network.dispose()
    return y !== undefined ? undefined : `LibTorch ${libtorch.version} gives no result`
  } catch (error) {
    const { code, message } = error as TorchvidError
    return `${code ?? 'error'}: ${message.split('\n')[0]}`
  }
}

/** Expects two numbers to differ by at most a share of the second. */
export function within(value: number | undefined, wanted: number, tolerance: number, what: string): void {
  const error = Math.abs((value as number) - wanted) / Math.max(Math.abs(wanted), 1e-30)
  expect(error, `${what}: ${value}, wanted ${wanted}`).toBeLessThanOrEqual(tolerance)
}

/** The length of a vector, or of the difference of two. */
export function norm(a: ArrayLike<number>, b?: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += (a[i]! - (b?.[i] ?? 0)) ** 2
  return Math.sqrt(sum)
}

export const floats = async (network: Network, name: string) => (await network.tensor(name)).data as Float32Array

let files = 0

/**
 * The same network on the CPU and on the device: random weights, running statistics and selections. The caller disposes of
 * both.
 */
export async function twins(net: graph.Graph, folder: string, seed = 3): Promise<[cpu: Network, other: Network]> {
  const pair = [await Network.create(net, { device: 'cpu' }), await Network.create(net, { device })] as const
  const small = pair[0].parameters().filter(({ shape }) => sizeOf(shape) < 300_000)
  const state = formulaWeights(small, seed)
  for (const { op, name, attributes } of net.nodes) {
    if (op === 'select') state.set(`${name}.indexes`, selection(attributes))
  }
  const file = join(folder, `twins-${++files}.safetensors`)
  writeFloats(file, state)
  for (const network of pair) await network.load(file, { strict: false })
  // What is too large to be drawn here starts from the seed, which is only the same on one device.
  const whole = join(folder, `twins-${files}-whole.safetensors`)
  await pair[0].save(whole)
  await pair[1].load(whole)
  return [pair[0], pair[1]]
}
