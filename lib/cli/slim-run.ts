import { readdir } from 'node:fs/promises'
import { basename, dirname, join, parse } from 'node:path'
import { invalidArgument } from '../errors.ts'
import type { Network } from '../network.ts'
import { writeSlimReport } from '../report/slim-report.ts'
import * as runtime from '../runtime.ts'
import { slim } from '../slim/index.ts'
import type { SlimReport, StageReport } from '../slim/report.ts'
import type { SlimStageProgress } from '../slim/slim.ts'
import type { SlimFlags } from './flags.ts'
import { type Images, readImages } from './image-data.ts'
import { Interrupted } from './interrupt.ts'
import { graphNamed, modelKind, openFile, openNamed } from './models.ts'
import { checkFile } from './places.ts'
import { createProgress, formatSeconds, type Progress } from './progress.ts'
import { cutOptions, prepared, slimOptions } from './slim-options.ts'
import { settingsOf, summaryOf } from './slim-summary.ts'
import { formatPercent } from './text-table.ts'

const EVENT_EVERY_MS = 300
const LABELS = { train: 'Training', iterate: 'Cutting', finetune: 'Fine-tuning' }
const MOST_WARNINGS = 5
/** Sides of pictures where neither the network nor the user says. */
const FREE_SIDE = 224
/** Of a network by its name, without data. */
const DEFAULT_CLASSES = 10

/** Everything that one call works with. */
interface Job {
  model: string
  flags: SlimFlags
  signal: AbortSignal
  progress: Progress
  /** Where the report goes, if there is to be one. */
  report: string | undefined
  /** Prints an event, with `--json`. */
  emit(event: object): void
}

/** What there is to slim. */
interface Start {
  network: Network
  images: Images | undefined
}

/** A slimmed network, and what was done. */
interface Slimmed {
  network: Network
  kept: Record<string, number[]>
  report: SlimReport
}

/**
 * Slims MODEL and writes what was asked for. Progress goes to stderr, the summary (or with `--json` the events) to stdout.
 * @throws TorchvidError; `Interrupted` when the signal aborts
 */
export async function slimFromCommandLine(model: string, flags: SlimFlags, signal: AbortSignal): Promise<void> {
  const emit = flags.json ? (event: object) => console.log(JSON.stringify(event)) : () => {}
  const job: Job = { model, flags, signal, progress: createProgress(), report: reportPath(flags), emit }
  let start: Start | undefined
  let slimmed: Slimmed | undefined
  try {
    const kind = await modelKind(model)
    await checkPlaces(job, kind)
    if (flags.threads !== undefined) await runtime.setThreads(flags.threads)
    start = kind === 'file' ? await startFromFile(job) : await startByName(job)
    slimmed = flags.onlyPrune ? await cutOnly(job, start) : await slimAll(job, start)
    signal.throwIfAborted()
    await finish(job, start, slimmed)
  } finally {
    job.progress.stop()
    start?.network.dispose()
    slimmed?.network.dispose()
  }
}

/** OUT with the ending .html, where no other name is given. */
function reportPath({ report, out }: SlimFlags): string | undefined {
  if (report !== true) return report
  const { dir, name } = parse(out)
  return join(dir, `${name}.html`)
}

/** Nobody should wait for a training to hear that a file cannot be written. */
async function checkPlaces({ flags, report }: Job, kind: 'file' | 'name'): Promise<void> {
  for (const name of ['weights', 'classes'] as const) {
    if (kind === 'name' || flags[name] === undefined) continue
    throw invalidArgument(
      `--${name}`,
      flags[name],
      "it left out: MODEL is a file, which has its own (it is for a network's name)",
    )
  }
  for (const file of [flags.out, flags.checkpoint, report]) if (file !== undefined) await checkFile(file)
}

/** The files that a slimming with `--checkpoint FILE` left. */
async function checkpointsOf(file: string): Promise<string[]> {
  const { name, ext } = parse(file)
  const names = await readdir(dirname(file)).catch(() => [])
  const isStage = /^-\d+-(train|iterate|finetune)(-\d+)?(-done)?$/
  return names.filter(
    (each) =>
      each.startsWith(name) && each.endsWith(ext) && isStage.test(each.slice(name.length, each.length - ext.length)),
  )
}

/** The network first: it says how large the pictures are. */
async function startFromFile(job: Job): Promise<Start> {
  const { model, flags } = job
  const network = await openFile(model, flags.device)
  try {
    const side = network.graph.inputs[0]?.shape[2] ?? FREE_SIDE
    const images = flags.data === undefined ? undefined : await readData(job, flags.data, side)
    return { network, images: images && prepared(images, network.graph, flags) }
  } catch (error) {
    network.dispose()
    throw error
  }
}

/** The images first: they say how many classes there are. */
async function startByName(job: Job): Promise<Start> {
  const { model, flags } = job
  const side = graphNamed(model, { classes: DEFAULT_CLASSES }).inputs[0]?.shape[2] ?? FREE_SIDE
  const images = flags.data === undefined ? undefined : await readData(job, flags.data, side)
  const [, ...image] = images?.train.shape ?? []
  const network = await openNamed(model, {
    settings: {
      classes: flags.classes ?? images?.train.classes?.length ?? DEFAULT_CLASSES,
      ...(image.length === 3 && { image: image as [number, number, number] }),
    },
    ...{ weights: flags.weights, device: flags.device, seed: flags.seed },
  })
  return { network, images: images && prepared(images, network.graph, flags) }
}

