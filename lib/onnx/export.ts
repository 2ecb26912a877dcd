import { writeWhole } from '../data/files.ts'
import { checkInteger, invalidArgument, TorchvidError } from '../errors.ts'
import type { Graph, GraphNode } from '../graph/types.ts'
import { packageVersion } from '../libtorch/package.ts'
import { encodeModel } from './encode.ts'
import { OnnxGraph } from './graph.ts'
import { OnnxLayer, type OnnxValue, type Weights } from './layer.ts'
import { graphDescription, inputDescription, metadata } from './metadata.ts'
import { onnxOps } from './ops.ts'
import { dataType, type ValueInfoProto } from './schema.ts'
import { inferShapes, type OnnxShape, type Shapes } from './shapes.ts'
import type { OnnxSource } from './source.ts'

/** Settings of `Network.exportOnnx`. */
export interface ExportOnnxOptions {
  /**
   * The shape of each input, by name: sizes; null, or a text as its name, is any size. Default: what the graph declares,
   * its free sizes left free.
   */
  inputs?: Record<string, OnnxShape>
  /** Version of ONNX's operators, 15 to 22. Default 17. */
  opset?: number
}

/** The version of the file format that came with each version of the operators (onnx, Versioning). */
const formats: Record<number, number> = { 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10 }

/**
 * Writes a network as an ONNX file, whole or not at all: what it does at inference, weights under their state_dict names,
 * inputs and outputs under the graph's (an output named as an input becomes `<name>_output`). Metadata say what it is
 * (`torchvid.label.*`) and how an input takes its pictures (`torchvid.pixels.*`: value = (x - mean) / std for x in 0..255;
 * all three in the order named, (N, C, H, W)).
 * @throws TorchvidError ERR_INVALID_ARGUMENT, ERR_SHAPE, ERR_IO, ERR_DISPOSED
 */
export async function exportOnnx(network: OnnxSource, path: string, options: ExportOnnxOptions = {}): Promise<void> {
  if (typeof path !== 'string' || path === '') throw invalidArgument('path', path, 'the path of the file to write')
  if (options === null || typeof options !== 'object')
    throw invalidArgument('options', options, 'an object such as { inputs: { image: [1, 3, 32, 32] } }')
  const opset = checkInteger('opset', options.opset ?? 17, 15, 22)
  const graph = namedApart(network.graph)
  for (const node of graph.nodes) rowOf(node)
  const shapes = await inferShapes(network, options.inputs)
  const { nodes, tensors } = await writeLayers(network, graph, shapes, opset)
  const model = {
    irVersion: formats[opset] as number,
    opsetImport: [{ domain: '', version: opset }],
    producerName: 'torchvid',
    producerVersion: packageVersion(),
    metadataProps: metadata(graph),
  }
  const body = {
    name: graph.labels?.network ?? graph.labels?.task ?? 'network',
    docString: graphDescription(graph),
    node: nodes,
    ...border(graph, shapes),
  }
  await writeWhole(path, encodeModel(model, body, tensors))
}

/** The row of a layer's op. */
function rowOf({ op, name }: GraphNode) {
  const row = Object.hasOwn(onnxOps, op) ? onnxOps[op] : undefined
  if (row !== undefined) return row
  const message = `exportOnnx: layer '${name}': the op '${op}' cannot be written in ONNX. Export the part of the network without it; the ops that can: ${Object.keys(onnxOps).join(', ')}.`
  throw new TorchvidError('ERR_INVALID_ARGUMENT', message)
}

/** The graph with outputs named as an input is renamed `<name>_output`: in ONNX a name stands for one value. */
function namedApart(graph: Graph): Graph {
  const taken = new Set([...graph.inputs.map(({ name }) => name), ...Object.keys(graph.outputs)])
  const inputs = new Set(graph.inputs.map(({ name }) => name))
  const outputs = Object.entries(graph.outputs).map(([name, source]) => {
    let free = name
    if (inputs.has(name)) while (taken.has(free)) free += '_output'
    taken.add(free)
    return [free, source] as const
  })
  return { ...graph, outputs: Object.fromEntries(outputs) }
}

/** Every layer's operators, and the constants and weights they use. */
async function writeLayers(network: OnnxSource, graph: Graph, shapes: Shapes, opset: number): Promise<OnnxGraph> {
  const { inputs, nodes, outputs } = graph
  const tensors = new Map(network.parameters().map(({ name, shape }) => [name, shape]))
  const outputNames = Object.keys(outputs)
  const onnx = new OnnxGraph([...inputs.map(({ name }) => name), ...outputNames], opset)
  const weights = weightsOf(network, tensors, onnx)
  const values = new Map<string, OnnxValue>()
  const remember = (name: string, value: string) =>
    values.set(name, { name: value, sizes: shapes.sizes.get(name) ?? [] })
  for (const { name } of inputs) remember(name, name)
  for (const node of nodes) {
    const output = soleOutput(graph, node.name) ?? onnx.freeName(node.name)
    const sources = node.inputs.map((name) => values.get(name) as OnnxValue)
    await rowOf(node)(new OnnxLayer(onnx, node, sources, output, weights))
    remember(node.name, output)
  }
  for (const [name, source] of Object.entries(outputs)) {
    const value = (values.get(source) as OnnxValue).name
    if (value !== name) onnx.node('Identity', onnx.freeName(`${name}/Identity`), [value], name)
  }
  return onnx
}

/** The output that is this layer's value and nothing else's: the value can bear its name. */
function soleOutput(graph: Graph, layer: string): string | undefined {
  const names = Object.keys(graph.outputs).filter((name) => graph.outputs[name] === layer)
  if (names.includes(layer)) return layer
  const used = graph.nodes.some((node) => node.inputs.includes(layer))
  return names.length === 1 && !used ? names[0] : undefined
}

/** The network's tensors. Those that a row asks for get their state_dict names, unless an input or output has it. */
function weightsOf(network: OnnxSource, shapes: Map<string, number[]>, onnx: OnnxGraph): Weights {
  // The tensors as they are now: what a training that ends meanwhile brings does not mix with them.
  const { handle } = network
  const names = new Map([...shapes.keys()].map((name) => [name, onnx.freeName(name)]))
  const stored = new Set<string>()
  const add = (name: string, inFile: string) => {
    const dims = shapes.get(name) as number[]
    const bytes = 4 * dims.reduce((product, size) => product * size, 1)
    const read = async () => {
      const { data } = await handle.read(name)
      return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    }
    stored.add(name)
    onnx.tensors.push({ name: inFile, dataType: dataType.float, dims, bytes, read })
  }
  return {
    has: (name) => shapes.has(name),
    read: (name) => handle.read(name),
    store: (name) => {
      const inFile = names.get(name) as string
      if (!stored.has(name)) add(name, inFile)
      return inFile
    },
  }
}

/** The graph's inputs and outputs with their types. */
function border(graph: Graph, shapes: Shapes): { input: ValueInfoProto[]; output: ValueInfoProto[] } {
  const info = (name: string, shape: (number | string)[], docString?: string): ValueInfoProto => {
    const dim = shape.map((size) => (typeof size === 'number' ? { dimValue: size } : { dimParam: size }))
    return { name, type: { tensorType: { elemType: dataType.float, shape: { dim } } }, docString }
  }
  return {
    input: graph.inputs.map((input) => info(input.name, shapes.inputs[input.name] ?? [], inputDescription(input))),
    output: Object.entries(graph.outputs).map(([name, source]) => info(name, shapes.named(source, name))),
  }
}
