import type { ImageSet } from '../data/image-set.ts'
import type { Graph } from '../graph/types.ts'
import type { PruneOptions } from '../slim/prune.ts'
import { inputShapes } from '../slim/prune.ts'
import type { SlimOptions } from '../slim/slim.ts'
import type { SlimFlags } from './flags.ts'
import type { Images } from './image-data.ts'

const DEFAULT_RATIO = 0.7
/** Of networks with sums or concatenations, in the references; others take the library's own. */
const RESIDUAL_SPARSITY = 1e-5
const RESIDUAL = new Set(['preresnet', 'resnet', 'densenet'])

/** Of ImageNet's images: the weights that `networks.resnet` has the names of were trained with these. */
const IMAGENET = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }

/** The images as the network takes them: normalised by what the user says, else as it is made for, else as the data's own. */
export function prepared(images: Images, graph: Graph, flags: SlimFlags): Images {
  const { mean, std } = flags
  const change = { ...normalisationOf(graph, images.train), ...(mean && { mean }), ...(std && { std }) }
  const train = { ...images.train, ...change, ...(flags.augment ? {} : { augment: false as const }) }
  return { ...images, train, ...(images.test && { test: { ...images.test, ...change } }) }
}

function normalisationOf(graph: Graph, { shape }: ImageSet): Pick<ImageSet, 'mean' | 'std'> {
  if (shape[1] !== 3) return {}
  const pixels = graph.inputs[0]?.pixels
  if (pixels?.order === 'RGB') {
    // Theirs are of values 0..255.
    return { mean: pixels.mean.map((value) => value / 255), std: pixels.std.map((value) => value / 255) }
  }
  return graph.labels?.network === 'resnet' ? IMAGENET : {}
}

/** The cut's part of the options. */
export function cutOptions(graph: Graph, images: Images | undefined, flags: SlimFlags): PruneOptions {
  const { strategy, score, fold, roundTo, keepAtLeast, keepShare, targetMacs, targetParameters } = flags
  const hasTarget = (targetMacs ?? targetParameters) !== undefined
  const goal = hasTarget
    ? { target: { macs: targetMacs, parameters: targetParameters } }
    : { ratio: flags.ratio ?? DEFAULT_RATIO }
  return { ...goal, strategy, score, fold, roundTo, keepAtLeast, keepShare, inputs: shapesOf(graph, images, flags) }
}

/** All options but the images. */
export function slimOptions(
  graph: Graph,
  images: Images | undefined,
  flags: SlimFlags,
): Omit<SlimOptions, 'train' | 'test' | 'signal'> {
  const { epochs, batchSize, learningRate, weightDecay, nesterov, passes, iterative, seed, device } = flags
  const residual = RESIDUAL.has(graph.labels?.network ?? '')
  return {
    ...cutOptions(graph, images, flags),
    ...{ epochs, batchSize, learningRate, weightDecay, nesterov, passes, iterative, seed, device },
    sparsity: flags.sparsity ?? (residual ? RESIDUAL_SPARSITY : undefined),
    fineTune:
      flags.fineTuneEpochs === 0
        ? false
        : given({
            epochs: flags.fineTuneEpochs,
            learningRate: flags.fineTuneLearningRate,
            teacher: flags.imitate ? ('uncut' as const) : undefined,
          }),
    ...(flags.checkpoint !== undefined && { checkpoint: { path: flags.checkpoint, every: flags.every } }),
    resume: flags.resume,
  }
}

/** Where MACs are counted: as `--input` says, else at the images' size, else the library's own. */
function shapesOf(
  graph: Graph,
  images: Images | undefined,
  { input }: SlimFlags,
): Record<string, number[]> | undefined {
  const [first] = graph.inputs
  if (first === undefined) return undefined
  if (input !== undefined) return { ...inputShapes(graph), [input.name ?? first.name]: input.shape }
  if (images === undefined || first.shape.length !== 4) return undefined
  const [, ...image] = images.train.shape
  return { [first.name]: [1, ...image] }
}

/** Without what is undefined: it would take the place of a default. */
function given<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>
}
