import { formatTime, spanOf } from '../report/rtfm-data.ts'
import type { RtfmSettings } from '../rtfm/settings.ts'
import * as runtime from '../runtime.ts'
import type { RtfmScoreFlags } from './flags.ts'
import type { ScoredVideo } from './rtfm-files.ts'
import { filesOf } from './rtfm-score-inputs.ts'
import type { WrittenVideo } from './rtfm-score-run.ts'
import type { KnownVideo } from './rtfm-score-video.ts'
import { formatCount, printable, textTable } from './text-table.ts'

/** Stretches that are printed; the files have all of them. */
const MOST_STRETCHES = 10

/** What was found, as a table of videos, their stretches above the threshold, and where the files are. */
export function scoreSummary(written: WrittenVideo[], { threshold, out }: RtfmScoreFlags): string {
  const videos = written.map(({ video }) => video)
  const measured = videos.some(({ figures }) => figures !== undefined)
  const right = { align: 'right' as const }
  const titles = ['segments', 'highest', 'at', `above ${threshold}`, ...(measured ? ['ROC AUC'] : [])]
  const rows = videos.map((video) => [printable(video.name), ...figuresOf(video, measured)])
  const table = textTable([{ title: 'video' }, ...titles.map((title) => ({ title, ...right }))], rows)
  const stretches = videos.flatMap((video) => stretchLines(video))
  const shown = stretches.slice(0, MOST_STRETCHES)
  const more = stretches.length > shown.length ? [`and ${stretches.length - shown.length} more in the files`] : []
  const reports = written.filter(({ report }) => report !== undefined).length
  const files = `Scores${reports > 0 ? ' and reports' : ''} in ${out}`
  return [table, '', ...shown, ...more, ...(shown.length > 0 ? [''] : []), files].join('\n')
}

function figuresOf({ scores, timeline, above, figures }: ScoredVideo, measured: boolean): string[] {
  const peak = scores.reduce((best, score, i) => (score > scores[best]! ? i : best), 0)
  const marked = above.reduce((sum, { segments: [first, last] }) => sum + last - first + 1, 0)
  const place = placeText(spanOf(peak, timeline).start, timeline.fps)
  const area = figures === undefined ? '' : figures.rocAuc.toFixed(4)
  return [formatCount(scores.length), scores[peak]!.toFixed(3), place, formatCount(marked), ...(measured ? [area] : [])]
}

function stretchLines({ name, above, timeline: { fps } }: ScoredVideo): string[] {
  return above.map(({ start, end, peak }) => {
    const when = fps === undefined ? '' : `${formatTime(start / fps)} to ${formatTime(end / fps)}, `
    return `${printable(name)}: ${when}frames ${start} to ${end - 1}, up to ${peak.toFixed(3)}`
  })
}

function placeText(frame: number, fps: number | undefined): string {
  return fps === undefined ? `frame ${frame}` : formatTime(frame / fps)
}

/** What a report says of how it was made. */
export async function scoreSettings(
  { features, video }: KnownVideo,
  flags: RtfmScoreFlags,
  detector: RtfmSettings,
): Promise<[string, string][]> {
  const { weights, threshold } = flags
  return [
    ['model', flags.model],
    detectorLine(detector),
    ['features', filesOf(features).join(', ')],
    ...(video === undefined ? [] : [['video', video] as [string, string]]),
    ...(weights === undefined ? [] : [['weights of the backbone', weights] as [string, string]]),
    ...(flags.groundTruth === undefined ? [] : [['ground truth', flags.groundTruth] as [string, string]]),
    ['threshold', String(threshold)],
    ...(await programLines()),
  ]
}

/** What kind of detector a model is. */
export function detectorLine({ network, objective, featureSize }: RtfmSettings): [string, string] {
  return ['detector', `${network}, objective ${objective}, features of ${featureSize}`]
}

/** With what a report was made, and when. */
export async function programLines(): Promise<[string, string][]> {
  const { version, libtorch, threads, cpuCapability } = await runtime.info()
  return [
    ['torchvid', `${version}, LibTorch ${libtorch.version}, ${threads} threads, ${cpuCapability}`],
    ['Node', `${process.versions.node}, ${process.platform}-${process.arch}`],
    ['made', new Date().toISOString()],
  ]
}
