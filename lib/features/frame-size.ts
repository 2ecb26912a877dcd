import { TorchvidError } from '../errors.ts'

/** To what size frames are brought: their shorter side, [width, height], or null: as they are. */
export type Resize = number | [width: number, height: number] | null

/** Longer sides are a slip: a picture a few pixels high. */
const LONGEST = 65535

/**
 * A frame's size after resizing. By its shorter side it keeps its shape: the longer is int(shorter * long / short), as
 * torchvision has it.
 * @throws TorchvidError ERR_SHAPE when the longer side would be beyond 65535
 */
export function resizedSize(frame: { width: number; height: number }, resize: Resize) {
  const { width, height } = frame
  if (resize === null) return { width, height }
  if (typeof resize !== 'number') return { width: resize[0], height: resize[1] }
  const longer = Math.floor((resize * Math.max(width, height)) / Math.min(width, height))
  if (longer > LONGEST) {
    const text = `A frame of ${width} x ${height} whose shorter side becomes ${resize} would be ${longer} long; the most are ${LONGEST}. Give resize: [width, height].`
    throw new TorchvidError('ERR_SHAPE', text)
  }
  return width <= height ? { width: resize, height: longer } : { width: longer, height: resize }
}
