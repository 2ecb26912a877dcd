import { createWriteStream } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { endianness } from 'node:os'
import path from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { ZipFile } from 'yazl'
import { makeFolder, temporaryName, writeError } from '../data/files.ts'
import { TorchvidError } from '../errors.ts'
import type { TensorData } from '../types.ts'
import { PickleWriter } from './pickle-writer.ts'

/** A tensor to write: read only when it is its turn. */
export interface TensorToWrite {
  name: string
  read(): Promise<TensorData>
}

/** A slimmed network's widths in the references' form. */
export type SlimmingCfg = (number | 'M')[]

/** The same bytes for the same network: zip dates begin in 1980. */
const settings = { compress: false, mtime: new Date(1980, 0, 1), forceDosTimestamp: true, mode: 0o100644 }

/**
 * Writes a checkpoint as `torch.save` does, which `torch.load(weights_only=True)` reads: an OrderedDict of tensors or, with
 * `cfg`, `{ cfg, state_dict }`. Holds one tensor in memory at a time; the file is there whole or not at all.
 * @throws TorchvidError ERR_IO, and whatever reading a tensor throws
 */
export async function writeTorch(file: string, tensors: TensorToWrite[], cfg?: SlimmingCfg): Promise<void> {
  await makeFolder(path.dirname(file))
  const temporary = temporaryName(file)
  const zip = new ZipFile()
  const output = zip.outputStream as Readable
  const fail = (error: unknown) => void output.destroy(error as Error)
  zip.on('error', fail)
  const written: Written[] = []
  try {
    for (const [index, tensor] of tensors.entries()) {
      zip.addReadStreamLazy(`archive/data/${index}`, settings, (give) => {
        tensor.read().then(({ data, shape }) => {
          written[index] = { name: tensor.name, storage: storageOf(data), count: data.length, shape }
          give(null, chunks(data))
        }, fail)
      })
    }
    // The pickle comes last: what kind of tensors there are is known only then.
    zip.addReadStreamLazy('archive/data.pkl', settings, (give) => give(null, Readable.from([describe(written, cfg)])))
    zip.addBuffer(Buffer.from('3\n'), 'archive/version', settings)
    zip.addBuffer(Buffer.from(endianness() === 'LE' ? 'little' : 'big'), 'archive/byteorder', settings)
    zip.end()
    await pipeline(output, createWriteStream(temporary, { flags: 'wx', flush: true }))
    await rename(temporary, file)
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {})
    throw error instanceof TorchvidError ? error : writeError(file, error)
  }
}

interface Written {
  name: string
  storage: string
  count: number
  shape: number[]
}

function storageOf(data: TensorData['data']): string {
  if (data instanceof Float32Array) return 'FloatStorage'
  if (data instanceof Float64Array) return 'DoubleStorage'
  if (data instanceof BigInt64Array) return 'LongStorage'
  return data instanceof Int32Array ? 'IntStorage' : 'ByteStorage'
}

/** An array's bytes in pieces, so that a large one blocks nothing. */
function chunks(data: TensorData['data']): Readable {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  const size = 1 << 20
  const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
    bytes.subarray(i * size, (i + 1) * size),
  )
  return Readable.from(pieces)
}

/** The pickle: which tensor lies where. */
function describe(tensors: Written[], cfg: SlimmingCfg | undefined): Buffer {
  const pickle = new PickleWriter()
  const state = () =>
    pickle.orderedDictionary(() => {
      for (const [index, tensor] of tensors.entries()) writeTensor(pickle.text(tensor.name), tensor, index)
    })
  if (cfg === undefined) state()
  else {
    pickle.dictionary(() => {
      pickle.text('cfg').list(() => {
        for (const width of cfg) width === 'M' ? pickle.text(width) : pickle.whole(width)
      })
      pickle.text('state_dict')
      state()
    })
  }
  return pickle.finish()
}

/** `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, backward_hooks)`. */
function writeTensor(pickle: PickleWriter, { storage, count, shape }: Written, index: number): void {
  const numbers = (values: number[]) => () => {
    for (const value of values) pickle.whole(value)
  }
  pickle.global('torch._utils', '_rebuild_tensor_v2').call(() => {
    pickle.persistent(() => {
      pickle.text('storage').global('torch', storage).text(`${index}`).text('cpu').whole(count)
    })
    pickle.whole(0)
    pickle.tuple(numbers(shape)).tuple(numbers(stridesOf(shape)))
    pickle.no()
    pickle.orderedDictionary(() => {})
  })
}

/** Row-major; PyTorch counts a side of 0 as 1. */
function stridesOf(shape: number[]): number[] {
  const strides: number[] = []
  let step = 1
  for (const side of [...shape].reverse()) {
    strides.unshift(step)
    step *= Math.max(1, side)
  }
  return strides
}
