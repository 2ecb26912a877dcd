import { checkInteger, invalidArgument } from '../errors.ts'
import { randomFrom, shuffled } from './random.ts'

/** Settings of `ucsdSplits`. */
export interface UcsdOptions {
  /** How many splits. Default 10. */
  draws?: number
  /** The draws come from this number. Default 0. */
  seed?: number
}

/** Videos of both kinds. */
export interface VideoGroups<T> {
  normal: T[]
  abnormal: T[]
}

const NORMAL = 4
const ABNORMAL = 6
const MOST_DRAWS = 10_000

/**
 * Random splits of UCSD-Peds (70 videos of Peds1 and 28 of Peds2) as He et al. (2018) introduced them for weak
 * supervision: each draws 6 abnormal and 4 normal videos for training and leaves the rest for testing; results are the mean
 * over the draws. The first n of more draws are those of n draws.
 *
 * @param videos what stands for a video, such as its file of features; handed on as it is, in the order given
 * @throws TorchvidError ERR_INVALID_ARGUMENT, also when a kind has too few videos or one is there twice
 */
export function ucsdSplits<T>(
  videos: VideoGroups<T>,
  options: UcsdOptions = {},
): { train: VideoGroups<T>; test: VideoGroups<T> }[] {
  const { normal, abnormal } = (videos ?? {}) as Partial<VideoGroups<T>>
  checkGroup('normal', normal, NORMAL)
  checkGroup('abnormal', abnormal, ABNORMAL)
  if (new Set([...normal, ...abnormal]).size < normal.length + abnormal.length) {
    throw invalidArgument('videos', videos, 'every video once: one is there twice, or both normal and abnormal')
  }
  const draws = checkInteger('draws', options.draws ?? 10, 1, MOST_DRAWS)
  const random = randomFrom(checkInteger('seed', options.seed ?? 0, 0))
  return Array.from({ length: draws }, () => {
    const normals = draw(normal, NORMAL, random)
    const abnormals = draw(abnormal, ABNORMAL, random)
    return {
      train: { normal: normals.drawn, abnormal: abnormals.drawn },
      test: { normal: normals.rest, abnormal: abnormals.rest },
    }
  })
}

function checkGroup<T>(name: string, group: T[] | undefined, drawn: number): asserts group is T[] {
  if (Array.isArray(group) && group.length > drawn) return
  throw invalidArgument(name, group, `an array of more than ${drawn} videos: ${drawn} are drawn for training`)
}

function draw<T>(items: T[], count: number, random: () => number): { drawn: T[]; rest: T[] } {
  const chosen = new Set(shuffled([...items.keys()], random).slice(0, count))
  return { drawn: items.filter((_, i) => chosen.has(i)), rest: items.filter((_, i) => !chosen.has(i)) }
}
