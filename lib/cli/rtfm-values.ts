import { InvalidArgumentError } from 'commander'

/*
 * Readers for the values of `torchvid rtfm`'s own options, as those of values.ts.
 */

/** The frames' size: a shorter side (`256`), width x height (`340x256`), or `none`: as they are. */
export function frameSize(text: string): number | [width: number, height: number] | 'none' {
  // Not null: commander would make an empty text of it.
  if (text === 'none') return 'none'
  const sides = text.split('x').map((side) => (/^\d+$/.test(side) ? Number(side) : 0))
  const [first = 0, second] = sides
  const isRight = sides.length <= 2 && sides.every((side) => Number.isSafeInteger(side) && side > 0)
  if (isRight) return second === undefined ? first : [first, second]
  throw new InvalidArgumentError('Wanted a shorter side such as 256, width x height such as 340x256, or none.')
}

/** 1, 5 or 10. */
export function cropCount(text: string): 1 | 5 | 10 {
  if (text === '1' || text === '5' || text === '10') return Number(text) as 1 | 5 | 10
  throw new InvalidArgumentError('Wanted 1 (centre), 5 (corners and centre) or 10 (those, mirrored too).')
}
