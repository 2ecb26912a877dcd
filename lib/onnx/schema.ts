import protobuf from 'protobufjs/light.js'

// ONNX's intermediate representation, as far as an exported network needs it: message and field names, types and numbers
// of the public format (github.com/onnx/onnx, IR specification).

/** Element types of ONNX tensors, by their numbers in the format. */
export const dataType = { float: 1, int64: 7, double: 11 } as const

/** Kinds of attributes, by their numbers in the format. */
export const attributeType = { float: 1, int: 2, string: 3, ints: 7 } as const

/** One setting of an operator; the member that `type` names is set. */
export interface AttributeProto {
  name: string
  type: number
  f?: number
  i?: number
  s?: Uint8Array
  ints?: number[]
}

/** One operator. An input named `''` is one that is left out. */
export interface NodeProto {
  opType: string
  name: string
  input: string[]
  output: string[]
  attribute: AttributeProto[]
}

/** A size, or the name of a free one; neither: unknown. */
export interface DimensionProto {
  dimValue?: number
  dimParam?: string
}

/** An input or output of the graph. */
export interface ValueInfoProto {
  name: string
  type: { tensorType: { elemType: number; shape: { dim: DimensionProto[] } } }
  docString?: string
}

/** A constant: `rawData` holds its numbers in row-major order, little-endian. */
export interface TensorProto {
  name: string
  dataType: number
  dims: number[]
  rawData?: Uint8Array
}

/** The operators in an order in which every input comes before its use. */
export interface GraphProto {
  name: string
  docString?: string
  node: NodeProto[]
  input: ValueInfoProto[]
  output: ValueInfoProto[]
  initializer?: TensorProto[]
}

/** A whole file. */
export interface ModelProto {
  irVersion: number
  opsetImport: { domain: string; version: number }[]
  producerName: string
  producerVersion: string
  metadataProps: { key: string; value: string }[]
  graph?: GraphProto
}

type Field = { rule?: 'repeated'; type: string; id: number }

const one = (type: string, id: number): Field => ({ type, id })
const many = (type: string, id: number): Field => ({ rule: 'repeated', type, id })

const root = protobuf.Root.fromJSON({
  nested: {
    Attribute: {
      fields: {
        name: one('string', 1),
        f: one('float', 2),
        i: one('int64', 3),
        s: one('bytes', 4),
        ints: many('int64', 8),
        type: one('int32', 20),
      },
    },
    Node: {
      fields: {
        input: many('string', 1),
        output: many('string', 2),
        name: one('string', 3),
        opType: one('string', 4),
        attribute: many('Attribute', 5),
      },
    },
    Dimension: { fields: { dimValue: one('int64', 1), dimParam: one('string', 2) } },
    Shape: { fields: { dim: many('Dimension', 1) } },
    TensorType: { fields: { elemType: one('int32', 1), shape: one('Shape', 2) } },
    Type: { fields: { tensorType: one('TensorType', 1) } },
    ValueInfo: { fields: { name: one('string', 1), type: one('Type', 2), docString: one('string', 3) } },
    Tensor: {
      fields: {
        dims: many('int64', 1),
        dataType: one('int32', 2),
        name: one('string', 8),
        rawData: one('bytes', 9),
      },
    },
    Graph: {
      fields: {
        node: many('Node', 1),
        name: one('string', 2),
        initializer: many('Tensor', 5),
        docString: one('string', 10),
        input: many('ValueInfo', 11),
        output: many('ValueInfo', 12),
      },
    },
    OperatorSet: { fields: { domain: one('string', 1), version: one('int64', 2) } },
    Entry: { fields: { key: one('string', 1), value: one('string', 2) } },
    Model: {
      fields: {
        irVersion: one('int64', 1),
        producerName: one('string', 2),
        producerVersion: one('string', 3),
        graph: one('Graph', 7),
        opsetImport: many('OperatorSet', 8),
        metadataProps: many('Entry', 14),
      },
    },
  },
})

/** The messages, to encode and decode. */
export const messages = {
  model: root.lookupType('Model'),
  graph: root.lookupType('Graph'),
  tensor: root.lookupType('Tensor'),
}
