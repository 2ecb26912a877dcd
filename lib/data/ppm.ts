import { TorchvidError } from '../errors.ts'
import type { RawImage } from '../types.ts'

const LONGEST_HEADER = 64

/** Cuts a stream of 8-bit binary PPM images into frames, wherever its chunks begin and end. */
export class PpmParser {
  private header = ''
  private frame: RawImage | undefined
  private filled = 0

  /** True when the bytes so far end within an image. */
  get pending(): boolean {
    return this.frame !== undefined || this.header !== ''
  }

  /** The images completed by this chunk. `ERR_IO` when the stream is no PPM. */
  *push(chunk: Uint8Array): Generator<RawImage> {
    let at = 0
    while (at < chunk.length) {
      if (!this.frame) {
        at = this.readHeader(chunk, at)
        continue
      }
      const { data } = this.frame
      const part = chunk.subarray(at, at + data.length - this.filled)
      data.set(part, this.filled)
      this.filled += part.length
      at += part.length
      if (this.filled < data.length) continue
      const frame = this.frame
      this.frame = undefined
      yield frame
    }
  }

  /** Takes header bytes, one by one, until it is whole; returns where the next byte is. */
  private readHeader(chunk: Uint8Array, start: number): number {
    let at = start
    while (at < chunk.length) {
      this.header += String.fromCharCode(chunk[at++]!)
      const fields = this.header.match(/^P6\s+(\d+)\s+(\d+)\s+255\s$/)
      if (fields) {
        const [width, height] = [Number(fields[1]), Number(fields[2])]
        this.frame = { data: new Uint8Array(width * height * 3), width, height, channels: 3 }
        this.filled = 0
        this.header = ''
        return at
      }
      if (this.header.length > LONGEST_HEADER || !'P6'.startsWith(this.header.slice(0, 2))) {
        throw new TorchvidError('ERR_IO', 'ffmpeg wrote something other than the PPM images it was asked for.')
      }
    }
    return at
  }
}
