import { invalidArgument, TorchvidError } from '../errors.ts'
import { pathIn, writeWhole } from './files.ts'
import { davisPalette, encodeGrey, encodeGrey16, encodeIndexed } from './png.ts'

/** A mask to write: one value a pixel, row-major. */
export interface MaskPixels {
  /** 0 is background; with one object every other value is that object, with several it is the object's id. */
  mask: Uint8Array
  width: number
  height: number
}

const PALETTE = davisPalette()

/**
 * Writes `folder/name.png`: for one object a grey PNG of 0 and 255, for several an indexed PNG in the
 * DAVIS palette whose indices are the ids.
 *
 * @param folder made if it is missing
 * @param name without extension; only its last part is used
 * @param ids the objects' ids (1 to 255)
 * @returns the path written
 * @throws `ERR_IO` when it cannot be written; nothing half-written is left. `ERR_SHAPE` when the mask's
 * length is not width x height.
 */
export async function writeMask(folder: string, name: string, pixels: MaskPixels, ids: number[]): Promise<string> {
  const { mask, width, height } = pixels
  if (!Array.isArray(ids) || ids.length === 0) throw invalidArgument('ids', ids, 'an array with the id of each object')
  checkLength('mask', mask.length, width, height)
  const path = pathIn(folder, name, '.png')
  const png =
    ids.length === 1
      ? await encodeGrey(blackAndWhite(mask), width, height)
      : await encodeIndexed(mask, width, height, PALETTE)
  await writeWhole(path, png)
  return path
}

/**
 * Writes probabilities (0 to 1) as a 16-bit grey PNG, 65535 being 1; values outside are clipped and NaN is 0.
 * Otherwise like `writeMask`.
 */
export async function writeProbability(
  folder: string,
  name: string,
  probability: Float32Array,
  width: number,
  height: number,
): Promise<string> {
  checkLength('probability', probability.length, width, height)
  const path = pathIn(folder, name, '.png')
  const grey = new Uint16Array(probability.length)
  for (let i = 0; i < grey.length; i++) {
    // Written so that NaN falls to 0.
    const value = probability[i]! > 0 ? Math.min(probability[i]!, 1) : 0
    grey[i] = Math.round(value * 65535)
  }
  await writeWhole(path, await encodeGrey16(grey, width, height))
  return path
}

function checkLength(name: string, length: number, width: number, height: number): void {
  if (length === width * height) return
  const wanted = `${width} x ${height} = ${width * height}`
  throw new TorchvidError('ERR_SHAPE', `${name}: got ${length} values, wanted ${wanted}, one for each pixel.`)
}

function blackAndWhite(mask: Uint8Array): Uint8Array {
  const grey = new Uint8Array(mask.length)
  for (let i = 0; i < grey.length; i++) if (mask[i] !== 0) grey[i] = 255
  return grey
}
