import type { FeatureReader } from '../data/features.ts'
import { frameLabels, type GroundTruth } from '../data/ground-truth.ts'
import { randomFrom, shuffled } from '../data/random.ts'
import { checkInteger, checkNumber, invalidArgument } from '../errors.ts'
import type { NativeValidation } from '../native.ts'
import { type DetectionList, openVideos } from './evaluate.ts'
import { topOf } from './recipe.ts'
import type { RtfmSettings } from './settings.ts'

/** What a detector in training is measured on, and when. */
export interface RtfmValidation {
  /** Steps between measurements; there is always one after the last step. Default 50. */
  every?: number
  /** Not before so many steps are done. Default 0. */
  after?: number
  /** Default `'rocAuc'`; XD-Violence goes by `'averagePrecision'`. */
  metric?: 'rocAuc' | 'prAuc' | 'averagePrecision'
  /**
   * Share of the training videos of each kind that are held out, drawn by the run's seed, in (0, 1): whole videos are ranked,
   * by the mean of their highest scores, since nothing says which of their frames are abnormal. Default 0.1.
   */
  holdOut?: number
  /**
   * Instead: these videos, frame by frame, with `groundTruth`. RTFM's reference selects on its test set so, every 5 steps
   * after 200: figures of published tables come from there, but they flatter.
   */
  test?: DetectionList
  groundTruth?: GroundTruth
  /** Frames that a segment stands for in `groundTruth`. Default 16. */
  framesPerSegment?: number
}

/** Videos to train on and to measure on. */
export interface Split {
  normal: FeatureReader[]
  abnormal: FeatureReader[]
  /** Names of what was held out. */
  heldOut?: { normal: string[]; abnormal: string[] }
  validation?: NativeValidation
}

/** Videos of a kind below which none is held out unless asked for. */
const ENOUGH = 10

/** Sets videos apart for validation, or opens those that were given for it. */
export async function splitVideos(
  { normal, abnormal }: { normal: FeatureReader[]; abnormal: FeatureReader[] },
  given: RtfmValidation | false | undefined,
  settings: RtfmSettings,
  { seed, shuffle }: { seed: number; shuffle: boolean },
): Promise<Split> {
  const enough = shuffle && Math.min(normal.length, abnormal.length) >= ENOUGH
  if (given === false || (given === undefined && !enough)) return { normal, abnormal }
  if (given !== undefined && (typeof given !== 'object' || given === null)) {
    throw invalidArgument('validation', given, 'an object of settings, or false')
  }
  const options = given ?? {}
  const { every = 50, after = 0, metric = 'rocAuc' } = options
  checkInteger('validation.every', every, 1)
  checkInteger('validation.after', after, 0)
  if (!['rocAuc', 'prAuc', 'averagePrecision'].includes(metric)) {
    throw invalidArgument('validation.metric', metric, "'rocAuc', 'prAuc' or 'averagePrecision'")
  }
  const common = { every, after, metric, top: topOf(settings.segments), normalise: settings.normalise }
  if (options.test !== undefined) {
    return { normal, abnormal, validation: { ...common, ...(await onTest(options, settings)) } }
  }
  if (options.groundTruth !== undefined) {
    throw invalidArgument('validation.test', options.test, 'the videos that groundTruth belongs to')
  }
  const share = checkNumber('validation.holdOut', options.holdOut ?? 0.1, 0, 1)
  const random = randomFrom(seed)
  const parts = {
    normal: setApart('normal', normal, share, random),
    abnormal: setApart('abnormal', abnormal, share, random),
  }
  const videos = await Promise.all([
    ...parts.normal.heldOut.map((reader) => labelled(reader, [0])),
    ...parts.abnormal.heldOut.map((reader) => labelled(reader, [1])),
  ])
  return {
    normal: parts.normal.kept,
    abnormal: parts.abnormal.kept,
    heldOut: { normal: names(parts.normal.heldOut), abnormal: names(parts.abnormal.heldOut) },
    validation: { ...common, videos, framesPerSegment: 0 },
  }
}

function names(readers: FeatureReader[]): string[] {
  return readers.map(({ name }) => name)
}

/** A share of the videos drawn at random, at least one and not all; both parts in the given order. */
function setApart(kind: string, readers: FeatureReader[], share: number, random: () => number) {
  const count = Math.max(Math.floor(readers.length * share), 1)
  if (share === 0 || count >= readers.length) {
    const wanted = `a share that leaves videos on both sides, of ${readers.length} ${kind} ones; validation: false measures nothing`
    throw invalidArgument('validation.holdOut', share, wanted)
  }
  const drawn = new Set(shuffled([...readers.keys()], random).slice(0, count))
  return {
    kept: readers.filter((_, i) => !drawn.has(i)),
    heldOut: readers.filter((_, i) => drawn.has(i)),
  }
}

async function onTest(options: RtfmValidation, settings: RtfmSettings) {
  const { test, groundTruth, framesPerSegment = 16 } = options
  if (groundTruth === undefined)
    throw invalidArgument('validation.groundTruth', groundTruth, 'what is abnormal in test')
  const { readers, videos } = await openVideos(test as DetectionList, 'validation.test')
  const odd = readers.find(({ size }) => size !== settings.featureSize)
  if (odd !== undefined) {
    throw invalidArgument('validation.test', `${odd.size} numbers a segment`, `${settings.featureSize}, as in training`)
  }
  const labels = await frameLabels(groundTruth, videos, { framesPerSegment })
  return {
    framesPerSegment,
    videos: await Promise.all(readers.map((reader, i) => labelled(reader, labels[i] as Uint8Array))),
  }
}

async function labelled(reader: FeatureReader, labels: ArrayLike<number>) {
  const data = Uint8Array.from(labels)
  return { name: reader.name, features: await reader.source(), labels: { data, shape: [data.length] } }
}
