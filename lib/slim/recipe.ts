import { checkAugmentation, type ImageAugmentation, type ImageSet } from '../data/image-set.ts'
import type { RunOptions, TrainingProgress } from '../engine/run.ts'
import { checkInteger, checkNumber, invalidArgument } from '../errors.ts'
import type { NativeSchedule, NativeTraining } from '../native.ts'

/** What a step of training on images reports. */
export interface SlimProgress extends TrainingProgress {
  /** The epoch under way, 1 for the first. */
  epoch: number
  /** Epochs in all, begun ones counted. */
  epochs: number
  /** Share of this step's batch whose class was right, 0..1; absent where no labels are used. */
  accuracy?: number
}

/** Channels that training leaves at 0. */
export interface ChannelMask {
  /** A layer (all its parameters: `feature.1`), or one parameter (`feature.1.weight`). */
  name: string
  /** One entry per channel: 0 for those that become and stay 0. */
  keep: Uint8Array
}

/** What every training on images takes. */
export interface ImageTrainingOptions extends RunOptions<SlimProgress> {
  /** The images to learn from, or a promise of them. */
  train: ImageSet | PromiseLike<ImageSet>
  /** Passes over the whole set. Default 160 (`train`), 40 (`finetune`). */
  epochs?: number
  /** Updates in all, instead of `epochs`. */
  steps?: number
  /** Images per update; the last batch of an epoch may be smaller. Default 64. */
  batchSize?: number
  /** Default 0.1 (`train`), 0.001 (`finetune`). */
  learningRate?: number
  /** Of SGD. Default 0.9. */
  momentum?: number
  /** Nesterov's form of momentum, as in the paper and its Lua code; the PyTorch code has it off. Default false. */
  nesterov?: boolean
  /** On all parameters, batch-norm's and biases too, as the references have it. Default 1e-4. */
  weightDecay?: number
  /**
   * The learning rate over the run: multiplied by `factor` at each of `milestones`, falling to 0 along half a cosine, or
   * constant. Default `'steps'` (`train`), `'constant'` (`finetune`, unless `milestones` are given).
   */
  schedule?: 'steps' | 'cosine' | 'constant'
  /**
   * Shares of the run, each 0..1, after which the rate falls: from the first epoch that begins then, or step when `steps`
   * is given. Default [0.5, 0.75].
   */
  milestones?: number[]
  /** Default 0.1. */
  factor?: number
  /** A new order every epoch. Default true; false: the set's own order. */
  shuffle?: boolean
  /** Default: the set's own, none where it has none; `{}` is 4 black pixels on each side, a crop, a flip of every other. */
  augment?: ImageAugmentation | false
  /** Channels that are set to 0 at the start and stay so (iterative pruning). */
  masks?: ChannelMask[]
}

/** What differs between trainings. */
export interface RecipeDefaults {
  epochs: number
  learningRate: number
  schedule: 'steps' | 'constant'
}

/** Options that need no images to be checked, with their defaults. */
export interface Recipe {
  epochs: number
  steps: number | undefined
  batchSize: number
  shuffle: boolean
  optimizer: NativeTraining['optimizer']
  schedule: 'steps' | 'cosine' | 'constant'
  milestones: number[]
  factor: number
}

/** @throws TorchvidError ERR_INVALID_ARGUMENT */
export function recipeFrom(options: ImageTrainingOptions, defaults: RecipeDefaults): Recipe {
  const { epochs = defaults.epochs, steps, batchSize = 64, shuffle = true, nesterov = false } = options
  const { milestones = [0.5, 0.75], factor = 0.1 } = options
  if (steps !== undefined && options.epochs !== undefined)
    throw invalidArgument('steps', steps, 'either steps or epochs')
  checkInteger('epochs', epochs, 1)
  if (steps !== undefined) checkInteger('steps', steps, 1)
  checkInteger('batchSize', batchSize, 1)
  for (const [name, flag] of Object.entries({ shuffle, nesterov }))
    if (typeof flag !== 'boolean') throw invalidArgument(name, flag, 'true or false')
  const schedule = options.schedule ?? (options.milestones === undefined ? defaults.schedule : 'steps')
  if (!['steps', 'cosine', 'constant'].includes(schedule))
    throw invalidArgument('schedule', schedule, "'steps', 'cosine' or 'constant'")
  if (!Array.isArray(milestones)) throw invalidArgument('milestones', milestones, 'a list of shares of the run, 0 to 1')
  for (const [i, share] of milestones.entries()) checkNumber(`milestones[${i}]`, share, 0, 1)
  if (options.milestones !== undefined && schedule !== 'steps')
    throw invalidArgument('milestones', milestones, `left out with schedule '${schedule}'`)
  checkNumber('factor', factor, 0)
  checkAugmentation('augment', options.augment)
  return {
    epochs,
    steps,
    batchSize,
    shuffle,
    schedule,
    milestones,
    factor,
    optimizer: optimizerFrom(options, defaults),
  }
}

function optimizerFrom(options: ImageTrainingOptions, defaults: RecipeDefaults): NativeTraining['optimizer'] {
  const { learningRate = defaults.learningRate, momentum = 0.9, nesterov = false, weightDecay = 1e-4 } = options
  checkNumber('learningRate', learningRate, 0)
  checkNumber('momentum', momentum, 0, 1)
  checkNumber('weightDecay', weightDecay, 0)
  if (nesterov && momentum === 0) throw invalidArgument('nesterov', nesterov, 'false, or a momentum above 0')
  return { kind: 'sgd', momentum, nesterov, groups: [{ pattern: '*', learningRate, weightDecay }] }
}

/** Guards against a share such as 0.07 whose product with a whole number comes out a little above the whole one. */
const ROUNDING = 1e-9

/** The schedule of `count` epochs (or steps) of `each` passes. */
export function scheduleFrom({ schedule, milestones, factor }: Recipe, count: number, each: number): NativeSchedule {
  if (schedule !== 'steps') return { kind: schedule }
  return { kind: 'steps', milestones: milestones.map((share) => Math.ceil(count * share - ROUNDING) * each), factor }
}
