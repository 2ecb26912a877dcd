import type { StoredTensor } from './encode.ts'
import { type AttributeProto, attributeType, dataType, type NodeProto } from './schema.ts'

/** An operator's settings: whole numbers, lists of them, texts; `{ float }` for a number that need not be whole. */
export type OnnxAttributes = Record<string, number | number[] | string | { float: number } | undefined>

/** The operators and constants of a file while they are collected. */
export class OnnxGraph {
  readonly nodes: NodeProto[] = []
  readonly tensors: StoredTensor[] = []
  private readonly taken: Set<string>
  private readonly constants = new Map<string, string>()

  /** Version of the operators. */
  readonly opset: number

  /** @param taken names that cannot be given: of inputs and outputs */
  constructor(taken: Iterable<string>, opset: number) {
    this.taken = new Set(taken)
    this.opset = opset
  }

  /** `wanted`, or that with a number after it when it is taken. All values and constants share one set of names. */
  freeName(wanted: string): string {
    let name = wanted
    for (let i = 1; this.taken.has(name); i++) name = `${wanted}_${i}`
    this.taken.add(name)
    return name
  }

  /** Adds an operator; settings that are undefined are left out. */
  node(opType: string, name: string, input: string[], output: string, attributes: OnnxAttributes = {}): void {
    const attribute = Object.entries(attributes).flatMap(([key, value]) =>
      value === undefined ? [] : [toAttribute(key, value)],
    )
    this.nodes.push({ opType, name, input, output: [output], attribute })
  }

  /** A constant's name; who asks for the same numbers gets the same one. `dims` of `[]`: a scalar. */
  constant(kind: 'int64' | 'float' | 'double', values: number[], dims = [values.length]): string {
    const key = `${kind}[${dims}]_${values.join('_')}`
    const known = this.constants.get(key)
    if (known !== undefined) return known
    const name = this.freeName(`/constant_${this.constants.size + 1}`)
    this.constants.set(key, name)
    const data = toArray(kind, values)
    const bytes = new Uint8Array(data.buffer)
    this.tensors.push({ name, dataType: dataType[kind], dims, bytes: bytes.length, read: () => bytes })
    return name
  }
}

function toArray(kind: 'int64' | 'float' | 'double', values: number[]) {
  if (kind === 'int64') return BigInt64Array.from(values, BigInt)
  return kind === 'float' ? Float32Array.from(values) : Float64Array.from(values)
}

function toAttribute(name: string, value: Exclude<OnnxAttributes[string], undefined>): AttributeProto {
  if (typeof value === 'number') return { name, type: attributeType.int, i: value }
  if (typeof value === 'string') return { name, type: attributeType.string, s: Buffer.from(value) }
  if (Array.isArray(value)) return { name, type: attributeType.ints, ints: value }
  return { name, type: attributeType.float, f: value.float }
}
