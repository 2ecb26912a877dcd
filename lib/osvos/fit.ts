import { existsSync } from 'node:fs'
import { readImage } from '../data/image.ts'
import { type ObjectMask, readMask } from '../data/mask.ts'
import type { RunContext, RunOptions, TrainingProgress } from '../engine/run.ts'
import { checkInteger, checkNumber, invalidArgument, TorchvidError } from '../errors.ts'
import type { PixelFormat } from '../graph/types.ts'
import { abortedCode, type NativeRecord, type NativeTraining, native } from '../native.ts'
import { Network } from '../network.ts'
import type { ImageInput, RawImage } from '../types.ts'
import { readTable } from '../weights/table.ts'
import { type Recipe, recipeOf } from './recipe.ts'

/** The augmentation of `fit`: a flip, then rotation and scaling about the centre; outside is mean colour, background. */
export interface Augmentation {
  /** Probability of a flip. Default 0.5. */
  flip?: number
  /** Degrees; uniform in [-rotation, rotation]. Default 30. */
  rotation?: number
  /** Uniform in [low, high]. Default [0.75, 1.25]. */
  scale?: [low: number, high: number]
}

/** Settings of `OSVOS.fit`. Defaults are the trunk's own: VGG16's are the paper's code, MobileNet's were measured. */
export interface FitOptions extends RunOptions<TrainingProgress> {
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
  const picture = await readImage(image, 'image')
  const { width, height } = picture
  const objects = await readMask(mask, { objects: options.objects, width, height })
  const warn = options.onWarning ?? ((message: string) => process.emitWarning(message))
  for (const warning of objects.warnings) warn(warning)
  const heads: Head[] = []
  const several = objects.ids.length > 1
  try {
    for (const [place, id] of objects.ids.entries()) {
      context.signal.throwIfAborted()
      const training = await withFiles(parent, settings, options, place === 0, several ? id : undefined)
      const source = { ...training.source, image: picture, mask: maskOf(objects, id), pixels: pixelsOf(parent) }
      const tracker = new Tracker(training.passes, objects.ids.length, place, context)
      heads.push({ id, network: await train(parent, { ...training, source }, tracker, context.signal) })
    }
    return heads
  } catch (error) {
    for (const head of heads) head.network.dispose()
    throw error
  }
}

/** How the network takes pictures; every OSVOS graph says so. */
export function pixelsOf(network: Network): PixelFormat {
  const pixels = network.graph.inputs[0]?.pixels
  if (pixels !== undefined) return pixels
  const message = "The network's graph does not say how its input takes pictures (pixels); networks.osvos does."
  throw new TorchvidError('ERR_INVALID_ARGUMENT', message)
}

type Settings = Omit<NativeTraining, 'source'> & { source: Pick<NativeTraining['source'], 'maxSize' | 'augment'> }

function checkOptions(options: FitOptions, recipe: Recipe): Settings {
  const { precision = 'auto', seed = 0, device = 'auto', maxSize = 0 } = options
  const passes = checkInteger('iterations', options.iterations ?? recipe.iterations, 1)
  const accumulate = checkInteger('accumulate', options.accumulate ?? recipe.accumulate, 1)
  const rate = checkNumber('learningRate', options.learningRate ?? recipe.learningRate, 0)
  const decay = checkNumber('weightDecay', options.weightDecay ?? recipe.weightDecay, 0)
  const momentum = checkNumber('momentum', options.momentum ?? recipe.momentum, 0, 1)
  checkInteger('seed', seed, 0)
  if (maxSize !== 0) checkInteger('maxSize', maxSize, 16)
  if (!['float32', 'bfloat16', 'auto'].includes(precision)) {
    throw invalidArgument('precision', precision, "'float32', 'bfloat16' or 'auto'")
  }
  return {
    passes,
    accumulate,
    schedule: recipe.schedule,
    bfloat16: precision === 'bfloat16',
    seed,
    device,
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
    source: { maxSize, augment: checkAugment(options.augment) },
    objective: { outputs: { fuse: 1 }, reduction: recipe.reduction },
  }
}

function checkAugment(augment: FitOptions['augment'] = {}): NativeTraining['source']['augment'] {
  if (augment === false) return null
  if (typeof augment !== 'object' || augment === null) throw invalidArgument('augment', augment, 'settings, or false')
  const { flip = 0.5, rotation = 30, scale = [0.75, 1.25] } = augment
  checkNumber('augment.flip', flip, 0, 1)
  checkNumber('augment.rotation', rotation, 0, 180)
  if (!Array.isArray(scale) || scale.length !== 2) throw invalidArgument('augment.scale', scale, 'two numbers')
  checkNumber('augment.scale[0]', scale[0], 0.01)
  checkNumber('augment.scale[1]', scale[1], scale[0])
  return { flip, rotation, scale }
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
  const { checkpoint, resume } = options
  if (resume !== undefined && typeof resume !== 'string')
    throw invalidArgument('resume', resume, 'the path of a checkpoint')
  if (checkpoint !== undefined && typeof checkpoint?.path !== 'string') {
    throw invalidArgument('checkpoint', checkpoint, 'an object { path, every }')
  }
  const training = { ...settings }
  if (checkpoint !== undefined) {
    checkInteger('checkpoint.every', checkpoint.every, 1)
    training.checkpoint = { path: fileOf(checkpoint.path), every: checkpoint.every, metadata: parent.metadata() }
  }
  if (resume !== undefined && (first || existsSync(fileOf(resume)))) {
    const path = fileOf(resume)
    const { tensors, metadata } = await readTable(path)
    const step = Number(metadata['torchvid.step'] ?? Number.NaN)
    if (!Number.isSafeInteger(step)) {
      const message = `${path} is no training checkpoint: it does not say at which step it stands. Give the file that checkpoint wrote.`
      throw new TorchvidError('ERR_CHECKPOINT_MISMATCH', message)
    }
    training.resume = { path, step, tensors }
  }
  return training
}

function maskOf(objects: ObjectMask, id: number): RawImage {
  const { width, height } = objects
  return { data: objects.data.map((value) => (value === id ? 1 : 0)), width, height, channels: 1 }
}

async function train(
  parent: Network,
  training: NativeTraining,
  tracker: Tracker,
  signal: AbortSignal,
): Promise<Network> {
  const job = native().train(parent.handle, training, (records) => tracker.report(records))
  const abort = () => job.abort()
  if (signal.aborted) abort()
  signal.addEventListener('abort', abort, { once: true })
  try {
    return new Network(parent.graph, await job.promise)
  } catch (error) {
    throw (error as { code?: string }).code === abortedCode ? signal.reason : error
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

/** Turns the trainer's records into progress over all objects. */
class Tracker {
  private readonly recent: number[] = []

  constructor(
    private readonly passes: number,
    private readonly objects: number,
    private readonly place: number,
    private readonly context: RunContext<TrainingProgress>,
  ) {}

  report(records: NativeRecord[]): void {
    this.context.report(records.map((record) => this.progress(record)))
  }

  private progress({ step, loss, losses, learningRate, seconds }: NativeRecord): TrainingProgress {
    this.recent.push(seconds)
    if (this.recent.length > 20) this.recent.shift()
    const secondsPerStep = this.recent.reduce((a, b) => a + b, 0) / this.recent.length
    const steps = this.passes * this.objects
    const done = this.passes * this.place + step
    return {
      step: done,
      steps,
      loss,
      losses,
      learningRate,
      secondsPerStep,
      secondsLeft: (steps - done) * secondsPerStep,
    }
  }
}
