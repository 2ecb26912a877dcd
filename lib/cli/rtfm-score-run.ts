import { join } from 'node:path'
import { openFeatures } from '../data/features.ts'
import { frameLabels } from '../data/ground-truth.ts'
import { invalidArgument } from '../errors.ts'
import { writeRtfmReport } from '../report/rtfm-report.ts'
import { trainedOn } from '../rtfm/norms.ts'
import { RTFM } from '../rtfm/rtfm.ts'
import * as runtime from '../runtime.ts'
import type { RtfmScoreFlags } from './flags.ts'
import { Interrupted } from './interrupt.ts'
import { checkFile } from './places.ts'
import { createProgress, type Progress } from './progress.ts'
import { asTrained, checkFeatureSize } from './rtfm-backbone.ts'
import { extractAll } from './rtfm-extract-run.ts'
import { type ScoredVideo, writeScores } from './rtfm-files.ts'
import { checkNothingLost, type ScoreInput, scoreInputs } from './rtfm-score-inputs.ts'
import { framesOf, type KnownVideo, scoreVideo, thumbnailsOf, videoOf } from './rtfm-score-video.ts'
import { scoreSettings, scoreSummary } from './rtfm-summary.ts'

const EXTRACTION_FLAGS = [
  ...(['backbone', 'weights', 'crops', 'every', 'frameStep', 'resize', 'crop', 'mean', 'std', 'order'] as const),
  ...(['tail', 'normalise'] as const),
]

/** Everything that one call works with. */
interface Job {
  flags: RtfmScoreFlags
  signal: AbortSignal
  progress: Progress
  emit(event: object): void
}

/** What was written of one video. */
export interface WrittenVideo {
  video: ScoredVideo
  csv: string
  json: string
  report?: string
}

/**
 * Scores features and videos and writes what was asked for. Progress goes to stderr, the summary (or with `--json` the
 * events) to stdout.
 * @throws TorchvidError; `Interrupted` when the signal aborts: files of videos that were done stay
 */
export async function scoreFromCommandLine(paths: string[], flags: RtfmScoreFlags, signal: AbortSignal): Promise<void> {
  const emit = flags.json ? (event: object) => console.log(JSON.stringify(event)) : () => {}
  const job: Job = { flags, signal, progress: createProgress(), emit }
  let model: RTFM | undefined
  try {
    const inputs = await scoreInputs(paths)
    checkFlags(inputs, flags)
    await checkPlaces(inputs, flags)
    if (flags.threads !== undefined) await runtime.setThreads(flags.threads)
    model = await RTFM.open(flags.model, { device: flags.device })
    const written = await scoreAll(job, model, await withFeatures(job, model, inputs))
    const videos = written.map(({ video, csv, json, report = null }) => ({ name: video.name, csv, json, report }))
    emit({ event: 'done', videos, peakMemory: process.resourceUsage().maxRSS * 1024 })
    if (!flags.json) console.log(scoreSummary(written, flags))
  } finally {
    job.progress.stop()
    model?.dispose()
  }
}

/** What makes no sense with these inputs. */
function checkFlags(inputs: ScoreInput[], flags: RtfmScoreFlags): void {
  const refuse = (name: keyof RtfmScoreFlags, why: string) => {
    const option = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
    throw invalidArgument(`--${option}`, flags[name], `it left out: ${why}`)
  }
  const videos = inputs.filter(({ features }) => features === undefined).length
  const extraction = EXTRACTION_FLAGS.find((name) => flags[name] !== undefined)
  if (videos === 0 && extraction !== undefined) refuse(extraction, 'there is no video among the inputs')
  for (const name of ['video', 'fps', 'framesPerSegment'] as const) {
    if (flags[name] !== undefined && videos > 0) refuse(name, 'it is for features, and videos tell it themselves')
  }
  if (flags.video !== undefined && inputs.length > 1) refuse('video', 'there are several inputs')
}

/** Nobody should wait for an extraction to hear that a file cannot be written. */
async function checkPlaces(inputs: ScoreInput[], { out, report }: RtfmScoreFlags): Promise<void> {
  const endings = ['.csv', '.json', ...(report ? ['.html'] : [])]
  await checkNothingLost(inputs, out, endings)
  for (const { name } of inputs) for (const ending of endings) await checkFile(join(out, `${name}${ending}`))
}

