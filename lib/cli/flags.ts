import type { FeatureDataset } from '../data/feature-lists.ts'
import type { OsvosBackbone } from '../networks/index.ts'
import type { Preset } from '../osvos/fit.ts'
import type { Box } from '../osvos/prompt.ts'
import type { Device } from '../types.ts'
import type { DatasetName } from './image-data.ts'

/** The options of `torchvid inspect`. */
export interface InspectFlags {
  input?: { name?: string; shape: number[] }[]
  classes: number
  channels?: boolean
  threshold: number
  tensors?: boolean
  json?: boolean
}

/** The options of `torchvid segment`; one of `mask`, `box` and `scribble` says where the objects are. */
export interface SegmentFlags {
  mask?: string
  box?: Box[]
  scribble?: string
  out: string
  /** Absent, as `backbone` and `pretrained`: the default one. */
  model?: string
  preset?: Preset
  backbone?: OsvosBackbone
  pretrained?: string
  iterations?: number
  learningRate?: number
  maxSize?: number
  objects?: number[]
  threshold?: number
  probabilities?: boolean
  /** False with `--no-overlay`. */
  overlay: boolean
  overlayVideo?: string
  seed: number
  checkpoint?: string
  every: number
  resume?: string
  device?: Device
  saveModel?: string
  report?: boolean
  json?: boolean
}

/** The options of `torchvid slim`. */
export interface SlimFlags {
  out: string
  data?: string
  dataset?: DatasetName
  testSplit: number
  imageSize?: number
  mean?: number[]
  std?: number[]
  /** False with `--no-augment`. */
  augment: boolean
  classes?: number
  weights?: string
  input?: { name?: string; shape: number[] }
  epochs?: number
  batchSize?: number
  learningRate?: number
  sparsity?: number
  weightDecay?: number
  nesterov?: boolean
  ratio?: number
  targetMacs?: number
  targetParameters?: number
  strategy?: 'select' | 'group'
  score?: 'scale' | 'variance'
  fold?: boolean
  roundTo?: number
  keepAtLeast?: number
  keepShare?: number
  passes?: number
  iterative?: boolean
  fineTuneEpochs?: number
  fineTuneLearningRate?: number
  imitate?: boolean
  onlyPrune?: boolean
  seed: number
  threads?: number
  device?: Device
  checkpoint?: string
  every: number
  resume?: string
  /** True: beside OUT. */
  report?: string | true
  json?: boolean
}

/** What features are extracted with: options of `torchvid rtfm extract`, and of `score` for videos. */
export interface ExtractionFlags {
  backbone?: string
  weights?: string
  crops?: 1 | 5 | 10
  every?: number
  frameStep?: number
  resize?: number | [width: number, height: number] | 'none'
  crop?: number
  mean?: number[]
  std?: number[]
  order?: 'RGB' | 'BGR'
  tail?: 'loop' | 'repeat' | 'drop'
  normalise?: boolean
  threads?: number
  device?: Device
}

/** The options of `torchvid rtfm extract`. */
export interface RtfmExtractFlags extends ExtractionFlags {
  out: string
  json?: boolean
}

/** The options of `torchvid rtfm train`. */
export interface RtfmTrainFlags {
  out: string
  normal?: string
  abnormal?: string
  list?: string
  dataset?: FeatureDataset
  root?: string
  network?: 'rtfm' | 'deepMil'
  objective?: 'reference' | 'paper' | 'milRanking'
  steps?: number
  batchSize?: number
  learningRate?: number
  weightDecay?: number
  dropout?: number
  segments?: number
  normalise?: boolean
  test?: string
  groundTruth?: string
  framesPerSegment?: number
  heldOut?: number
  evaluateEvery?: number
  evaluateAfter?: number
  metric?: 'rocAuc' | 'prAuc' | 'averagePrecision'
  seed: number
  threads?: number
  device?: Device
  checkpoint?: string
  every: number
  best?: string
  resume?: string
  json?: boolean
}

/** The options of `torchvid rtfm score`. */
export interface RtfmScoreFlags extends ExtractionFlags {
  model: string
  out: string
  threshold: number
  groundTruth?: string
  framesPerSegment?: number
  video?: string
  fps?: number
  report?: boolean
  json?: boolean
}

/** The options of `torchvid rtfm evaluate`. */
export interface RtfmEvaluateFlags {
  model: string
  list: string
  groundTruth: string
  dataset?: FeatureDataset
  root?: string
  framesPerSegment: number
  threshold: number
  threads?: number
  device?: Device
  report?: string
  json?: boolean
}
