import type { RawImage } from '../types.ts'

/*
 * sharp does not read BMP. This reads the usual kind, uncompressed with 24 or 32 bits a pixel;
 * any other gets an error that says so.
 */

const UNCOMPRESSED = 0
const BIT_FIELDS = 3
/** Red, green, blue masks of the usual order of bytes: blue first. */
const USUAL_FIELDS = [0xff0000, 0xff00, 0xff]

/** True when the bytes start like a BMP. */
export function isBmp(bytes: Uint8Array): boolean {
  return bytes.length > 54 && bytes[0] === 0x42 && bytes[1] === 0x4d
}

/** A BMP as RGB; its fourth byte, if any, is dropped. Throws a plain `Error` when it is cut short or of another kind. */
export function decodeBmp(bytes: Uint8Array): RawImage {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const start = view.getUint32(10, true)
  const width = view.getInt32(18, true)
  const rows = view.getInt32(22, true)
  const bits = view.getUint16(28, true)
  const compression = view.getUint32(30, true)
  const height = Math.abs(rows)
  const usual =
    compression === UNCOMPRESSED ||
    (compression === BIT_FIELDS && start >= 66 && USUAL_FIELDS.every((f, i) => view.getUint32(54 + i * 4, true) === f))
  if ((bits !== 24 && bits !== 32) || !usual) {
    throw new Error(`a BMP of ${bits} bits and compression ${compression}, where only plain 24 and 32 bits are read`)
  }
  const step = bits / 8
  const stride = Math.ceil((width * step) / 4) * 4
  if (width < 1 || height < 1 || start + stride * height > bytes.length) throw new Error('a BMP that is cut short')
  const data = new Uint8Array(width * height * 3)
  let to = 0
  for (let y = 0; y < height; y++) {
    // Rows go from the bottom up, unless the height is negative.
    let from = start + stride * (rows > 0 ? height - 1 - y : y)
    for (let x = 0; x < width; x++, from += step) {
      data[to++] = bytes[from + 2]!
      data[to++] = bytes[from + 1]!
      data[to++] = bytes[from]!
    }
  }
  return { data, width, height, channels: 3 }
}
