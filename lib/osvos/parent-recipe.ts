import { checkInteger, checkNumber, invalidArgument } from '../errors.ts'
import type { NativeTraining } from '../native.ts'
import type { Network } from '../network.ts'
import type { OsvosBackbone } from '../networks/index.ts'
import type { ParentOptions } from './parent.ts'

/** How the parent of one trunk is trained by default. */
interface ParentRecipe {
  epochs: number
  accumulate: number
  learningRate: number
  momentum: number
  weightDecay: number
  sizes: number[]
  optimizer: 'sgd' | 'adamw'
  schedule: 'constant' | 'cosine'
  /** Share of the passes in which the learning rate rises. */
  warmup: number
  /** Largest norm of the gradients; absent: any. */
  clip?: number
  reduction: 'sum' | 'mean'
  /** The side losses' weight falls in steps of an epoch, or of a pass. */
  fading: 'epochs' | 'passes'
  /** Learning rate and weight decay of parameters by pattern, times those above; the first match counts, none: frozen. */
  groups: { pattern: string; rate: number; decay: number }[]
}

/**
 * The reference's: SGD on summed losses at a constant rate, biases at twice the rate and without decay, side scores at a
 * tenth, `fuse` at a hundredth, the upsampling fixed. The side losses' weight falls as 1 - epoch / epochs.
 */
const vgg16: ParentRecipe = {
  epochs: 240,
  accumulate: 10,
  learningRate: 1e-8,
  momentum: 0.9,
  weightDecay: 2e-4,
  sizes: [480],
  optimizer: 'sgd',
  schedule: 'constant',
  warmup: 0,
  reduction: 'sum',
  fading: 'epochs',
  groups: [
    { pattern: 'stages.*.weight', rate: 1, decay: 1 },
    { pattern: 'stages.*.bias', rate: 2, decay: 0 },
    { pattern: 'side_prep.*.weight', rate: 1, decay: 1 },
    { pattern: 'side_prep.*.bias', rate: 2, decay: 0 },
    { pattern: 'score_dsn.*.weight', rate: 0.1, decay: 1 },
    { pattern: 'score_dsn.*.bias', rate: 0.2, decay: 0 },
    { pattern: 'fuse.weight', rate: 0.01, decay: 1 },
    { pattern: 'fuse.bias', rate: 0.02, decay: 0 },
  ],
}

/**
 * For a trunk with batch-norm and a new head: AdamW on mean losses, the head at five times the trunk's rate, a short rise
 * and half a cosine, mixed resolutions. Values in common use; not tuned by experiment.
 */
const mobilenet: ParentRecipe = {
  epochs: 12,
  accumulate: 4,
  learningRate: 1e-4,
  momentum: 0.9,
  weightDecay: 1e-4,
  sizes: [240, 320, 400, 480],
  optimizer: 'adamw',
  schedule: 'cosine',
  warmup: 0.03,
  clip: 1,
  reduction: 'mean',
  fading: 'passes',
  groups: [
    { pattern: '*_bn.*', rate: 1, decay: 0 },
    { pattern: 'conv*', rate: 1, decay: 1 },
    { pattern: '*.bias', rate: 5, decay: 0 },
    { pattern: '*', rate: 5, decay: 1 },
  ],
}

const recipes: Partial<Record<OsvosBackbone, ParentRecipe>> = { vgg16, mobilenet }

/** Some options with the trunk's defaults, and what the trainer is told. */
export interface ParentSettings {
  passes: number
  /** Passes in which every frame is seen once. */
  perEpoch: number
  sizes: number[]
  training: Pick<NativeTraining, 'passes' | 'accumulate' | 'schedule' | 'optimizer' | 'objective'>
}

/**
 * The options checked, with the trunk's defaults; MobileNet's for any other trunk.
 * @param perEpoch passes of an epoch
 */
export function parentSettings(network: Network, options: ParentOptions, perEpoch: number): ParentSettings {
  const recipe = recipes[network.graph.labels?.backbone as OsvosBackbone] ?? mobilenet
  const epochs = checkInteger('epochs', options.epochs ?? recipe.epochs, 1)
  const passes = options.steps === undefined ? epochs * perEpoch : checkInteger('steps', options.steps, 1)
  const accumulate = checkInteger('accumulate', options.accumulate ?? recipe.accumulate, 1)
  const rate = checkNumber('learningRate', options.learningRate ?? recipe.learningRate, 0)
  const decay = checkNumber('weightDecay', options.weightDecay ?? recipe.weightDecay, 0)
  const momentum = checkNumber('momentum', options.momentum ?? recipe.momentum, 0, 1)
  const { optimizer: kind, clip, reduction, schedule, fading } = recipe
  const groups = recipe.groups.map(({ pattern, ...group }) => ({
    pattern,
    learningRate: rate * group.rate,
    weightDecay: decay * group.decay,
  }))
  const names = Object.keys(network.graph.outputs)
  const sides = names.filter((name) => /^side\d+$/.test(name))
  return {
    passes,
    perEpoch,
    sizes: checkSizes(options.sizes ?? recipe.sizes),
    training: {
      passes,
      accumulate,
      schedule: { kind: schedule, warmup: Math.floor(recipe.warmup * passes) },
      optimizer: { kind, momentum, nesterov: false, ...(clip !== undefined && { clip }), groups },
      objective: {
        kind: 'classBalanced',
        outputs: Object.fromEntries([...sides, 'fuse'].map((name) => [name, 1])),
        reduction,
        fading:
          fading === 'epochs'
            ? { outputs: sides, every: perEpoch, periods: epochs }
            : { outputs: sides, every: 1, periods: passes },
      },
    },
  }
}

function checkSizes(sizes: unknown): number[] {
  if (!Array.isArray(sizes) || sizes.length === 0)
    throw invalidArgument('sizes', sizes, 'an array of heights in pixels')
  return sizes.map((size) => checkInteger('sizes', size, 16, 65535))
}
