import { readImage } from '../data/image.ts'
import { davisPalette, encodeIndexed } from '../data/png.ts'
import { checkInteger, invalidArgument, TorchvidError } from '../errors.ts'
import { type NativePrompt, native } from '../native.ts'
import type { ImageInput, RawImage } from '../types.ts'
import { readScribble } from './scribble.ts'

/** A box round an object, in pixels of the picture: its upper left corner and its size. It may stick out of the picture. */
export interface Box {
  x: number
  y: number
  width: number
  height: number
}

/**
 * What can be given instead of a mask. `box`: one round each object, whose ids are then 1, 2, 3 in order. `scribble`: an
 * image of the picture's size, a palette or grey one or one with alpha: 0 or transparent where nothing is marked, 1 to 254
 * on the object of that id, 255 (white) on what is background for certain. A background line all round an object helps
 * most; without any mark for it, what lies far from the object's marks probably is background.
 */
export type Prompt = { box: Box | readonly Box[] } | { scribble: ImageInput }

/** Settings of `OSVOS.maskFrom`. */
export interface PromptOptions {
  /** Everything random comes from this number. Default 0. */
  seed?: number
  /** Hears of an object that could not be told from its surroundings. Default: `process.emitWarning`. */
  onWarning?: (message: string) => void
}

/** Ids are bytes, and 255 is no object. */
const MOST_BOXES = 254

/** Whether this is a prompt and not an image. */
export function isPrompt(value: unknown): value is Prompt {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return false
  return 'box' in value || 'scribble' in value
}

/**
 * The mask that a prompt stands for: each object is cut out of its surroundings by GrabCut (Rother, Kolmogorov, Blake,
 * SIGGRAPH 2004), at most 400 pixels wide or high, and its edge then at full size. Where objects meet, the more probable
 * one takes the pixel. An object that cannot be told from its surroundings becomes the ellipse in its box, with a warning.
 * @returns ids as values, row-major; an image to look at, to mend and to give to `fit`
 * @throws TorchvidError ERR_INVALID_ARGUMENT: a box outside the picture, without pixels or of no numbers, a scribble
 *   without a mark on an object; ERR_SHAPE: a scribble of another size; ERR_IO: a file that cannot be read
 */
export async function maskFrom(image: ImageInput, prompt: Prompt, options: PromptOptions = {}): Promise<RawImage> {
  const seed = checkInteger('seed', options.seed ?? 0, 0)
  const picture = await readImage(image, 'image')
  const { width, height } = picture
  const { data, unclear } = await native().maskFromPrompt(picture, { ...(await readPrompt(prompt, picture)), seed })
  const warn = options.onWarning ?? ((message: string) => process.emitWarning(message))
  for (const id of unclear) {
    const advice = 'Look at the mask (OSVOS.maskFrom), and draw a tighter box, more marks or a mask.'
    warn(`Object ${id} could not be told from its surroundings: an ellipse stands for it. ${advice}`)
  }
  return { data, width, height, channels: 1 }
}

/** A mask as it is; a prompt as an encoded mask, which keeps every id. */
export async function drawn(image: ImageInput, mask: ImageInput | Prompt, options: PromptOptions): Promise<ImageInput> {
  if (!isPrompt(mask)) return mask
  const { data, width, height } = await maskFrom(image, mask, options)
  return await encodeIndexed(data, width, height, davisPalette())
}

/**
 * Checks a prompt against its picture's size and reads it.
 * @throws as `maskFrom`
 */
export async function readPrompt(
  prompt: Prompt,
  frame: { width: number; height: number },
): Promise<Omit<NativePrompt, 'seed'>> {
  if (!isPrompt(prompt)) throw invalidArgument('prompt', prompt, '{ box } or { scribble }')
  if ('box' in prompt && 'scribble' in prompt) {
    throw invalidArgument('prompt', prompt, 'either boxes or a scribble: a scribble can mark several objects')
  }
  if ('scribble' in prompt) {
    const data = await readScribble(prompt.scribble, frame)
    return { marks: { data, width: frame.width, height: frame.height } }
  }
  const { box } = prompt
  if (!Array.isArray(box)) return { boxes: [pixelsOf('box', box as Box, frame)] }
  if (box.length === 0 || box.length > MOST_BOXES) throw invalidArgument('box', box, `1 to ${MOST_BOXES} boxes`)
  return { boxes: box.map((one, i) => pixelsOf(`box[${i}]`, one, frame)) }
}

/** The whole pixels that a box touches, inside the picture. */
function pixelsOf(name: string, box: Box, frame: { width: number; height: number }): Box {
  if (typeof box !== 'object' || box === null) throw invalidArgument(name, box, '{ x, y, width, height } in pixels')
  for (const key of ['x', 'y', 'width', 'height'] as const) {
    if (!Number.isFinite(box[key])) throw invalidArgument(`${name}.${key}`, box[key], 'a finite number of pixels')
  }
  for (const key of ['width', 'height'] as const) {
    if (box[key] <= 0) throw invalidArgument(`${name}.${key}`, box[key], 'more than 0 pixels')
  }
  const x = Math.max(0, Math.floor(box.x))
  const y = Math.max(0, Math.floor(box.y))
  const right = Math.min(frame.width, Math.ceil(box.x + box.width))
  const bottom = Math.min(frame.height, Math.ceil(box.y + box.height))
  if (right <= x || bottom <= y) {
    const given = `${box.width} x ${box.height} pixels at (${box.x}, ${box.y})`
    const wanted = `a box in the picture, which is ${frame.width} x ${frame.height}`
    throw new TorchvidError('ERR_INVALID_ARGUMENT', `${name}: got ${given}, wanted ${wanted}.`)
  }
  return { x, y, width: right - x, height: bottom - y }
}
