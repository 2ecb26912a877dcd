import { writeWhole } from '../data/files.ts'
import type { DavisScores, DavisTable } from '../metrics/davis-table.ts'
import {
  davisPageData,
  type EvaluatedSequence,
  type FrameScore,
  frameScores,
  jfOf,
  stripFrames,
  worstFrame,
  worstSequences,
} from './davis-data.ts'
import { drawDavisPage } from './davis-page.ts'
import { davisStyle } from './davis-style.ts'
import type { Thumbnail } from './davis-thumbnail.ts'
import { chartProgram, escapeHtml, pageHtml } from './page.ts'
import { count, counted, facts, tile, warningList } from './report-html.ts'

/** A sequence, and its pictures by frame: those of `stripFrames`, and for the worst sequences that of its `worstFrame`. */
export interface PicturedSequence extends EvaluatedSequence {
  pictures: Map<number, Thumbnail>
}

/** How a model did on DAVIS. */
export interface DavisReport {
  /** Of these sequences, in this order. */
  table: DavisTable
  sequences: PicturedSequence[]
  /** Default "Segmentation of DAVIS". */
  title?: string
  warnings?: string[]
  /** Names and values, in order: model, settings, versions. */
  settings?: [string, string][]
}

/** How many sequences count as the worst. */
export const WORST = 3

/**
 * Writes an evaluation as one HTML file that needs no other and no network: the worst first, the table, and of every
 * sequence frames with mask and truth, and both measures over time. Whole or not at all.
 * @throws TorchvidError ERR_IO when it cannot be written
 */
export async function writeDavisReport(path: string, report: DavisReport): Promise<void> {
  await writeWhole(path, Buffer.from(await davisReportHtml(report)))
}

/** The report as HTML. */
export async function davisReportHtml(report: DavisReport): Promise<string> {
  const { table, sequences, title = 'Segmentation of DAVIS', warnings = [], settings = [] } = report
  const body = [
    `<h1>${escapeHtml(title)}</h1>`,
    `<p>${subtitle(sequences)}</p>`,
    tiles(table, sequences),
    warningList(warnings),
    worst(table, sequences),
    `<h2>Table</h2>${tableHtml(table, sequences)}`,
    `<h2>Sequences</h2>${legend()}`,
    ...sequences.map((sequence, i) => sequenceHtml(sequence, table.sequences[i]!, i)),
    facts('Settings', settings),
    '<footer>One file, made by torchvid; it asks no other computer for anything. Charts: chart.js (MIT).</footer>',
  ]
  const scripts = [await chartProgram(), `(${drawDavisPage.toString()})()`]
  const data = davisPageData(sequences)
  return pageHtml({ title, style: davisStyle, body: body.filter((part) => part !== '').join('\n'), scripts, data })
}

function subtitle(sequences: EvaluatedSequence[]): string {
  const frames = sequences.reduce((sum, { measured }) => sum + measured.length, 0)
  return `${counted(sequences.length, 'sequence')}, ${counted(frames, 'frame')} measured; the first frame of a sequence, whose mask is given, and the last one do not count. J: region similarity, F: contour accuracy, 0 to 1.`
}

function tiles(table: DavisTable, sequences: EvaluatedSequence[]): string {
  const measure = (name: string, { mean, recall, decay }: DavisScores['jaccard']) =>
    tile(name, mean.toFixed(3), `recall ${recall.toFixed(3)}, decay ${signed(decay)}`)
  const time = (name: string, kind: 'fit' | 'frame') => {
    const values = sequences.map(({ seconds }) => seconds[kind]).filter((value) => value !== null)
    if (values.length === 0) return ''
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length
    return tile(name, secondsText(mean), `longest ${secondsText(Math.max(...values))}`)
  }
  return `<div class="tiles">${[
    tile('J&F', table.jf.toFixed(3), 'mean of both means'),
    measure('J', table.jaccard),
    measure('F', table.contour),
    time('fit', 'fit'),
    time('a frame', 'frame'),
  ].join('')}</div>`
}

/** The worst sequences by the picture of their worst frame, and the worst frames of all sequences. */
function worst(table: DavisTable, sequences: PicturedSequence[]): string {
  const cards = worstSequences(table, WORST).map((i) => {
    const sequence = sequences[i]!
    const score = worstFrame(sequence)
    const text = `<b>${link(i, sequence.name)}</b> J&amp;F ${table.sequences[i]!.jf.toFixed(3)}; worst frame ${score.frame}: ${scoreText(score)}`
    return figure(sequence, score.frame, text)
  })
  const frames = sequences
    .map((sequence, i) => ({ i, name: sequence.name, score: worstFrame(sequence) }))
    .sort((a, b) => jfOf(a.score) - jfOf(b.score))
    .slice(0, 8)
    .map(({ i, name, score }) => `${link(i, name)} ${score.frame} (${scoreText(score)})`)
  return `<h2>Worst</h2><div class="worst">${cards.join('')}</div><p>The worst frame of a sequence, worst first: ${frames.join('; ')}.</p>`
}

