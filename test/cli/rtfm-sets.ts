import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { data } from 'torchvid'
import { type Outcome, torchvid } from './helpers.ts'

/** Numbers per segment and crop of the made-up features. */
export const SIZE = 24

/** A video of the set: its segments, and which of them are abnormal. */
export interface MadeVideo {
  name: string
  segments: number
  /** First, and one behind the last; none in normal videos. */
  event?: [first: number, end: number]
}

/** Where a set lies. */
export interface FeatureSet {
  normal: string
  abnormal: string
  /** Features of videos to test with, of both kinds, and a mask for each of them. */
  test: string
  masks: string
  videos: { normal: MadeVideo[]; abnormal: MadeVideo[]; test: MadeVideo[] }
}

/**
 * Features in which an event is plain to see: noise, and where something happens a few of the numbers are larger. `masks`
 * have a label for each of 16 frames a segment.
 */
export async function writeFeatureSet(folder: string, count: { train: number; test: number }): Promise<FeatureSet> {
  const places = { normal: 'normal', abnormal: 'abnormal', test: 'test', masks: 'masks' }
  const paths = Object.fromEntries(Object.entries(places).map(([key, name]) => [key, join(folder, name)])) as Omit<
    FeatureSet,
    'videos'
  >
  for (const path of Object.values(paths)) mkdirSync(path, { recursive: true })
  const videos: FeatureSet['videos'] = { normal: [], abnormal: [], test: [] }
  for (let i = 0; i < count.train; i++) {
    videos.normal.push(await writeVideo(paths.normal, { name: `calm${i}`, segments: 20 + i }))
    videos.abnormal.push(
      await writeVideo(paths.abnormal, { name: `event${i}`, segments: 24 + i, event: [6 + i, 12 + i] }),
    )
  }
  for (let i = 0; i < count.test; i++) {
    const event: MadeVideo['event'] = i % 2 === 0 ? [10, 16] : undefined
    const video = await writeVideo(paths.test, { name: `seen${i}`, segments: 30 + i, event })
    videos.test.push(video)
    const [first, end] = video.event ?? [0, 0]
    const labels = new Uint8Array(video.segments * 16).fill(1, first * 16, end * 16)
    await data.writeNpy(join(paths.masks, `${video.name}.npy`), { data: labels, shape: [labels.length] })
  }
  return { ...paths, videos }
}

/** Writes NAME.npy, (segments, 1, SIZE). */
export async function writeVideo(folder: string, video: MadeVideo): Promise<MadeVideo> {
  const { name, segments, event = [0, 0] } = video
  const numbers = new Float32Array(segments * SIZE)
  for (let i = 0; i < numbers.length; i++) {
    const segment = Math.floor(i / SIZE)
    const isEvent = segment >= event[0] && segment < event[1]
    numbers[i] = 2 + noise(i + 1000 * segments) + (isEvent && i % SIZE < 6 ? 2 : 0)
  }
  await data.writeNpy(join(folder, `${name}.npy`), { data: numbers, shape: [segments, 1, SIZE] })
  return video
}

/** 0..1, the same for the same number. */
function noise(seed: number): number {
  const value = Math.sin(seed * 12.9898) * 43758.5453
  return value - Math.floor(value)
}

/** The settings that say a made-up file is of `frames` frames at 25 a second. */
export function writeSettings(file: string, frames: number, change: object = {}): void {
  const settings = {
    ...{ format: 'torchvid-features', version: 1, backbone: 'mobilenet', output: 'features', size: SIZE, crops: 1 },
    ...{ every: 16, frameStep: 1, resize: 256, crop: 224, order: 'RGB', mean: [127.5], std: [127.5], tail: 'loop' },
    ...{ frames, fps: 25, video: 'camera.mp4', meanNorm: 13, ...change },
  }
  writeFileSync(`${file}.json`, JSON.stringify(settings))
}

/** Trains a detector of the set's features for a moment; they are plain enough. */
export async function trainModel({ normal, abnormal }: FeatureSet, out: string): Promise<void> {
  const quick = ['--steps', '40', '--batch-size', '6', '--held-out', '0']
  const args = ['rtfm', 'train', '--normal', normal, '--abnormal', abnormal, '--out', out, ...quick]
  const { status, stderr } = await torchvid(args)
  if (status !== 0) throw new Error(`the model was not trained: ${stderr}`)
}

/** How a run of `torchvid rtfm score` ended, and what it wrote. */
export interface Scored extends Outcome {
  out: string
  read(file: string): string
  json(file: string): any
}

/** Runs `torchvid rtfm score` into a folder. */
export async function scoreWith(model: string, inputs: string[], out: string, more: string[]): Promise<Scored> {
  const outcome = await torchvid(['rtfm', 'score', ...inputs, '--model', model, '--out', out, ...more])
  const read = (file: string) => readFileSync(join(out, file), 'utf8')
  return { ...outcome, out, read, json: (file) => JSON.parse(read(file)) }
}
