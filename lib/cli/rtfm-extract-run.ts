import { join } from 'node:path'
import { type DescribedFeatures, settingsWarnings } from '../data/feature-settings.ts'
import { openFrames } from '../data/frames.ts'
import { invalidArgument } from '../errors.ts'
import { type ExtractedFile, extract } from '../features/extract.ts'
import type { ExtractProgress } from '../features/options.ts'
import type { Network } from '../network.ts'
import * as runtime from '../runtime.ts'
import type { ExtractionFlags, RtfmExtractFlags } from './flags.ts'
import { Interrupted } from './interrupt.ts'
import { checkFile } from './places.ts'
import { createProgress, formatSeconds, type Progress } from './progress.ts'
import { extractOptions, openBackbone, uniqueNames, videoFileName } from './rtfm-backbone.ts'

const EVENT_EVERY_MS = 300

/** What an extraction needs of the command that it is a part of. */
export interface ExtractionJob {
  signal: AbortSignal
  progress: Progress
  emit(event: object): void
}

/** A video, and the file for its features. */
export interface ExtractionTask {
  video: string
  name: string
  out: string
}

/**
 * Extracts the features of each video. Progress goes to stderr, what was written (or with `--json` the events) to stdout.
 * @throws TorchvidError; `Interrupted` when the signal aborts: files of videos that were done stay
 */
export async function extractFromCommandLine(
  videos: string[],
  flags: RtfmExtractFlags,
  signal: AbortSignal,
): Promise<void> {
  const emit = flags.json ? (event: object) => console.log(JSON.stringify(event)) : () => {}
  const job: ExtractionJob = { signal, progress: createProgress(), emit }
  try {
    const tasks = tasksOf(videos, flags.out)
    const done = await extractAll(job, tasks, flags)
    const warnings = settingsWarnings(done.map(({ name, settings }): DescribedFeatures => ({ name, settings })))
    for (const warning of warnings) job.progress.message(`Warning: ${warning}`)
    emit({
      event: 'done',
      files: done.map(({ out }) => out),
      warnings,
      peakMemory: process.resourceUsage().maxRSS * 1024,
    })
    if (!flags.json) for (const each of done) console.log(summaryOf(each))
  } finally {
    job.progress.stop()
  }
}

function tasksOf(videos: string[], out: string): ExtractionTask[] {
  const names = uniqueNames(videos, videoFileName)
  if (/\.npy$/i.test(out)) {
    if (videos.length === 1) return [{ video: videos[0]!, name: names[0]!, out }]
    throw invalidArgument('--out', out, `a folder for the features of ${videos.length} videos`)
  }
  return videos.map((video, i) => ({ video, name: names[i]!, out: join(out, `${names[i]}.npy`) }))
}

/** A video that is done. */
type Extracted = ExtractionTask & ExtractedFile

/** Extracts one video after another into their files, with one backbone. */
export async function extractAll(
  job: ExtractionJob,
  tasks: ExtractionTask[],
  flags: ExtractionFlags,
): Promise<Extracted[]> {
  // Nobody should wait for the first video to hear that the last one cannot be read, or written.
  for (const { video } of tasks) await openFrames(video, { signal: job.signal })
  if (flags.threads !== undefined) await runtime.setThreads(flags.threads)
  const backbone = await openBackbone(flags, (text) => job.progress.message(`Warning: ${text}`))
  try {
    for (const { out } of tasks) await checkFile(out)
    const done: Extracted[] = []
    for (const task of tasks) {
      done.push({
        ...task,
        ...(await extractOne(job, task, { backbone, flags, place: [done.length + 1, tasks.length] })),
      })
    }
    return done
  } finally {
    backbone.dispose()
  }
}

async function extractOne(
  { signal, progress, emit }: ExtractionJob,
  { video, name, out }: ExtractionTask,
  { backbone, flags, place }: { backbone: Network; flags: ExtractionFlags; place: [number, number] },
): Promise<ExtractedFile> {
  let last: ExtractProgress | undefined
  let emittedAt = 0
  try {
    const run = extract(video, { backbone, ...extractOptions(flags), out, keep: false, signal })
    for await (const record of run) {
      last = record
      const { clip, clips, frames, secondsPerClip, secondsLeft } = record
      progress.update({ label: 'Extracting', done: clip, total: clips, text: textOf(name, place, record) })
      if (performance.now() - emittedAt < EVENT_EVERY_MS) continue
      emittedAt = performance.now()
      emit({
        event: 'clip',
        video,
        clip,
        clips: clips ?? null,
        frames,
        secondsPerClip,
        secondsLeft: secondsLeft ?? null,
      })
    }
    const result = await run
    const { frames, clips, fps = null, meanNorm, seconds, settings } = result
    emit({ event: 'video', video, out, frames, clips, fps, meanNorm, seconds, settings })
    return result
  } catch (error) {
    if (!signal.aborted) throw error
    const at =
      last === undefined ? '' : ` after segment ${last.clip}${last.clips === undefined ? '' : ` of ${last.clips}`}`
    const before = place[0] === 1 ? 'nothing was written' : `the features of the ${place[0] - 1} before it are kept`
    throw new Interrupted(`Interrupted in ${name}${at}; ${before}.`, { cause: error })
  } finally {
    progress.stop()
  }
}

function textOf(name: string, [place, count]: [number, number], record: ExtractProgress): string {
  const { clip, clips, secondsPerClip, secondsLeft } = record
  const video = count === 1 ? '' : `${name} (${place} of ${count}), `
  const left = secondsLeft === undefined ? '' : `, ${formatSeconds(secondsLeft)} left`
  return `${video}segment ${clip}${clips === undefined ? '' : ` of ${clips}`}, ${formatSeconds(secondsPerClip)} a segment${left}`
}

function summaryOf({ out, frames, clips, seconds, meanNorm, settings }: Extracted): string {
  const { crops, size } = settings
  return `${out}: ${frames} frames, (${clips}, ${crops}, ${size}), mean L2 norm ${meanNorm.toPrecision(4)}, ${formatSeconds(seconds)}`
}
