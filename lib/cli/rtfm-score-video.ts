import type { FeatureInput, FeatureReader } from '../data/features.ts'
import { openFrames } from '../data/frames.ts'
import * as metrics from '../metrics/index.ts'
import { rtfmReach } from '../networks/rtfm.ts'
import { aboveIntervals, peaksAtBothEnds, type Timeline, thumbnailFrames, timelineOf } from '../report/rtfm-data.ts'
import type { RTFM } from '../rtfm/rtfm.ts'
import type { RtfmScoreFlags } from './flags.ts'
import type { Figures, ScoredVideo } from './rtfm-files.ts'
import { videoBeside } from './rtfm-score-inputs.ts'
import { readThumbnails, type Thumbnail } from './rtfm-thumbnails.ts'

const FRAMES_PER_SEGMENT = 16

/** Features that are open, and the video they are of where it is known. */
export interface KnownVideo {
  name: string
  features: FeatureInput
  reader: FeatureReader
  video?: string
}

/** Frames that a row of features stands for. */
export function framesOf({ settings }: FeatureReader, { framesPerSegment }: RtfmScoreFlags): number {
  return framesPerSegment ?? settings?.every ?? FRAMES_PER_SEGMENT
}

/** The video that features are of: the one that was named, or the one beside them. */
export async function videoOf(
  features: FeatureInput,
  { settings }: FeatureReader,
  { video }: RtfmScoreFlags,
): Promise<string | undefined> {
  return video ?? (await videoBeside(features, settings))
}

/** The scores of one video, and what they mean. */
export async function scoreVideo(
  model: RTFM,
  known: KnownVideo,
  options: { flags: RtfmScoreFlags; signal: AbortSignal; labels?: Uint8Array },
): Promise<ScoredVideo> {
  const { name, features, reader } = known
  const { flags, signal, labels } = options
  const { scores, magnitudes, warnings } = await model.score(features, { signal })
  const all = [...warnings]
  const timeline = await timelineFor(known, flags, (text) => all.push(text))
  const reach = model.settings.network === 'rtfm' ? rtfmReach : 0
  if (peaksAtBothEnds(scores, reach)) all.push(endsText(reach))
  return {
    ...{ name, scores, timeline, threshold: flags.threshold, warnings: all },
    above: aboveIntervals(scores, flags.threshold, timeline, labels),
    ...(magnitudes !== undefined && { magnitudes }),
    ...(reader.settings !== undefined && { features: reader.settings }),
    ...(labels !== undefined && { labels, figures: await figuresOf(scores, labels) }),
  }
}

function endsText(reach: number): string {
  return `The scores peak at the first and at the last segments, and not between. The network sees zeros beyond both ends, which reach ${reach} segments into the video: score it with some seconds more before and after, and trust what stays.`
}

/** Where the segments lie; what does not fit them is said, and left out. */
async function timelineFor(
  { reader, video }: KnownVideo,
  flags: RtfmScoreFlags,
  warn: (text: string) => void,
): Promise<Timeline> {
  const { segments, settings } = reader
  const framesPerSegment = framesOf(reader, flags)
  const source = settings === undefined && video !== undefined ? await openFrames(video) : undefined
  const frames = settings?.frames ?? source?.count
  const fps = flags.fps ?? settings?.fps ?? source?.fps
  const whole = segments * framesPerSegment
  const fits = frames === undefined || Math.abs(frames - whole) < framesPerSegment
  if (!fits) {
    const who = settings === undefined ? 'The video has about' : 'The features say that their video has'
    const rate = Math.round(frames / segments)
    warn(
      `${who} ${frames} frames, and ${segments} segments of ${framesPerSegment} are ${whole}: places and times are those of the segments. ${rate === framesPerSegment ? 'Are these features of this video?' : `If a row stands for ${rate} frames, give --frames-per-segment ${rate}.`}`,
    )
  }
  return timelineOf(segments, { framesPerSegment, ...(fits && { frames }), fps })
}

/** Areas over the frames of one video; none where all are of one kind. */
async function figuresOf(scores: Float32Array, labels: Uint8Array): Promise<Figures | undefined> {
  if (!labels.includes(1) || !labels.includes(0)) return undefined
  const perSegment = labels.length / scores.length
  const perFrame = Float32Array.from(labels, (_, frame) => scores[Math.floor(frame / perSegment)]!)
  return {
    rocAuc: await metrics.rocAuc(perFrame, labels),
    prAuc: await metrics.prAuc(perFrame, labels),
    averagePrecision: await metrics.averagePrecision(perFrame, labels),
  }
}

/** Pictures of the video; without them a report is worth having too, so what goes wrong is said and no more. */
export async function thumbnailsOf(
  { video }: KnownVideo,
  { frames, fps }: Timeline,
  { signal, warn }: { signal: AbortSignal; warn(text: string): void },
): Promise<Thumbnail[]> {
  if (video === undefined) return []
  try {
    return await readThumbnails(video, thumbnailFrames(frames), { fps, signal })
  } catch (error) {
    signal.throwIfAborted()
    warn(`The report has no pictures: ${(error as Error).message}`)
    return []
  }
}
