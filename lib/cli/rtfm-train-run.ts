import { existsSync } from 'node:fs'
import type { FeatureVideo } from '../data/feature-lists.ts'
import { type FeatureInput, openFeatures } from '../data/features.ts'
import { describe, TorchvidError } from '../errors.ts'
import type { RtfmTraining } from '../rtfm/fit.ts'
import type { RtfmProgress } from '../rtfm/recipe.ts'
import { RTFM } from '../rtfm/rtfm.ts'
import type { RtfmValidation } from '../rtfm/validation.ts'
import * as runtime from '../runtime.ts'
import type { RtfmTrainFlags } from './flags.ts'
import { Interrupted } from './interrupt.ts'
import { checkFile } from './places.ts'
import { createProgress, formatSeconds, type Progress } from './progress.ts'
import { readTestVideos, readVideos } from './rtfm-inputs.ts'

const EVENT_EVERY_MS = 300
const METRICS = { rocAuc: 'ROC AUC', prAuc: 'PR AUC (trapezoid)', averagePrecision: 'average precision' }

/** Everything that one call works with. */
interface Job {
  flags: RtfmTrainFlags
  signal: AbortSignal
  progress: Progress
  emit(event: object): void
}

/** Features of videos of both kinds. */
interface Videos {
  normal: FeatureInput[]
  abnormal: FeatureInput[]
}

/**
 * Trains a detector and saves it. Progress goes to stderr, the summary (or with `--json` the events) to stdout.
 * @throws TorchvidError; `Interrupted` when the signal aborts
 */
export async function trainFromCommandLine(flags: RtfmTrainFlags, signal: AbortSignal): Promise<void> {
  const emit = flags.json ? (event: object) => console.log(JSON.stringify(event)) : () => {}
  const job: Job = { flags, signal, progress: createProgress(), emit }
  let model: RTFM | undefined
  try {
    const videos = await readBoth(flags)
    const validation = await validationOf(flags)
    for (const file of [flags.out, flags.checkpoint, flags.best]) if (file !== undefined) await checkFile(file)
    const { size, crops } = await openFeatures(videos.normal[0] as FeatureInput, 'normal[0]')
    const [normal, abnormal] = [videos.normal.length, videos.abnormal.length]
    job.progress.message(`Data: ${normal} normal and ${abnormal} abnormal videos, ${crops} x ${size} numbers a segment`)
    emit({ event: 'data', normal, abnormal, crops, featureSize: size })
    if (flags.threads !== undefined) await runtime.setThreads(flags.threads)
    const { network, objective, dropout, segments, normalise, device, seed } = flags
    model = await RTFM.create({
      featureSize: size,
      ...{ network, objective, dropout, segments, normalise, device, seed },
    })
    const training = await fitAll(job, model, videos, validation)
    signal.throwIfAborted()
    await model.save(flags.out)
    finish(job, model, training)
  } finally {
    job.progress.stop()
    model?.dispose()
  }
}

/** From one list that tells the kinds apart, or from two. */
async function readBoth({ list, normal = '', abnormal = '', dataset, root }: RtfmTrainFlags): Promise<Videos> {
  if (list === undefined) {
    const [normals, abnormals] = [
      await readVideos(normal, '--normal', { dataset: 'other', root }),
      await readVideos(abnormal, '--abnormal', { dataset: 'other', root }),
    ]
    return { normal: normals.map(featuresOf), abnormal: abnormals.map(featuresOf) }
  }
  const videos = await readVideos(list, '--list', { dataset, split: 'train', root })
  const unknown = videos.find(({ abnormal }) => abnormal === undefined)
  if (unknown !== undefined) {
    const text = `--list: nothing tells whether ${describe(unknown.name)} is normal or abnormal. Wanted a list of ShanghaiTech, UCF-Crime or XD-Violence, or --normal and --abnormal instead.`
    throw new TorchvidError('ERR_INVALID_ARGUMENT', text)
  }
  const of = (kind: boolean) => videos.filter(({ abnormal }) => abnormal === kind).map(featuresOf)
  return { normal: of(false), abnormal: of(true) }
}

function featuresOf({ features }: FeatureVideo): FeatureInput {
  return features
}

