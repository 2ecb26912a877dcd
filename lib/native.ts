import type { ErrorCode } from './errors.ts'
import type { Graph, GraphNode } from './graph/types.ts'
import type { RawImage, TensorData } from './types.ts'

export { libtorchInUse, native } from './native-addon.ts'

/**
 * The one typed contract with the addon: everything it exports, and nothing else. A test compares this list with what
 * the built addon really exports. All promises are settled by the engine thread's work; none blocks the event loop.
 */
export interface Native {
  createNetwork(graph: object, options: { seed: number; device: string }): Promise<NativeNetwork>
  train(
    network: NativeNetwork,
    settings: NativeTraining,
    onRecords: (records: NativeRecord[]) => void,
    onWanted?: (pass: number) => void,
  ): NativeTrainingJob
  evaluate(network: NativeNetwork, source: NativeImages, output: string): NativeJob<NativeEvaluation>
  prune(network: NativeNetwork, settings: NativePruning): Promise<NativePruned>
  segment(
    networks: NativeNetwork[],
    ids: number[],
    frame: RawImage,
    options: { pixels: NativePixels; output: string; threshold: number; maxSize: number },
  ): Promise<{ mask: Uint8Array; probability: Float32Array }>
  propagate(
    encoder: NativeNetwork,
    decoder: NativeNetwork,
    first: { image: RawImage; mask: NativeMask; ids: number[] },
    options: NativePropagationOptions,
  ): Promise<NativePropagation>
  readTensor(path: string, tensor: NativeTensorRow): Promise<TensorData>
  classBalancedCrossEntropy(
    logits: TensorData,
    labels: TensorData,
    reduction: 'sum' | 'mean',
  ): Promise<{ loss: number; gradient: TensorData }>
  milRanking(
    abnormal: TensorData,
    normal: TensorData,
    weights: NativeMilRanking,
  ): Promise<{ loss: number; parts: Record<string, number>; gradient: { abnormal: TensorData; normal: TensorData } }>
  rtfmLoss(
    abnormal: NativeRtfmBatch,
    normal: NativeRtfmBatch,
    settings: NativeRtfmLoss & { seed: number },
  ): Promise<{
    loss: number
    parts: Record<string, number>
    gradient: { abnormal: NativeRtfmBatch; normal: NativeRtfmBatch }
  }>
  jaccard(mask: NativeMask, truth: NativeMask): Promise<number>
  contour(mask: NativeMask, truth: NativeMask): Promise<number>
  rocAuc(scores: TensorData, labels: TensorData): Promise<number>
  prAuc(scores: TensorData, labels: TensorData): Promise<number>
  averagePrecision(scores: TensorData, labels: TensorData): Promise<number>
  /** `unclear`: ids of objects for which an ellipse stands. */
  maskFromPrompt(image: RawImage, prompt: NativePrompt): Promise<{ data: Uint8Array; unclear: number[] }>
  /** For tests of the cut: rows of a node and its capacities from the source and to the sink; of two nodes and both ways. */
  minimumCut(graph: { nodes: number; terminals: number[][]; edges: number[][] }): {
    flow: number
    withSource: Uint8Array
  }
  resizeImage(image: RawImage, size: { width: number; height: number }): Promise<RawImage>
  clipFeatures(network: NativeNetwork, frames: RawImage[], options: NativeClip): Promise<Float32Array>
  /** For tests of the search on GPUs: `byBand` has it done on the CPU. `gradient` is that of the sum of `values`. */
  localSimilarities(
    query: TensorData,
    keys: TensorData,
    labels: TensorData,
    options: { window: number; byBand: boolean },
  ): Promise<{ values: TensorData; gradient: { query: TensorData; keys: TensorData } }>
  info(): Promise<NativeInfo>
  setThreads(count: number): Promise<void>
  cancelAll(): void
  setErrorFactory(factory: (code: ErrorCode, message: string) => Error): void
  /** Before any device is asked for. `warn` hears, once in a process, why `'auto'` gave the CPU. */
  setCuda(libraries: { opened: boolean; reason: string; fault: boolean }, warn: (reason: string) => void): void
}

/** The names of all functions of `Native`. */
export const nativeFunctions: readonly (keyof Native)[] = [
  'createNetwork',
  'train',
  'evaluate',
  'prune',
  'segment',
  'propagate',
  'readTensor',
  'classBalancedCrossEntropy',
  'milRanking',
  'rtfmLoss',
  'jaccard',
  'contour',
  'rocAuc',
  'prAuc',
  'averagePrecision',
  'maskFromPrompt',
  'minimumCut',
  'resizeImage',
  'clipFeatures',
  'localSimilarities',
  'info',
  'setThreads',
  'cancelAll',
  'setErrorFactory',
  'setCuda',
]

