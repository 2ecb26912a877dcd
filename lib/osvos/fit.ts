import { existsSync } from 'node:fs'
import { readImage } from '../data/image.ts'
import { type ObjectMask, readMask } from '../data/mask.ts'
import type { RunContext, RunOptions, TrainingProgress } from '../engine/run.ts'
import { checkFiles, checkpointOf, ProgressTracker, resumeOf, runTraining, trainingBasics } from '../engine/training.ts'
import { checkInteger, checkNumber, TorchvidError } from '../errors.ts'
import type { PixelFormat } from '../graph/types.ts'
import type { NativeOneShot, NativeTraining } from '../native.ts'
import { Network } from '../network.ts'
import type { ImageInput, RawImage } from '../types.ts'
import { type Augmentation, checkAugment } from './augmentation.ts'
import { type Recipe, recipeOf } from './recipe.ts'

/** Settings of `OSVOS.fit`. Defaults are the trunk's own: VGG16's are the paper's code, MobileNet's were measured. */
export interface FitOptions extends RunOptions<TrainingProgress> {
  /**
   * How much is done for quality, for a model that matches (`OSVOS.open('default')`): `'fast'`, nothing is trained
   * and frames are looked at with a shorter side of 360 pixels; `'balanced'`, 480 pixels, and its decoder learns from the first
   * frame; `'best'`, for longer, and every frame is looked at in a mirror too. Frames are never scaled up.
   * Default `'fast'`. What each brings and costs: docs/results.md.
   */
  preset?: Preset
  /** Passes (forward and backward) per object. Default 1000 (VGG16), 200 (MobileNet). */
  iterations?: number
  /** Passes whose averaged gradients make one update. Default 5 (VGG16), 1 (MobileNet). */
  accumulate?: number
  /** Default 1e-8 on the summed loss (VGG16, SGD), 1e-4 on the mean loss (MobileNet, Adam). */
  learningRate?: number
  /** Of SGD. Default 0.9. */
  momentum?: number
  /** Default 2e-4 (VGG16), 0 (MobileNet). */
  weightDecay?: number
  /** Default: all of `Augmentation`'s defaults; false: none. */
  augment?: Augmentation | false
  /** The longer side is scaled down to this many pixels. Default: as it is. */
  maxSize?: number
  /** The mask's ids to fit, one network each. Default: every id in the mask. */
  objects?: number[]
  /** Hears what is odd but no error, such as a soft-edged mask. Default: `process.emitWarning`. */
  onWarning?: (message: string) => void
}

/** How much is done for quality. */
export type Preset = 'fast' | 'balanced' | 'best'

/** One object and the network that knows it. */
export interface Head {
  id: number
  network: Network
}

/** Reads image and mask, then fits one network per object, one after the other. */
export async function fitHeads(
  parent: Network,
  image: ImageInput,
  mask: ImageInput,
  options: FitOptions,
  context: RunContext<TrainingProgress>,
): Promise<Head[]> {
  const settings = checkOptions(options, recipeOf(parent))
  const { picture, objects } = await readFirst(image, mask, options)
  const heads: Head[] = []
  const several = objects.ids.length > 1
  try {
    for (const [place, id] of objects.ids.entries()) {
      context.signal.throwIfAborted()
      const training = await withFiles(parent, settings, options, place === 0, several ? id : undefined)
      const source = { ...training.source, image: picture, mask: maskOf(objects, id), pixels: pixelsOf(parent) }
      const tracker = new ProgressTracker(training.passes * objects.ids.length, training.passes * place)
      const handle = await runTraining(
        parent,
        { ...training, source },
        (records) => context.report(records.map((record) => tracker.progress(record))),
        context.signal,
      )
      heads.push({ id, network: new Network(parent.graph, handle) })
    }
    return heads
  } catch (error) {
    for (const head of heads) head.network.dispose()
    throw error
  }
}

/** The first frame and its objects; what is odd about the mask is told. */
export async function readFirst(
  image: ImageInput,
  mask: ImageInput,
  options: FitOptions,
): Promise<{ picture: RawImage; objects: ObjectMask }> {
  const picture = await readImage(image, 'image')
  const { width, height } = picture
  const objects = await readMask(mask, { objects: options.objects, width, height })
  const warn = options.onWarning ?? ((message: string) => process.emitWarning(message))
  for (const warning of objects.warnings) warn(warning)
  return { picture, objects }
}

/** How the network takes pictures; every OSVOS graph says so. */
export function pixelsOf(network: Network): PixelFormat {
  const pixels = network.graph.inputs[0]?.pixels
  if (pixels !== undefined) return pixels
  const message = "The network's graph does not say how its input takes pictures (pixels); networks.osvos does."
  throw new TorchvidError('ERR_INVALID_ARGUMENT', message)
}

type Settings = Omit<NativeTraining, 'source'> & { source: Pick<NativeOneShot, 'kind' | 'maxSize' | 'augment'> }

function checkOptions(options: FitOptions, recipe: Recipe): Settings {
  const { maxSize = 0 } = options
  const passes = checkInteger('iterations', options.iterations ?? recipe.iterations, 1)
  const accumulate = checkInteger('accumulate', options.accumulate ?? recipe.accumulate, 1)
  const rate = checkNumber('learningRate', options.learningRate ?? recipe.learningRate, 0)
  const decay = checkNumber('weightDecay', options.weightDecay ?? recipe.weightDecay, 0)
  const momentum = checkNumber('momentum', options.momentum ?? recipe.momentum, 0, 1)
  if (maxSize !== 0) checkInteger('maxSize', maxSize, 16)
  return {
    passes,
    accumulate,
    schedule: { kind: recipe.schedule },
    ...trainingBasics(options),
    optimizer: {
      kind: recipe.optimizer,
      momentum,
      nesterov: false,
      groups: recipe.groups.map((group) => ({
        pattern: group.pattern,
        learningRate: rate * group.rate,
        weightDecay: decay * group.decay,
      })),
    },
    source: { kind: 'oneShot', maxSize, augment: checkAugment(options.augment) },
    objective: { kind: 'classBalanced', outputs: { fuse: 1 }, reduction: recipe.reduction },
  }
}

/**
 * Adds checkpoint and resume; with several objects each has a file of its own, its id before the file's ending. Objects are
 * fitted one after the other, so a later one that had not begun has no file yet, and begins now.
 */
async function withFiles(
  parent: Network,
  settings: Settings,
  options: FitOptions,
  first: boolean,
  id?: number,
): Promise<Settings> {
  const fileOf = (path: string) => (id === undefined ? path : path.replace(/(\.[^./\\]*)?$/, `-object${id}$1`))
  checkFiles(options)
  const { checkpoint, resume } = options
  const training = { ...settings }
  if (checkpoint !== undefined) {
    training.checkpoint = checkpointOf(parent, { ...checkpoint, path: fileOf(checkpoint.path) })
  }
  if (resume !== undefined && (first || existsSync(fileOf(resume)))) training.resume = await resumeOf(fileOf(resume))
  return training
}

function maskOf(objects: ObjectMask, id: number): RawImage {
  const { width, height } = objects
  return { data: objects.data.map((value) => (value === id ? 1 : 0)), width, height, channels: 1 }
}
