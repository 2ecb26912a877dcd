import { writeWhole } from '../data/files.ts'
import { TorchvidError } from '../errors.ts'
import { escapeHtml, pageHtml } from './page.ts'
import { count, counted, facts, percent, tile, warningList } from './report-html.ts'
import { truthIntervals } from './rtfm-data.ts'
import { type Curve, type EvaluatedVideo, rankingCurves, summaryOfVideo } from './rtfm-evaluation-data.ts'
import { rtfmStyle } from './rtfm-style.ts'

/** How a network did on videos whose truth is known. */
export interface RtfmEvaluationReport {
  videos: EvaluatedVideo[]
  /** Over all frames of all videos. */
  figures: { rocAuc: number; prAuc: number; averagePrecision: number }
  /** Default "Video anomaly detection". */
  title?: string
  /** Drawn into the videos' curves. Default 0.5. */
  threshold?: number
  warnings?: string[]
  /** Names and values, in order: the model, the list, versions. */
  settings?: [string, string][]
}

/**
 * Writes an evaluation as one HTML file that needs no other and no network: the areas, both curves, and every video's
 * scores with its ground truth. Whole or not at all.
 * @throws TorchvidError ERR_SHAPE when labels are not a whole number of frames for each score; ERR_IO when it cannot be
 * written
 */
export async function writeRtfmEvaluation(path: string, report: RtfmEvaluationReport): Promise<void> {
  await writeWhole(path, Buffer.from(rtfmEvaluationHtml(report)))
}

/** The report as HTML. */
export function rtfmEvaluationHtml(report: RtfmEvaluationReport): string {
  const { videos, figures, title = 'Video anomaly detection', threshold = 0.5 } = report
  for (const { name, scores, labels } of videos) {
    if (scores.length > 0 && labels.length % scores.length === 0 && labels.length > 0) continue
    const text = `${name}: ${labels.length} labels for ${scores.length} scores, wanted as many frames for each of them.`
    throw new TorchvidError('ERR_SHAPE', text)
  }
  const frames = videos.reduce((sum, { labels }) => sum + labels.length, 0)
  const abnormal = videos.reduce((sum, { labels }) => sum + ones(labels), 0)
  const { roc, precisionRecall } = rankingCurves(videos)
  const body = [
    `<h1>${escapeHtml(title)}</h1>`,
    `<p>${counted(videos.length, 'video')}, ${counted(frames, 'frame')}, ${count(abnormal)} of them abnormal. A segment's score counts for each of its frames, and all frames are ranked together.</p>`,
    `<div class="tiles">${tile('ROC AUC', figures.rocAuc.toFixed(4), 'chance: 0.5')}${tile('PR AUC (trapezoid)', figures.prAuc.toFixed(4), 'area under precision over recall')}${tile('average precision', figures.averagePrecision.toFixed(4), `chance: ${(frames === 0 ? 0 : abnormal / frames).toFixed(4)}`)}</div>`,
    warningList(report.warnings ?? []),
    curves(roc, precisionRecall),
    `<h2>Videos</h2><p>The line is the score over the video, 0 to 1, dashed the threshold ${threshold}; the ground behind it is where the ground truth says abnormal.</p>`,
    videoTable(videos, threshold),
    facts('Settings', report.settings ?? []),
    '<footer>One file, made by torchvid; it asks no other computer for anything.</footer>',
  ]
  const page = { title, style: rtfmStyle, body: body.filter((part) => part !== '').join('\n') }
  return pageHtml({ ...page, scripts: [], data: null })
}

function ones(labels: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < labels.length; i++) sum += labels[i] ? 1 : 0
  return sum
}

function curves(roc: Curve, precisionRecall: Curve): string {
  if (roc.length === 0) {
    return '<p>Frames of one kind are missing, so that there is nothing to rank: wanted normal and abnormal ones.</p>'
  }
  const both = [
    curve(roc, 'ROC', 'false positive rate', 'true positive rate', true),
    curve(precisionRecall, 'Precision and recall', 'recall', 'precision', false),
  ]
  return `<h2>Curves</h2><div class="pair">${both.join('')}</div>`
}

const BOX = { size: 420, left: 48, right: 12, top: 12, bottom: 44 }

