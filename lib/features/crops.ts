import type { NativeClip } from '../native.ts'

/** A part of a frame, in pixels; `flip`: of the mirrored frame. */
export type CropWindow = NativeClip['window']

/**
 * The places of the crops in a frame, in torchvision's order (`FiveCrop`, `TenCrop`): 1 is the centre; 5 are top left, top
 * right, bottom left, bottom right, centre; 10 are those and then the same of the mirrored frame.
 * @param size the crop's side; the frame is at least as large
 */
export function cropWindows(crops: 1 | 5 | 10, size: number, frame: { width: number; height: number }): CropWindow[] {
  const bottom = frame.height - size
  const right = frame.width - size
  const at = (top: number, left: number): CropWindow => ({ top, left, height: size, width: size, flip: false })
  const centre = at(halfToEven(bottom), halfToEven(right))
  if (crops === 1) return [centre]
  const five = [at(0, 0), at(0, right), at(bottom, 0), at(bottom, right), centre]
  return crops === 5 ? five : [...five, ...five.map((window) => ({ ...window, flip: true }))]
}

/** Half of a whole number as Python's `round` does it: 58.5 is 58, 59.5 is 60. */
function halfToEven(twice: number): number {
  const below = Math.floor(twice / 2)
  return twice % 2 === 0 || below % 2 === 0 ? below : below + 1
}
