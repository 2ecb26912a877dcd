import fs from 'node:fs/promises'
import { TorchvidError } from '../errors.ts'

/** A size for people: "192 MB", "1.4 GB". */
export function formatBytes(bytes: number): string {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(1)} GB`
  return bytes >= 1e6 ? `${Math.round(bytes / 1e6)} MB` : `${Math.ceil(bytes / 1e3)} kB`
}

/** Bytes the user may still write on the disk of `folder`. */
export async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await fs.statfs(folder)
  return bavail * bsize
}

/** Throws `ERR_IO` when the disk of `folder` has fewer than `needed` bytes free. */
export async function checkDiskSpace(folder: string, needed: number): Promise<void> {
  const free = await freeBytes(folder)
  if (free >= needed) return
  throw new TorchvidError(
    'ERR_IO',
    `Setting up LibTorch needs ${formatBytes(needed)} in ${folder}, and its disk has ${formatBytes(free)} free. ` +
      'Free some space, or set TORCHVID_CACHE to a folder on another disk.',
  )
}
