import { constants } from 'node:buffer'
import { totalmem } from 'node:os'
import { availableMemory } from 'node:process'
import { TorchvidError } from '../errors.ts'

/**
 * Memory that a data set may take, in bytes. macOS counts what it could give back at once as used, so half of the
 * machine's memory is taken for free there.
 */
export function freeMemory(): number {
  return process.platform === 'darwin' ? Math.max(availableMemory(), totalmem() / 2) : availableMemory()
}

/** Kept free beside a data set, for all else. */
const RESERVE = 256e6

/** Data sets below this are not worth a question. */
const SMALL = 64e6

/**
 * @param what what needs the memory, for the message
 * @param remedy what to change
 * @throws `ERR_OUT_OF_MEMORY` when `bytes` are more than are free, or than one array can hold.
 */
export function checkMemory(what: string, bytes: number, remedy: string, free = freeMemory()): void {
  if (bytes > constants.MAX_LENGTH) {
    const text = `${what} needs ${megabytes(bytes)} in one array, and this Node's arrays end at ${megabytes(constants.MAX_LENGTH)}.`
    throw new TorchvidError('ERR_OUT_OF_MEMORY', `${text} ${remedy}`)
  }
  checkFree(what, bytes, remedy, free)
}

/** As `checkMemory`, for what is no JavaScript array. */
export function checkFree(what: string, bytes: number, remedy: string, free = freeMemory()): void {
  if (bytes < SMALL || bytes + RESERVE <= free) return
  const text = `${what} needs ${megabytes(bytes)} of memory, and ${megabytes(free)} are free (${megabytes(RESERVE)} are kept for the rest).`
  throw new TorchvidError('ERR_OUT_OF_MEMORY', `${text} ${remedy}`)
}

/** Bytes, all zero; the system gives the memory as they are written to. */
export function allocate(what: string, bytes: number, remedy: string): Uint8Array {
  checkMemory(what, bytes, remedy)
  try {
    return new Uint8Array(bytes)
  } catch (error) {
    const text = `${what} needs ${megabytes(bytes)} of memory, which this process cannot get. ${remedy}`
    throw new TorchvidError('ERR_OUT_OF_MEMORY', text, { cause: error })
  }
}

function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 1e6)} MB`
}
