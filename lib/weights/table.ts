import fs from 'node:fs/promises'
import { invalidArgument, TorchvidError } from '../errors.ts'
import { readSafetensorsTable } from './safetensors.ts'
import { readTorchTable } from './torch.ts'
import type { WeightsTable } from './types.ts'
import { WeightsFile } from './weights-file.ts'

/**
 * The table of a weights file: safetensors, or a PyTorch checkpoint (zip or legacy). The kind is told by content, not by
 * name. No tensor data is read; of a pickle nothing is executed.
 * @throws TorchvidError ERR_IO when it cannot be read, ERR_CHECKPOINT_FORMAT when it is damaged or of another kind
 */
export async function readTable(path: string): Promise<WeightsTable> {
  if (typeof path !== 'string' || path === '') throw invalidArgument('path', path, 'the path of a weights file')
  const file = await openFile(path)
  try {
    const stat = await file.stat()
    if (!stat.isFile()) throw new TorchvidError('ERR_IO', `${path} is no file. Give the path of a weights file.`)
    const opened = new WeightsFile(file, path, stat.size)
    const kind = await kindOf(opened)
    return kind === 'safetensors' ? await readSafetensorsTable(opened) : await readTorchTable(opened, kind)
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

/** By the first bytes: a zip, a pickle, an old tar archive; anything else is taken for safetensors. */
async function kindOf(file: WeightsFile): Promise<'safetensors' | 'zip' | 'legacy'> {
  const start = await file.read(0, Math.min(file.size, tarMagic.offset + tarMagic.text.length))
  // A safetensors header's length can look like anything; its first character cannot.
  if (start[8] === 0x7b) return 'safetensors'
  if (start.length >= 4 && start.readUInt32BE() === 0x504b0304) return 'zip'
  if (start[0] === 0x80 && (start[1] as number) <= 5) return 'legacy'
  if (start.subarray(tarMagic.offset).toString('latin1') === tarMagic.text) {
    const advice = 'Load it in Python with an old PyTorch and save it again; give any other archive unpacked.'
    throw file.bad("it is a tar archive: PyTorch's oldest format, which is not read, or another archive", advice)
  }
  return 'safetensors'
}

/** In the first header of a tar archive. */
const tarMagic = { offset: 257, text: 'ustar' }
