import type { ImageSet } from '../data/image-set.ts'
import { type Run, type RunContext, startRun } from '../engine/run.ts'
import { checkFiles, checkpointOf, ProgressTracker, resumeOf, runTraining, trainingBasics } from '../engine/training.ts'
import { checkNumber, invalidArgument, TorchvidError } from '../errors.ts'
import type { NativeObjective, NativeTraining } from '../native.ts'
import type { Network } from '../network.ts'
import { checkBatches, checkClasses, checkNetwork, imageSetOf, intakeOf, logitsOutput, nativeImages } from './images.ts'
import {
  type ChannelMask,
  type ImageTrainingOptions,
  type Recipe,
  type RecipeDefaults,
  recipeFrom,
  type SlimProgress,
  scheduleFrom,
} from './recipe.ts'

/** Settings of `slim.train`. Defaults are those of github.com/Eric-mingjie/network-slimming on CIFAR. */
export interface SlimTrainOptions extends ImageTrainingOptions {
  /**
   * Strength of the L1 penalty on the scale of every batch-norm (arXiv 1708.06519); 0: none. The references take 1e-4 for
   * VGG, 1e-5 for ResNet and DenseNet. Default 1e-4.
   */
  sparsity?: number
}

/**
 * Settings of `slim.finetune`. Defaults are those of github.com/Eric-mingjie/rethinking-network-pruning: 40 epochs at a
 * constant rate of 0.001.
 */
export interface FineTuneOptions extends ImageTrainingOptions {
  /**
   * A network whose outputs are learnt instead of the labels, which then do not matter: usually the one before the cut. It
   * runs in inference mode on the same batches and does not change.
   */
  teacher?: Network
  /** With `teacher`: the outputs to imitate, or their weights in the loss by name. Default: all, each 1. */
  outputs?: string[] | Record<string, number>
}

/**
 * Sparse training (network slimming, arXiv 1708.06519): SGD on the cross-entropy of output `logits`, with an L1 penalty on
 * the scales of all batch-norms that enters by its gradient alone; the loss reported is the cross-entropy. `net` itself is
 * updated, once the run is over, and is what the run resolves with; when the run is aborted or fails it stays as it was.
 * Every record's `losses` is `{ crossEntropy }`.
 *
 * `seed` settles order, augmentation and dropout; a run resumed from a checkpoint, with the same options and images, goes on
 * exactly, also within an epoch.
 * @param net a network with one input, which takes the images, and an output `logits` (N, classes)
 * @throws TorchvidError (the run rejects) ERR_INVALID_ARGUMENT; ERR_SHAPE when images or masks do not fit the network;
 *   ERR_NOT_FINITE when training diverges; ERR_CHECKPOINT_FORMAT, ERR_CHECKPOINT_MISMATCH, ERR_IO, ERR_DISPOSED
 */
export function train(net: Network, options: SlimTrainOptions): Run<Network, SlimProgress> {
  return startRun<Network, SlimProgress>(options ?? {}, async (context) => {
    checkNetwork('net', net)
    const sparsity = sparsityOf(net, options?.sparsity)
    const defaults: RecipeDefaults = { epochs: 160, learningRate: 0.1, schedule: 'steps' }
    const objective: NativeObjective = { kind: 'crossEntropy', output: logitsOutput }
    return await trainOnImages(net, options ?? {}, defaults, { objective, ...(sparsity && { sparsity }) }, context)
  })
}

/** github.com/Eric-mingjie/rethinking-network-pruning's. */
export const fineTuneDefaults: RecipeDefaults = { epochs: 40, learningRate: 0.001, schedule: 'constant' }

/**
 * Trains without a penalty: recovers what a cut cost. As `train` in all else: `net` itself is updated when the run succeeds.
 * With `teacher`, the loss is the sum over outputs of the mean squared difference to the teacher's, in units of the variance
 * of the teacher's output over the batch, and `losses` has each output's part by name.
 * @param net a network with one input, which takes the images, and, without `teacher`, an output `logits` (N, classes)
 * @throws TorchvidError (the run rejects) as `train`
 */
export function finetune(net: Network, options: FineTuneOptions): Run<Network, SlimProgress> {
  return startRun<Network, SlimProgress>(options ?? {}, async (context) => {
    checkNetwork('net', net)
    const objective = objectiveOf(net, options ?? {})
    return await trainOnImages(net, options ?? {}, fineTuneDefaults, { objective }, context)
  })
}

