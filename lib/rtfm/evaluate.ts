import { type FeatureVideo, featureList } from '../data/feature-lists.ts'
import { type FeatureInput, type FeatureReader, openFeatureSet } from '../data/features.ts'
import { frameLabels, type GroundTruth } from '../data/ground-truth.ts'
import type { RunContext, RunOptions } from '../engine/run.ts'
import { checkInteger, invalidArgument } from '../errors.ts'
import { averagePrecision, prAuc, rocAuc } from '../metrics/index.ts'
import { mismatches, trainedOn } from './norms.ts'
import { checkSize, type Scorer, scoreFeatures } from './score.ts'

/** Videos to judge: a list file (see `data.featureList`), the videos of one, or features. */
export type DetectionList = string | FeatureVideo[] | FeatureInput[]

/** Settings of `RTFM.evaluate`. */
export interface RtfmEvaluateOptions extends Pick<RunOptions<RtfmEvaluationProgress>, 'signal' | 'onProgress'> {
  /** Frames that a segment stands for. Default 16. */
  framesPerSegment?: number
  /** With a list file: the folder that holds its features. */
  root?: string
}

/** What is reported of each video. */
export interface RtfmEvaluationProgress {
  /** Videos done. */
  video: number
  videos: number
  name: string
}

/** A video of an evaluation. */
export interface EvaluatedVideo {
  name: string
  segments: number
  /** One per segment. */
  scores: Float32Array
  /** One per frame: 0, or 1 where it is abnormal. */
  labels: Uint8Array
}

/** How well a detector ranks the frames of some videos, all taken together. */
export interface RtfmEvaluation {
  /** Area under the ROC curve. */
  rocAuc: number
  /** Area under the precision-recall curve by trapezoids. */
  prAuc: number
  averagePrecision: number
  frames: number
  abnormalFrames: number
  videos: EvaluatedVideo[]
  /** What is odd about the features: made with other settings than each other, or than those the detector was trained on. */
  warnings: string[]
}

/** The videos of a list, whatever its form. */
async function videosOf(list: DetectionList, what: string, root?: string): Promise<Partial<FeatureVideo>[]> {
  if (typeof list === 'string') return await featureList(list, { split: 'test', root })
  if (!Array.isArray(list) || list.length === 0) throw invalidArgument(what, list, 'a list file, or at least one video')
  return list.map((video) => (isVideo(video) ? video : { features: video }))
}

function isVideo(video: FeatureVideo | FeatureInput): video is FeatureVideo {
  return typeof video === 'object' && video !== null && 'features' in video
}

/** The videos of a list, opened, and what ground truth needs to know of them. */
export async function openVideos(list: DetectionList, what: string, root?: string) {
  const entries = await videosOf(list, what, root)
  const readers = await openFeatureSet(
    entries.map(({ features }) => features as FeatureInput),
    what,
  )
  const videos = readers.map((reader, i) => {
    const { name = reader.name, abnormal } = entries[i] as Partial<FeatureVideo>
    return { name, segments: reader.segments, ...(abnormal !== undefined && { abnormal }) }
  })
  return { readers, videos }
}

/** Scores every video of a list and measures the scores against the ground truth; lengths are checked before any work. */
export async function evaluate(
  scorer: Scorer,
  list: DetectionList,
  truth: GroundTruth,
  options: RtfmEvaluateOptions,
  { signal, report }: RunContext<RtfmEvaluationProgress>,
): Promise<RtfmEvaluation> {
  const { framesPerSegment = 16, root } = options
  checkInteger('framesPerSegment', framesPerSegment, 1)
  const { readers, videos } = await openVideos(list, 'list', root)
  for (const reader of readers) checkSize(scorer, reader)
  const labels = await frameLabels(truth, videos, { framesPerSegment })
  const warnings = await mismatches(readers, trainedOn(scorer.network.graph))
  const evaluated: EvaluatedVideo[] = []
  for (const [i, { name, segments }] of videos.entries()) {
    const { scores } = await scoreFeatures(scorer, readers[i] as FeatureReader, signal)
    evaluated.push({ name, segments, scores, labels: labels[i] as Uint8Array })
    report([{ video: i + 1, videos: videos.length, name }])
  }
  return { ...(await measure(evaluated, framesPerSegment)), videos: evaluated, warnings }
}

/** The figures over all frames of all videos; a segment's score is that of each of its frames. */
async function measure(videos: EvaluatedVideo[], framesPerSegment: number) {
  const frames = videos.reduce((sum, { labels }) => sum + labels.length, 0)
  const scores = new Float32Array(frames)
  const labels = new Uint8Array(frames)
  let at = 0
  for (const video of videos) {
    labels.set(video.labels, at)
    for (const [segment, score] of video.scores.entries()) {
      const first = at + segment * framesPerSegment
      scores.fill(score, first, first + framesPerSegment)
    }
    at += video.labels.length
  }
  return {
    rocAuc: await rocAuc(scores, labels),
    prAuc: await prAuc(scores, labels),
    averagePrecision: await averagePrecision(scores, labels),
    frames,
    abnormalFrames: labels.reduce((sum, label) => sum + label, 0),
  }
}
