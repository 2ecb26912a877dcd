import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { type graph, Network, type TensorData } from 'torchvid'
import { expect } from 'vitest'
import { formulaWeights } from '../helpers/formula.ts'
import { encodeFloats } from '../helpers/safetensors.ts'
import { noise, relative, selection, sizeOf } from '../helpers/tensors.ts'

type Inputs = Record<string, TensorData>
type ExportOptions = Parameters<Network['exportOnnx']>[1]

let files = 0

/** A network whose weights, running statistics and selections are all random (large weights: as they start). */
export async function randomNetwork(net: graph.Graph, folder: string, seed = 3): Promise<Network> {
  const network = await Network.create(net, { device: 'cpu' })
  const small = network.parameters().filter(({ shape }) => sizeOf(shape) < 300_000)
  const state = formulaWeights(small, seed)
  for (const { op, name, attributes } of net.nodes)
    if (op === 'select') state.set(`${name}.indexes`, selection(attributes))
  const file = join(folder, `weights-${++files}.safetensors`)
  writeFileSync(file, encodeFloats(state))
  await network.load(file, { strict: false })
  return network
}

/** Exports a network and opens the file in ONNX Runtime. */
export async function exported(network: Network, folder: string, options?: ExportOptions): Promise<InferenceSession> {
  const file = join(folder, `network-${++files}.onnx`)
  await network.exportOnnx(file, options)
  return await InferenceSession.create(file, { intraOpNumThreads: 2, logSeverityLevel: 3 })
}

/** What ONNX Runtime computes. */
export async function runOnnx(session: InferenceSession, inputs: Inputs): Promise<Record<string, TensorData>> {
  const feeds = Object.entries(inputs).map(([name, { data, shape }]) => [
    name,
    new Tensor('float32', data as Float32Array, shape),
  ])
  const outputs = await session.run(Object.fromEntries(feeds))
  return Object.fromEntries(
    Object.entries(outputs).map(([name, { data, dims }]) => [name, { data: data as Float32Array, shape: [...dims] }]),
  )
}

/** Noise of these shapes. */
export function noiseFor(shapes: Record<string, number[]>): Record<string, TensorData> {
  return Object.fromEntries(Object.entries(shapes).map(([name, shape], i) => [name, noise(shape, 11 + i)]))
}

/** A value's shape as the file declares it: sizes and names of free ones. */
export function declaredShape(values: readonly InferenceSession.ValueMetadata[], name: string): (number | string)[] {
  const value = values.find((value) => value.name === name)
  if (!value?.isTensor) throw new Error(`The file declares no tensor '${name}'.`)
  return [...value.shape]
}

function fits(declared: (number | string)[], shape: number[]): boolean {
  return declared.length === shape.length && declared.every((size, i) => typeof size === 'string' || size === shape[i])
}

/** Expects a session to compute what the network does, on noise of these shapes; returns the largest relative gap. */
export async function agree(
  network: Network,
  session: InferenceSession,
  shapes: Record<string, number[]>,
): Promise<number> {
  const inputs = noiseFor(shapes)
  const [ours, theirs] = [await network.forward(inputs), await runOnnx(session, inputs)]
  // In the file an output cannot have an input's name.
  const inFile = (name: string) => (name in shapes ? `${name}_output` : name)
  expect(Object.keys(theirs).sort()).toEqual(Object.keys(ours).map(inFile).sort())
  let largest = 0
  for (const [name, { data, shape }] of Object.entries(ours)) {
    const other = theirs[inFile(name)] as TensorData
    expect(other.shape, `shape of ${name}`).toEqual(shape)
    expect(fits(declaredShape(session.outputMetadata, inFile(name)), shape), `declared shape of ${name}`).toBe(true)
    expect(sizeOf(shape)).toBeGreaterThan(0)
    const gap = relative(other.data, data)
    expect(gap, `relative gap of ${name} at ${JSON.stringify(shapes)}`).toBeLessThanOrEqual(1e-4)
    largest = Math.max(largest, gap)
  }
  return largest
}
