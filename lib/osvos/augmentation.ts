import { checkNumber, invalidArgument } from '../errors.ts'
import type { NativeAugment } from '../native.ts'

/** The augmentation of `fit`: a flip, then rotation and scaling about the centre; outside is mean colour, background. */
export interface Augmentation {
  /** Probability of a flip. Default 0.5. */
  flip?: number
  /** Degrees; uniform in [-rotation, rotation]. Default 30. */
  rotation?: number
  /** Uniform in [low, high]. Default [0.75, 1.25]. */
  scale?: [low: number, high: number]
}

/** The augmentation with its defaults, in the trainer's terms: null for none. `ERR_INVALID_ARGUMENT` when out of range. */
export function checkAugment(augment: Augmentation | false = {}): NativeAugment | null {
  if (augment === false) return null
  if (typeof augment !== 'object' || augment === null) throw invalidArgument('augment', augment, 'settings, or false')
  const { flip = 0.5, rotation = 30, scale = [0.75, 1.25] } = augment
  checkNumber('augment.flip', flip, 0, 1)
  checkNumber('augment.rotation', rotation, 0, 180)
  if (!Array.isArray(scale) || scale.length !== 2) throw invalidArgument('augment.scale', scale, 'two numbers')
  checkNumber('augment.scale[0]', scale[0], 0.01)
  checkNumber('augment.scale[1]', scale[1], scale[0])
  return { flip, rotation, scale }
}
