import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { checkInteger, describe, invalidArgument, TorchvidError } from '../errors.ts'
import { damaged, kindOf, quote } from './binary-file.ts'
import { isText, videoName } from './feature-names.ts'
import { countsOf, fitConcatenated, fitEvents, fitVideo } from './label-lengths.ts'
import { readNpy } from './npy.ts'
import { type UcfEvents, ucfAnnotation } from './ucf-annotation.ts'

/**
 * What is abnormal, frame by frame (0 or 1):
 * - the path of a .npy of all videos one after another, such as RTFM's gt-sh.npy,
 * - the path of a folder of masks, `NAME.npy` with a label per frame, such as ShanghaiTech's test_frame_mask,
 * - the path of UCF-Crime's annotation (.txt),
 * - numbers of all videos one after another, a list of them per video in order, or by the videos' names.
 */
export type GroundTruth = string | ArrayLike<number> | ArrayLike<number>[] | Record<string, ArrayLike<number>>

/** A video that frame labels are wanted for. */
export interface LabelledVideo {
  name: string
  /** Its rows of features. */
  segments: number
  /** False: where the ground truth does not name the video, none of its frames is abnormal. */
  abnormal?: boolean
}

/** Frames handled between two turns of the event loop. */
const SLICE = 1 << 20

/**
 * Frame labels of each video, exactly `segments * framesPerSegment` of them: where a video's own labels are fewer than one
 * segment longer or shorter, the last segment is cut, or continued with its last label. ShanghaiTech's normal videos
 * (named by scene and three digits) have no masks, and need none.
 *
 * @param options `framesPerSegment`: frames that a row of features stands for. Default 16.
 * @throws TorchvidError ERR_SHAPE when lengths do not fit, telling which, by how much, and what would; ERR_INVALID_ARGUMENT
 * for another kind of ground truth, labels that are neither 0 nor 1, or a video that it does not name; ERR_IO
 */
export async function frameLabels(
  truth: GroundTruth,
  videos: LabelledVideo[],
  options: { framesPerSegment?: number } = {},
): Promise<Uint8Array[]> {
  const perSegment = checkInteger('framesPerSegment', options.framesPerSegment ?? 16, 1, 1_000_000)
  checkVideos(videos)
  const source = await sourceOf(truth, videos)
  if (source.kind === 'all') return fitConcatenated(source.labels, source.what, countsOf(videos, perSegment))
  const labels: Uint8Array[] = []
  for (const [i, count] of countsOf(videos, perSegment).entries()) {
    const found = await source.of(i)
    if (found === undefined) labels.push(new Uint8Array(count.frames))
    else labels.push(found instanceof Uint8Array ? fitVideo(found, source.what, count) : fitEvents(found, count))
  }
  return labels
}

function checkVideos(videos: unknown): asserts videos is LabelledVideo[] {
  if (!Array.isArray(videos) || videos.length === 0) {
    throw invalidArgument('videos', videos, 'at least one { name, segments }')
  }
  for (const [i, video] of videos.entries()) {
    if (typeof video?.name !== 'string') throw invalidArgument(`videos[${i}]`, video, '{ name, segments }')
    checkInteger(`videos[${i}].segments`, video.segments, 1)
  }
}

/** Labels of all videos in one piece, or by the video's place in the list: its labels, its events, or that all is normal. */
type Source =
  | { kind: 'all'; labels: Uint8Array; what: string }
  | { kind: 'each'; of(place: number): Promise<Uint8Array | UcfEvents | undefined>; what: string }

const WANTED =
  "the path of a .npy file, a folder of .npy masks or UCF-Crime's annotation, or arrays of frame labels (0 or 1)"