async function readData({ flags, signal, progress, emit }: Job, path: string, side: number): Promise<Images> {
  const started = performance.now()
  const images = await readImages(path, {
    ...{ dataset: flags.dataset, testSplit: flags.testSplit, seed: flags.seed, signal },
    imageSize: flags.imageSize ?? side,
    onProgress: ({ done, total }) =>
      progress.update({ label: 'Reading', done, total, text: `image ${done} of ${total}` }),
    onWarning: (message) => progress.message(`Warning: ${message}`),
  })
  progress.stop()
  const { dataset, train, test, heldOut } = images
  const [count, ...image] = train.shape
  const measured =
    test === undefined ? 'none for testing' : `${test.shape[0]} ${heldOut ? 'held out for testing' : 'for testing'}`
  const seconds = formatSeconds((performance.now() - started) / 1000)
  progress.message(
    `Data: ${dataset}, ${count} images of ${image.join('x')} for training, ${measured} (read in ${seconds})`,
  )
  emit({
    event: 'data',
    dataset,
    image,
    train: count,
    test: test?.shape[0] ?? 0,
    heldOut,
    classes: train.classes?.length ?? null,
  })
  return images
}

async function slimAll(job: Job, { network, images }: Start): Promise<Slimmed> {
  const { flags, signal, progress, emit } = job
  const { train, test } = images as Images
  const run = slim(network, { train, test, ...slimOptions(network.graph, images, flags), signal })
  let last: SlimStageProgress | undefined
  let emittedAt = 0
  try {
    for await (const record of run) {
      last = record
      progress.update({ label: LABELS[record.stage], done: record.step, total: record.steps, text: textOf(record) })
      if (record.step < record.steps && performance.now() - emittedAt < EVENT_EVERY_MS) continue
      emittedAt = performance.now()
      const { stage, pass, epoch, epochs, step, steps, loss, accuracy, learningRate, secondsLeft } = record
      emit({ event: 'train', stage, pass, epoch, epochs, step, steps, loss, accuracy, learningRate, secondsLeft })
    }
    return await run
  } catch (error) {
    if (!signal.aborted) throw error
    throw new Interrupted(`Interrupted${placeOf(last)}.${await wayOn(flags)}`, { cause: error })
  } finally {
    progress.stop()
  }
}

function textOf({ epoch, epochs, loss, accuracy, secondsLeft }: SlimStageProgress): string {
  const right = accuracy === undefined ? '' : `, ${formatPercent(accuracy)} right`
  return `epoch ${epoch} of ${epochs}, loss ${loss.toPrecision(3)}${right}, ${formatSeconds(secondsLeft)} left`
}

function placeOf(last: SlimStageProgress | undefined): string {
  if (last === undefined) return ' before the first step'
  return ` at step ${last.step} of ${last.steps} (${LABELS[last.stage].toLowerCase()}, pass ${last.pass})`
}

async function wayOn({ checkpoint }: SlimFlags): Promise<string> {
  if (checkpoint === undefined) return ''
  const files = await checkpointsOf(checkpoint)
  return files.length === 0 ? ' There was no checkpoint yet.' : ` The state is kept; go on with --resume ${checkpoint}`
}

/** A cut without training; measured before and after when there are images for it. */
async function cutOnly({ flags, signal }: Job, { network, images }: Start): Promise<Slimmed> {
  const started = performance.now()
  const cut = await slim.prune(network, cutOptions(network.graph, images, flags))
  const seconds = (performance.now() - started) / 1000
  const measured = async (net: Network) =>
    images?.test === undefined ? { accuracy: null, loss: null } : await slim.evaluate(net, images.test, { signal })
  try {
    const { parameters, macs } = cut.report
    const [before, after] = [await measured(network), await measured(cut.network)]
    const stages: StageReport[] = [
      { stage: 'start', pass: 1, ...scoresOf(before), parameters: parameters.before, macs: macs.before, seconds: 0 },
      { stage: 'prune', pass: 1, ...scoresOf(after), parameters: parameters.after, macs: macs.after, seconds },
    ]
    return { ...cut, report: { ...cut.report, stages } }
  } catch (error) {
    cut.network.dispose()
    throw signal.aborted ? new Interrupted('Interrupted; nothing was written.', { cause: error }) : error
  }
}

/** The first few: deep networks can have hundreds of them. */
function warn(warnings: string[], { progress, report }: Job): void {
  for (const warning of warnings.slice(0, MOST_WARNINGS)) progress.message(`Warning: ${warning}`)
  const more = warnings.length - MOST_WARNINGS
  if (more <= 0) return
  progress.message(
    `Warning: there are ${more} more. ${report === undefined ? 'With --report all are in the report.' : 'All are in the report.'}`,
  )
}

function scoresOf({ accuracy, loss }: Pick<StageReport, 'accuracy' | 'loss'>): Pick<StageReport, 'accuracy' | 'loss'> {
  return { accuracy, loss }
}

async function finish(job: Job, { images }: Start, { network, kept, report }: Slimmed): Promise<void> {
  const { model, flags, emit } = job
  warn(report.warnings, job)
  await network.save(flags.out)
  if (job.report !== undefined) {
    await writeSlimReport(job.report, report, {
      title: `torchvid slim ${basename(model)}`,
      kept,
      settings: await settingsOf(model, flags, images),
    })
  }
  const files: [string, string][] = [
    ['Network', flags.out],
    ...(job.report === undefined ? [] : [['Report', job.report] as [string, string]]),
  ]
  emit({
    event: 'done',
    ...{ stages: report.stages, channels: report.channels, parameters: report.parameters, macs: report.macs },
    ...{ strategy: report.strategy, ratio: report.ratio, threshold: report.threshold, warnings: report.warnings },
    peakMemory: process.resourceUsage().maxRSS * 1024,
    out: flags.out,
    report: job.report ?? null,
  })
  if (!flags.json) console.log(summaryOf(report, files))
}
