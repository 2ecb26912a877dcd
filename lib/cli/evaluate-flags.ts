import { InvalidArgumentError } from 'commander'
import type { OsvosBackbone } from '../networks/index.ts'
import type { Preset } from '../osvos/fit.ts'
import type { Device } from '../types.ts'

/** The options of `torchvid evaluate`. */
export interface EvaluateFlags {
  davis: string
  sequences: 'train' | 'val' | string[]
  year: 2016 | 2017
  resolution: string
  model?: string
  backbone?: OsvosBackbone
  pretrained?: string
  preset?: Preset
  iterations?: number
  learningRate?: number
  maxSize?: number
  threshold?: number
  seed: number
  device?: Device
  /** Masks on disk to score, instead of a model's. */
  masks?: string
  copyFirst?: boolean
  /** False with `--no-fit`. */
  fit: boolean
  every: number
  jobs: number
  threads?: number
  out?: string
  report?: string
  json?: boolean
  /** Set for the processes that `--jobs` starts, which leave table and report to the one that started them. */
  part?: boolean
}

/** `train`, `val`, or names with commas between them; a comma alone makes a name of what is also a list: `train,`. */
export function sequenceNames(text: string): 'train' | 'val' | string[] {
  if (text === 'train' || text === 'val') return text
  const names = text.split(',').map((name) => name.trim())
  if (names.length > 1 && names.at(-1) === '') names.pop()
  if (names.every((name) => name !== '')) return names
  throw new InvalidArgumentError('Wanted val, train, or names with commas between them, such as dog,libby.')
}

/** `2016` or `2017`. */
export function davisYear(text: string): 2016 | 2017 {
  if (text === '2016' || text === '2017') return Number(text) as 2016 | 2017
  throw new InvalidArgumentError('Wanted 2016 (one object) or 2017 (each object for itself).')
}
