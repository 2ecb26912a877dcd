import path from 'node:path'
import { checkInteger, describe, invalidArgument, TorchvidError } from './errors.ts'
import type { Graph } from './graph/types.ts'
import { type NativeLayer, type NativeNetwork, native } from './native.ts'
import type { ExportOnnxOptions } from './onnx/export.ts'
import type { Device, TensorData } from './types.ts'
import { slimmingCfg } from './weights/slimming-cfg.ts'
import { readTable } from './weights/table.ts'
import { type SlimmingCfg, writeTorch } from './weights/torch-writer.ts'
import type { WeightsTensor } from './weights/types.ts'

/** Settings of `Network.create`. */
export interface NetworkOptions {
  /** Default `'auto'`. */
  device?: Device
  /** The parameters' start comes from this number. Default 0. */
  seed?: number
}

/** Settings of `Network.load`. */
export interface LoadOptions {
  /** Missing or unexpected tensors are an error. Default true. */
  strict?: boolean
  /** Takes only tensors whose name starts so, and cuts it off. */
  prefix?: string
  /** Renames each tensor (after `prefix`); null leaves it out. */
  map?: (name: string) => string | null
}

/** What `Network.load` did, by the network's names; `unexpected` by the file's. */
export interface LoadResult {
  loaded: string[]
  missing: string[]
  unexpected: string[]
}

/** What a network costs at the input shapes given. */
export interface NetworkSummary {
  layers: NativeLayer[]
  parameters: number
  macs: number
  activationBytes: number
}

/** A parameter or buffer of a network. */
export interface ParameterInfo {
  /** Its state_dict name. */
  name: string
  shape: number[]
  /** False for buffers and frozen layers. */
  trainable: boolean
}

/** The key under which a saved file carries the graph. */
export const graphKey = 'torchvid.graph'

/** Tensors of training checkpoints that are no part of the network. */
const trainingPrefix = 'torchvid.'

/**
 * A network: a graph with its tensors, on a device. The only long-lived native object; `dispose` frees it at once, the
 * garbage collector some time. After `dispose` every call rejects with ERR_DISPOSED.
 */
export class Network {
  /** The network as plain JSON. Treat it as read-only. */
  readonly graph: Graph
  private current: NativeNetwork

  /** @internal Use `create` or `open`. */
  constructor(graph: Graph, handle: NativeNetwork) {
    this.graph = graph
    this.current = handle
  }

  /**
   * A network with fresh parameters. The graph is checked whole, shapes included.
   * @throws TorchvidError ERR_INVALID_ARGUMENT or ERR_SHAPE naming the layer, ERR_DEVICE_UNAVAILABLE, ERR_LIBTORCH_NOT_FOUND
   */
  static async create(graph: Graph, options: NetworkOptions = {}): Promise<Network> {
    checkGraph(graph, 'graph')
    const { device = 'auto', seed = 0 } = options
    checkInteger('seed', seed, 0)
    return new Network(graph, await native().createNetwork(graph, { device, seed }))
  }

  /**
   * A network from a file that `save` wrote, or a training checkpoint: graph and weights.
   * @throws TorchvidError ERR_IO, ERR_CHECKPOINT_FORMAT
   */
  static async open(file: string, options: Pick<NetworkOptions, 'device'> = {}): Promise<Network> {
    const { tensors, metadata } = await readTable(file)
    const text = metadata[graphKey]
    if (text === undefined) {
      const message = `${file} holds weights but no graph, so it does not say which network it is. Create the network, then load(${describe(path.basename(file))}).`
      throw new TorchvidError('ERR_CHECKPOINT_FORMAT', message)
    }
    const network = await Network.create(parseGraph(text, file), options)
    try {
      await network.assign(file, tensors, { strict: true })
      return network
    } catch (error) {
      network.dispose()
      throw error
    }
  }

  /**
   * Loads weights by name, from safetensors or a PyTorch checkpoint (`.pth`, `.pt`, `.th`, `.pkl`, `.pth.tar`; told by
   * content): all of them or, on an error, none. Half and bfloat16 become float32. A missing `num_batches_tracked` is
   * never an error: old files lack it.
   *
   * Of a PyTorch checkpoint nothing is executed, and files saved from a GPU are as good as any. Its tensors are looked for
   * under `state_dict`, `model` and such names, then at the top, then in the one dictionary that has some; a prefix
   * `module.` that all have is cut off.
   * @throws TorchvidError ERR_IO, ERR_CHECKPOINT_FORMAT; ERR_CHECKPOINT_MISMATCH when a shape differs or, with
   *   `strict`, when names do; ERR_DISPOSED
   */
  async load(file: string, options: LoadOptions = {}): Promise<LoadResult> {
    const { tensors, extras } = await readTable(file)
    // A PyTorch checkpoint's `module.` is gone already; who names it in the prefix means the same.
    const cut = extras !== undefined && options.prefix !== undefined && !tensors.some(startsWith('module.'))
    const prefix = cut ? options.prefix?.replace(/^module\./, '') : options.prefix
    return await this.assign(file, tensors, { ...options, prefix })
  }

