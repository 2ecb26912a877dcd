import type { Network } from '../network.ts'
import type { OsvosBackbone } from '../networks/index.ts'

/** How a network of one trunk is fitted by default. */
export interface Recipe {
  iterations: number
  accumulate: number
  learningRate: number
  momentum: number
  weightDecay: number
  optimizer: 'sgd' | 'adam'
  schedule: 'constant' | 'cosine'
  /** Of the loss: summed over pixels, or their mean. */
  reduction: 'sum' | 'mean'
  /** Learning rate and weight decay of parameters by pattern, times those above; the first match counts, none: frozen. */
  groups: { pattern: string; rate: number; decay: number }[]
}

/**
 * The reference's online recipe: SGD on the summed loss, biases at twice the rate and without decay, `fuse` at a
 * hundredth, the side scores and the upsampling frozen.
 */
const vgg16: Recipe = {
  iterations: 1000,
  accumulate: 5,
  learningRate: 1e-8,
  momentum: 0.9,
  weightDecay: 2e-4,
  optimizer: 'sgd',
  schedule: 'constant',
  reduction: 'sum',
  groups: [
    { pattern: 'stages.*.weight', rate: 1, decay: 1 },
    { pattern: 'stages.*.bias', rate: 2, decay: 0 },
    { pattern: 'side_prep.*.weight', rate: 1, decay: 1 },
    { pattern: 'side_prep.*.bias', rate: 2, decay: 0 },
    { pattern: 'fuse.weight', rate: 0.01, decay: 1 },
    { pattern: 'fuse.bias', rate: 0.02, decay: 0 },
  ],
}

/** Chosen by measurement on a training sequence: docs/results.md, "The MobileNet recipe". */
const mobilenet: Recipe = {
  iterations: 200,
  accumulate: 1,
  learningRate: 1e-4,
  momentum: 0.9,
  weightDecay: 0,
  optimizer: 'adam',
  schedule: 'cosine',
  reduction: 'mean',
  groups: [
    { pattern: 'score_dsn.*', rate: 0, decay: 0 },
    { pattern: '*', rate: 1, decay: 1 },
  ],
}

const recipes: Partial<Record<OsvosBackbone, Recipe>> = { vgg16, mobilenet }

/** The recipe of a network, by the trunk that its graph names; MobileNet's for any other. */
export function recipeOf(network: Network): Recipe {
  return recipes[network.graph.labels?.backbone as OsvosBackbone] ?? mobilenet
}