/** By what the best state is chosen; undefined: the library's own way. */
async function validationOf(flags: RtfmTrainFlags): Promise<RtfmValidation | false | undefined> {
  const { test, groundTruth, framesPerSegment, heldOut, evaluateEvery, evaluateAfter, metric, root } = flags
  if (heldOut === 0) return false
  const when = { every: evaluateEvery, after: evaluateAfter, metric }
  if (test !== undefined) {
    const videos = await readTestVideos(test, '--test', { dataset: flags.dataset, root })
    return { ...when, test: videos, groundTruth, framesPerSegment }
  }
  const isGiven = [heldOut, evaluateEvery, evaluateAfter, metric].some((value) => value !== undefined)
  return isGiven ? { ...when, holdOut: heldOut } : undefined
}

async function fitAll(
  { flags, signal, progress, emit }: Job,
  model: RTFM,
  videos: Videos,
  validation: RtfmValidation | false | undefined,
): Promise<RtfmTraining> {
  const { steps, batchSize, learningRate, weightDecay, seed, checkpoint, every, best, resume } = flags
  const run = model.fit(videos, {
    ...{ steps, batchSize, learningRate, weightDecay, seed, resume, validation, signal },
    ...(checkpoint !== undefined && { checkpoint: { path: checkpoint, every, best } }),
    onWarning: (message) => progress.message(`Warning: ${message}`),
  })
  let last: RtfmProgress | undefined
  let measured: number | undefined
  let emittedAt = 0
  try {
    for await (const record of run) {
      last = record
      measured = record.validation ?? measured
      progress.update({
        label: 'Training',
        done: record.step,
        total: record.steps,
        text: textOf(record, measured, flags),
      })
      const isDue = record.validation !== undefined || record.step === record.steps
      if (!isDue && performance.now() - emittedAt < EVENT_EVERY_MS) continue
      emittedAt = performance.now()
      const { step, loss, losses, learningRate, secondsLeft, validation = null } = record
      emit({ event: 'train', step, steps: record.steps, loss, losses, learningRate, validation, secondsLeft })
    }
    return await run
  } catch (error) {
    if (!signal.aborted) throw error
    const at = last === undefined ? ' before the first step' : ` at step ${last.step} of ${last.steps}`
    const kept = checkpoint !== undefined && existsSync(checkpoint) ? ` Go on with --resume ${checkpoint}` : ''
    throw new Interrupted(`Interrupted${at}.${kept}`, { cause: error })
  } finally {
    progress.stop()
  }
}

function textOf({ step, steps, loss, secondsLeft }: RtfmProgress, measured: number | undefined, flags: RtfmTrainFlags) {
  const figure = measured === undefined ? '' : `, ${METRICS[flags.metric ?? 'rocAuc']} ${measured.toFixed(4)}`
  return `step ${step} of ${steps}, loss ${loss.toPrecision(4)}${figure}, ${formatSeconds(secondsLeft)} left`
}

function finish({ flags, emit }: Job, { settings }: RTFM, training: RtfmTraining): void {
  const { steps, best, validations, heldOut, warnings } = training
  const metric = METRICS[flags.metric ?? 'rocAuc']
  emit({
    event: 'done',
    ...{ steps, best: best ?? null, metric: flags.metric ?? 'rocAuc', validations, heldOut: heldOut ?? null, warnings },
    ...{ network: settings.network, objective: settings.objective, featureSize: settings.featureSize },
    peakMemory: process.resourceUsage().maxRSS * 1024,
    model: flags.out,
    checkpoint: flags.checkpoint ?? null,
  })
  if (flags.json) return
  const chosen =
    best === undefined
      ? 'the last state (nothing was measured)'
      : `the state after step ${best.step}: ${metric} ${best.value.toFixed(4)} ${where(heldOut)}`
  const lines: [string, string][] = [
    ['Trained', `${settings.network}, objective ${settings.objective}, ${steps} steps`],
    ['Kept', chosen],
    ['Model', flags.out],
  ]
  for (const [name, value] of lines) console.log(`${name.padEnd(8)} ${value}`)
}

function where(heldOut: RtfmTraining['heldOut']): string {
  if (heldOut === undefined) return "of the test videos' frames (it was chosen by them, so it flatters)"
  const count = heldOut.normal.length + heldOut.abnormal.length
  return `of ${count} videos held out (${heldOut.normal.length} normal, ${heldOut.abnormal.length} abnormal)`
}