  /**
   * Saves graph and weights as one safetensors file, whole or not at all.
   * @param options `precision`: `'float16'` halves the file; weights keep about 3 decimal digits. Default `'float32'`
   * @throws TorchvidError ERR_INVALID_ARGUMENT, ERR_IO, ERR_DISPOSED
   */
  async save(file: string, options: { precision?: 'float32' | 'float16' } = {}): Promise<void> {
    if (typeof file !== 'string' || file === '') throw invalidArgument('path', file, 'the path of the file to write')
    const { precision = 'float32' } = options
    if (!['float32', 'float16'].includes(precision)) {
      throw invalidArgument('precision', precision, "'float32' or 'float16'")
    }
    await this.handle.save(file, this.metadata(), precision === 'float16')
  }

  /**
   * Writes the weights as a PyTorch checkpoint, whole or not at all: `torch.load(path, weights_only=True)` gives the
   * state_dict. For `networks.vgg`, `preresnet` and `densenet`, slimmed or not, it gives `{ cfg, state_dict }`, from
   * which the network-slimming references make their models (github.com/Eric-mingjie/network-slimming), unless the
   * network was cut in a way that those cannot express (`strategy: 'group'`, `fold`).
   * @param options `cfg`: written instead of the graph's own; false: the state_dict alone
   * @throws TorchvidError ERR_INVALID_ARGUMENT, ERR_IO, ERR_DISPOSED
   */
  async exportPyTorch(file: string, options: { cfg?: SlimmingCfg | false } = {}): Promise<void> {
    if (typeof file !== 'string' || file === '') throw invalidArgument('path', file, 'the path of the file to write')
    const { cfg = slimmingCfg(this.graph) } = options
    if (cfg !== undefined && cfg !== false) checkCfg(cfg)
    const tensors = this.parameters().map(({ name }) => ({ name, read: () => this.tensor(name) }))
    await writeTorch(file, tensors, cfg || undefined)
  }

  /**
   * Writes the network as an ONNX file, whole or not at all: what it does at inference. An output named as an input is
   * called `<name>_output` there.
   * @param options `inputs`: each input's shape by name, null or a text (its name) for any size (default: as the graph
   *   declares); `opset`: version of ONNX's operators, 15 to 22 (default 17)
   * @throws TorchvidError ERR_INVALID_ARGUMENT, also when a layer has no counterpart in ONNX or the file would be larger
   *   than 2 GB; ERR_SHAPE, ERR_IO, ERR_DISPOSED
   */
  async exportOnnx(file: string, options: ExportOnnxOptions = {}): Promise<void> {
    const { exportOnnx } = await import('./onnx/export.ts')
    await exportOnnx(this, file, options)
  }

  /**
   * Runs the network.
   * @param inputs one tensor per input of the graph, by name
   * @param options `training`: batch statistics and dropout are live (default false); `outputs`: the outputs to compute
   *   (default: all); `seed`: of dropout (default 0)
   * @returns the outputs by name
   * @throws TorchvidError ERR_INVALID_ARGUMENT, ERR_SHAPE, ERR_OUT_OF_MEMORY, ERR_DISPOSED
   */
  async forward(
    inputs: Record<string, TensorData>,
    options: { training?: boolean; outputs?: string[]; seed?: number } = {},
  ): Promise<Record<string, TensorData>> {
    const { training = false, outputs = [], seed = 0 } = options
    checkInteger('seed', seed, 0)
    return await this.handle.forward(inputs, { training, outputs, seed })
  }

  /** Every parameter and buffer, in the graph's order. */
  parameters(): ParameterInfo[] {
    return this.handle.parameters()
  }

  /**
   * One weight, by its state_dict name.
   * @throws TorchvidError ERR_INVALID_ARGUMENT when there is none, ERR_DISPOSED
   */
  async tensor(name: string): Promise<TensorData> {
    return await this.handle.read(name)
  }

  /**
   * Parameters, multiply-accumulates and activation bytes per layer and in all, from shapes alone.
   * @param shapes of every input: `{ image: [1, 3, 480, 854] }`
   */
  async summary(shapes: Record<string, number[]>): Promise<NetworkSummary> {
    const layers = await this.handle.summary(shapes)
    const total = (key: 'parameters' | 'macs' | 'activationBytes') => layers.reduce((sum, layer) => sum + layer[key], 0)
    return { layers, parameters: total('parameters'), macs: total('macs'), activationBytes: total('activationBytes') }
  }

  /** A copy with tensors of its own. */
  async clone(): Promise<Network> {
    return new Network(this.graph, await this.handle.clone())
  }

