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
