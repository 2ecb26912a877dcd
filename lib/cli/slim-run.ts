import { join, parse } from 'node:path'
import { invalidArgument, TorchvidError } from '../errors.ts'
import type { Network } from '../network.ts'
import { writeSlimReport } from '../report/slim-report.ts'
import * as runtime from '../runtime.ts'
import { slim } from '../slim/index.ts'
import type { SlimReport } from '../slim/report.ts'
import type { SlimOptions } from '../slim/slim.ts'
import { type Images, readImages } from './image-data.ts'
import { Interrupted } from './interrupt.ts'
import { modelKind, openModel } from './models.ts'
import { checkFile } from './places.ts'
import { createProgress, formatSeconds, type Progress } from './progress.ts'
import type { SlimFlags } from './slim.ts'
import { prepared } from './slim-images.ts'
import { settingsOf, summaryOf } from './slim-summary.ts'

const EVENT_EVERY_MS = 300
const LABELS = { train: 'Training', iterate: 'Cutting', finetune: 'Fine-tuning' }

/** Everything that one call works with. */
export interface SlimJob {
  model: string
  flags: SlimFlags
  signal: AbortSignal
  progress: Progress
  /** Where the report goes, if there is to be one. */
  report: string | undefined
  /** Prints an event, with `--json`. */
  emit(event: object): void
}

/** A slimmed network and what was done to get it. */
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
  const job: SlimJob = { model, flags, signal, progress: createProgress(), report: reportPath(flags), emit }
  const networks: Network[] = []
  try {
    await checkPlaces(job)
    if (flags.threads !== undefined) await runtime.setThreads(flags.threads)
    const read = flags.data === undefined ? undefined : await readData(job, flags.data)
    const network = await openModel(model, {
      settings: { classes: classesOf(flags, read), ...(read && { image: read.train.shape.slice(1) as [number, number, number] }) },
      ...{ weights: flags.weights, device: flags.device, seed: flags.seed },
    })
    networks.push(network)
    const images = read && prepared(read, network.graph, flags)
    if (images !== undefined) emitData(job, images)
    const slimmed = images === undefined || flags.onlyPrune ? await cutOnly(job, network, images) : await slimAll(job, network, images)
    networks.push(slimmed.network)
    await finish(job, slimmed, images)
  } finally {
    job.progress.stop()
    for (const network of networks) network.dispose()
  }
}

/** OUT with the ending .html, where no other name is given. */
function reportPath({ report, out }: SlimFlags): string | undefined {
  if (report !== true) return report
  const { dir, name } = parse(out)
  return join(dir, `${name}.html`)
}

/** Nobody should wait for a training to hear that a file cannot be written, or that the model is none. */
async function checkPlaces({ model, flags, report }: SlimJob): Promise<void> {
  const kind = await modelKind(model)
  if (kind === 'file') {
    for (const name of ['weights', 'classes'] as const) {
      if (flags[name] !== undefined) throw invalidArgument(`--${name}`, flags[name], "a network's name as MODEL with it, or nothing: the file has its own")
    }
  }
  for (const file of [flags.out, flags.checkpoint, report]) if (file !== undefined) await checkFile(file)
}

async function readData({ model, flags, signal, progress }: SlimJob, path: string): Promise<Images> {
  const started = performance.now()
  const images = await readImages(path, {
    ...{ dataset: flags.dataset, testSplit: flags.testSplit, seed: flags.seed, signal },
    imageSize: flags.imageSize ?? (await pictureSide(model)),
    onProgress: ({ done, total }) => progress.update({ label: 'Reading', done, total, text: `image ${done} of ${total}` }),
    onWarning: (message) => progress.message(`Warning: ${message}`),
  })
  progress.stop()
  const { dataset, train, test, heldOut } = images
  const measured = test === undefined ? 'none to be measured by' : `${test.shape[0]} ${heldOut ? 'held out' : 'for testing'}`
  progress.message(`${dataset}: ${train.shape[0]} images for training, ${measured}, ${formatSeconds((performance.now() - started) / 1000)}`)
  return images
}