  /**
   * @internal Another graph over the tensors that this network has now, found by name: both see what either changes, until
   * `adopt` gives this network others. Dispose of it like any network; the tensors stay while one of them needs them.
   * @throws TorchvidError ERR_CHECKPOINT_MISMATCH naming a tensor that is missing here or has another shape, ERR_DISPOSED
   */
  async view(graph: Graph): Promise<Network> {
    checkGraph(graph, 'graph')
    return new Network(graph, await this.handle.view(graph))
  }

  /** Frees the network. Calls under way and later ones reject with ERR_DISPOSED; calling it again does nothing. */
  dispose(): void {
    this.handle.dispose()
  }

  /** As `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }

  /** @internal */
  get handle(): NativeNetwork {
    return this.current
  }

  /**
   * @internal Takes over a trained network's tensors: `handle` must have this graph. Calls under way finish on the old ones.
   * @throws TorchvidError ERR_DISPOSED, and frees `handle`, when this network was disposed meanwhile
   */
  adopt(handle: NativeNetwork): void {
    try {
      this.current.parameters()
    } catch (error) {
      handle.dispose()
      throw error
    }
    this.current = handle
  }

  /** @internal What a file carries besides tensors. */
  metadata(): Record<string, string> {
    return { format: 'pt', [graphKey]: JSON.stringify(this.graph) }
  }

  private async assign(file: string, rows: WeightsTensor[], options: LoadOptions): Promise<LoadResult> {
    const { strict = true, prefix = '', map = (name: string) => name } = options
    const shapes = new Map(this.parameters().map(({ name, shape }) => [name, shape]))
    const assignments: { name: string; tensor: WeightsTensor }[] = []
    const unexpected: string[] = []
    for (const tensor of rows) {
      if (!tensor.name.startsWith(prefix) || tensor.name.startsWith(trainingPrefix)) continue
      const name = map(tensor.name.slice(prefix.length))
      if (name === null) continue
      const shape = shapes.get(name)
      if (shape === undefined) unexpected.push(tensor.name)
      else if (`${shape}` !== `${tensor.shape}`) throw shapeMismatch(file, name, tensor.shape, shape)
      else if (assignments.some((other) => other.name === name)) throw twice(file, name)
      else assignments.push({ name, tensor })
    }
    const loaded = new Set(assignments.map(({ name }) => name))
    const missing = [...shapes.keys()].filter((name) => !loaded.has(name) && !name.endsWith('.num_batches_tracked'))
    if (strict && missing.length + unexpected.length > 0) throw nameMismatch(file, missing, unexpected)
    await this.handle.load(file, assignments)
    return { loaded: [...loaded], missing, unexpected }
  }
}

function startsWith(prefix: string): (tensor: { name: string }) => boolean {
  return ({ name }) => name.startsWith(prefix)
}

function checkCfg(cfg: unknown): void {
  const wanted = "a list of whole numbers and 'M', or false"
  if (!Array.isArray(cfg)) throw invalidArgument('cfg', cfg, wanted)
  for (const width of cfg) {
    if (width !== 'M' && !(Number.isSafeInteger(width) && width >= 0)) throw invalidArgument('cfg', width, wanted)
  }
}

function checkGraph(graph: unknown, name: string): asserts graph is Graph {
  const { format, version } = (graph ?? {}) as Partial<Graph>
  if (format !== 'torchvid-graph')
    throw invalidArgument(name, graph, 'a graph: from networks, graph.build or a saved file')
  if (version !== 1) throw invalidArgument(`${name}.version`, version, '1; a newer torchvid may read it')
}

function parseGraph(text: string, file: string): Graph {
  try {
    const graph: unknown = JSON.parse(text)
    checkGraph(graph, 'graph')
    return graph
  } catch (cause) {
    const message = `${file}: its graph is damaged: ${(cause as Error).message}`
    throw new TorchvidError('ERR_CHECKPOINT_FORMAT', message, { cause })
  }
}

function twice(file: string, name: string): TorchvidError {
  const message = `${file}: two of its tensors are given the name '${name}'. Let map leave one out (null).`
  return new TorchvidError('ERR_CHECKPOINT_MISMATCH', message)
}

function shapeMismatch(file: string, name: string, given: number[], wanted: number[]): TorchvidError {
  const message = `${file}: '${name}' has shape [${given.join(', ')}], the network wants [${wanted.join(', ')}]. It belongs to another network.`
  return new TorchvidError('ERR_CHECKPOINT_MISMATCH', message)
}

function nameMismatch(file: string, missing: string[], unexpected: string[]): TorchvidError {
  const some = (names: string[]) =>
    names.slice(0, 5).join(', ') + (names.length > 5 ? ` and ${names.length - 5} more` : '')
  const parts = []
  if (missing.length > 0) parts.push(`it lacks ${some(missing)}`)
  if (unexpected.length > 0) parts.push(`the network does not have ${some(unexpected)}`)
  const message = `${file} does not fit the network: ${parts.join('; ')}. Use strict: false to load what fits, or prefix and map to rename.`
  return new TorchvidError('ERR_CHECKPOINT_MISMATCH', message)
}