/** Trains a copy of `net`, and at success moves its tensors into `net`. */
async function trainOnImages(
  net: Network,
  options: ImageTrainingOptions,
  defaults: RecipeDefaults,
  aim: Pick<NativeTraining, 'objective' | 'sparsity'>,
  context: RunContext<SlimProgress>,
): Promise<Network> {
  const recipe = recipeFrom(options, defaults)
  const basics = trainingBasics(options)
  checkFiles(options)
  const held = heldFrom(net, options.masks)
  const labelled = aim.objective.kind === 'crossEntropy'
  const set = await imageSetOf('train', options.train, labelled)
  const intake = await intakeOf(net, 'train', set)
  if (labelled) checkClasses(net, 'train', set, intake)
  checkBatches(net, 'train', set, intake, recipe.batchSize)

  const length = lengthOf(recipe, set)
  const training: NativeTraining = {
    ...basics,
    ...aim,
    passes: length.steps,
    accumulate: 1,
    schedule: length.schedule,
    optimizer: recipe.optimizer,
    source: nativeImages(set, intake, { ...recipe, augment: options.augment ?? set.augment ?? false }),
    held,
  }
  if (options.checkpoint !== undefined) training.checkpoint = checkpointOf(net, options.checkpoint)
  if (options.resume !== undefined) training.resume = await resumeOf(options.resume)

  const tracker = new ProgressTracker(length.steps)
  const handle = await runTraining(
    net,
    training,
    (records) =>
      context.report(
        records.map((record) => ({
          ...tracker.progress(record),
          epoch: Math.ceil(record.step / length.perEpoch),
          epochs: length.epochs,
          ...(record.accuracy !== undefined && { accuracy: record.accuracy }),
        })),
      ),
    context.signal,
  )
  if (context.signal.aborted) {
    handle.dispose()
    throw context.signal.reason
  }
  net.adopt(handle)
  return net
}

/** How long a run on `set` is, in steps and epochs, and its schedule. */
function lengthOf(recipe: Recipe, set: ImageSet) {
  const perEpoch = Math.ceil(set.shape[0] / recipe.batchSize)
  if (recipe.steps !== undefined) {
    const { steps } = recipe
    return { steps, perEpoch, epochs: Math.ceil(steps / perEpoch), schedule: scheduleFrom(recipe, steps, 1) }
  }
  const { epochs } = recipe
  return { steps: epochs * perEpoch, perEpoch, epochs, schedule: scheduleFrom(recipe, epochs, perEpoch) }
}

/** The penalty on every batch-norm that learns. */
function sparsityOf(net: Network, given: number | undefined): NativeTraining['sparsity'] {
  const strength = checkNumber('sparsity', given ?? 1e-4, 0)
  if (strength === 0) return undefined
  const norms = net.graph.nodes.filter(({ op, frozen }) => op === 'batchNorm' && !frozen)
  if (norms.length === 0 && given !== undefined)
    throw invalidArgument('sparsity', given, '0: the network has no batch-norm that learns, so nothing to make sparse')
  return { parameters: norms.map(({ name }) => `${name}.weight`), strength }
}

/** What fine-tuning aims at. @throws TorchvidError ERR_INVALID_ARGUMENT */
export function objectiveOf(net: Network, { teacher, outputs }: FineTuneOptions): NativeObjective {
  if (teacher === undefined) {
    if (outputs !== undefined) throw invalidArgument('outputs', outputs, 'left out, or given with teacher')
    return { kind: 'crossEntropy', output: logitsOutput }
  }
  checkNetwork('teacher', teacher)
  const weights = weightsOf(outputs ?? Object.keys(net.graph.outputs))
  for (const name of Object.keys(weights)) {
    checkNumber(`outputs.${name}`, weights[name], 0)
    for (const [which, { graph }] of Object.entries({ net, teacher })) {
      if (!(name in graph.outputs)) {
        const wanted = `outputs of both networks; those of ${which}: ${Object.keys(graph.outputs).join(', ')}`
        throw invalidArgument('outputs', name, wanted)
      }
    }
  }
  return { kind: 'imitate', teacher: teacher.handle, outputs: weights }
}

function weightsOf(outputs: unknown): Record<string, number> {
  const wanted = 'a list of output names, or an object of weights by name'
  if (typeof outputs !== 'object' || outputs === null) throw invalidArgument('outputs', outputs, wanted)
  const weights = Array.isArray(outputs) ? Object.fromEntries(outputs.map((name) => [name, 1])) : outputs
  if (Object.keys(weights).length === 0) throw invalidArgument('outputs', outputs, wanted)
  return weights as Record<string, number>
}

/** Masks by parameter; a layer's name stands for all its parameters that learn. */
function heldFrom(net: Network, masks: ChannelMask[] = []): NonNullable<NativeTraining['held']> {
  if (!Array.isArray(masks)) throw invalidArgument('masks', masks, 'a list of { name, keep }')
  const parameters = net.parameters()
  return masks.flatMap((mask, i) => {
    const { name, keep } = mask ?? {}
    if (typeof name !== 'string') throw invalidArgument(`masks[${i}].name`, name, "a layer's or parameter's name")
    if (!(keep instanceof Uint8Array)) {
      throw invalidArgument(`masks[${i}].keep`, keep, 'a Uint8Array, one entry per channel: 0 for those that go')
    }
    const belongs = (each: string) => each === name || each.slice(0, each.lastIndexOf('.')) === name
    const named = parameters.filter((parameter) => parameter.trainable && belongs(parameter.name))
    if (named.length === 0) throw invalidArgument(`masks[${i}].name`, name, 'a layer or parameter of net that learns')
    for (const { name: parameter, shape } of named) {
      if (shape[0] === keep.length) continue
      const message = `masks[${i}].keep: got ${keep.length} entries for '${parameter}', which has ${shape[0]} channels; wanted one each.`
      throw new TorchvidError('ERR_SHAPE', message)
    }
    return named.map((parameter) => ({ name: parameter.name, keep: { data: keep, shape: [keep.length] } }))
  })
}
