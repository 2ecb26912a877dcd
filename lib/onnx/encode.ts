import protobuf from 'protobufjs/light.js'
import { TorchvidError } from '../errors.ts'
import { type GraphProto, type ModelProto, messages, type TensorProto } from './schema.ts'

/** Protobuf's own limit: a message of 2^31 bytes or more is read by no one. */
export const largestModel = 2 ** 31 - 1

/** A tensor of the file whose numbers are fetched when their turn comes. */
export interface StoredTensor {
  name: string
  dataType: number
  dims: number[]
  /** Of its numbers. */
  bytes: number
  read(): Uint8Array | Promise<Uint8Array>
}

/**
 * A model's bytes, piece by piece: one tensor is in memory at a time. The graph's length is put before it, so the pieces
 * are one message in the usual order and not several to be merged, which not every reader of the format does.
 * @throws TorchvidError ERR_INVALID_ARGUMENT when the model is larger than the format allows
 */
export function encodeModel(
  model: Omit<ModelProto, 'graph'>,
  graph: Omit<GraphProto, 'initializer'>,
  tensors: StoredTensor[],
  limit = largestModel,
): AsyncIterable<Uint8Array> {
  const body = messages.graph.encode(graph).finish()
  const heads = tensors.map(tensorHead)
  const length = tensors.reduce((sum, { bytes }, i) => sum + (heads[i] as Uint8Array).length + bytes, body.length)
  const start = messages.model.encode(model).uint32(tag(7)).uint32(length).finish()
  if (start.length + length > limit) throw tooLarge(start.length + length, limit)
  return pieces([start, body], heads, tensors)
}

async function* pieces(first: Uint8Array[], heads: Uint8Array[], tensors: StoredTensor[]): AsyncGenerator<Uint8Array> {
  yield* first
  for (const [i, tensor] of tensors.entries()) {
    yield heads[i] as Uint8Array
    yield await tensor.read()
  }
}

/** What stands in the graph before a tensor's numbers: its own fields, and the lengths of it and of them. */
function tensorHead({ name, dataType, dims, bytes }: StoredTensor): Uint8Array {
  const fields: TensorProto = { name, dataType, dims }
  const inner = messages.tensor.encode(fields).uint32(tag(9)).uint32(bytes).finish()
  const outer = protobuf.Writer.create()
    .uint32(tag(5))
    .uint32(inner.length + bytes)
  return Buffer.concat([outer.finish(), inner])
}

/** A field's number and its wire type: a length, then so many bytes. */
function tag(field: number): number {
  return (field << 3) | 2
}

function tooLarge(bytes: number, limit: number): TorchvidError {
  const gigabytes = (n: number) => `${(n / 1e9).toFixed(2)} GB`
  const message = `exportOnnx: the network takes ${gigabytes(bytes)}, an ONNX file holds at most ${gigabytes(limit)}. Slim the network, or export its parts as networks of their own; save() has no such limit.`
  return new TorchvidError('ERR_INVALID_ARGUMENT', message)
}
