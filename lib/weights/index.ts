import { TorchvidError } from '../errors.ts'
import { type FileDtype, native } from '../native.ts'
import type { TensorData } from '../types.ts'
import { readTable } from './table.ts'

/** A tensor's name, element type and shape. */
export interface TensorInfo {
  name: string
  dtype: FileDtype
  shape: number[]
}

/**
 * What a weights file holds, in the file's order: safetensors, or a PyTorch checkpoint (`.pth`, `.pt`, `.th`, `.pkl`,
 * `.pth.tar`; told by content), where it is the network's state_dict without a common prefix `module.`. Reads no
 * tensor data and loads no LibTorch; of a pickle nothing is executed.
 * @throws TorchvidError ERR_IO, ERR_CHECKPOINT_FORMAT
 */
export async function list(path: string): Promise<TensorInfo[]> {
  const { tensors } = await readTable(path)
  return tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape }))
}

/**
 * One tensor of a weights file, by the name that `list` gives. Half and bfloat16 become Float32Array, booleans Uint8Array, small integers Int32Array.
 * @throws TorchvidError ERR_IO, ERR_CHECKPOINT_FORMAT; ERR_CHECKPOINT_MISMATCH when there is none of that name
 */
export async function read(path: string, name: string): Promise<TensorData> {
  const { tensors } = await readTable(path)
  const tensor = tensors.find((row) => row.name === name)
  if (tensor === undefined) {
    const some = tensors.slice(0, 5).map((row) => row.name)
    const message = `${path} has no tensor ${JSON.stringify(name)}. It has ${tensors.length}, such as ${some.join(', ')}.`
    throw new TorchvidError('ERR_CHECKPOINT_MISMATCH', message)
  }
  return await native().readTensor(path, tensor)
}
