/** A video's scores and the truth about its frames. */
export interface EvaluatedVideo {
  name: string
  /** One for each segment. */
  scores: ArrayLike<number>
  /** 0 or 1 for each frame, framesPerSegment of them for each score. */
  labels: ArrayLike<number>
}

/** A curve from its beginning to its end; both axes 0..1. */
export type Curve = [x: number, y: number][]

/** How far a curve goes on before its next point is kept: less than a pixel. */
const STEP = 1 / 500

/**
 * The curves of frames ranked by their segment's score: true over false positive rate, and precision over recall. Frames
 * of equal scores go together. Empty where frames of one kind are missing.
 */
export function rankingCurves(videos: EvaluatedVideo[]): { roc: Curve; precisionRecall: Curve } {
  const groups = new Map<number, { positives: number; negatives: number }>()
  for (const { scores, labels } of videos) {
    const perSegment = labels.length / scores.length
    for (let segment = 0; segment < scores.length; segment++) {
      const score = scores[segment]!
      const group = groups.get(score) ?? { positives: 0, negatives: 0 }
      for (let frame = segment * perSegment; frame < (segment + 1) * perSegment; frame++) {
        if (labels[frame]) group.positives++
        else group.negatives++
      }
      groups.set(score, group)
    }
  }
  const ranked = [...groups].sort(([a], [b]) => b - a)
  const positives = ranked.reduce((sum, [, group]) => sum + group.positives, 0)
  const negatives = ranked.reduce((sum, [, group]) => sum + group.negatives, 0)
  if (positives === 0 || negatives === 0) return { roc: [], precisionRecall: [] }
  const roc: Curve = [[0, 0]]
  // As the trapezoids of `metrics.prAuc` begin.
  const precisionRecall: Curve = [[0, 1]]
  let [hits, alarms] = [0, 0]
  for (const [, group] of ranked) {
    hits += group.positives
    alarms += group.negatives
    roc.push([alarms / negatives, hits / positives])
    precisionRecall.push([hits / positives, hits / (hits + alarms)])
  }
  return { roc: thinned(roc), precisionRecall: thinned(precisionRecall) }
}

/** Without the points that lie on those before them as far as an eye can tell. */
function thinned(curve: Curve): Curve {
  const kept: Curve = []
  for (const [i, point] of curve.entries()) {
    const last = kept.at(-1)
    const isFar = last === undefined || Math.hypot(point[0] - last[0], point[1] - last[1]) >= STEP
    if (isFar || i === curve.length - 1) kept.push(point)
  }
  return kept
}

/** A video in a few numbers. */
export interface VideoSummary {
  name: string
  segments: number
  frames: number
  /** Share of its frames that are abnormal, 0..1. */
  abnormal: number
  highest: number
  /** Mean score of the segments with an abnormal frame, and of the others; absent where there are none. */
  meanAbnormal?: number
  meanNormal?: number
}

/** What there is to say of one video. */
export function summaryOfVideo({ name, scores, labels }: EvaluatedVideo): VideoSummary {
  const perSegment = labels.length / scores.length
  const sums = { abnormal: 0, normal: 0 }
  const counts = { abnormal: 0, normal: 0 }
  let ones = 0
  let highest = Number.NEGATIVE_INFINITY
  for (let segment = 0; segment < scores.length; segment++) {
    let inSegment = 0
    for (let frame = segment * perSegment; frame < (segment + 1) * perSegment; frame++)
      inSegment += labels[frame] ? 1 : 0
    const kind = inSegment > 0 ? 'abnormal' : 'normal'
    sums[kind] += scores[segment]!
    counts[kind]++
    ones += inSegment
    highest = Math.max(highest, scores[segment]!)
  }
  return {
    ...{ name, segments: scores.length, frames: labels.length, abnormal: ones / labels.length, highest },
    ...(counts.abnormal > 0 && { meanAbnormal: sums.abnormal / counts.abnormal }),
    ...(counts.normal > 0 && { meanNormal: sums.normal / counts.normal }),
  }
}
