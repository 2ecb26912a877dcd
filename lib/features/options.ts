import type { FeatureSettings } from '../data/feature-settings.ts'
import type { RunOptions } from '../engine/run.ts'
import type { Network } from '../network.ts'
import type { TensorData } from '../types.ts'

/** Settings of `features.extract`. */
export interface ExtractOptions extends Pick<RunOptions<ExtractProgress>, 'signal' | 'onProgress' | 'device'> {
  /**
   * The network: `networks.i3d`, `i3dResnet50`, `c3d`, or any other whose one input is clips (N, 3, T, H, W); or, as
   * `networks.mobilenet`, pictures (N, 3, H, W): it runs over a clip's frames, and their features are averaged.
   */
  backbone: Network
  /**
   * Crops of every clip: 1 is the centre, 5 the corners and the centre, 10 those of the mirrored frames too. Default 1; the
   * features that RTFM publishes have 10, at ten times the cost.
   */
  crops?: 1 | 5 | 10
  /** Frames a clip. Default 16. */
  every?: number
  /** Of a clip's frames the network sees every so many-th, from the first. Default 1. */
  frameStep?: number
  /**
   * To what size frames are brought: their shorter side, [width, height], or null: as they are. Pillow's bilinear filter.
   * Default 256; 8/7 of the crop with a network for one size.
   */
  resize?: number | [width: number, height: number] | null
  /** A crop's side. Default 224, or the network's own size. */
  crop?: number
  /** value = (x - mean) / std, x in 0..255: for all colours, or for each in the order of `order`. Default: the network's own. */
  mean?: number | [number, number, number]
  std?: number | [number, number, number]
  /** Default: the network's own, else RGB. */
  order?: 'RGB' | 'BGR'
  /** A last clip that is short: its frames over again, its last frame again and again, or no such clip. Default `'loop'`. */
  tail?: 'loop' | 'repeat' | 'drop'
  /** The network's output to take. Default `'features'`. */
  output?: string
  /** Divides every clip's features, of each crop, by their L2 norm. Default false. */
  normalise?: boolean
  /**
   * A .npy file to write: float32 (clips, crops, F), clip by clip under a temporary name and whole or not at all. The
   * settings go to a file beside it, `.json` after its name.
   */
  out?: string
  /** Whether the result holds the features too. Default true; with false, memory does not grow with the video. */
  keep?: boolean
}

/** One clip that is done. */
export interface ExtractProgress {
  /** 1 for the first clip. */
  clip: number
  /** About how many there will be, where the source says. */
  clips?: number
  /** Frames of the video up to the end of this clip. */
  frames: number
  /** Since the beginning. */
  seconds: number
  /** Mean over the last clips. */
  secondsPerClip: number
  /** Estimated time to the end, seconds; absent without `clips`. */
  secondsLeft?: number
  /** Mean L2 norm of this clip's features over its crops. */
  meanNorm: number
  /**
   * The clip's features, crop after crop (crops * F). With `keep: false` empty in records of clips made before a loop over
   * the run began: what nobody reads is not stored.
   */
  features: Float32Array
}

/** What `features.extract` gives. */
export interface ExtractedFeatures {
  /** float32 (clips, crops, F). */
  features: TensorData
  /** Frames of the video, all of them. */
  frames: number
  clips: number
  /** Of the video's first frame, in pixels. */
  width: number
  height: number
  /** Frames a second, for a video that says so. */
  fps?: number
  /** Time it took. */
  seconds: number
  /** Mean L2 norm over clips and crops. It tells wrong scaling: sets to use together have about the same. */
  meanNorm: number
  /** The same of each clip. */
  norms: number[]
  /** What the features were made with. */
  settings: FeatureSettings
  /** The file that was written. */
  out?: string
}
