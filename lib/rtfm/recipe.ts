import type { RunOptions, TrainingProgress } from '../engine/run.ts'
import { checkInteger, checkNumber, invalidArgument } from '../errors.ts'
import type { NativeObjective, NativeTraining } from '../native.ts'
import type { RtfmSettings } from './settings.ts'
import type { RtfmValidation } from './validation.ts'

/** Settings of `RTFM.fit`. Defaults are those of the objective: of github.com/tianyu0207/RTFM, of its paper, of Sultani et al. */
export interface RtfmFitOptions extends Omit<RunOptions<RtfmProgress>, 'checkpoint'> {
  /** Default 15,000; 20,000 with `'milRanking'`; `epochs` with `'paper'`. */
  steps?: number
  /** Instead of `steps`: how often the kind of which there are more batches is gone through. Default 50 with `'paper'`. */
  epochs?: number
  /** Videos of each kind in a step, or all when there are fewer; RTFM's losses take as many of both. Default 32; 30 with `'milRanking'`. */
  batchSize?: number
  /** Default 0.001, with Adam; 0.01, with Adagrad, with `'milRanking'`. RTFM takes 0.0001 on XD-Violence. */
  learningRate?: number
  /**
   * Added to the gradient, times the parameter. Default 0.005; 0.0005 with `'paper'`; 0.002, and not for biases, with
   * `'milRanking'` (the authors' 0.001 sum w^2).
   */
  weightDecay?: number
  /** Each kind in a new order in each of its epochs. Default true. */
  shuffle?: boolean
  /** RTFM: segments of a video that count. Default a tenth of them, at least one. */
  top?: number
  /** RTFM: the magnitude that abnormal videos are pushed to (`'reference'`), or beyond normal ones (`'paper'`). Default 100. */
  margin?: number
  /** RTFM, `'reference'`: factor of the magnitudes' part. Default 1e-4. */
  magnitude?: number
  /** Factor of the differences between neighbouring scores. Default 8e-4; 8e-5 with `'milRanking'`. */
  smoothness?: number
  /** Factor of the scores' size. Default 8e-3; 8e-5 with `'milRanking'`. */
  sparsity?: number
  /**
   * Measures the network as it learns, and keeps the best. Default: on a tenth of the training videos, held out; with fewer
   * than ten of a kind, or `shuffle: false`, and with false, the last state is the result.
   */
  validation?: RtfmValidation | false
  /** As everywhere, and `best`: a file for the best network so far, written anew whenever it is bettered. */
  checkpoint?: { path: string; every: number; best?: string }
  /** Gets what is odd about the features: settings or norms that differ. Default: `process.emitWarning`. */
  onWarning?: (message: string) => void
}

/** What a step of `RTFM.fit` reports; its `losses` add up to `loss`. */
export interface RtfmProgress extends TrainingProgress {
  /** After this step's update, where it was measured. */
  validation?: number
}

/** What the objectives' authors chose. */
const defaults = {
  reference: { steps: 15_000, epochs: undefined, batchSize: 32, learningRate: 0.001, weightDecay: 0.005 },
  paper: { steps: undefined, epochs: 50, batchSize: 32, learningRate: 0.001, weightDecay: 0.0005 },
  milRanking: { steps: 20_000, epochs: undefined, batchSize: 30, learningRate: 0.01, weightDecay: 0.002 },
}

/** The trainer's part of the options. */
export interface Recipe {
  batchSize: number
  shuffle: boolean
  /** As many videos of one kind as of the other. */
  paired: boolean
  objective: NativeObjective
  optimizer: NativeTraining['optimizer']
  /** The length of a run on so many videos. */
  stepsFor(normal: number, abnormal: number): number
}

/** The options, checked, with the objective's defaults. */
export function recipeOf(settings: RtfmSettings, options: RtfmFitOptions): Recipe {
  const own = defaults[settings.objective]
  const { batchSize = own.batchSize, learningRate = own.learningRate, weightDecay = own.weightDecay } = options
  const { shuffle = true, steps, epochs } = options
  checkInteger('batchSize', batchSize, 1)
  checkNumber('learningRate', learningRate, Number.MIN_VALUE)
  checkNumber('weightDecay', weightDecay, 0)
  if (typeof shuffle !== 'boolean') throw invalidArgument('shuffle', shuffle, 'true or false')
  if (steps !== undefined && epochs !== undefined) throw invalidArgument('epochs', epochs, 'steps or epochs, not both')
  const paired = settings.objective !== 'milRanking'
  return {
    ...{ batchSize, shuffle, paired },
    objective: objectiveOf(settings, options),
    optimizer: optimizerOf(settings, learningRate, weightDecay),
    stepsFor(normal, abnormal) {
      if (steps !== undefined) return checkInteger('steps', steps, 1)
      const rounds = epochs ?? own.epochs
      if (rounds === undefined) return own.steps as number
      const most = paired ? Math.min(normal, abnormal) : Number.POSITIVE_INFINITY
      const passes = [normal, abnormal].map((videos) => Math.floor(videos / Math.min(batchSize, videos, most)))
      return checkInteger('epochs', rounds, 1) * Math.max(...passes)
    },
  }
}

function objectiveOf({ objective, dropout, segments }: RtfmSettings, options: RtfmFitOptions): NativeObjective {
  const mil = objective === 'milRanking'
  const { smoothness = mil ? 8e-5 : 8e-4, sparsity = mil ? 8e-5 : 8e-3 } = options
  checkNumber('smoothness', smoothness, 0)
  checkNumber('sparsity', sparsity, 0)
  if (mil) return { kind: 'milRanking', smoothness, sparsity }
  const { top = topOf(segments), margin = 100, magnitude = 1e-4 } = options
  checkInteger('top', top, 1, segments)
  checkNumber('margin', margin, 0)
  checkNumber('magnitude', magnitude, 0)
  const paper = objective === 'paper'
  return { kind: 'rtfm', paper, top, dropout, margin, magnitude, smoothness, sparsity }
}

/** A tenth of a video's segments, at least one: how many of them count. */
export function topOf(segments: number): number {
  return Math.max(Math.floor(segments / 10), 1)
}

function optimizerOf({ objective }: RtfmSettings, learningRate: number, weightDecay: number) {
  const none = { momentum: 0, nesterov: false }
  if (objective !== 'milRanking') {
    return { kind: 'adam' as const, ...none, groups: [{ pattern: '*', learningRate, weightDecay }] }
  }
  const groups = [
    { pattern: '*.weight', learningRate, weightDecay },
    { pattern: '*', learningRate, weightDecay: 0 },
  ]
  return { kind: 'adagrad' as const, ...none, groups }
}
