import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { checkInteger, invalidArgument, TorchvidError } from '../errors.ts'
import { makeFolder, temporaryName, writeError } from './files.ts'
import { npyHeader } from './npy-header.ts'

/**
 * Writes a float32 .npy file row by row, so that only the rows at hand are in memory: the shape is (rows so far, ...row). The
 * file is under a temporary name until `finish` completes its header and renames it; `abort`, or any failure, removes
 * it. Call one method at a time, and `finish` or `abort` at the end.
 */
export class NpyWriter {
  /** Whole rows written. */
  rows = 0
  private readonly path: string
  private readonly temporary: string
  private readonly rowShape: number[]
  private readonly rowSize: number
  private readonly headerBytes: number
  private file: FileHandle | undefined

  private constructor(path: string, temporary: string, rowShape: number[], file: FileHandle) {
    this.path = path
    this.temporary = temporary
    this.rowShape = rowShape
    this.rowSize = rowShape.reduce((product, side) => product * side, 1)
    // Its place is kept for the longest header that there can be.
    this.headerBytes = npyHeader('f4', [Number.MAX_SAFE_INTEGER, ...rowShape]).length
    this.file = file
  }

  /**
   * @param path the file to write; its folder is made if it is missing
   * @param rowShape what one row is: [crops, F]
   * @throws TorchvidError ERR_INVALID_ARGUMENT, ERR_IO
   */
  static async create(path: string, rowShape: number[]): Promise<NpyWriter> {
    if (typeof path !== 'string' || path === '') throw invalidArgument('path', path, 'the path of the file to write')
    if (!Array.isArray(rowShape)) throw invalidArgument('rowShape', rowShape, 'the sizes of one row: [crops, F]')
    for (const [i, side] of rowShape.entries()) checkInteger(`rowShape[${i}]`, side, 1)
    await makeFolder(dirname(path))
    const temporary = temporaryName(path)
    const file = await open(temporary, 'wx').catch((error) => {
      throw writeError(path, error)
    })
    const writer = new NpyWriter(path, temporary, [...rowShape], file)
    await writer.put(writer.header(), 0)
    return writer
  }

  /**
   * One more row, or several, as they are to lie in the file.
   * @throws TorchvidError ERR_INVALID_ARGUMENT or ERR_SHAPE (nothing is written); ERR_IO (the file is given up)
   */
  async append(rows: Float32Array): Promise<void> {
    if (!(rows instanceof Float32Array)) throw invalidArgument('rows', rows, 'a Float32Array')
    if (rows.length % this.rowSize !== 0) {
      const text = `rows: got ${rows.length} numbers, wanted whole rows of ${this.rowSize} (${this.rowShape.join(' x ')}).`
      throw new TorchvidError('ERR_SHAPE', text)
    }
    const bytes = new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength)
    await this.put(bytes, this.headerBytes + this.rows * this.rowSize * 4)
    this.rows += rows.length / this.rowSize
  }

  /**
   * Completes the file and puts it in its place.
   * @returns its shape
   * @throws TorchvidError ERR_IO; nothing is left of it then
   */
  async finish(): Promise<number[]> {
    await this.put(this.header(), 0)
    const file = this.file
    this.file = undefined
    try {
      await file?.close()
      await rename(this.temporary, this.path)
    } catch (error) {
      await rm(this.temporary, { force: true }).catch(() => {})
      throw writeError(this.path, error)
    }
    return [this.rows, ...this.rowShape]
  }

  /** Gives the file up: nothing is left of it. Does nothing after `finish` or a failure. */
  async abort(): Promise<void> {
    const file = this.file
    this.file = undefined
    if (file === undefined) return
    await file.close().catch(() => {})
    await rm(this.temporary, { force: true }).catch(() => {})
  }

  private header(): Buffer {
    return npyHeader('f4', [this.rows, ...this.rowShape], this.headerBytes)
  }

  private async put(bytes: Uint8Array, position: number): Promise<void> {
    if (this.file === undefined) {
      const text = `The file ${JSON.stringify(this.path)} is finished or was given up; open another NpyWriter.`
      throw new TorchvidError('ERR_INVALID_ARGUMENT', text)
    }
    try {
      for (let done = 0; done < bytes.length; ) {
        const left = bytes.length - done
        done += (await this.file.write(bytes, done, left, position + done)).bytesWritten
      }
    } catch (error) {
      await this.abort()
      throw writeError(this.path, error)
    }
  }
}