/** Features of all inputs, opened; those of videos are made first, and stay in the output folder. */
async function withFeatures(job: Job, model: RTFM, inputs: ScoreInput[]): Promise<KnownVideo[]> {
  const { flags } = job
  const made = (name: string) => join(flags.out, `${name}.npy`)
  const tasks = inputs.flatMap(({ name, features, video }) =>
    features === undefined && video !== undefined ? [{ name, video, out: made(name) }] : [],
  )
  if (tasks.length > 0) {
    const complete = asTrained(flags, trainedOn(model.network.graph)?.settings)
    checkFeatureSize(complete, model.settings.featureSize)
    await extractAll(job, tasks, complete)
  }
  const opened: KnownVideo[] = []
  for (const { name, features = made(name), video } of inputs) {
    const reader = await openFeatures(features, name)
    opened.push({ name, features, reader, video: video ?? (await videoOf(features, reader, flags)) })
  }
  return opened
}

async function scoreAll(job: Job, model: RTFM, videos: KnownVideo[]): Promise<WrittenVideo[]> {
  const { flags, signal, progress, emit } = job
  const labels = await labelsOf(videos, flags)
  const written: WrittenVideo[] = []
  try {
    for (const [i, known] of videos.entries()) {
      const text = `${known.name}, ${i + 1} of ${videos.length}, ${known.reader.segments} segments`
      progress.update({ label: 'Scoring', done: i, total: videos.length, text })
      const video = await scoreVideo(model, known, { flags, signal, labels: labels?.[i] })
      for (const warning of video.warnings) progress.message(`Warning: ${known.name}: ${warning}`)
      const files = await writeScores(flags.out, video, flags.model)
      const report = flags.report ? await writeReport(job, model, known, video) : undefined
      written.push({ video, ...files, ...(report !== undefined && { report }) })
      emit(eventOf(written.at(-1)!))
    }
    progress.update({ label: 'Scoring', done: videos.length, total: videos.length, text: `${videos.length} done` })
    return written
  } catch (error) {
    if (!signal.aborted) throw error
    const kept = written.length === 0 ? 'no scores were written' : `the scores of ${written.length} are in ${flags.out}`
    throw new Interrupted(`Interrupted in ${videos[written.length]?.name}; ${kept}.`, { cause: error })
  } finally {
    progress.stop()
  }
}

/** Labels of every frame of every video, where there is a ground truth. */
async function labelsOf(videos: KnownVideo[], flags: RtfmScoreFlags): Promise<Uint8Array[] | undefined> {
  if (flags.groundTruth === undefined) return undefined
  const frames = new Set(videos.map(({ reader }) => framesOf(reader, flags)))
  if (frames.size > 1) {
    const wanted = `features of as many frames a segment for one ground truth; these have ${[...frames].join(' and ')}`
    throw invalidArgument('--ground-truth', flags.groundTruth, wanted)
  }
  const wanted = videos.map(({ name, reader }) => ({ name, segments: reader.segments }))
  return await frameLabels(flags.groundTruth, wanted, { framesPerSegment: [...frames][0] })
}

async function writeReport(
  { flags, signal, progress }: Job,
  model: RTFM,
  known: KnownVideo,
  video: ScoredVideo,
): Promise<string> {
  const path = join(flags.out, `${video.name}.html`)
  const warn = (text: string) => progress.message(`Warning: ${known.name}: ${text}`)
  await writeRtfmReport(path, {
    ...video,
    ...video.timeline,
    thumbnails: await thumbnailsOf(known, video.timeline, { signal, warn }),
    settings: await scoreSettings(known, flags, model.settings),
  })
  return path
}

function eventOf({ video, csv, json, report }: WrittenVideo): object {
  const { name, scores, timeline, above, figures = null, warnings } = video
  const { frames, framesPerSegment, fps = null } = timeline
  const highest = scores.reduce((most, score) => Math.max(most, score), 0)
  const stretches = above.map(({ start, end, peak }) => ({ firstFrame: start, lastFrame: end - 1, highest: peak }))
  const sizes = { segments: scores.length, framesPerSegment, frames, fps }
  return { event: 'scored', name, ...sizes, highest, stretches, figures, warnings, csv, json, report: report ?? null }
}
