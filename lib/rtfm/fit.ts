import { settingsWarnings } from '../data/feature-settings.ts'
import { type FeatureInput, type FeatureReader, openFeatureSet } from '../data/features.ts'
import { checkFree } from '../data/memory.ts'
import type { RunContext } from '../engine/run.ts'
import { checkFiles, checkpointOf, ProgressTracker, resumeOf, runTraining, trainingBasics } from '../engine/training.ts'
import { invalidArgument } from '../errors.ts'
import { type NativeNetwork, type NativeTraining, type NativeVideo, native } from '../native.ts'
import { Network } from '../network.ts'
import { describeAll, trainingLabels } from './norms.ts'
import { type RtfmFitOptions, type RtfmProgress, recipeOf } from './recipe.ts'
import { checkSize, type Scorer } from './score.ts'
import { type Split, splitVideos } from './validation.ts'

/** Videos to learn from: features of each. */
export interface RtfmVideos {
  normal: FeatureInput[]
  /** Known to hold something abnormal, somewhere. */
  abnormal: FeatureInput[]
}

/** What a training came to. */
export interface RtfmTraining {
  steps: number
  /** The state that was kept, where it was measured: after which step, and its figure. */
  best?: { step: number; value: number }
  /** All measurements; of a resumed run those since then. */
  validations: { step: number; value: number }[]
  /** Names of the training videos that were held out for them. */
  heldOut?: { normal: string[]; abnormal: string[] }
  /** What is odd about the features. */
  warnings: string[]
}

/** Trains a copy of the detector's network. */
export async function fitDetector(
  scorer: Scorer,
  videos: RtfmVideos,
  options: RtfmFitOptions,
  { signal, report }: RunContext<RtfmProgress>,
): Promise<{ handle: NativeNetwork; training: RtfmTraining; labels: Record<string, string> }> {
  const { network, settings } = scorer
  const recipe = recipeOf(settings, options)
  const basics = trainingBasics(options)
  checkOutputs(options)
  const all = await openKinds(scorer, videos)
  const described = await describeAll([...all.normal, ...all.abnormal])
  const warnings = settingsWarnings(described)
  for (const warning of warnings) (options.onWarning ?? emitWarning)(warning)
  const labels = trainingLabels(network.graph, described)
  const split = await splitVideos(all, options.validation, settings, { seed: basics.seed, shuffle: recipe.shuffle })
  const steps = recipe.stepsFor(split.normal.length, split.abnormal.length)
  const training: NativeTraining = {
    ...basics,
    passes: steps,
    accumulate: 1,
    schedule: { kind: 'constant' },
    optimizer: recipe.optimizer,
    objective: recipe.objective,
    source: await bagsOf(split, recipe, settings),
  }
  if (split.validation !== undefined) training.validation = split.validation
  if (options.checkpoint !== undefined) {
    const { best } = options.checkpoint
    if (best !== undefined && split.validation === undefined) {
      const wanted = 'validation as well: nothing is measured in this run, so no state is the best'
      throw invalidArgument('checkpoint.best', best, wanted)
    }
    const labelled = new Network({ ...network.graph, labels }, network.handle)
    training.checkpoint = { ...checkpointOf(labelled, options.checkpoint), ...(best !== undefined && { best }) }
  }
  if (options.resume !== undefined) training.resume = await resumeOf(options.resume)
  const before = split.validation && training.resume && (await bestBefore(training.resume))

  const tracker = new ProgressTracker(steps)
  const validations: RtfmTraining['validations'] = []
  const handle = await runTraining(
    network,
    training,
    (records) => {
      const progress = records.map((record) => {
        const { step, validation } = record
        if (validation === undefined) return tracker.progress(record)
        validations.push({ step, value: validation })
        return { ...tracker.progress(record), validation }
      })
      report(progress)
    },
    signal,
  )
  const best = bestOf(before === undefined ? validations : [before, ...validations])
  const { heldOut } = split
  return {
    handle,
    training: { steps, ...(best && { best }), validations, ...(heldOut && { heldOut }), warnings },
    labels,
  }
}

/** `ERR_INVALID_ARGUMENT` unless the files and the receiver of warnings are of the right form. */
function checkOutputs(options: RtfmFitOptions): void {
  checkFiles(options)
  const { checkpoint, onWarning } = options
  const best: unknown = checkpoint?.best
  if (best !== undefined && (typeof best !== 'string' || best === '')) {
    throw invalidArgument('checkpoint.best', best, 'the path of a file')
  }
  if (onWarning !== undefined && typeof onWarning !== 'function') {
    throw invalidArgument('onWarning', onWarning, 'a function')
  }
}

/** The best measurement of a run up to the checkpoint that it goes on from, if it had one. */
async function bestBefore({ path, tensors }: NonNullable<NativeTraining['resume']>): Promise<RtfmTraining['best']> {
  const row = tensors.find(({ name }) => name === 'torchvid.best')
  if (row === undefined) return undefined
  const [step, value] = (await native().readTensor(path, row)).data
  return { step: Number(step), value: Number(value) }
}

function emitWarning(message: string): void {
  process.emitWarning(message, { code: 'TORCHVID_FEATURES' })
}

/** Of equal ones the latest, as the trainer keeps it. */
function bestOf(validations: RtfmTraining['validations']) {
  return validations.reduce<RtfmTraining['best']>(
    (best, one) => (best && best.value > one.value ? best : one),
    undefined,
  )
}

/** Opens both kinds of videos; all must be of the size that the network takes. */
async function openKinds(scorer: Scorer, videos: RtfmVideos) {
  const { normal, abnormal } = videos ?? {}
  for (const [name, list] of Object.entries({ normal, abnormal })) {
    if (!Array.isArray(list) || list.length === 0) {
      throw invalidArgument(`videos.${name}`, list, `the features of at least one ${name} video, in an array`)
    }
  }
  const readers = {
    normal: await openFeatureSet(normal, 'normal'),
    abnormal: await openFeatureSet(abnormal, 'abnormal'),
  }
  for (const reader of [...readers.normal, ...readers.abnormal]) checkSize(scorer, reader)
  return readers
}

/** What the trainer keeps resident: every video resampled. */
async function bagsOf(
  { normal, abnormal }: Split,
  { batchSize, shuffle, paired }: { batchSize: number; shuffle: boolean; paired: boolean },
  { objective, segments, normalise, featureSize }: Scorer['settings'],
): Promise<NativeTraining['source']> {
  const videos = normal.length + abnormal.length
  const crops = (normal[0] as FeatureReader).crops
  const bytes = videos * crops * segments * featureSize * Float32Array.BYTES_PER_ELEMENT
  checkFree(
    `Training on ${videos} videos of ${crops} x ${segments} x ${featureSize} numbers`,
    bytes,
    'Train on fewer videos or crops.',
  )
  const resampling = objective === 'milRanking' ? ('sultani' as const) : ('linspace' as const)
  const [normals, abnormals] = [await sources(normal), await sources(abnormal)]
  const common = { batchSize, shuffle, paired, segments, resampling, normalise }
  return { kind: 'bags', normal: normals, abnormal: abnormals, ...common }
}

async function sources(readers: FeatureReader[]): Promise<NativeVideo[]> {
  const videos: NativeVideo[] = []
  for (const reader of readers) videos.push({ name: reader.name, features: await reader.source() })
  return videos
}