/** A curve in a square, as SVG; `diagonal`: with the line of chance. */
function curve(points: Curve, title: string, xName: string, yName: string, diagonal: boolean): string {
  const { size, left, right, top, bottom } = BOX
  const x = (value: number) => (left + value * (size - left - right)).toFixed(1)
  const y = (value: number) => (top + (1 - value) * (size - top - bottom)).toFixed(1)
  const grid = [0, 0.25, 0.5, 0.75, 1].map(
    (value) =>
      `<path d="M${x(value)} ${y(0)}V${y(1)}M${x(0)} ${y(value)}H${x(1)}"/><text x="${x(value)}" y="${Number(y(0)) + 16}" text-anchor="middle">${value}</text><text x="${left - 6}" y="${y(value)}" text-anchor="end" dominant-baseline="middle">${value}</text>`,
  )
  const names = `<text x="${x(0.5)}" y="${size - 8}" text-anchor="middle">${xName}</text><text transform="translate(12 ${y(0.5)}) rotate(-90)" text-anchor="middle">${yName}</text>`
  const chance = diagonal ? `<line x1="${x(0)}" y1="${y(0)}" x2="${x(1)}" y2="${y(1)}"/>` : ''
  const line = points.map(([px, py]) => `${x(px)},${y(py)}`).join(' ')
  return `<figure><figcaption>${title}</figcaption><svg class="curve" viewBox="0 0 ${size} ${size}" role="img" aria-label="${title}: ${yName} over ${xName}">${grid.join('')}${names}${chance}<polyline points="${line}"/></svg></figure>`
}

const SPARK = { width: 260, height: 36 }

/** A video's scores over its length, as SVG, before its ground truth. */
function spark({ name, scores, labels }: EvaluatedVideo, threshold: number): string {
  const { width, height } = SPARK
  const x = (share: number) => (share * width).toFixed(1)
  const y = (score: number) => (1 + (1 - score) * (height - 2)).toFixed(1)
  const truth = truthIntervals(labels).map(({ start, end }) => {
    const from = x(start / labels.length)
    return `<rect x="${from}" y="0" width="${Math.max(1, Number(x(end / labels.length)) - Number(from)).toFixed(1)}" height="${height}"/>`
  })
  const points = extremes(scores, width).flatMap(({ from, to, score }) => [
    `${x(from / scores.length)},${y(score)}`,
    `${x(to / scores.length)},${y(score)}`,
  ])
  const dashed = `<line x1="0" x2="${width}" y1="${y(threshold)}" y2="${y(threshold)}"/>`
  return `<svg class="spark" viewBox="0 0 ${width} ${height}" preserveAspectRatio="none" role="img" aria-label="scores of ${escapeHtml(name)}">${truth.join('')}${dashed}<polyline points="${points.join(' ')}"/></svg>`
}

/** Scores as steps; of more than `most` the highest of each part, as a peak must not get lost. */
function extremes(scores: ArrayLike<number>, most: number): { from: number; to: number; score: number }[] {
  const parts = Math.min(scores.length, most)
  return Array.from({ length: parts }, (_, i) => {
    const [from, to] = [Math.floor((i * scores.length) / parts), Math.floor(((i + 1) * scores.length) / parts)]
    let score = scores[from]!
    for (let segment = from; segment < to; segment++) score = Math.max(score, scores[segment]!)
    return { from, to, score }
  })
}

function videoTable(videos: EvaluatedVideo[], threshold: number): string {
  const titles = ['segments', 'abnormal', 'highest', 'mean, abnormal', 'mean, normal']
  const rows = videos.map((video) => {
    const { name, segments, abnormal, highest, meanAbnormal, meanNormal } = summaryOfVideo(video)
    const numbers = [count(segments), percent(abnormal), ...[highest, meanAbnormal, meanNormal].map(score)]
    return `<tr><td class="name">${escapeHtml(name)}</td><td>${spark(video, threshold)}</td>${numbers.map((text) => `<td class="number">${text}</td>`).join('')}</tr>`
  })
  const heads = titles.map((text) => `<th class="number">${text}</th>`).join('')
  return `<div class="scroll"><table class="wide"><thead><tr><th>video</th><th>scores</th>${heads}</tr></thead><tbody>${rows.join('\n')}</tbody></table></div>`
}

function score(value: number | undefined): string {
  return value === undefined ? '' : value.toFixed(3)
}