/** What this build is, how it runs, and the CUDA devices that work: each is tried once. */
export interface NativeInfo {
  builtFor: string
  threads: number
  cpuCapability: string
  /** Sizes in bytes. `reason`: why there is none, or why some do not work; may be empty. */
  cuda: { devices: { name: string; model: string; memory: number; free: number }[]; reason: string }
}

/** A network inside the addon. Its memory is freed by `dispose`, or by the garbage collector. */
export interface NativeNetwork {
  parameters(): { name: string; shape: number[]; trainable: boolean }[]
  /** `'cpu'` or `'cuda:N'`. */
  device(): string
  forward(
    inputs: Record<string, TensorData>,
    options: { training: boolean; outputs: string[]; seed: number },
  ): Promise<Record<string, TensorData>>
  summary(shapes: Record<string, number[]>): Promise<NativeLayer[]>
  read(name: string): Promise<TensorData>
  write(name: string, tensor: TensorData): Promise<void>
  load(path: string, tensors: { name: string; tensor: NativeTensorRow }[]): Promise<void>
  /** `half`: in 16 bits. */
  save(path: string, metadata: Record<string, string>, half: boolean): Promise<void>
  clone(): Promise<NativeNetwork>
  /** Another graph over this network's own tensors, found by name; both see what either changes. */
  view(graph: object): Promise<NativeNetwork>
  dispose(): void
}

/** The names of all methods of `NativeNetwork`. */
export const nativeNetworkMethods: readonly (keyof NativeNetwork)[] = [
  'parameters',
  'device',
  'forward',
  'summary',
  'read',
  'write',
  'load',
  'save',
  'clone',
  'view',
  'dispose',
]

/** What one layer costs at the input shapes given. */
export interface NativeLayer {
  name: string
  op: string
  /** Of its output. */
  shape: number[]
  /** Trainable or frozen numbers; running statistics do not count. */
  parameters: number
  /** Multiply-accumulates. */
  macs: number
  /** Bytes of its output. */
  activationBytes: number
}

/** One cut, in the surgeon's terms. */
export interface NativePruning {
  strategy: 'select' | 'group'
  score: 'scale' | 'variance'
  ratio: number
  target: { macs?: number; parameters?: number }
  fold: boolean
  keepAtLeast: number
  keepShare: number
  roundTo: number
  /** At which MACs are counted. */
  shapes: Record<string, number[]>
}

/** What a cut gives: a network and its graph's nodes, and what was done. */
export interface NativePruned {
  network: NativeNetwork
  nodes: GraphNode[]
  outputs: Record<string, string>
  ratio: number
  threshold: number
  kept: Record<string, number[]>
  /** Of every layer: its output channels that are left. */
  channels: Record<string, number[]>
  gammas: Record<string, number[]>
  before: NativeLayer[]
  after: NativeLayer[]
  warnings: string[]
}

/** How objects are followed through a video. */
export interface NativePropagationOptions {
  pixels: NativePixels
  /** Frames are scaled down to this shorter side, and to `maxSize` at most on the longer one (0: any). */
  side: number
  maxSize: number
  threshold: number
  /** Each frame is looked at in a mirror too. */
  flip: boolean
}

/** A video under way: its frames, from the one after the first, in order. */
export interface NativePropagation {
  next(frame: RawImage): Promise<{ mask: Uint8Array; probability: Float32Array }>
  close(): void
}

/** Element types of tensors in files, as safetensors names them. */
export type FileDtype = 'F64' | 'F32' | 'F16' | 'BF16' | 'I64' | 'I32' | 'I16' | 'I8' | 'U8' | 'BOOL'

/** Where a tensor lies in a file: bytes from its start; strides in elements, contiguous when left out. */
export interface NativeTensorRow {
  dtype: FileDtype
  shape: number[]
  strides?: number[]
  offset: number
}

/**
 * One video's features: in files, one of (T, crops, F) or (T, F), or one per crop of (T, F) or (T, 1, F); or in memory,
 * float32 (T, crops, F).
 */
export type NativeFeatures = { files: { path: string; tensor: NativeTensorRow }[] } | { tensor: TensorData }

/** A window of a clip's frames, and the network's output to take. */
export interface NativeClip {
  pixels: NativePixels
  /** In pixels of the frames; `flip`: of the mirrored frame. */
  window: { top: number; left: number; height: number; width: number; flip: boolean }
  output: string
  /** Where the network must be. */
  device: string
}

