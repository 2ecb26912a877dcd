import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { ffmpegPath } from '../data/ffmpeg.ts'
import { openFrames } from '../data/frames.ts'
import { readMask } from '../data/mask.ts'
import { TorchvidError } from '../errors.ts'
import { OSVOS } from '../osvos/osvos.ts'
import * as runtime from '../runtime.ts'
import type { RawImage } from '../types.ts'
import type { SegmentFlags } from './flags.ts'
import { Interrupted } from './interrupt.ts'
import { Outputs, type Pictures } from './outputs.ts'
import { checkPlaces } from './places.ts'
import { createProgress, formatSeconds, type Progress } from './progress.ts'
import { writeReport } from './report.ts'

const DEFAULT_FPS = 24
const EVENT_EVERY_MS = 300
const REPORT_TILES = 12

/** Everything that one call works with. */
interface Job {
  frames: string
  flags: SegmentFlags
  signal: AbortSignal
  progress: Progress
  /** Prints an event, with `--json`. */
  emit(event: object): void
}

/** What is known of the source before the work starts. */
interface Source {
  first: RawImage
  /** About how many frames there are, if that is known. */
  count?: number
  fps?: number
}

/** How a fit went. */
interface Fit {
  model: OSVOS
  /** One after the other over all objects; a resumed fit starts later. */
  losses: { step: number; loss: number }[]
  /** Of all objects. */
  steps: number
  learningRate: number
  seconds: number
}

/**
 * Fits the first frame's objects and segments every frame. Progress goes to stderr, the summary (or with `--json` the
 * events) to stdout.
 * @throws TorchvidError; `Interrupted` when the signal aborts
 */
export async function segment(frames: string, flags: SegmentFlags, signal: AbortSignal): Promise<void> {
  const emit = flags.json ? (event: object) => console.log(JSON.stringify(event)) : () => {}
  const job: Job = { frames, flags, signal, progress: createProgress(), emit }
  let model: OSVOS | undefined
  try {
    const source = await readSource(job)
    await checkPlaces(frames, flags)
    const fit = await fitFirst(job, source)
    model = fit.model
    if (flags.saveModel !== undefined) await saveModel(model, flags.saveModel)
    const segmented = await segmentAll(job, source, model)
    await finish(job, fit, segmented)
  } finally {
    job.progress.stop()
    model?.dispose()
  }
}

/** The first frame, and a check that the mask fits it: nobody should wait for a fit to hear that it does not. */
async function readSource({ frames, flags, signal }: Job): Promise<Source> {
  const reader = await openFrames(frames, { signal })
  for await (const { image } of reader) {
    const { width, height } = image
    await readMask(flags.mask, { objects: flags.objects, width, height })
    return { first: image, count: reader.count, fps: reader.fps }
  }
  throw new TorchvidError('ERR_IO', `${frames} has no frames.`)
}

async function openModel({ flags, progress }: Job): Promise<OSVOS> {
  const { model, backbone, pretrained, device, seed } = flags
  if (model !== undefined) return await OSVOS.open(model, { device })
  if (pretrained === undefined) {
    progress.message(
      'Warning: without --pretrained or --model the trunk starts from random weights; expect poorer masks.',
    )
  }
  return await OSVOS.create({ backbone, pretrained, device, seed })
}

async function fitFirst(job: Job, { first }: Source): Promise<Fit> {
  const { flags, signal, progress, emit } = job
  const { iterations, learningRate, maxSize, objects, device, seed, resume, checkpoint, every } = flags
  const parent = await openModel(job)
  const fit = { losses: [] as Fit['losses'], learningRate: 0, steps: 0 }
  let emittedAt = 0
  const started = performance.now()
  try {
    const run = parent.fit(first, flags.mask, {
      ...{ iterations, learningRate, maxSize, objects, device, seed, resume, signal },
      ...(checkpoint === undefined ? {} : { checkpoint: { path: checkpoint, every } }),
      onWarning: (message) => progress.message(`Warning: ${message}`),
    })
    for await (const { step, steps, loss, secondsLeft, learningRate } of run) {
      if (fit.losses.length === 0) fit.learningRate = learningRate
      fit.losses.push({ step, loss })
      fit.steps = steps
      const text = `step ${step} of ${steps}, loss ${loss.toPrecision(3)}, ${formatSeconds(secondsLeft)} left`
      progress.update({ label: 'Fitting', done: step, total: steps, text })
      if (step < steps && performance.now() - emittedAt < EVENT_EVERY_MS) continue
      emittedAt = performance.now()
      emit({ event: 'fit', step, steps, loss, secondsLeft })
    }
    const model = await run
    return { model, ...fit, seconds: (performance.now() - started) / 1000 }
  } catch (error) {
    if (!signal.aborted) throw error
    const step = fit.losses.at(-1)?.step
    const at = step === undefined ? ' before the first step' : ` at step ${step} of ${fit.steps}`
    const kept = checkpoint !== undefined && existsSync(checkpoint) ? ` Go on with --resume ${checkpoint}` : ''
    throw new Interrupted(`Interrupted${at}.${kept}`, { cause: error })
  } finally {
    progress.stop()
    parent.dispose()
  }
}

/** One object's network in `file`; those of several, each with its id before the ending. */
async function saveModel(model: OSVOS, file: string): Promise<void> {
  for (const { id, network } of model.heads) {
    await network.save(model.heads.length === 1 ? file : file.replace(/(\.[^./\\]*)?$/, `-object${id}$1`))
  }
}

