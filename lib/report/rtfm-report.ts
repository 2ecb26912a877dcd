import sharp from 'sharp'
import type { FeatureSettings } from '../data/feature-settings.ts'
import { writeWhole } from '../data/files.ts'
import { TorchvidError } from '../errors.ts'
import type { RawImage } from '../types.ts'
import { chartProgram, escapeHtml, pageHtml } from './page.ts'
import { count, counted, facts, intervalTable, percent, tile, warningList } from './report-html.ts'
import {
  type AboveInterval,
  aboveIntervals,
  eventsFound,
  formatTime,
  type Interval,
  rtfmPageData,
  spanOf,
  type Timeline,
  timelineOf,
  truthIntervals,
} from './rtfm-data.ts'
import { drawRtfmPage } from './rtfm-page.ts'
import { rtfmStyle } from './rtfm-style.ts'

/** A scored video, and what is known of it. */
export interface RtfmReport {
  /** The video's name. */
  name: string
  /** One score for each segment, 0..1. */
  scores: ArrayLike<number>
  /** Feature magnitudes, one for each segment; drawn when given. */
  magnitudes?: ArrayLike<number>
  /** Frames of a segment. Default: the features' `every`, else 16. */
  framesPerSegment?: number
  /** Frames of the video. Default: the features' own, else whole segments. */
  frames?: number
  /** Frames a second. Default: the features' own; without it, places are given in frames alone. */
  fps?: number
  /** From which score on a segment counts as abnormal. Default 0.5. */
  threshold?: number
  /** Ground truth, 0 or 1 for each frame; drawn when given. */
  labels?: ArrayLike<number>
  /** Figures against the ground truth, shown when given. */
  figures?: { rocAuc?: number; prAuc?: number; averagePrecision?: number }
  /** Pictures of the video in order, each from the middle of its part of as many equal parts; see `thumbnailFrames`. */
  thumbnails?: { frame: number; image?: RawImage }[]
  /** What the features were made with. */
  features?: FeatureSettings
  warnings?: string[]
  /** Names and values, in order: the model, options, versions, whatever should be known later. */
  settings?: [string, string][]
}

/**
 * Writes a scored video as one HTML file that needs no other and no network: pictures along the time axis, the curve of
 * the scores with threshold and ground truth, the stretches above the threshold, warnings, settings. Whole or not at all.
 * @throws TorchvidError ERR_SHAPE when scores, magnitudes, frames and labels do not fit together; ERR_IO when it cannot be
 * written
 */
export async function writeRtfmReport(path: string, report: RtfmReport): Promise<void> {
  await writeWhole(path, Buffer.from(await rtfmReportHtml(report)))
}

/** The report as HTML. */
export async function rtfmReportHtml(report: RtfmReport): Promise<string> {
  const { scores, magnitudes, labels, features, threshold = 0.5, warnings = [], settings = [] } = report
  if (scores.length === 0) throw new TorchvidError('ERR_SHAPE', 'scores: got none, wanted one for each segment.')
  const timeline = timelineOf(scores.length, {
    framesPerSegment: report.framesPerSegment ?? features?.every,
    frames: report.frames ?? features?.frames,
    fps: report.fps ?? features?.fps,
  })
  checkLengths(report, timeline)
  const truth = labels && truthIntervals(labels).filter(({ start }) => start < timeline.frames)
  const above = aboveIntervals(scores, threshold, timeline, labels)
  const data = rtfmPageData(timeline, threshold, { scores, magnitudes, truth })
  const title = `Anomaly scores of ${report.name}`
  const body = [
    `<h1>${escapeHtml(title)}</h1>`,
    `<p>${escapeHtml(subtitle(timeline))}</p>`,
    tiles(report, { timeline, threshold, above, truth }),
    warningList(warnings),
    '<h2>Scores over time</h2>',
    legend(threshold, truth !== undefined),
    await timelineHtml(report, { timeline, threshold, above, truth, drawn: data.segments.length }),
    aboveTable(above, timeline, threshold),
    truth === undefined ? '' : truthTable(truth, above, timeline),
    notes(timeline),
    features === undefined ? '' : facts('Features', featureFacts(features)),
    facts('Settings', settings),
    '<footer>One file, made by torchvid; it asks no other computer for anything. Charts: chart.js (MIT).</footer>',
  ]
  const scripts = [await chartProgram(), `(${drawRtfmPage.toString()})()`]
  return pageHtml({ title, style: rtfmStyle, body: body.filter((part) => part !== '').join('\n'), scripts, data })
}

/** What the parts of the page are made from. */
interface Parts {
  timeline: Timeline
  threshold: number
  above: AboveInterval[]
  truth: Interval[] | undefined
}

