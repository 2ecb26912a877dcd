import { checkInteger, invalidArgument } from '../errors.ts'
import type { Attributes, Graph, GraphInput, GraphNode, Init, PixelFormat } from './types.ts'

/**
 * A value that flows through a graph while it is being described: what a layer makes, or an input. Opaque: pass it to
 * other builders, and to `build`.
 */
export interface Value {
  /** Channels (dimension 1), or undefined where they depend on sizes (after `flatten`). */
  readonly channels: number | undefined
  /** @internal */
  readonly source:
    | { input: GraphInput }
    | { node: Omit<GraphNode, 'name' | 'inputs'> & { name?: string }; inputs: Value[] }
  /** @internal Values are laid out in the order in which they were made. */
  readonly order: number
}

/** What layers with a name take. */
export interface Named {
  /** The layer's name: the prefix of its parameters. Default: its op and a number. */
  name?: string
}

/** What layers with parameters take. */
export interface Parametric extends Named {
  /** How parameters start, by their last name. */
  init?: Record<string, Init>
  /** Never trained. Default false. */
  frozen?: boolean
}

/** One number for all dimensions, or one each. */
export type Size = number | number[]

let made = 0

function value(source: Value['source'], channels: number | undefined): Value {
  return { source, channels, order: made++ }
}

/** @internal A layer of this op. `channels`: of its output, where known; settings that are undefined are left out. */
export function layer(
  op: string,
  inputs: Value[],
  channels: number | undefined,
  attributes: Record<string, unknown>,
  options: Parametric = {},
): Value {
  for (const input of inputs) {
    if (input?.source === undefined) throw invalidArgument(`${op}: input`, input, 'what another builder returned')
  }
  const node: Omit<GraphNode, 'name' | 'inputs'> & { name?: string } = { op, name: options.name }
  const given = Object.entries(attributes).filter(([, setting]) => setting !== undefined)
  if (given.length > 0) node.attributes = Object.fromEntries(given) as Attributes
  if (options.init !== undefined) node.init = options.init
  if (options.frozen) node.frozen = true
  return value({ node, inputs }, channels)
}

function channelsOf(op: string, input: Value, given: number | undefined): number {
  const channels = given ?? input?.channels
  if (channels === undefined) throw invalidArgument(`${op}: in`, given, 'given: the input has no known channels')
  return channels
}

/** @internal */
export function list(size: Size, rank: number): number[] {
  return Array.isArray(size) ? size : new Array<number>(rank).fill(size)
}

/**
 * An input of the graph.
 * @param name the name under which `forward` takes it
 * @param shape sizes, null for any: `[null, 3, null, null]` is any number of RGB pictures of any size
 * @param pixels for pictures: what becomes of them before they enter
 */
export function input(name: string, shape: (number | null)[], pixels?: PixelFormat): Value {
  return value({ input: { name, shape, ...(pixels && { pixels }) } }, shape[1] ?? undefined)
}

/** Settings of `conv`. */
export interface ConvOptions extends Parametric {
  /** Output channels. */
  out: number
  /** Input channels. Default: those of the input. */
  in?: number
  /** One size for all dimensions, or one each; its length sets 1, 2 or 3 dimensions (one number: 2). */
  kernel: Size
  /** Default 1. */
  stride?: Size
  /** Zeros on each side, or `'same'`: TensorFlow's SAME, the odd zero at the end. Default 0. */
  padding?: Size | 'same'
  /** Default 1. */
  dilation?: Size
  /** Default 1; equal to the channels: depthwise. */
  groups?: number
  /** Default true. */
  bias?: boolean
}

/** Convolution over (N, C, ...): parameters `weight` (out, in / groups, kernel...) and `bias` (out). */
export function conv(x: Value, options: ConvOptions): Value {
  const { out, kernel, stride, padding, dilation, groups, bias } = options
  const inside = channelsOf('conv', x, options.in)
  checkInteger('conv: out', out, 1)
  return layer(
    'conv',
    [x],
    out,
    { in: inside, out, kernel: list(kernel, 2), stride, padding, dilation, groups, bias },
    options,
  )
}

