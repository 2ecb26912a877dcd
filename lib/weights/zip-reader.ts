import { RandomAccessReader } from 'yauzl'
import { TorchvidError } from '../errors.ts'
import type { WeightsFile } from './weights-file.ts'

/** Small reads come in twos and threes from one place: a page is read at once. */
const page = 4096

/** How yauzl reads the archive: never outside the file, whatever offsets it takes from there, and page by page. */
export class ZipReader extends RandomAccessReader {
  private cached: { start: number; bytes: Buffer } = { start: 0, bytes: Buffer.alloc(0) }
  private fail: (error: unknown) => void = () => {}
  private readonly failed: Promise<never>

  constructor(private readonly file: WeightsFile) {
    super()
    this.failed = new Promise((_, reject) => {
      this.fail = reject
    })
    this.failed.catch(() => {})
  }

  override read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
    callback: (error: Error | null) => void,
  ): void {
    this.bytes(position, length)
      .then(
        (bytes) => {
          bytes.copy(buffer, offset)
          callback(null)
        },
        (error) => callback(error as Error),
      )
      // What a callback throws reaches nobody: `guard` hands it on.
      .catch(this.fail)
  }

  /** The result of yauzl's work. Its own complaints are about the format; the system's have a code and stay what they are. */
  async guard<T>(work: Promise<T>): Promise<T> {
    try {
      return await Promise.race([work, this.failed])
    } catch (cause) {
      if (cause instanceof TorchvidError || (cause as NodeJS.ErrnoException).syscall !== undefined) throw cause
      const reason = (cause as Error).message.slice(0, 200)
      throw this.file.bad(`its zip archive is damaged: ${reason}`, undefined, cause)
    }
  }

  private async bytes(position: number, length: number): Promise<Buffer> {
    const { start, bytes } = this.cached
    const from = position - start
    if (from >= 0 && from + length <= bytes.length) return bytes.subarray(from, from + length)
    const ahead = Math.min(Math.max(length, page), this.file.size - position)
    const read = await this.file.read(position, Math.max(length, ahead))
    this.cached = { start: position, bytes: read }
    return read.subarray(0, length)
  }
}
