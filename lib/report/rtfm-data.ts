import { describe, invalidArgument, TorchvidError } from '../errors.ts'

/** A stretch of a video: from frame `start` to before frame `end`. */
export interface Interval {
  start: number
  end: number
}

/** A stretch whose scores are all at or above the threshold. */
export interface AboveInterval extends Interval {
  /** First and last segment, both included. */
  segments: [first: number, last: number]
  /** The highest score in it, and the segment that has it. */
  peak: number
  peakSegment: number
  /** Share of its frames that the ground truth calls abnormal, 0..1; absent without one. */
  truthShare?: number
}

/** How a video's segments lie in time. */
export interface Timeline {
  segments: number
  framesPerSegment: number
  /** Frames of the video; the last segment may reach beyond them, as it was filled up. */
  frames: number
  /** Frames a second, where it is known. */
  fps?: number
}

/** What the page's program draws; places in frames. */
export interface RtfmPageData {
  /** Frames of the axis, and frames a second. */
  frames: number
  fps: number | null
  framesPerSegment: number
  threshold: number
  /** Segments that are drawn, from the first to the last: all of them, or of a long video the extremes of each stretch. */
  segments: number[]
  scores: number[]
  magnitudes: number[] | null
  truth: [start: number, end: number][] | null
}

/** Segments above which only the extremes of stretches are drawn: more than a screen has pixels. */
const MOST_POINTS = 4000

/**
 * The timeline of `segments` scores. `frames` defaults to whole segments.
 * @throws TorchvidError ERR_INVALID_ARGUMENT for sizes that are none; ERR_SHAPE when there are not as many segments as frames
 * need
 */
export function timelineOf(
  segments: number,
  options: { framesPerSegment?: number; frames?: number; fps?: number } = {},
): Timeline {
  const { framesPerSegment = 16, fps } = options
  const whole = segments * framesPerSegment
  const frames = options.frames ?? whole
  if (!Number.isSafeInteger(framesPerSegment) || framesPerSegment < 1) {
    throw invalidArgument('framesPerSegment', framesPerSegment, 'a whole number of at least 1')
  }
  if (!Number.isSafeInteger(frames) || frames < 1) throw invalidArgument('frames', frames, 'the number of frames')
  if (fps !== undefined && !(Number.isFinite(fps) && fps > 0)) throw invalidArgument('fps', fps, 'frames a second')
  if (frames > whole && frames - whole >= framesPerSegment) {
    const text = `frames: ${describe(frames)} frames make ${Math.ceil(frames / framesPerSegment)} segments of ${framesPerSegment}, and there are ${segments} scores. Give the frames of the video that was scored, and the frames per segment of its features.`
    throw new TorchvidError('ERR_SHAPE', text)
  }
  // Some extractors make a segment more than there are frames for.
  return { segments, framesPerSegment, frames: Math.max(frames, whole - framesPerSegment + 1), fps }
}

/** Where a segment begins, and where it ends, in frames; not beyond the video where one frame is left. */
export function spanOf(segment: number, { framesPerSegment, frames }: Timeline): Interval {
  const start = segment * framesPerSegment
  return { start, end: Math.max(start + 1, Math.min(start + framesPerSegment, frames)) }
}

/** The stretches in which labels are 1. */
export function truthIntervals(labels: ArrayLike<number>): Interval[] {
  const found: Interval[] = []
  for (let start = 0; start < labels.length; ) {
    const value = labels[start]
    let end = start + 1
    while (end < labels.length && labels[end] === value) end++
    if (value) found.push({ start, end })
    start = end
  }
  return found
}

/** The stretches of segments whose scores are at or above the threshold, in order. */
export function aboveIntervals(
  scores: ArrayLike<number>,
  threshold: number,
  timeline: Timeline,
  labels?: ArrayLike<number>,
): AboveInterval[] {
  const found: AboveInterval[] = []
  for (let first = 0; first < scores.length; first++) {
    if (!(scores[first]! >= threshold)) continue
    let [last, peakSegment] = [first, first]
    while (last + 1 < scores.length && scores[last + 1]! >= threshold) {
      last++
      if (scores[last]! > scores[peakSegment]!) peakSegment = last
    }
    const [start, end] = [spanOf(first, timeline).start, spanOf(last, timeline).end]
    found.push({
      ...{ start, end, segments: [first, last], peak: scores[peakSegment]!, peakSegment },
      ...(labels !== undefined && { truthShare: shareOfOnes(labels, start, end) }),
    })
    first = last
  }
  return found
}