/** What came of the frames. */
interface Segmented {
  outputs: Outputs
  pictures: Pictures
  seconds: number
}

async function segmentAll(job: Job, source: Source, model: OSVOS): Promise<Segmented> {
  const { flags, signal, progress, emit } = job
  const ids = model.heads.map((head) => head.id)
  const outputs = new Outputs({
    folder: flags.out,
    ids,
    probabilities: flags.probabilities === true,
    video: videoOptions(flags, source.fps),
    warn: (message) => progress.message(`Warning: ${message}`),
  })
  const started = performance.now()
  const elapsed = () => (performance.now() - started) / 1000
  try {
    const { threshold, maxSize } = flags
    for await (const frame of model.segment(job.frames, { threshold, maxSize, signal })) {
      const file = await outputs.add(frame)
      emit({ event: 'frame', index: frame.index, name: frame.name, file })
      const { count } = outputs
      // What a video says of its length is not always true.
      const total = source.count === undefined ? undefined : Math.max(source.count, count)
      const text = `frame ${count}${total === undefined ? '' : ` of ${total}`}, ${(count / elapsed()).toFixed(1)} frames/s`
      progress.update({ label: 'Segmenting', done: count, total, text })
      signal.throwIfAborted()
    }
    return { outputs, pictures: await outputs.finish(), seconds: elapsed() }
  } catch (error) {
    if (!signal.aborted) throw error
    const message = `Interrupted after ${outputs.count} frames; their masks are in ${flags.out}.`
    throw new Interrupted(message, { cause: error })
  } finally {
    progress.stop()
    await outputs.abort()
  }
}

/** A video that was asked for must be there in the end; the usual one is made where there is ffmpeg. */
function videoOptions(flags: SegmentFlags, fps = DEFAULT_FPS) {
  if (flags.overlayVideo !== undefined) return { path: flags.overlayVideo, fps, required: true }
  if (!flags.overlay || !hasFfmpeg()) return undefined
  return { path: join(flags.out, 'overlay.mp4'), fps, required: false }
}

function hasFfmpeg(): boolean {
  try {
    ffmpegPath()
    return true
  } catch {
    return false
  }
}

async function finish(job: Job, fit: Fit, { outputs, pictures, seconds }: Segmented): Promise<void> {
  const { flags, emit } = job
  const objects = fit.model.heads.map((head) => head.id)
  const secondsPerFrame = seconds / outputs.count
  const report = flags.report ? join(flags.out, 'report.html') : undefined
  const results: [string, string][] = [
    ['Learned', `${objects.length === 1 ? '1 object' : `${objects.length} objects`} in ${formatSeconds(fit.seconds)}`],
    ['Segmented', `${outputs.count} frames, ${formatSeconds(secondsPerFrame)} a frame`],
    ['Masks', flags.out],
    ...(flags.probabilities ? [['Probabilities', join(flags.out, 'probabilities')] as [string, string]] : []),
    ...(pictures.video === undefined ? [] : [['Overlay video', pictures.video] as [string, string]]),
    ['Image strip', pictures.strip],
    ...(flags.saveModel === undefined ? [] : [['Model', flags.saveModel] as [string, string]]),
    ...(report === undefined ? [] : [['Report', report] as [string, string]]),
  ]
  if (report !== undefined) {
    const losses = objects.map((id, i) => ({ id, values: lossesOf(fit, i) }))
    const settings = await settingsOf(job, fit)
    const tiles = await outputs.tiles(REPORT_TILES)
    await writeReport(report, { title: `torchvid segment ${job.frames}`, settings, results, losses, tiles })
  }
  emit({
    event: 'done',
    frames: outputs.count,
    objects,
    fit: { steps: fit.steps, seconds: fit.seconds, loss: fit.losses.at(-1)?.loss ?? null },
    secondsPerFrame,
    peakMemory: process.resourceUsage().maxRSS * 1024,
    masks: flags.out,
    strip: pictures.strip,
    overlay: pictures.video ?? null,
    report: report ?? null,
    model: flags.saveModel ?? null,
  })
  if (!flags.json) for (const [name, value] of results) console.log(`${name.padEnd(14)} ${value}`)
}

/** The losses of one of the model's objects, by its place; all take the same number of steps. */
function lossesOf({ model, losses, steps }: Fit, place: number): number[] {
  const each = steps / model.heads.length
  return losses.filter(({ step }) => Math.floor((step - 1) / each) === place).map(({ loss }) => loss)
}

async function settingsOf({ frames, flags }: Job, fit: Fit): Promise<[string, string][]> {
  const { version, libtorch, threads, cpuCapability } = await runtime.info()
  return [
    ['frames', frames],
    ['mask', flags.mask],
    ['model', flags.model ?? `${flags.backbone}, ${flags.pretrained ?? 'random weights'}`],
    ['steps', String(fit.steps)],
    ['learning rate', fit.learningRate.toPrecision(3)],
    ['longer side', flags.maxSize === undefined ? 'as it is' : String(flags.maxSize)],
    ['threshold', String(flags.threshold ?? 0.5)],
    ['seed', String(flags.seed)],
    ['device', flags.device ?? 'auto'],
    ['torchvid', `${version}, LibTorch ${libtorch.version}, ${threads} threads, ${cpuCapability}`],
    ['made', new Date().toISOString()],
  ]
}
