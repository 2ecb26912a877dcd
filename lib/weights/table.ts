import fs from 'node:fs/promises'
import { invalidArgument, TorchvidError } from '../errors.ts'
import { readSafetensorsTable } from './safetensors.ts'
import type { WeightsTable } from './types.ts'

/**
 * The table of a weights file. The kind is told by content, not by name. No tensor data is read.
 * @throws TorchvidError ERR_IO when it cannot be read, ERR_CHECKPOINT_FORMAT when it is damaged or of another kind
 */
export async function readTable(path: string): Promise<WeightsTable> {
  if (typeof path !== 'string' || path === '') throw invalidArgument('path', path, 'the path of a weights file')
  const file = await openFile(path)
  try {
    const stat = await file.stat()
    if (!stat.isFile()) throw new TorchvidError('ERR_IO', `${path} is no file. Give the path of a weights file.`)
    await refuseOtherKinds(file, path)
    return await readSafetensorsTable(file, path, stat.size)
  } catch (error) {
    throw error instanceof TorchvidError ? error : unreadable(path, error)
  } finally {
    await file.close()
  }
}

async function openFile(path: string) {
  try {
    return await fs.open(path, 'r')
  } catch (error) {
    throw unreadable(path, error)
  }
}

function unreadable(path: string, cause: unknown): TorchvidError {
  const reason = (cause as NodeJS.ErrnoException).code ?? (cause as Error).message
  return new TorchvidError('ERR_IO', `${path} cannot be read (${reason}). Check the path and its permissions.`, {
    cause,
  })
}

/** Names what was given when it is a pickle or a zip: neither is ever executed or unpacked here. */
async function refuseOtherKinds(file: fs.FileHandle, path: string): Promise<void> {
  const start = Buffer.alloc(4)
  await file.read(start, 0, 4, 0)
  const pickle = start[0] === 0x80 && (start[1] as number) >= 1 && (start[1] as number) <= 5
  const zip = start.readUInt32BE() === 0x504b0304
  if (!pickle && !zip) return
  const kind = zip ? 'a zip archive, perhaps a PyTorch checkpoint' : 'a Python pickle'
  const message = `${path} is ${kind}; wanted a safetensors file. In Python: safetensors.torch.save_file(torch.load(path, weights_only=True), out).`
  throw new TorchvidError('ERR_CHECKPOINT_FORMAT', message)
}
