import sharp from 'sharp'
import { checkInteger, describe, invalidArgument, TorchvidError } from '../errors.ts'
import type { ImageInput } from '../types.ts'
import { decodeBmp, isBmp } from './bmp.ts'
import { checkRawImage, isRawImage, readEncoded, unreadable } from './image.ts'
import { colourLabels, greyLabels, type Labels, paletteLabels } from './mask-labels.ts'
import { decodeSamples, isPng, readPngHeader } from './png.ts'

/** A mask read and checked: which object every pixel belongs to. */
export interface ObjectMask {
  /** The objects' ids, ascending; every one has at least one pixel. */
  ids: number[]
  /** One value a pixel, row-major: 0 for background, else the object's id. */
  data: Uint8Array
  width: number
  height: number
  /** Sentences for the user about what was assumed (a soft mask thresholded, void pixels dropped). */
  warnings: string[]
}

/** How to read a mask. */
export interface MaskOptions {
  /** The ids (1 to 255) that are objects; everything else is background. Default: every id above 0. */
  objects?: number[]
  /** Size of the frame that the mask belongs to, in pixels. */
  width: number
  height: number
}

/**
 * Reads the mask of a frame.
 *
 * Palette PNGs are read as indices, never as colours, and index 255 ("void") is background. A grey
 * image of two values is one object, the larger value, with id 1; one of several values up to 64 holds
 * ids; any other is a soft mask, thresholded at half with a warning. In a colour image every colour but
 * black is an object: those of the DAVIS palette have their index as id, others the next free id.
 *
 * @throws `ERR_SHAPE` when the mask's size is not the frame's; `ERR_INVALID_ARGUMENT` when no pixel or
 * every pixel is object, when an id of `objects` does not occur, or when a photograph is given;
 * `ERR_IO` when the file cannot be read.
 */
export async function readMask(input: ImageInput, options: MaskOptions): Promise<ObjectMask> {
  const objects = checkObjects(options.objects)
  const labels = await readLabels(input, options, objects)
  const { data, warnings } = labels
  const found = distinct(data)
  const ids = chooseIds(found, labels, objects)
  if (ids.length < found.length) keepOnly(data, ids)
  checkBothSides(data, ids)
  return { ids, data, width: options.width, height: options.height, warnings }
}

function checkObjects(objects: number[] | undefined): number[] | undefined {
  if (objects === undefined) return undefined
  if (!Array.isArray(objects) || objects.length === 0) {
    throw invalidArgument('objects', objects, 'an array of one or more ids from 1 to 255')
  }
  for (const id of objects) checkInteger('objects', id, 1, 255)
  return [...new Set(objects)].sort((a, b) => a - b)
}

async function readLabels(input: ImageInput, frame: MaskOptions, objects?: number[]): Promise<Labels> {
  if (isRawImage(input)) {
    const { data, width, height, channels } = checkRawImage(input, 'mask')
    checkSize(width, height, frame)
    return channels === 1 ? greyLabels(data, 255, objects) : colourLabels(data, channels, objects)
  }
  const bytes = await readEncoded(input, 'mask')
  try {
    return await decodeLabels(bytes, frame, objects)
  } catch (error) {
    throw error instanceof TorchvidError ? error : unreadable(input, 'mask', error)
  }
}

async function decodeLabels(bytes: Uint8Array, frame: MaskOptions, objects?: number[]): Promise<Labels> {
  if (isPng(bytes)) {
    const header = readPngHeader(bytes)
    // The size is compared before decoding: a few bytes can claim gigabytes of pixels.
    checkSize(header.width, header.height, frame)
    if (header.single && header.depth <= 8) {
      const { data } = await decodeSamples(bytes)
      return header.palette ? paletteLabels(data, header.palette) : greyLabels(data, 255, objects)
    }
  }
  if (isBmp(bytes)) {
    const { data, width, height } = decodeBmp(bytes)
    checkSize(width, height, frame)
    return colourLabels(data, 3, objects)
  }
  const image = sharp(bytes, { failOn: 'warning' }).autoOrient()
  const { depth, space, hasAlpha, autoOrient } = await image.metadata()
  checkSize(autoOrient.width, autoOrient.height, frame)
  if (!hasAlpha && space === 'grey16' && depth === 'ushort') {
    const data = await image.toColourspace('grey16').raw({ depth: 'ushort' }).toBuffer()
    return greyLabels(new Uint16Array(data.buffer, data.byteOffset, data.byteLength / 2), 65535, objects)
  }
  const { data, info } = await image.toColourspace('srgb').raw().toBuffer({ resolveWithObject: true })
  return info.channels === 1 ? greyLabels(data, 255, objects) : colourLabels(data, info.channels, objects)
}

function checkSize(width: number, height: number, frame: MaskOptions): void {
  if (width === frame.width && height === frame.height) return
  const given = `the mask is ${width} x ${height} pixels and its frame ${frame.width} x ${frame.height}`
  throw new TorchvidError('ERR_SHAPE', `mask: ${given}. Wanted the same size: give the mask drawn on that frame.`)
}

/** The ids above 0 that occur, ascending. */
function distinct(data: Uint8Array): number[] {
  const seen = new Uint8Array(256)
  for (let i = 0; i < data.length; i++) seen[data[i]!] = 1
  return [...seen.keys()].filter((id) => id > 0 && seen[id] === 1)
}

function chooseIds(found: number[], labels: Labels, objects?: number[]): number[] {
  if (objects) {
    const missing = objects.filter((id) => !found.includes(id))
    if (missing.length === 0) return objects
    const wanted = `ids that occur in the mask, which are ${found.length > 0 ? found.join(', ') : 'none'}`
    throw invalidArgument('objects', missing, wanted)
  }
  // A mask that has nothing but 255 uses it for its object.
  if (!labels.voidIsBackground || found.length < 2 || !found.includes(255)) return found
  labels.warnings.push('The mask has pixels of index 255, which marks "void" pixels: they are taken as background.')
  return found.filter((id) => id !== 255)
}

function keepOnly(data: Uint8Array, ids: number[]): void {
  const kept = new Uint8Array(256)
  for (const id of ids) kept[id] = id
  for (let i = 0; i < data.length; i++) data[i] = kept[data[i]!]!
}

function checkBothSides(data: Uint8Array, ids: number[]): void {
  if (ids.length === 0) {
    const advice = 'Wanted a mask with the object as values above 0 on a background of 0.'
    throw new TorchvidError('ERR_INVALID_ARGUMENT', `mask: it is empty, no pixel belongs to an object. ${advice}`)
  }
  if (data.includes(0)) return
  const given = `it is full, all ${data.length} pixels belong to ${ids.length > 1 ? 'objects' : 'the object'}`
  const advice = `Wanted some background (value 0); objects found: ${describe(ids)}.`
  throw new TorchvidError('ERR_INVALID_ARGUMENT', `mask: ${given}. ${advice}`)
}
