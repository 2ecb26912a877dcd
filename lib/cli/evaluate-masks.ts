import sharp from 'sharp'
import { readEncoded, unreadable } from '../data/image.ts'
import { colourLabels, greyLabels, type Labels, paletteLabels } from '../data/mask-labels.ts'
import { decodeSamples, isPng, readPngHeader } from '../data/png.ts'
import { TorchvidError } from '../errors.ts'

/** A mask of any number of objects, none included: one id a pixel, 0 for background. */
export interface LabelMap {
  data: Uint8Array
  width: number
  height: number
}

/** Index of pixels that DAVIS 2017 leaves open. */
const VOID = 255

/**
 * Reads an annotation or a result mask: palette images by index, grey ones of two values as background and object 1, plain
 * colours by the DAVIS palette. It may be empty or full.
 * @param path of a PNG, or another image without loss
 * @param objects the ids there are; left out, everything above 0 is object 1
 * @throws TorchvidError ERR_IO when it cannot be read; ERR_INVALID_ARGUMENT when it is a photograph
 */
export async function readLabelMap(path: string, objects?: number[]): Promise<LabelMap> {
  const bytes = await readEncoded(path, 'mask')
  try {
    const { labels, width, height } = await decode(bytes, objects)
    const { data } = labels
    // Without the ids that are named, ids are not told apart.
    const keep = (id: number) => (objects === undefined ? Math.min(id, 1) : objects.includes(id) ? id : 0)
    const kept = Uint8Array.from({ length: 256 }, (_, id) => keep(id))
    for (let i = 0; i < data.length; i++) data[i] = kept[data[i]!]!
    return { data, width, height }
  } catch (error) {
    throw error instanceof TorchvidError ? error : unreadable(path, 'mask', error)
  }
}

/** The ids of a first frame's mask, ascending; [1] where all objects are one. */
export async function objectsOf(path: string, year: 2016 | 2017): Promise<number[]> {
  if (year === 2016) return [1]
  const all = Array.from({ length: VOID - 1 }, (_, i) => i + 1)
  const seen = new Set((await readLabelMap(path, all)).data)
  const ids = all.filter((id) => seen.has(id))
  if (ids.length > 0) return ids
  throw new TorchvidError('ERR_INVALID_ARGUMENT', `${path} is empty: no object is given in the first frame.`)
}

async function decode(
  bytes: Uint8Array,
  objects?: number[],
): Promise<{ labels: Labels; width: number; height: number }> {
  if (isPng(bytes)) {
    const { single, depth, palette } = readPngHeader(bytes)
    if (single && depth <= 8) {
      const { data, width, height } = await decodeSamples(bytes)
      return { labels: palette ? paletteLabels(data, palette) : greyLabels(data, 255, objects), width, height }
    }
  }
  const { data, info } = await sharp(bytes, { failOn: 'warning' })
    .toColourspace('srgb')
    .raw()
    .toBuffer({ resolveWithObject: true })
  const labels = info.channels === 1 ? greyLabels(data, 255, objects) : colourLabels(data, info.channels, objects)
  return { labels, width: info.width, height: info.height }
}