function checkLengths({ scores, magnitudes, labels }: RtfmReport, { frames, framesPerSegment }: Timeline): void {
  const refuse = (text: string) => {
    throw new TorchvidError('ERR_SHAPE', text)
  }
  if (magnitudes !== undefined && magnitudes.length !== scores.length) {
    refuse(`magnitudes: got ${magnitudes.length}, wanted ${scores.length}, one for each score.`)
  }
  if (
    labels !== undefined &&
    (labels.length < frames - framesPerSegment || labels.length > frames + framesPerSegment)
  ) {
    const text = `labels: got ${labels.length}, wanted ${frames}, one for each frame (${scores.length} segments of ${framesPerSegment}). Give the ground truth of this video, and the frames per segment of its features.`
    refuse(text)
  }
}

function subtitle({ segments, framesPerSegment, frames, fps }: Timeline): string {
  const length = fps === undefined ? '' : `, ${formatTime(frames / fps)} at ${Number(fps.toFixed(3))} frames a second`
  return `${counted(segments, 'segment')} of ${framesPerSegment} frames; ${counted(frames, 'frame')}${length}.`
}

function tiles({ scores, figures = {} }: RtfmReport, { timeline, threshold, above, truth }: Parts): string {
  const peak = scores.length === 0 ? 0 : indexOfLargest(scores)
  const marked = above.reduce((sum, { segments: [first, last] }) => sum + last - first + 1, 0)
  const { rocAuc, prAuc, averagePrecision } = figures
  const others = [
    ...(prAuc === undefined ? [] : [`PR AUC (trapezoid) ${prAuc.toFixed(4)}`]),
    ...(averagePrecision === undefined ? [] : [`average precision ${averagePrecision.toFixed(4)}`]),
  ]
  const found =
    truth === undefined
      ? ''
      : tile('events found', `${eventsFound(truth, above)} of ${truth.length}`, 'stretches of the ground truth met')
  const area =
    rocAuc === undefined
      ? ''
      : tile('ROC AUC of its frames', rocAuc.toFixed(4), others.join(', ') || 'of this video alone')
  return `<div class="tiles">${[
    tile('highest score', scores[peak]!.toFixed(3), `at ${placeOf(spanOf(peak, timeline), timeline)}`),
    tile(
      `at or above ${threshold}`,
      percent(marked / timeline.segments),
      `${count(marked)} of ${counted(timeline.segments, 'segment')}`,
    ),
    tile('stretches', count(above.length), above.length === 0 ? 'none at or above the threshold' : 'listed below'),
    found,
    area,
  ].join('')}</div>`
}

function indexOfLargest(values: ArrayLike<number>): number {
  let best = 0
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i
  return best
}

function legend(threshold: number, hasTruth: boolean): string {
  const parts = [
    '<span><i style="background:var(--after)"></i>score</span>',
    `<span><i class="above"></i>at or above ${escapeHtml(String(threshold))}</span>`,
    '<span><i class="line"></i>threshold</span>',
    ...(hasTruth ? ['<span><i class="truth"></i>ground truth: abnormal</span>'] : []),
  ]
  return `<div class="key">${parts.join('')}</div>`
}

async function timelineHtml(
  { thumbnails = [], magnitudes, name }: RtfmReport,
  { timeline, threshold, above, truth, drawn }: Parts & { drawn: number },
): Promise<string> {
  const band = (kind: 'above' | 'truth', text: string, parts: Interval[]) =>
    `<div class="bandname">${text}</div><div class="band" role="img" aria-label="${text}: ${parts.length} stretches">${parts
      .map((part) => `<span class="${kind}" style="${along(part, timeline)}"></span>`)
      .join('')}</div>`
  const canvas = (chart: string, label: string) =>
    `<div class="plot ${chart}"><canvas data-chart="${chart}" role="img" aria-label="${escapeHtml(label)}"></canvas></div>`
  const thinned =
    drawn < timeline.segments
      ? `<p class="bandname">Of ${count(timeline.segments)} segments the curve shows the lowest and the highest of every ${Math.ceil((2 * timeline.segments) / drawn)}.</p>`
      : ''
  return `<div class="timeline">
${await strip(thumbnails, timeline)}
${canvas('scores', `Score of every segment of ${name} over time`)}
${band('above', `at or above ${threshold}`, above)}
${truth === undefined ? '' : band('truth', 'ground truth: abnormal', truth)}
${magnitudes === undefined ? '' : `<div class="bandname">feature magnitude</div>${canvas('magnitudes', `Feature magnitude of every segment of ${name} over time`)}`}
${thinned}</div>`
}

/** Where a stretch lies on the time axis. */
function along({ start, end }: Interval, { frames }: Timeline): string {
  const [from, to] = [start, Math.min(end, frames)].map((frame) => (frame / frames) * 100) as [number, number]
  return `left:${from.toFixed(3)}%;width:${(to - from).toFixed(3)}%`
}