function shareOfOnes(labels: ArrayLike<number>, start: number, end: number): number {
  let ones = 0
  for (let frame = start; frame < Math.min(end, labels.length); frame++) ones += labels[frame] ? 1 : 0
  return ones / (end - start)
}

/** How many stretches of the ground truth have a frame in a stretch above the threshold. */
export function eventsFound(truth: Interval[], above: Interval[]): number {
  return truth.filter((event) => above.some(({ start, end }) => start < event.end && event.start < end)).length
}

/**
 * Segments of a rise at both ends of a video and not between: the first and the last few are far above nearly all of the
 * rest. `reach`: how many segments from an end count as near to it.
 */
export function peaksAtBothEnds(scores: ArrayLike<number>, reach: number): boolean {
  const all = Array.from(scores)
  const middle = all.slice(reach, -reach).sort((a, b) => a - b)
  if (reach < 1 || middle.length < 2 * reach) return false
  const usual = middle[Math.floor(middle.length * 0.9)]!
  const ends = Math.min(Math.max(...all.slice(0, reach)), Math.max(...all.slice(-reach)))
  return ends >= usual + 0.2 && ends >= 1.5 * usual
}

/** What there is to draw of a video. */
export function rtfmPageData(
  timeline: Timeline,
  threshold: number,
  { scores, magnitudes, truth }: { scores: ArrayLike<number>; magnitudes?: ArrayLike<number>; truth?: Interval[] },
): RtfmPageData {
  const segments = drawnSegments(scores)
  return {
    frames: timeline.frames,
    fps: timeline.fps ?? null,
    framesPerSegment: timeline.framesPerSegment,
    threshold,
    segments,
    scores: segments.map((segment) => rounded(scores[segment]!)),
    magnitudes: magnitudes === undefined ? null : segments.map((segment) => rounded(magnitudes[segment]!)),
    truth: truth?.map(({ start, end }) => [start, end]) ?? null,
  }
}

/** The lowest and the highest of every stretch, and the first and the last segment: all, where there are not too many. */
function drawnSegments(scores: ArrayLike<number>): number[] {
  const count = scores.length
  if (count <= MOST_POINTS) return Array.from({ length: count }, (_, i) => i)
  const chosen = new Set([0, count - 1])
  const stretches = MOST_POINTS / 2
  for (let i = 0; i < stretches; i++) {
    const [from, to] = [Math.floor((i * count) / stretches), Math.floor(((i + 1) * count) / stretches)]
    let [low, high] = [from, from]
    for (let segment = from; segment < to; segment++) {
      if (scores[segment]! < scores[low]!) low = segment
      if (scores[segment]! > scores[high]!) high = segment
    }
    chosen.add(low).add(high)
  }
  return [...chosen].sort((a, b) => a - b)
}

/** Six digits are more than a screen shows, and half the page. */
function rounded(value: number): number {
  return Number(value.toPrecision(6))
}

/** Time for people: "0:07.2", "1:02:33.0"; tenths where `tenths` says so. */
export function formatTime(seconds: number, tenths = true): string {
  const units = tenths ? Math.round(seconds * 10) / 10 : Math.round(seconds)
  const [hours, minutes] = [Math.floor(units / 3600), Math.floor(units / 60) % 60]
  const rest = (units % 60).toFixed(tenths ? 1 : 0).padStart(tenths ? 4 : 2, '0')
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, '0')}:${rest}` : `${minutes}:${rest}`
}

/** The frames in the middles of `count` equal parts of a video, or all of them when there are not as many. */
export function thumbnailFrames(frames: number, count = 12): number[] {
  const parts = Math.min(frames, count)
  return Array.from({ length: parts }, (_, i) => Math.floor(((i + 0.5) * frames) / parts))
}
