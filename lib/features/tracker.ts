import { TorchvidError } from '../errors.ts'
import type { ExtractProgress } from './options.ts'
import type { ExtractSettings } from './settings.ts'

/** Clips over which `secondsPerClip` is meaned. */
const WINDOW = 20

/** Counts clips, measures them and their time, and makes a record of each. */
export class ClipTracker {
  /** Mean L2 norm of each clip's features over its crops. */
  readonly norms: number[] = []
  /** Numbers per crop. */
  size = 0
  private readonly begun = performance.now()
  private readonly ends: number[] = [0]
  private readonly expected: number | undefined

  /** @param frames about how many there are, where that is known */
  constructor(
    private readonly settings: ExtractSettings,
    frames: number | undefined,
  ) {
    const { every, tail } = settings
    if (frames !== undefined) this.expected = tail === 'drop' ? Math.floor(frames / every) : Math.ceil(frames / every)
  }

  get clips(): number {
    return this.norms.length
  }

  /** Over all clips. */
  get meanNorm(): number {
    return this.norms.reduce((sum, norm) => sum + norm, 0) / this.norms.length
  }

  /** Since the beginning. */
  seconds(): number {
    return (performance.now() - this.begun) / 1000
  }

  /**
   * The record of one more clip.
   * @throws TorchvidError ERR_NOT_FINITE when its features are not all finite
   */
  add(features: Float32Array, frames: number): ExtractProgress {
    const { crops } = this.settings
    this.size = features.length / crops
    const meanNorm = meanNormOf(features, crops)
    const clip = this.norms.push(meanNorm)
    if (!Number.isFinite(meanNorm)) throw notFinite(clip)
    const seconds = this.seconds()
    this.ends.push(seconds)
    if (this.ends.length > WINDOW + 1) this.ends.shift()
    const secondsPerClip = (seconds - (this.ends[0] as number)) / (this.ends.length - 1)
    const progress: ExtractProgress = { clip, frames, seconds, secondsPerClip, meanNorm, features }
    if (this.expected !== undefined) {
      progress.clips = Math.max(clip, this.expected)
      progress.secondsLeft = (progress.clips - clip) * secondsPerClip
    }
    return progress
  }
}

/** Mean over the crops of a clip. */
function meanNormOf(features: Float32Array, crops: number): number {
  const size = features.length / crops
  let sum = 0
  for (let crop = 0; crop < crops; crop++) sum += l2Norm(features.subarray(crop * size, (crop + 1) * size))
  return sum / crops
}

/** The L2 norm of a row of numbers. */
export function l2Norm(values: Float32Array): number {
  let squares = 0
  for (const value of values) squares += value * value
  return Math.sqrt(squares)
}

function notFinite(clip: number): TorchvidError {
  const text = `The features of clip ${clip} are not finite numbers: the backbone's weights are damaged, or mean and std do not fit it.`
  return new TorchvidError('ERR_NOT_FINITE', text)
}
