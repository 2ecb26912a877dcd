import type { DavisTable } from '../metrics/davis-table.ts'

/** How a sequence went, frame by frame. */
export interface EvaluatedSequence {
  name: string
  /** Frames of the sequence. */
  frames: number
  /** The frames that were measured, from 0, rising. */
  measured: number[]
  /** One value for each of those, for each object. */
  objects: { id: number; jaccard: number[]; contour: number[] }[]
  /** Seconds of the fit, and of segmenting one frame; null where there was nothing of the kind. */
  seconds: { fit: number | null; frame: number | null }
}

/** J and F of a frame, means over its objects. */
export interface FrameScore {
  frame: number
  jaccard: number
  contour: number
}

/** What the page's program draws. */
export interface DavisPageData {
  sequences: { name: string; frames: number; measured: number[]; jaccard: number[]; contour: number[] }[]
}

/** Every measured frame's scores, in order. */
export function frameScores({ measured, objects }: EvaluatedSequence): FrameScore[] {
  const over = (kind: 'jaccard' | 'contour', i: number) =>
    objects.reduce((sum, object) => sum + object[kind][i]!, 0) / objects.length
  return measured.map((frame, i) => ({ frame, jaccard: over('jaccard', i), contour: over('contour', i) }))
}

/** The frame with the lowest J&F; of equal ones the first. */
export function worstFrame(sequence: EvaluatedSequence): FrameScore {
  return frameScores(sequence).reduce((worst, score) => (jfOf(score) < jfOf(worst) ? score : worst))
}

/** J&F of one frame. */
export function jfOf({ jaccard, contour }: FrameScore): number {
  return (jaccard + contour) / 2
}

/** The `count` worst sequences by J&F, worst first, as places in the table. */
export function worstSequences({ sequences }: DavisTable, count: number): number[] {
  const places = sequences.map((_, i) => i)
  return places.sort((a, b) => sequences[a]!.jf - sequences[b]!.jf).slice(0, count)
}

/** The first frame, and measured ones evenly spread from the first of them to the last: at most `count` in all. */
export function stripFrames(measured: number[], count = 8): number[] {
  const parts = Math.min(count - 1, measured.length)
  const last = measured.length - 1
  const place = (i: number) => (parts === 1 ? 0 : Math.round((i * last) / (parts - 1)))
  return [0, ...Array.from({ length: parts }, (_, i) => measured[place(i)]!)]
}

/** What there is to draw. */
export function davisPageData(sequences: EvaluatedSequence[]): DavisPageData {
  return {
    sequences: sequences.map((sequence) => {
      const { name, frames, measured } = sequence
      const scores = frameScores(sequence)
      const values = (kind: 'jaccard' | 'contour') => scores.map((score) => Number(score[kind].toFixed(4)))
      return { name, frames, measured, jaccard: values('jaccard'), contour: values('contour') }
    }),
  }
}
