import { describe, TorchvidError } from '../errors.ts'
import type { LabelledVideo } from './ground-truth.ts'
import type { UcfEvents } from './ucf-annotation.ts'

/** How many frame labels a video wants. */
export interface VideoFrames {
  name: string
  segments: number
  perSegment: number
  /** `segments * perSegment` */
  frames: number
}

/** How many frame labels the videos want. */
export function countsOf(videos: LabelledVideo[], perSegment: number): VideoFrames[] {
  return videos.map(({ name, segments }) => ({ name, segments, perSegment, frames: segments * perSegment }))
}

/** The labels of all videos one after another, cut into the videos'. @throws `ERR_SHAPE` when there are not as many as wanted. */
export function fitConcatenated(labels: Uint8Array, what: string, counts: VideoFrames[]): Uint8Array[] {
  if (counts.length === 1) return [fitVideo(labels, what, counts[0]!)]
  const total = counts.reduce((sum, { frames }) => sum + frames, 0)
  if (labels.length !== total) throw totalsDiffer(labels.length, total, what, counts)
  let at = 0
  return counts.map(({ frames }) => {
    at += frames
    return labels.slice(at - frames, at)
  })
}

function totalsDiffer(given: number, total: number, what: string, counts: VideoFrames[]): TorchvidError {
  const segments = counts.reduce((sum, count) => sum + count.segments, 0)
  const { perSegment } = counts[0]!
  const is = `${what} holds ${given} frame labels, and the ${counts.length} videos have ${segments} segments of ${perSegment} frames, which want ${total}: ${difference(given, total)}.`
  const other = given % segments === 0 ? ` It would fit framesPerSegment: ${given / segments}.` : ''
  const close =
    other === '' && Math.abs(given - total) < counts.length * perSegment
      ? ' It was probably made with the same videos, of which others cut or filled the last segments.'
      : ' It belongs to other videos, or to features of other lengths.'
  const todo = ` Take the ground truth that was made with these features, in the order of their list, or give labels for each video (a folder of NAME.npy, arrays by name, UCF-Crime's annotation): those are cut or continued by less than a segment.`
  return new TorchvidError('ERR_SHAPE', is + (other || close) + todo)
}

function difference(given: number, wanted: number): string {
  return given < wanted ? `${wanted - given} are missing` : `${given - wanted} are too many`
}

/**
 * A video's own labels, as many as it wants: fewer than a segment too many are cut, fewer than a segment too few continued with
 * the last.
 * @throws `ERR_SHAPE` for any other difference.
 */
export function fitVideo(labels: Uint8Array, what: string, count: VideoFrames): Uint8Array {
  const { frames, perSegment, segments, name } = count
  if (labels.length > 0 && Math.abs(labels.length - frames) < perSegment) {
    const fitted = labels.slice(0, frames)
    if (fitted.length === frames) return fitted
    const continued = new Uint8Array(frames).fill(labels[labels.length - 1]!)
    continued.set(fitted)
    return continued
  }
  const is = `${what} has ${labels.length} frame labels for the video ${describe(name)}, whose ${segments} segments of ${perSegment} frames want ${frames}: ${difference(labels.length, frames)}, and only less than a segment is made up for.`
  throw new TorchvidError('ERR_SHAPE', `${is} ${wouldFit(labels.length, count)}`)
}

function wouldFit(frames: number, { segments, perSegment }: VideoFrames): string {
  const [least, most] = [Math.max(1, Math.floor(frames / perSegment)), Math.ceil(frames / perSegment)]
  const rows = least === most ? `${least} segments` : `${least} or ${most} segments`
  const other = Math.round(frames / segments)
  const hint =
    other !== perSegment && other > 0 && Math.abs(frames - segments * other) < other
      ? `framesPerSegment: ${other} would fit if a segment stands for ${other} frames.`
      : 'Features and labels are of different videos, or the frames were taken at different rates: extract the features again from the frames that the labels count.'
  return `${frames} frames make ${rows}. ${hint}`
}

/**
 * Labels from events. An event may end up to one segment after the last, where extraction left the rest of the video out.
 * @throws `ERR_SHAPE` when one ends later: the features are not of the whole video.
 */
export function fitEvents({ events }: UcfEvents, count: VideoFrames): Uint8Array {
  const { frames, perSegment, segments, name } = count
  const labels = new Uint8Array(frames)
  for (const [start, end] of events) {
    if (start > frames || end > frames + perSegment) {
      const text = `The video ${describe(name)} has an event from frame ${start} to ${end}, and its ${segments} segments of ${perSegment} frames end at frame ${frames}. ${Math.ceil(end / perSegment)} segments at least would fit: give features of the whole video, one row per ${perSegment} frames (rows averaged to a fixed number, such as 32, have no frames of their own), or framesPerSegment.`
      throw new TorchvidError('ERR_SHAPE', text)
    }
    labels.fill(1, Math.max(0, start - 1), end)
  }
  return labels
}