/** Transposed convolution: parameters `weight` (in, out / groups, kernel...) and `bias` (out). */
export function convTranspose(
  x: Value,
  options: Omit<ConvOptions, 'padding'> & { padding?: Size; outputPadding?: Size },
): Value {
  const { out, kernel, stride, padding, outputPadding, dilation, groups, bias } = options
  const inside = channelsOf('convTranspose', x, options.in)
  const attributes = {
    in: inside,
    out,
    kernel: list(kernel, 2),
    stride,
    padding,
    outputPadding,
    dilation,
    groups,
    bias,
  }
  return layer('convTranspose', [x], out, attributes, options)
}

/** y = x W^T + b over the last dimension: parameters `weight` (out, in) and `bias` (out). */
export function linear(x: Value, options: Parametric & { out: number; in?: number; bias?: boolean }): Value {
  const inside = channelsOf('linear', x, options.in)
  return layer('linear', [x], options.out, { in: inside, out: options.out, bias: options.bias }, options)
}

/** Settings of `batchNorm`. */
export interface BatchNormOptions extends Parametric {
  /** Default 1e-5. */
  epsilon?: number
  /** Weight of the newest batch in the running statistics. Default 0.1. */
  momentum?: number
  /** Uses the running statistics in training too, and never changes them. Default false. */
  fixedStatistics?: boolean
}

/**
 * Batch normalisation over dimension 1: parameters `weight` (gamma) and `bias` (beta), buffers `running_mean`,
 * `running_var`, `num_batches_tracked`.
 */
export function batchNorm(x: Value, options: BatchNormOptions = {}): Value {
  const channels = channelsOf('batchNorm', x, undefined)
  const { epsilon, momentum, fixedStatistics } = options
  return layer('batchNorm', [x], channels, { channels, epsilon, momentum, fixedStatistics }, options)
}

/** max(x, 0). */
export function relu(x: Value, options: Named = {}): Value {
  return layer('relu', [x], x?.channels, {}, options)
}

/** min(max(x, 0), 6). */
export function relu6(x: Value, options: Named = {}): Value {
  return layer('relu6', [x], x?.channels, {}, options)
}

/** 1 / (1 + e^-x). */
export function sigmoid(x: Value, options: Named = {}): Value {
  return layer('sigmoid', [x], x?.channels, {}, options)
}

/** In training, zeroes each element with `probability` and scales the rest by 1 / (1 - probability). */
export function dropout(x: Value, options: Named & { probability: number }): Value {
  return layer('dropout', [x], x?.channels, { probability: options.probability }, options)
}

/** Settings of `upsample`: a factor, or another value whose height and width to take. */
export interface UpsampleOptions extends Named {
  scale?: number
  like?: Value
  /** Default `'bilinear'`. */
  mode?: 'bilinear' | 'nearest'
  /** For bilinear: corner pixels keep their places. Default false. */
  alignCorners?: boolean
}

/** Resizes (N, C, H, W). */
export function upsample(x: Value, options: UpsampleOptions): Value {
  const { scale, like, mode, alignCorners } = options
  if ((scale === undefined) === (like === undefined)) throw invalidArgument('upsample', options, 'either scale or like')
  return layer('upsample', like ? [x, like] : [x], x?.channels, { scale, mode, alignCorners }, options)
}

/**
 * Cuts `x` to the height and width of `like`: of a surplus d, floor(d / 2) goes at the top and left, the rest at the
 * bottom and right.
 */
export function crop(x: Value, like: Value, options: Named = {}): Value {
  return layer('crop', [x, like], x?.channels, {}, options)
}

/**
 * A selection of channels (network slimming's `channel_selection`): those whose entry in the buffer `indexes` (channels) is
 * not zero, in order. Starts with all of them; `out` says how many a slimmed network's weights will select.
 */
export function select(x: Value, options: Named & { out?: number } = {}): Value {
  const channels = channelsOf('select', x, undefined)
  const out = options.out ?? channels
  return layer('select', [x], out, { channels, out }, options)
}

