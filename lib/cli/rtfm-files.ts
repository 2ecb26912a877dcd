import { join } from 'node:path'
import type { FeatureSettings } from '../data/feature-settings.ts'
import { writeWhole } from '../data/files.ts'
import { type AboveInterval, spanOf, type Timeline } from '../report/rtfm-data.ts'

/** A scored video, with all that its files tell. */
export interface ScoredVideo {
  name: string
  scores: Float32Array
  magnitudes?: Float32Array
  timeline: Timeline
  threshold: number
  above: AboveInterval[]
  /** Ground truth, a label per frame of whole segments. */
  labels?: Uint8Array
  figures?: Figures
  features?: FeatureSettings
  warnings: string[]
}

/** Areas over the frames of one video. */
export interface Figures {
  rocAuc: number
  prAuc: number
  averagePrecision: number
}

/** Where a segment lies: first and last frame, both included, and, where the rate is known, the times of both ends. */
function placeOf(segment: number, timeline: Timeline): { firstFrame: number; lastFrame: number; seconds?: number[] } {
  const { start, end } = spanOf(segment, timeline)
  const { fps } = timeline
  const times = fps === undefined ? undefined : [start / fps, end / fps].map((time) => Number(time.toFixed(4)))
  return { firstFrame: start, lastFrame: end - 1, ...(times !== undefined && { seconds: times }) }
}

/**
 * Writes OUT/NAME.csv, a line for each segment, and OUT/NAME.json, which also tells of the model, the stretches above the
 * threshold and the features. Whole or not at all each.
 * @returns their paths
 * @throws TorchvidError ERR_IO
 */
export async function writeScores(
  folder: string,
  video: ScoredVideo,
  model: string,
): Promise<{ csv: string; json: string }> {
  const csv = join(folder, `${video.name}.csv`)
  const json = join(folder, `${video.name}.json`)
  await writeWhole(csv, Buffer.from(csvOf(video)))
  await writeWhole(json, Buffer.from(`${jsonOf(video, model)}\n`))
  return { csv, json }
}

function csvOf({ scores, magnitudes, labels, timeline }: ScoredVideo): string {
  const hasTime = timeline.fps !== undefined
  const titles = [
    ...['segment', 'first_frame', 'last_frame'],
    ...(hasTime ? ['start_seconds', 'end_seconds'] : []),
    'score',
    ...(magnitudes === undefined ? [] : ['magnitude']),
    ...(labels === undefined ? [] : ['abnormal_frames']),
  ]
  const lines = Array.from(scores, (score, segment) => {
    const { firstFrame, lastFrame, seconds = [] } = placeOf(segment, timeline)
    const extras = [
      ...(magnitudes === undefined ? [] : [magnitudes[segment]]),
      ...(labels === undefined ? [] : [abnormalFrames(labels, segment, timeline)]),
    ]
    return [segment, firstFrame, lastFrame, ...seconds, score, ...extras].join(',')
  })
  return `${[titles.join(','), ...lines].join('\n')}\n`
}

function abnormalFrames(labels: Uint8Array, segment: number, { framesPerSegment }: Timeline): number {
  const start = segment * framesPerSegment
  return labels.subarray(start, start + framesPerSegment).reduce((sum, label) => sum + label, 0)
}

function jsonOf(video: ScoredVideo, model: string): string {
  const { name, scores, magnitudes, timeline, threshold, above, figures, features, warnings } = video
  const { framesPerSegment, frames, fps = null } = timeline
  const stretches = above.map(({ start, end, segments, peak, peakSegment, truthShare }) => ({
    ...{ firstFrame: start, lastFrame: end - 1, segments },
    ...(fps !== null && { seconds: [start / fps, end / fps] }),
    ...{ highest: peak, highestSegment: peakSegment },
    ...(truthShare !== undefined && { truthShare }),
  }))
  const segments = Array.from(scores, (score, segment) => ({
    ...{ segment, ...placeOf(segment, timeline), score },
    ...(magnitudes !== undefined && { magnitude: magnitudes[segment] }),
  }))
  const head = { name, model, framesPerSegment, frames, fps, threshold, figures: figures ?? null, warnings }
  return JSON.stringify({ ...head, features: features ?? null, stretches, segments })
}
