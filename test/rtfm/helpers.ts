import { createHash } from 'node:crypto'
import {
  type Network,
  RTFM,
  type RtfmOptions,
  type RtfmProgress,
  type RtfmTraining,
  type Run,
  type TensorData,
} from 'torchvid'
import { bytesOf, randomFrom, stateOf, tensor } from '../helpers/tensors.ts'

export type Features = TensorData & { data: Float32Array }

/** How a made video is. */
export interface MadeVideo {
  segments?: number
  crops?: number
  size?: number
  /** Segments from here to there carry the signal of something abnormal. */
  event?: [from: number, to: number]
}

/**
 * Features (T, crops, F) of a video: noise around 0.3; in an event the first quarter of the numbers is 1 more. The same for
 * the same seed.
 */
export function video(seed: number, { segments = 24, crops = 1, size = 16, event }: MadeVideo = {}): Features {
  const random = randomFrom(1000 + seed)
  return tensor([segments, crops, size], (i) => {
    const t = Math.floor(i / (crops * size))
    const abnormal = event !== undefined && t >= event[0] && t < event[1] && i % size < size / 4
    return random() * 0.6 + (abnormal ? 1 : 0)
  })
}

/** An abnormal video and the labels of its segments: three of them in a row, at a place that the seed chooses. */
export function abnormalVideo(seed: number, made: Omit<MadeVideo, 'event'> = {}) {
  const { segments = 24 } = made
  const from = Math.floor(randomFrom(seed)() * (segments - 3))
  const event: [number, number] = [from, from + 3]
  const labels = Uint8Array.from({ length: segments }, (_, t) => (t >= event[0] && t < event[1] ? 1 : 0))
  return { features: video(seed, { ...made, event }), labels, event }
}

/** So many normal and abnormal videos to learn from. */
export function videos(normal: number, abnormal: number, made: MadeVideo = {}, seed = 0) {
  return {
    normal: Array.from({ length: normal }, (_, i) => video(seed + i, made)),
    abnormal: Array.from({ length: abnormal }, (_, i) => abnormalVideo(seed + 500 + i, made).features),
  }
}

/** Test videos with their labels, one per segment. */
export function testVideos(normal: number, abnormal: number, seed = 9000) {
  const good = Array.from({ length: normal }, (_, i) => ({ features: video(seed + i), labels: new Uint8Array(24) }))
  const bad = Array.from({ length: abnormal }, (_, i) => abnormalVideo(seed + 500 + i))
  const all = [...good, ...bad]
  return { test: all.map(({ features }) => features), groundTruth: all.map(({ labels }) => labels) }
}

/** A detector on 16 numbers a segment. */
export async function detector(options: RtfmOptions = {}): Promise<RTFM> {
  return await RTFM.create({ featureSize: 16, device: 'cpu', ...options })
}

/** Runs `use` with a detector, and disposes of it. */
export async function withDetector<T>(options: RtfmOptions, use: (rtfm: RTFM) => Promise<T>): Promise<T> {
  const rtfm = await detector(options)
  try {
    return await use(rtfm)
  } finally {
    rtfm.dispose()
  }
}

/** All records of a run, and its result. */
export async function traced(run: Run<RtfmTraining, RtfmProgress>) {
  const records: RtfmProgress[] = []
  for await (const record of run) records.push(record)
  return { records, losses: records.map(({ loss }) => loss), training: await run }
}

/** Every tensor of a network by name, as a digest of its bytes: equal where all bits are. */
export async function bitsOf(network: Network): Promise<Record<string, string>> {
  const state = await stateOf(network)
  return Object.fromEntries([...state].map(([name, x]) => [name, createHash('sha1').update(bytesOf(x)).digest('hex')]))
}
