import type { FileHandle } from 'node:fs/promises'
import { TorchvidError } from '../errors.ts'

/** A weights file that is open: bounded reads, and errors that name it. */
export class WeightsFile {
  constructor(
    readonly handle: FileHandle,
    readonly path: string,
    /** Bytes. */
    readonly size: number,
  ) {}

  /**
   * These bytes and no others; memory is taken only for what the file holds.
   * @throws TorchvidError ERR_CHECKPOINT_FORMAT when they lie outside the file
   */
  async read(position: number, length: number): Promise<Buffer> {
    if (!(position >= 0 && length >= 0 && length <= this.size - position)) {
      throw this.bad(`it refers to ${length} bytes at ${position}, outside its ${this.size} bytes`)
    }
    const buffer = Buffer.alloc(length)
    for (let done = 0; done < length; ) {
      const { bytesRead } = await this.handle.read(buffer, done, length - done, position + done)
      if (bytesRead === 0) throw this.bad('it ended while it was being read')
      done += bytesRead
    }
    return buffer
  }

  /** ERR_CHECKPOINT_FORMAT: what is wrong with it, and what to do. */
  bad(
    what: string,
    advice = 'It is damaged or was cut short; fetch or save it again.',
    cause?: unknown,
  ): TorchvidError {
    return new TorchvidError('ERR_CHECKPOINT_FORMAT', `${this.path}: ${what}. ${advice}`, { cause })
  }
}