function link(i: number, name: string): string {
  return `<a href="#sequence-${i}">${escapeHtml(name)}</a>`
}

function tableHtml(table: DavisTable, sequences: EvaluatedSequence[]): string {
  const times = (['fit', 'frame'] as const).filter((kind) => sequences.some(({ seconds }) => seconds[kind] !== null))
  const titles = ['frames', 'J mean', 'J recall', 'J decay', 'F mean', 'F recall', 'F decay', 'J&amp;F']
  const heads = [...titles, ...times.map((kind) => (kind === 'fit' ? 'fit' : 'a frame'))]
  const row = (name: string, frames: number, scores: DavisScores, seconds: EvaluatedSequence['seconds'][]) => {
    const figures = [scores.jaccard, scores.contour].flatMap(({ mean, recall, decay }) => [
      mean.toFixed(3),
      recall.toFixed(3),
      signed(decay),
    ])
    const cells = [count(frames), ...figures, scores.jf.toFixed(3), ...times.map((kind) => meanText(seconds, kind))]
    return `<tr><td class="name">${name}</td>${cells.map((text) => `<td class="number">${text}</td>`).join('')}</tr>`
  }
  const rows = table.sequences.map((scores, i) =>
    row(link(i, scores.name), sequences[i]!.measured.length, scores, [sequences[i]!.seconds]),
  )
  const all = row(
    'mean',
    sequences.reduce((sum, { measured }) => sum + measured.length, 0),
    table,
    sequences.map(({ seconds }) => seconds),
  )
  return `<div class="scroll"><table class="wide"><thead><tr><th>sequence</th>${heads.map((text) => `<th class="number">${text}</th>`).join('')}</tr></thead><tbody>${rows.join('\n')}</tbody><tfoot>${all}</tfoot></table></div>`
}

function meanText(seconds: EvaluatedSequence['seconds'][], kind: 'fit' | 'frame'): string {
  const values = seconds.map((each) => each[kind]).filter((value) => value !== null)
  return values.length === 0 ? '' : secondsText(values.reduce((sum, value) => sum + value, 0) / values.length)
}

function legend(): string {
  const parts = [
    '<span><i class="mask"></i>mask</span>',
    '<span><i class="truth"></i>outline of the ground truth</span>',
    '<span><i class="j"></i>J over time</span>',
    '<span><i class="f"></i>F over time</span>',
  ]
  return `<div class="key">${parts.join('')}</div>`
}

function sequenceHtml(sequence: PicturedSequence, { jaccard, contour, jf }: DavisScores, i: number): string {
  const { name } = sequence
  const scores = new Map(frameScores(sequence).map((score) => [score.frame, score]))
  const worst = worstFrame(sequence).frame
  const strip = stripFrames(sequence.measured).map((frame) => {
    const score = scores.get(frame)
    const note = frame === worst ? ', worst' : ''
    return figure(sequence, frame, `<b>frame ${frame}</b>${note}: ${score === undefined ? 'given' : scoreText(score)}`)
  })
  const figures = `J&amp;F ${jf.toFixed(3)} &nbsp; J ${jaccard.mean.toFixed(3)} &nbsp; F ${contour.mean.toFixed(3)}`
  return `<section id="sequence-${i}"><h3>${escapeHtml(name)}<span>${figures}</span></h3><div class="strip">${strip.join('')}</div>
<div class="plot frames"><canvas data-chart="${i}" role="img" aria-label="J and F of ${escapeHtml(name)} over its frames"></canvas></div></section>`
}

function figure({ name, pictures }: PicturedSequence, frame: number, caption: string): string {
  const picture = pictures.get(frame)
  if (picture === undefined) return `<figure><figcaption>${caption}</figcaption></figure>`
  const { jpeg, width, height } = picture
  const source = `data:image/jpeg;base64,${jpeg.toString('base64')}`
  return `<figure><img loading="lazy" alt="${escapeHtml(name)}, frame ${frame}" width="${width}" height="${height}" src="${source}"><figcaption>${caption}</figcaption></figure>`
}

function scoreText({ jaccard, contour }: FrameScore): string {
  return `J ${jaccard.toFixed(2)} F ${contour.toFixed(2)}`
}

function signed(value: number): string {
  return value.toFixed(3).replace(/^-0\.000$/, '0.000')
}

function secondsText(seconds: number): string {
  return seconds < 9.95 ? `${seconds.toFixed(seconds < 0.995 ? 2 : 1)} s` : `${Math.round(seconds)} s`
}