/** How a network takes its pictures: value = (x - mean) / std, x in 0..255, all in the order named. */
export interface NativePixels {
  order: 'RGB' | 'BGR'
  mean: number[]
  std: number[]
}

/** Boxes of whole pixels inside the picture, or a byte a pixel: 0, an object's id, or 255 for background. */
export interface NativePrompt {
  boxes?: { x: number; y: number; width: number; height: number }[]
  marks?: NativeMask
  seed: number
}

/** A mask at the border: object where non-zero. */
export interface NativeMask {
  data: Uint8Array
  width: number
  height: number
}

/** One training, in the trainer's terms. */
export interface NativeTraining {
  passes: number
  /**
   * The run stops after this many passes, with the network as it is then; schedules still span `passes`. A checkpoint is
   * written there too, from which the run goes on as if it had not stopped.
   */
  until?: number
  accumulate: number
  schedule: NativeSchedule
  /** `'auto'`: when the network is on a GPU. `runTraining` settles it. */
  bfloat16: boolean | 'auto'
  seed: number
  device: string
  optimizer: {
    kind: 'sgd' | 'adam' | 'adamw' | 'adagrad'
    momentum: number
    nesterov: boolean
    /** Largest L2 norm of all gradients together; larger ones are scaled down to it. Default: no limit. */
    clip?: number
    groups: { pattern: string; learningRate: number; weightDecay: number }[]
  }
  source: NativeOneShot | NativeImages | NativeBags | NativeFeed
  objective: NativeObjective
  /** Adds `strength * sign(value)` to the gradients of these parameters. */
  sparsity?: { parameters: string[]; strength: number }
  /** Channels (rows of dimension 0) of parameters that are set to 0 and stay so: those whose `keep` is 0. */
  held?: { name: string; keep: TensorData }[]
  validation?: NativeValidation
  /**
   * `best`: where the best state goes whenever it is bettered. `bestSoFar`: saved along, its tensors under `torchvid.best.`
   * and their names, for whoever measures between runs.
   */
  checkpoint?: {
    path: string
    every: number
    metadata: Record<string, string>
    best?: string
    bestSoFar?: NativeNetwork
  }
  resume?: { path: string; step: number; tensors: ({ name: string } & NativeTensorRow)[] }
}

/**
 * The learning rate over a run; `milestones` count passes, and at each the rate is multiplied by `factor`. In the first
 * `warmup` passes it rises linearly; a cosine begins after them.
 */
export type NativeSchedule = (
  | { kind: 'constant' }
  | { kind: 'cosine' }
  | { kind: 'steps'; milestones: number[]; factor: number }
) & { warmup?: number }

/** One picture and its mask, over and over (OSVOS). */
export interface NativeOneShot {
  kind: 'oneShot'
  image: RawImage
  mask: NativeMask
  pixels: NativePixels
  maxSize: number
  augment: NativeAugment | null
}

/** A flip (its probability), then rotation (degrees) and scaling about the centre, uniform. */
export interface NativeAugment {
  flip: number
  rotation: number
  scale: [number, number]
}

/**
 * Samples from JavaScript, while the training runs: `onWanted` asks for that of each pass, in order, once, when the pass
 * `ahead` before it is about to run; `supply` answers, in any order. A run resumed asks from the pass on where it stands.
 */
export interface NativeFeed {
  kind: 'feed'
  ahead: number
  pixels: NativePixels
  augment: NativeAugment | null
}

/** What a pass trains on. */
export type NativeSample = NativeStills | NativeClips

/** A batch of clips of as many frames each, at `height` x `width`, multiples of 16. */
export interface NativeClips {
  kind: 'clips'
  clips: NativeObjectClip[]
  height: number
  width: number
}

/** The reference, the frame before the first that is to be found, and those: at least 3 in all. */
export interface NativeObjectClip {
  frames: NativeClipFrame[]
  /** Another video's frames mixed in: its object before or behind this one's, or all of them as background. */
  mixture?: { role: 'front' | 'behind' | 'background'; frames: NativeClipFrame[] }
  /** Done to the second frame's mask, so that it stands for a prediction. */
  damage?: NativeMaskDamage
}

/** A video's frame, moved: `place` maps places of the result to places of the frame, in -1..1 from border to border. */
export interface NativeClipFrame {
  image: RawImage
  mask: NativeMask
  /** x' = p0 x + p1 y + p2, y' = p3 x + p4 y + p5. */
  place: number[]
  /** Factors of R, G and B; then `offset` (of 0..255) is added. */
  gain: number[]
  offset: number
}