async function strip(thumbnails: NonNullable<RtfmReport['thumbnails']>, timeline: Timeline): Promise<string> {
  if (thumbnails.every(({ image }) => image === undefined)) return ''
  const figures = thumbnails.map(async ({ frame, image }) => {
    const place = timeline.fps === undefined ? String(frame) : formatTime(frame / timeline.fps, false)
    const picture = image === undefined ? '<div class="none"></div>' : await pictureHtml(image, `frame ${frame}`)
    return `<figure>${picture}<figcaption>${place}</figcaption></figure>`
  })
  // Three of three can go where there is little room, and the middle one then stands for its neighbours.
  const thirds = thumbnails.length % 3 === 0 ? ' thirds' : ''
  return `<div class="strip${thirds}">${(await Promise.all(figures)).join('')}</div>`
}

const THUMBNAIL_WIDTH = 240

async function pictureHtml({ data, width, height, channels }: RawImage, label: string): Promise<string> {
  const small = sharp(data, { raw: { width, height, channels } }).resize(THUMBNAIL_WIDTH, undefined, {
    withoutEnlargement: true,
  })
  const { data: jpeg, info } = await small.jpeg({ quality: 78 }).toBuffer({ resolveWithObject: true })
  return `<img alt="${label}" width="${info.width}" height="${info.height}" src="data:image/jpeg;base64,${jpeg.toString('base64')}">`
}

function aboveTable(above: AboveInterval[], timeline: Timeline, threshold: number): string {
  const heading = `<h2>Stretches at or above ${escapeHtml(String(threshold))}</h2>`
  if (above.length === 0) return `${heading}<p>None: every segment scores below the threshold.</p>`
  const hasTruth = above[0]?.truthShare !== undefined
  const titles = ['segments', 'length', 'highest', 'at', ...(hasTruth ? ['in ground truth'] : [])]
  const rows = above.map((each) => {
    const [first, last] = each.segments
    const cells = [
      `${count(first)} to ${count(last)}`,
      lengthOf(each, timeline),
      each.peak.toFixed(3),
      placeOf(spanOf(each.peakSegment, timeline), timeline),
      ...(each.truthShare === undefined ? [] : [percent(each.truthShare)]),
    ]
    return { ...each, cells }
  })
  return heading + intervalTable(timeline, titles, rows)
}

function truthTable(truth: Interval[], above: AboveInterval[], timeline: Timeline): string {
  const heading = '<h2>Ground truth</h2>'
  if (truth.length === 0) return `${heading}<p>No frame of this video is labelled abnormal.</p>`
  const rows = truth.map((event) => {
    const found = above.some(({ start, end }) => start < event.end && event.start < end)
    return { ...event, cells: [lengthOf(event, timeline), found ? 'yes' : 'no'] }
  })
  return heading + intervalTable(timeline, ['length', 'a score at or above the threshold'], rows)
}

function placeOf({ start }: Interval, { fps }: Timeline): string {
  return fps === undefined ? `frame ${count(start)}` : `${formatTime(start / fps)} (frame ${count(start)})`
}

function lengthOf({ start, end }: Interval, { fps }: Timeline): string {
  return fps === undefined ? counted(end - start, 'frame') : `${((end - start) / fps).toFixed(1)} s`
}

function notes({ framesPerSegment }: Timeline): string {
  const texts = [
    `A score stands for a whole segment, ${framesPerSegment} frames: no event is placed more exactly than that.`,
    'Scores rank segments; they are not probabilities. The threshold is a choice: take it from videos of your own whose events you know.',
    'A network that looks along time sees zeros beyond both ends of a video. A peak in the first or the last few segments deserves doubt; score the video with some seconds more before and after it, and see whether it stays.',
  ]
  return `<h2>How to read it</h2><ul class="notes">${texts.map((text) => `<li>${text}</li>`).join('')}</ul>`
}

function featureFacts(settings: FeatureSettings): [string, string][] {
  const { resize, mean, std, fps, video } = settings
  return [
    ...(video === undefined ? [] : [['video', video] as [string, string]]),
    ['network', `${settings.backbone}, ${settings.size} numbers per segment and crop`],
    ['crops', `${settings.crops} of ${settings.crop} x ${settings.crop} pixels`],
    ['frames', `${count(settings.frames)}${fps === undefined ? '' : `, ${fps} a second`}`],
    ['segment', `${settings.every} frames${settings.frameStep === 1 ? '' : `, every ${settings.frameStep}th seen`}`],
    ['last segment', { loop: 'looped', repeat: 'last frame repeated', drop: 'left out' }[settings.tail]],
    [
      'size of frames',
      resize === null ? 'as they are' : Array.isArray(resize) ? resize.join(' x ') : `${resize}, shorter side`,
    ],
    ['pixels', `${settings.order}, (x - ${ofColours(mean)}) / ${ofColours(std)}`],
    ['mean L2 norm', `${settings.meanNorm.toPrecision(4)}${settings.normalise ? ', then divided by it' : ''}`],
  ]
}

/** One number, or one for each colour where they differ. */
function ofColours(values: number[]): string {
  return values.every((value) => value === values[0]) ? String(values[0]) : `[${values.join(', ')}]`
}