async function sourceOf(truth: GroundTruth, videos: LabelledVideo[]): Promise<Source> {
  if (typeof truth === 'string') return await sourceAt(truth, videos)
  const what = 'groundTruth'
  if (truth === null || typeof truth !== 'object') throw invalidArgument(what, truth, WANTED)
  if (Array.isArray(truth) && typeof truth[0] === 'object') {
    if (truth.length !== videos.length) {
      const text = `${what}: got labels of ${truth.length} videos, and there are ${videos.length}. Give one array for each, in the same order.`
      throw new TorchvidError('ERR_SHAPE', text)
    }
    return { kind: 'each', what, of: (i) => toLabels(truth[i], `${what}[${i}]`) }
  }
  if (isArrayLike(truth)) return { kind: 'all', labels: await toLabels(truth, what), what }
  const byName = new Map(Object.entries(truth).map(([name, labels]) => [videoName(name), labels]))
  return {
    kind: 'each',
    what,
    of: async (i) => {
      const labels = byName.get(videoName(videos[i]!.name))
      if (labels === undefined) return absent(videos[i]!, what, [...byName.keys()], false)
      return await toLabels(labels, `${what}[${describe(videos[i]!.name)}]`)
    },
  }
}

async function sourceAt(path: string, videos: LabelledVideo[]): Promise<Source> {
  const kind = await kindOf(path)
  if (kind === undefined) throw damaged(path, 'is no file or folder that can be read', 'Check the path of groundTruth.')
  if (kind === 'folder') return await masksIn(path, videos)
  if (!isText(path)) return { kind: 'all', labels: await labelsIn(path), what: quote(path) }
  const annotation = await ucfAnnotation(path)
  const of = async (i: number) =>
    annotation.get(videoName(videos[i]!.name)) ?? absent(videos[i]!, quote(path), [...annotation.keys()], false)
  return { kind: 'each', what: quote(path), of }
}

async function masksIn(folder: string, videos: LabelledVideo[]): Promise<Source> {
  const files = (await readdir(folder)).filter((file) => /\.npy$/i.test(file))
  if (files.length === 0) throw damaged(folder, 'holds no .npy masks', `Wanted ${WANTED}.`)
  const byName = new Map(files.map((file) => [videoName(file), file]))
  const of = async (i: number) => {
    const file = byName.get(videoName(videos[i]!.name))
    if (file === undefined) return absent(videos[i]!, quote(folder), [...byName.keys()], true)
    return await labelsIn(join(folder, file))
  }
  return { kind: 'each', what: quote(folder), of }
}

async function labelsIn(path: string): Promise<Uint8Array> {
  const { data, shape } = await readNpy(path)
  if (shape.filter((side) => side !== 1).length > 1) {
    const text = `${quote(path)} has shape (${shape.join(', ')}), wanted one label per frame: (frames). Masks of pixels become labels by asking of each frame whether any pixel is set.`
    throw new TorchvidError('ERR_SHAPE', text)
  }
  return await toLabels(data, quote(path))
}

/** Nothing, which is all normal, for a video that may be missing; else what to do about it. */
function absent(video: LabelledVideo, what: string, names: string[], areMasks: boolean): undefined {
  // Zhong et al.'s test split adds videos of ShanghaiTech's training set, which has no masks.
  const isNormal = video.abnormal === false || (areMasks && /^(?:0[1-9]|1[0-3])_\d{3}$/.test(videoName(video.name)))
  if (isNormal) return undefined
  const some = names.slice(0, 3).map((name) => JSON.stringify(name))
  const text = `${what} has no labels for the video ${describe(video.name)}; it has ${names.length}, such as ${some.join(', ')}. Name the labels as the video; a video without anything abnormal needs none when it is given with abnormal: false.`
  throw new TorchvidError('ERR_INVALID_ARGUMENT', text)
}

function isArrayLike(value: object): value is ArrayLike<unknown> {
  return Array.isArray(value) || (ArrayBuffer.isView(value) && 'length' in value)
}

async function toLabels(values: unknown, what: string): Promise<Uint8Array> {
  if (typeof values !== 'object' || values === null || !isArrayLike(values)) {
    throw invalidArgument(what, values, 'an array of frame labels, 0 or 1')
  }
  const labels = new Uint8Array(values.length)
  for (let at = 0; at < values.length; at += SLICE) {
    if (at > 0) await turn()
    const end = Math.min(at + SLICE, values.length)
    for (let i = at; i < end; i++) {
      const label = Number(values[i])
      if (label !== 0 && label !== 1) {
        throw invalidArgument(`${what}, frame ${i}`, values[i], 'the label 0 (normal) or 1 (abnormal)')
      }
      labels[i] = label
    }
  }
  return labels
}