/** Moved, then grown (below 0: shrunk) by so many pixels, then a box (top, left, height, width: shares) set to a value. */
export interface NativeMaskDamage {
  place: number[]
  grow: number
  patch?: { box: number[]; value: number }
}

/** A batch of pictures and masks, each resized to `height` x `width`, then augmented on its own. */
export interface NativeStills {
  kind: 'stills'
  images: { image: RawImage; mask: NativeMask }[]
  height: number
  width: number
}

/** Batches from a set of images: bytes (N, C, H, W), which become (byte / 255 - mean) / std. */
export interface NativeImages {
  kind: 'images'
  images: TensorData
  labels: TensorData
  /** Per channel. */
  mean: number[]
  std: number[]
  batchSize: number
  shuffle: boolean
  augment: { pad: number; flip: number } | null
  /** The network's input, and whether it takes (N, C * H * W). */
  input: string
  flat: boolean
}

/** Bags of normal and of abnormal videos, each resampled once to `segments` rows. */
export interface NativeBags {
  kind: 'bags'
  normal: NativeVideo[]
  abnormal: NativeVideo[]
  /** Videos of each kind, or all where there are fewer; `paired`: as many of one kind as of the other. */
  batchSize: number
  paired: boolean
  shuffle: boolean
  segments: number
  resampling: 'linspace' | 'sultani'
  /** Each row divided by its L2 norm. */
  normalise: boolean
}

/** A video's features and its name, for messages. */
export interface NativeVideo {
  name: string
  features: NativeFeatures
}

/** What a network in training is measured on, and when; the best state is the result. */
export interface NativeValidation {
  /** After each so many steps, once more than `after` are done, and after the last. */
  every: number
  after: number
  metric: 'rocAuc' | 'prAuc' | 'averagePrecision'
  /** `labels`: one per frame, or, with `framesPerSegment` 0, one for the video. */
  videos: (NativeVideo & { labels: TensorData })[]
  framesPerSegment: number
  /** A video's own score is the mean of so many highest. */
  top: number
  normalise: boolean
}

/** What RTFM's network makes of some videos: (videos, T) twice, (videos, crops, T, F). */
export interface NativeRtfmBatch {
  scores: TensorData
  magnitudes: TensorData
  features: TensorData
}

/** RTFM's loss; `top` 0: a tenth of the segments. */
export interface NativeRtfmLoss {
  paper: boolean
  top: number
  dropout: number
  margin: number
  magnitude: number
  smoothness: number
  sparsity: number
}

/** The weights of the MIL ranking loss. */
export interface NativeMilRanking {
  smoothness: number
  sparsity: number
}

/** What is minimised. */
export type NativeObjective =
  | {
      kind: 'classBalanced'
      outputs: Record<string, number>
      reduction: 'sum' | 'mean'
      /** The weights of these fall to 0: times 1 - e / `periods` in period e (0 for the first) of `every` passes. */
      fading?: { outputs: string[]; every: number; periods: number }
    }
  | { kind: 'crossEntropy'; output: string }
  /** Following an object through clips; the graphs are the two halves of a matching network. */
  | { kind: 'propagation'; encoder: Graph; decoder: Graph }
  | ({ kind: 'rtfm' } & NativeRtfmLoss)
  | ({ kind: 'milRanking' } & NativeMilRanking)
  | { kind: 'imitate'; teacher: NativeNetwork; outputs: Record<string, number> }

/** What the trainer reports of one pass. */
export interface NativeRecord {
  step: number
  loss: number
  losses: Record<string, number>
  /** Of a classification: the share of the batch whose class is right. */
  accuracy?: number
  /** Measured after this pass's update, where that was due. */
  validation?: number
  learningRate: number
  seconds: number
}

/** How a classifier does on a set of images; `loss` is the mean cross-entropy. */
export interface NativeEvaluation {
  correct: number
  images: number
  loss: number
}

/** A job of many steps under way. */
export interface NativeJob<T> {
  promise: Promise<T>
  abort(): void
}

/** A training under way. The last two are for one whose source is a feed; they have no effect once it is over. */
export interface NativeTrainingJob extends NativeJob<NativeNetwork> {
  /** The sample of a pass that was asked for. */
  supply(pass: number, sample: NativeSample): void
  /** A sample cannot be made: the training ends, and rejects with `error` itself. */
  fail(error: unknown): void
}

/** The code with which an aborted job rejects; the caller's own reason takes its place. */
export const abortedCode = 'ABORTED'
