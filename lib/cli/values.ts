import { InvalidArgumentError } from 'commander'

/*
 * Readers for the values of options. A bad value is an error of usage, and its message says what was wanted;
 * commander adds the option and what was given.
 */

/** A whole number of at least `minimum`. */
export function wholeNumber(minimum: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= minimum) return value
    throw new InvalidArgumentError(`Wanted a whole number of at least ${minimum}.`)
  }
}

/** A number above 0. */
export function positiveNumber(text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && Number.isFinite(value) && value > 0) return value
  throw new InvalidArgumentError('Wanted a number above 0, such as 0.001 or 1e-3.')
}

/** A number from 0 to 1. */
export function probability(text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && value >= 0 && value <= 1) return value
  throw new InvalidArgumentError('Wanted a number from 0 to 1.')
}

/** Ids of objects, 1 to 255, with commas between them. */
export function objectIds(text: string): number[] {
  const ids = text.split(',').map((part) => (/^\s*\d+\s*$/.test(part) ? Number(part) : Number.NaN))
  if (ids.every((id) => id >= 1 && id <= 255)) return ids
  throw new InvalidArgumentError('Wanted ids from 1 to 255 with commas between them, such as 1,2.')
}

/** `auto`, `cpu`, `cuda` or `cuda:N`. */
export function deviceName(text: string): 'auto' | 'cpu' | 'cuda' | `cuda:${number}` {
  if (/^(auto|cpu|cuda(:\d+)?)$/.test(text)) return text as 'auto' | 'cpu' | 'cuda' | `cuda:${number}`
  throw new InvalidArgumentError('Wanted auto, cpu, cuda or cuda:N.')
}

/** The name of a video file that can be written. */
export function videoFile(text: string): string {
  if (/\.(mp4|m4v|mov)$/i.test(text)) return text
  throw new InvalidArgumentError('Wanted a name that ends with .mp4.')
}

/** A number of at least 0. */
export function notNegative(text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && Number.isFinite(value) && value >= 0) return value
  throw new InvalidArgumentError('Wanted a number of at least 0, such as 0.0001 or 1e-4.')
}

/** A share in [0, 1). */
export function share(text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && value >= 0 && value < 1) return value
  throw new InvalidArgumentError('Wanted a number from 0 to below 1, such as 0.7.')
}

const UNITS: Record<string, number> = { '': 1, '%': 0.01, k: 1e3, K: 1e3, M: 1e6, G: 1e9 }

/** A share below 1 (`0.5`, `50%`) or a count (`120000000`, `120M`, `1.5G`). */
export function shareOrCount(text: string): number {
  const [, digits, unit] = /^(\d*\.?\d+(?:e\d+)?)(%|k|K|M|G|)$/.exec(text.trim()) ?? []
  const value = Number(digits) * (UNITS[unit ?? ''] ?? Number.NaN)
  const isCount = value >= 1 && unit !== '%'
  if (value > 0 && (value < 1 || isCount)) return isCount ? Math.round(value) : value
  throw new InvalidArgumentError('Wanted a share such as 0.5 or 50%, or a count such as 120M.')
}

/** Sizes with x between them, after the input's name where it is given: `1x3x224x224`, `image=1x3x224x224`. */
export function inputShape(text: string): { name?: string; shape: number[] } {
  const [, name, sizes = ''] = /^(?:(.+)=)?([^=]*)$/.exec(text) ?? []
  const shape = sizes.split('x').map((size) => (/^\d+$/.test(size) ? Number(size) : 0))
  if (shape.every((size) => Number.isSafeInteger(size) && size > 0)) return { name, shape }
  throw new InvalidArgumentError('Wanted sizes with x between them, such as 1x3x224x224, or image=1x3x224x224.')
}

/** Numbers with commas between them. */
export function numberList(text: string): number[] {
  const values = text.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)))
  if (values.every(Number.isFinite)) return values
  throw new InvalidArgumentError('Wanted numbers with commas between them, such as 0.485,0.456,0.406.')
}
