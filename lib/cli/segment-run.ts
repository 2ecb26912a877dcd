import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { ffmpegPath } from '../data/ffmpeg.ts'
import { openFrames } from '../data/frames.ts'
import { readMask } from '../data/mask.ts'
import { TorchvidError } from '../errors.ts'
import type { Head } from '../osvos/fit.ts'
import type { OSVOS } from '../osvos/osvos.ts'
import { isPrompt, type Prompt, readPrompt } from '../osvos/prompt.ts'
import * as runtime from '../runtime.ts'
import type { RawImage } from '../types.ts'
import type { SegmentFlags } from './flags.ts'
import { Interrupted } from './interrupt.ts'
import { modelOf, openModel } from './osvos-model.ts'
import { Outputs, type Pictures } from './outputs.ts'
import { checkPlaces } from './places.ts'
import { createProgress, formatSeconds, type Progress } from './progress.ts'
import { type Report, writeReport } from './report.ts'

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
    const start = startOf(flags)
    if (isPrompt(start)) await readPrompt(start, image)
    else await readMask(start, { objects: flags.objects, width, height })
    return { first: image, count: reader.count, fps: reader.fps }
  }
  throw new TorchvidError('ERR_IO', `${frames} has no frames.`)
}

/** What says where the objects are. */
function startOf({ mask, box, scribble }: SegmentFlags): string | Prompt {
  if (box !== undefined) return { box }
  return scribble === undefined ? (mask as string) : { scribble }
}

async function fitFirst(job: Job, { first }: Source): Promise<Fit> {
  const { flags, signal, progress, emit } = job
  const { preset, iterations, learningRate, maxSize, objects, device, seed, resume, checkpoint, every } = flags
  const parent = await openModel(flags, (warning) => progress.message(`Warning: ${warning}`))
  const fit = { losses: [] as Fit['losses'], learningRate: 0, steps: 0 }
  let emittedAt = 0
  const started = performance.now()
  try {
    const run = parent.fit(first, startOf(flags), {
      ...{ preset, iterations, learningRate, maxSize, objects, device, seed, resume, signal },
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

/** The network in `file`; several, each with its object's id before the ending. */
async function saveModel(model: OSVOS, file: string): Promise<void> {
  const heads = headsOf(model)
  for (const { id, network } of heads) {
    await network.save(heads.length === 1 ? file : file.replace(/(\.[^./\\]*)?$/, `-object${id}$1`))
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
    const losses = lossesOf(fit)
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

/** The losses of each network, under its object's id: one after the other learnt, all with the same number of steps. */
function lossesOf({ model, losses, steps }: Fit): Report['losses'] {
  if (losses.length === 0) return []
  const heads = headsOf(model)
  const each = steps / heads.length
  return heads.map(({ id }, place) => ({
    id,
    values: losses.filter(({ step }) => Math.floor((step - 1) / each) === place).map(({ loss }) => loss),
  }))
}

/** One head for each network: objects may share one. */
function headsOf({ heads }: OSVOS): Head[] {
  return heads.filter(({ network }, i) => heads.findIndex((head) => head.network === network) === i)
}

function startSettings({ mask, box, scribble }: SegmentFlags): [string, string][] {
  if (scribble !== undefined) return [['scribble', scribble]]
  if (box === undefined) return [['mask', mask as string]]
  return box.map(({ x, y, width, height }) => ['box', `${width} x ${height} pixels at (${x}, ${y})`])
}

const presetSettings = ({ preset }: SegmentFlags): [string, string][] =>
  preset === undefined ? [] : [['preset', preset]]

async function settingsOf({ frames, flags }: Job, fit: Fit): Promise<[string, string][]> {
  const { version, libtorch, threads, cpuCapability } = await runtime.info()
  return [
    ['frames', frames],
    ...startSettings(flags),
    ['model', modelOf(flags) ?? `${flags.backbone ?? 'mobilenet'}, ${flags.pretrained ?? 'random weights'}`],
    ...presetSettings(flags),
    ['steps', String(fit.steps)],
    ...(fit.steps === 0 ? [] : [['learning rate', fit.learningRate.toPrecision(3)] as [string, string]]),
    ['longer side', flags.maxSize === undefined ? 'as it is' : String(flags.maxSize)],
    ['threshold', String(flags.threshold ?? 0.5)],
    ['seed', String(flags.seed)],
    ['device', flags.device ?? 'auto'],
    ['torchvid', `${version}, LibTorch ${libtorch.version}, ${threads} threads, ${cpuCapability}`],
    ['made', new Date().toISOString()],
  ]
}