/** Zero channels before and after those of (N, C, ...). */
export function padChannels(x: Value, options: Named & { before?: number; after?: number }): Value {
  const { before = 0, after = 0 } = options
  const channels = x?.channels === undefined ? undefined : x.channels + before + after
  return layer('padChannels', [x], channels, { before, after }, options)
}

/** Every `stride`-th row and column of (N, C, H, W), from the first on. */
export function subsample(x: Value, options: Named & { stride: Size }): Value {
  return layer('subsample', [x], x?.channels, { stride: list(options.stride, 2) }, options)
}

/** The sum of two or more values of one shape. */
export function add(values: Value[], options: Named = {}): Value {
  return layer('add', values, values[0]?.channels, {}, options)
}

/** The product of two values, element by element. */
export function multiply(a: Value, b: Value, options: Named = {}): Value {
  return layer('multiply', [a, b], a?.channels, {}, options)
}

/** The matrix product over the last two dimensions. */
export function matmul(a: Value, b: Value, options: Named = {}): Value {
  return layer('matmul', [a, b], a?.channels, {}, options)
}

/** Joins values along a dimension. Default 1: channels. */
export function concat(values: Value[], options: Named & { dimension?: number } = {}): Value {
  const { dimension } = options
  const joined = values.reduce<number | undefined>(
    (sum, v) => (sum === undefined || v.channels === undefined ? undefined : sum + v.channels),
    0,
  )
  return layer('concat', values, (dimension ?? 1) === 1 ? joined : values[0]?.channels, { dimension }, options)
}

/** (N, C, H, W) -> (N, C * H * W). Give `channels` when a layer after it needs them. */
export function flatten(x: Value, options: Named & { channels?: number } = {}): Value {
  return layer('flatten', [x], options.channels, {}, options)
}

/**
 * The graph that computes these outputs. Layers without a name get one from their op; names must be unique.
 * @param outputs by name
 * @param labels what the network is, kept with it when it is saved
 * @throws TorchvidError ERR_INVALID_ARGUMENT
 */
export function build(outputs: Record<string, Value>, labels?: Record<string, string>): Graph {
  const reached = reach(Object.values(outputs))
  const taken = new Set(
    reached.flatMap((v) => ('input' in v.source ? [v.source.input.name] : (v.source.node.name ?? []))),
  )
  const names = new Map<Value, string>()
  const graph: Graph = { format: 'torchvid-graph', version: 1, inputs: [], nodes: [], outputs: {} }
  const counts = new Map<string, number>()
  for (const v of reached) {
    if ('input' in v.source) {
      graph.inputs.push(v.source.input)
      names.set(v, v.source.input.name)
      continue
    }
    const { op, name, ...rest } = v.source.node
    const unique = name ?? freeName(op, counts, taken)
    names.set(v, unique)
    graph.nodes.push({ op, name: unique, inputs: v.source.inputs.map((i) => names.get(i) as string), ...rest })
  }
  for (const [name, v] of Object.entries(outputs)) graph.outputs[name] = names.get(v) as string
  if (labels !== undefined) graph.labels = labels
  return graph
}

function freeName(op: string, counts: Map<string, number>, taken: Set<string>): string {
  while (true) {
    const count = (counts.get(op) ?? 0) + 1
    counts.set(op, count)
    if (!taken.has(`${op}_${count}`)) return `${op}_${count}`
  }
}

/** Everything the outputs rest on, in the order it was made; iterative, since graphs can be deep. */
function reach(outputs: Value[]): Value[] {
  const seen = new Set<Value>()
  const open = [...outputs]
  for (let v = open.pop(); v !== undefined; v = open.pop()) {
    if (seen.has(v)) continue
    if (v?.source === undefined) throw invalidArgument('build: outputs', v, 'what builders returned')
    seen.add(v)
    if ('node' in v.source) open.push(...v.source.inputs)
  }
  return [...seen].sort((a, b) => a.order - b.order)
}
