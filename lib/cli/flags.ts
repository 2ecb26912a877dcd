import type { OsvosBackbone } from '../networks/index.ts'
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

/** The options of `torchvid segment`. */
export interface SegmentFlags {
  mask: string
  out: string
  model?: string
  backbone: OsvosBackbone
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
