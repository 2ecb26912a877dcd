import { describe, invalidArgument, TorchvidError } from '../errors.ts'

/** J and F of one object, frame by frame, in order; without those frames that do not count (the first and the last). */
export interface DavisObject {
  /** Region similarity of each frame, 0 to 1: `metrics.jaccard`. */
  jaccard: ArrayLike<number>
  /** Contour accuracy of each frame, 0 to 1: `metrics.contour`. */
  contour: ArrayLike<number>
}

/** What DAVIS says of a measure over frames. */
export interface DavisStatistics {
  /** Over all frames, 0 to 1. */
  mean: number
  /** Share of frames above 0.5, 0 to 1. */
  recall: number
  /** Mean of the first quarter minus mean of the last one, -1 to 1: below 0 it gets better. */
  decay: number
}

/** The figures of an object, a sequence or a set. */
export interface DavisScores {
  jaccard: DavisStatistics
  contour: DavisStatistics
  /** J&F: the mean of both means. */
  jf: number
}

/** The table of DAVIS. */
export interface DavisTable extends DavisScores {
  /** In the order given; a sequence's own figures are the means of its objects'. */
  sequences: (DavisScores & { name: string; objects: DavisScores[] })[]
}

/**
 * The table of DAVIS (Perazzi et al., CVPR 2016): mean, recall and decay of J and F for every object, every sequence, and in
 * all. As the official evaluation of 2017 does, the figures in all are means over all objects of all sequences, which with
 * one object each (DAVIS 2016) are means over sequences. Quarters are that code's too: of n frames those at the places
 * round(1 + i (n - 1) / 4), halves up, with the frame at the border in both of its quarters.
 *
 * @param sequences names and, object by object, J and F of the frames that count: DAVIS leaves out the first and the last
 * @throws TorchvidError ERR_INVALID_ARGUMENT when there are no sequences, objects or frames, or a value is no number from 0
 *   to 1; ERR_SHAPE when an object has not as many values of F as of J
 */
export function davisTable(sequences: { name: string; objects: DavisObject[] }[]): DavisTable {
  if (!Array.isArray(sequences) || sequences.length === 0) {
    throw invalidArgument('sequences', sequences, 'one { name, objects } or more')
  }
  const rows = sequences.map(({ name, objects }) => {
    if (!Array.isArray(objects) || objects.length === 0) {
      throw invalidArgument(`objects of ${describe(name)}`, objects, 'one { jaccard, contour } or more')
    }
    const scores = objects.map((object, i) => scoresOf(object, `${name}, object ${i + 1}`))
    return { name, objects: scores, ...meanOf(scores) }
  })
  return { sequences: rows, ...meanOf(rows.flatMap(({ objects }) => objects)) }
}

function scoresOf({ jaccard, contour }: DavisObject, what: string): DavisScores {
  checkValues(jaccard, `jaccard of ${what}`)
  checkValues(contour, `contour of ${what}`)
  if (jaccard.length !== contour.length) {
    const text = `${what}: ${jaccard.length} values of J and ${contour.length} of F, wanted one of each for every frame.`
    throw new TorchvidError('ERR_SHAPE', text)
  }
  return withMean({ jaccard: statisticsOf(Array.from(jaccard)), contour: statisticsOf(Array.from(contour)) })
}

function checkValues(values: ArrayLike<number>, what: string): void {
  if (values === null || typeof values !== 'object' || !(values.length > 0)) {
    throw invalidArgument(what, values, 'one number for each frame')
  }
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number
    if (!(value >= 0 && value <= 1)) throw invalidArgument(`${what}, value ${i}`, value, 'a number from 0 to 1')
  }
}

function statisticsOf(values: number[]): DavisStatistics {
  const quarter = (i: number) => mean(values.slice(borderOf(i, values.length), borderOf(i + 1, values.length) + 1))
  return {
    mean: mean(values),
    recall: values.filter((value) => value > 0.5).length / values.length,
    decay: quarter(0) - quarter(3),
  }
}

/** The frame between quarter i - 1 and quarter i, from 0. */
function borderOf(i: number, frames: number): number {
  return Math.floor((i * (frames - 1)) / 4 + 0.5)
}

const KINDS = ['mean', 'recall', 'decay'] as const

function meanOf(scores: DavisScores[]): DavisScores {
  const over = (measure: 'jaccard' | 'contour') =>
    Object.fromEntries(KINDS.map((kind) => [kind, mean(scores.map((each) => each[measure][kind]))]))
  return withMean({ jaccard: over('jaccard') as never, contour: over('contour') as never })
}

function withMean(measures: Omit<DavisScores, 'jf'>): DavisScores {
  return { ...measures, jf: (measures.jaccard.mean + measures.contour.mean) / 2 }
}

function mean(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
