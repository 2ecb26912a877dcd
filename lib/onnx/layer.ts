import type { GraphNode } from '../graph/types.ts'
import type { TensorData } from '../types.ts'
import type { OnnxAttributes, OnnxGraph } from './graph.ts'
import type { Sizes } from './shapes.ts'

/** A value of the ONNX graph. */
export interface OnnxValue {
  name: string
  sizes: Sizes
}

/** A size that is known, or the name of a value (int64, one element) computed when the network runs. */
export type Size = number | string

/** The tensors of a network, as a layer's row asks for them. */
export interface Weights {
  has(name: string): boolean
  /** The name of the tensor in the file; from then on it is stored there. */
  store(name: string): string
  read(name: string): Promise<TensorData>
}

const arithmetic = {
  Add: (a: number, b: number) => a + b,
  Sub: (a: number, b: number) => a - b,
  Mul: (a: number, b: number) => a * b,
  Div: (a: number, b: number) => Math.trunc(a / b),
  Max: (a: number, b: number) => Math.max(a, b),
}

/** One layer while its row writes it: what it has, and the operators that stand for it. */
export class OnnxLayer {
  readonly node: GraphNode
  readonly inputs: OnnxValue[]
  private readonly graph: OnnxGraph
  private readonly output: string
  private readonly weights: Weights

  constructor(graph: OnnxGraph, node: GraphNode, inputs: OnnxValue[], output: string, weights: Weights) {
    this.graph = graph
    this.node = node
    this.inputs = inputs
    this.output = output
    this.weights = weights
  }

  /** Version of the operators; few differ in what 15 to 22 have. */
  get opset(): number {
    return this.graph.opset
  }

  /** The first input. */
  get x(): OnnxValue {
    return this.inputs[0] as OnnxValue
  }

  /** An attribute of the layer, or what it is when left out. */
  attribute<T extends number | boolean | string>(key: string, fallback: T): T {
    return (this.node.attributes?.[key] as T | undefined) ?? fallback
  }

  /** A list of numbers; one number stands for `rank` equal ones. */
  list(key: string, rank: number, fallback: number): number[] {
    const given = this.node.attributes?.[key] ?? fallback
    return Array.isArray(given) ? given : new Array<number>(rank).fill(given as number)
  }

  hasWeight(name: string): boolean {
    return this.weights.has(`${this.node.name}.${name}`)
  }

  /** A weight's name in the file: its state_dict name. */
  weight(name: string): string {
    return this.weights.store(`${this.node.name}.${name}`)
  }

  /** A weight's numbers, for a row that turns them into something else. */
  async readWeight(name: string): Promise<ArrayLike<number>> {
    const { data } = await this.weights.read(`${this.node.name}.${name}`)
    return Array.from(data, Number)
  }

  constant(kind: 'int64' | 'float' | 'double', values: number[], dims?: number[]): string {
    return this.graph.constant(kind, values, dims)
  }

  /** Adds an operator on the way to the layer's output; returns its value's name. */
  emit(opType: string, inputs: string[], attributes?: OnnxAttributes): string {
    const name = this.graph.freeName(`${this.node.name}/${opType}`)
    this.graph.node(opType, name, inputs, name, attributes)
    return name
  }

  /** Adds the operator whose value is the layer's output. */
  finish(opType: string, inputs: string[], attributes?: OnnxAttributes): void {
    this.graph.node(opType, this.node.name, inputs, this.output, attributes)
  }

  /** A size of a value: a number where the inputs' shapes settle it, else computed from the value itself. */
  sizeOf(value: OnnxValue, axis: number): Size {
    return value.sizes[axis] ?? this.emit('Shape', [value.name], { start: axis, end: axis + 1 })
  }

  /** Arithmetic of sizes (Div towards zero): of numbers at once, of others when the network runs. */
  compute(op: keyof typeof arithmetic, a: Size, b: Size): Size {
    if (typeof a === 'number' && typeof b === 'number') return arithmetic[op](a, b)
    return this.emit(op, [this.vector([a]), this.vector([b])])
  }

  /** A list of sizes as one value. */
  vector(sizes: Size[]): string {
    if (sizes.every((size) => typeof size === 'number')) return this.constant('int64', sizes)
    const parts = sizes.map((size) => (typeof size === 'number' ? this.constant('int64', [size]) : size))
    return parts.length === 1 ? (parts[0] as string) : this.emit('Concat', parts, { axis: 0 })
  }
}
