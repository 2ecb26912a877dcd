import { createReadStream } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
import { pipeline, type Readable } from 'node:stream'
import { createGunzip, createInflate } from 'node:zlib'
import { TorchvidError } from '../errors.ts'

/** Bytes read from a file at a time: a few milliseconds' work for whoever takes them apart. */
export const CHUNK = 1 << 20

/** Deflate makes at most 1032 bytes of one; the rest is for headers. */
const MOST_INFLATED = 1032
const INFLATE_SLACK = 1024

/** The most bytes that `compressed` bytes of deflate can become. */
export function inflatedBound(compressed: number): number {
  return compressed * MOST_INFLATED + INFLATE_SLACK
}

/** `ERR_IO` for a data file that is not what it should be: what is wrong with which file, and what to do. */
export function damaged(
  path: string,
  reason: string,
  remedy = 'Fetch the file again.',
  cause?: unknown,
): TorchvidError {
  const text = `${quote(path)} ${reason}. ${remedy}`
  return new TorchvidError('ERR_IO', text, cause === undefined ? undefined : { cause })
}

/** A path in quotes; of a long one the end, where the name is. */
export function quote(path: string): string {
  return JSON.stringify(path.length > LONGEST_PATH ? `...${path.slice(3 - LONGEST_PATH)}` : path)
}

const LONGEST_PATH = 160

/** Whether a path is a file, a folder or nothing that can be read. */
export async function kindOf(path: string): Promise<'file' | 'folder' | undefined> {
  const found = await stat(path).catch(() => undefined)
  if (found?.isFile()) return 'file'
  return found?.isDirectory() ? 'folder' : undefined
}

/** An open file and its size; close it. `ERR_IO` when there is no such file or it cannot be read. */
export async function openFile(path: string): Promise<{ file: FileHandle; size: number }> {
  let file: FileHandle | undefined
  try {
    // A pipe would wait for a writer when it is opened, so ask first what it is.
    const isFile = (await stat(path)).isFile()
    if (!isFile) throw new Error('it is no regular file')
    file = await open(path)
    return { file, size: (await file.stat()).size }
  } catch (error) {
    await file?.close()
    throw damaged(path, `cannot be read (${(error as Error).message})`, 'Check the path.', error)
  }
}

/** Fills `into` from byte `position` of the file; `ERR_IO` when the file ends before. */
export async function readAt(path: string, file: FileHandle, into: Uint8Array, position: number): Promise<void> {
  let filled = 0
  while (filled < into.length) {
    const length = Math.min(CHUNK, into.length - filled)
    const { bytesRead } = await file.read(into, filled, length, position + filled).catch((error) => {
      throw damaged(path, `cannot be read (${error.message})`, 'Check the disk, or copy the file elsewhere.', error)
    })
    if (bytesRead === 0) throw damaged(path, `is cut short: it ends at byte ${position + filled}`)
    filled += bytesRead
  }
}

/** A part of a file to read in order: as it is, or inflated on the way. */
export interface Stretch {
  path: string
  /** First byte. Default 0. */
  from?: number
  /** Byte after the last. Default: the file's end. */
  to?: number
  /** How it is compressed. Default: not at all. */
  compression?: 'gzip' | 'zlib'
  signal?: AbortSignal
}

/**
 * Reads a stretch of a file in order, inflating it on the way, no more at a time than is asked for plus one chunk.
 * Whatever goes wrong with the file is an `ERR_IO` that names it. Close it.
 */
export class ByteReader {
  /** Bytes read so far, after inflating. */
  position = 0
  private readonly stretch: Stretch
  private readonly stream: Readable
  private readonly chunks: AsyncIterator<Uint8Array>
  private rest: Uint8Array = new Uint8Array(0)
  private ended = false

  constructor(stretch: Stretch) {
    const { path, from = 0, to, compression } = stretch
    this.stretch = stretch
    const file = createReadStream(path, {
      start: from,
      end: to === undefined ? undefined : to - 1,
      highWaterMark: CHUNK,
    })
    // What fails in the pipeline ends the last stream, and with it the iteration below.
    let stream: Readable = file
    if (compression !== undefined) {
      const options = { chunkSize: CHUNK / 4 }
      stream = pipeline(file, compression === 'gzip' ? createGunzip(options) : createInflate(options), () => {})
    }
    // An error before the first read must not count as one that nobody listens to; the iteration gets it too.
    stream.on('error', () => {})
    this.stream = stream
    this.chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>
  }

  /** Fills `into`; `ERR_IO` when there is less. */
  async read(into: Uint8Array): Promise<void> {
    let filled = 0
    while (filled < into.length) {
      if (!(await this.hasMore())) throw this.cutShort(into.length - filled)
      const part = this.rest.subarray(0, into.length - filled)
      into.set(part, filled)
      this.rest = this.rest.subarray(part.length)
      filled += part.length
      this.position += part.length
    }
  }

  /** The next `length` bytes, which must be few: they are allocated before they are read. */
  async take(length: number): Promise<DataView<ArrayBuffer>> {
    const bytes = new Uint8Array(length)
    await this.read(bytes)
    return new DataView(bytes.buffer)
  }

  /** `ERR_IO` when more than `padding` bytes follow; for compressed data this also compares the checksum. */
  async expectEnd(padding = 0): Promise<void> {
    let left = padding
    while ((await this.hasMore()) && this.rest.length <= left) {
      left -= this.rest.length
      this.rest = this.rest.subarray(this.rest.length)
    }
    if (this.rest.length === 0) return
    throw damaged(this.stretch.path, `goes on after the ${this.position} bytes that its header announces`)
  }

  async close(): Promise<void> {
    await this.chunks.return?.()
    // An iteration that never began has closed nothing.
    this.stream.destroy()
  }

  private async hasMore(): Promise<boolean> {
    while (this.rest.length === 0 && !this.ended) {
      this.stretch.signal?.throwIfAborted()
      const next = await this.chunks.next().catch((error) => {
        throw this.unreadable(error)
      })
      if (next.done) this.ended = true
      else this.rest = next.value
    }
    return this.rest.length > 0
  }

  private cutShort(missing: number): TorchvidError {
    return damaged(this.stretch.path, `is cut short: ${missing} bytes are missing after ${this.position} were read`)
  }

  private unreadable(error: NodeJS.ErrnoException): TorchvidError {
    const { path } = this.stretch
    if (error.code === 'Z_BUF_ERROR') return damaged(path, 'is cut short: its compressed data end too early')
    if (error.code?.startsWith('Z_')) return damaged(path, `is damaged: its data do not inflate (${error.message})`)
    return damaged(path, `cannot be read (${error.message})`, 'Check the path and the disk.', error)
  }
}
