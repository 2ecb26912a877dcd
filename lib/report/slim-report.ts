import { writeWhole } from '../data/files.ts'
import type { Change, LayerReport, SlimReport } from '../slim/report.ts'
import { chartProgram, escapeHtml, pageHtml } from './page.ts'
import { cutShare, goneShare, passesOf, type SlimPageData, slimPageData, stageName } from './slim-data.ts'
import { drawSlimPage } from './slim-page.ts'
import { slimStyle } from './slim-style.ts'

/** What a report says besides the figures. */
export interface SlimReportMeta {
  /** Default "Network slimming". */
  title?: string
  /** The channels that are left, by batch-norm: `kept` of `slim` or `slim.prune`. Default: those above the threshold. */
  kept?: Record<string, number[]>
  /** Names and values, in order: options, versions, whatever should be known later. */
  settings?: [string, string][]
}

/**
 * Writes what a slimming did as one HTML file that needs no other and no network: accuracy and cost at each stage, channels
 * of every layer, scales with the threshold, warnings, settings. Whole or not at all.
 * @throws TorchvidError ERR_IO when it cannot be written
 */
export async function writeSlimReport(path: string, report: SlimReport, meta: SlimReportMeta = {}): Promise<void> {
  await writeWhole(path, Buffer.from(await slimReportHtml(report, meta)))
}

/** The report as HTML. */
export async function slimReportHtml(report: SlimReport, meta: SlimReportMeta = {}): Promise<string> {
  const { title = 'Network slimming', settings = [] } = meta
  const data = slimPageData(report, meta.kept)
  const body = [
    `<h1>${escapeHtml(title)}</h1>`,
    `<p>${escapeHtml(subtitle(report))}</p>`,
    tiles(report),
    warnings(report.warnings),
    stages(report, data),
    channels(data),
    histograms(report, data),
    layerTable(report.layers),
    facts(settings),
    '<footer>One file, made by torchvid; it asks no other computer for anything. Charts: chart.js (MIT).</footer>',
  ]
  const scripts = [await chartProgram(), `(${drawSlimPage.toString()})()`]
  return pageHtml({ title, style: slimStyle, body: body.filter((part) => part !== '').join('\n'), scripts, data })
}

function subtitle(report: SlimReport): string {
  const { strategy, score, ratio, threshold, inputs } = report
  const shapes = Object.entries(inputs).map(([name, shape]) => `${name} ${shape.join('x')}`)
  const passes = passesOf(report)
  const cuts = passes === 1 ? 'One cut' : `${passes} cuts`
  return `${cuts}, at a ratio of ${percent(ratio, 1)} of the channels in all; strategy ${strategy}, score ${score}, threshold ${threshold.toPrecision(4)}. MACs at ${shapes.join(', ')}.`
}

function tiles(report: SlimReport): string {
  const { channels, parameters, macs } = report
  const saved = ([name, change]: [string, Change]) =>
    tile(name, gone(change), `${count(change.before)} → ${count(change.after)}`)
  const costs: [string, Change][] = [
    ['parameters', parameters],
    ['MACs', macs],
    ['channels of batch-norms', channels],
  ]
  return `<div class="tiles">${accuracyTile(report)}${costs.map(saved).join('')}</div>`
}

/** What there was before the first cut is the measure, not what a fresh network guesses. */
function accuracyTile({ stages }: SlimReport): string {
  const end = stages.at(-1)?.accuracy
  if (end === null || end === undefined) return tile('accuracy', '–', 'not measured: there were no test images')
  const first = stages.findIndex(({ stage }) => stage === 'prune')
  const before = stages[first - 1]?.accuracy
  const after = stages[first]?.accuracy
  const parts = [
    ...(before === null || before === undefined ? [] : [`${percent(before)} before the cut`]),
    ...(after === null || after === undefined || first === stages.length - 1
      ? []
      : [`${percent(after)} right after it`]),
  ]
  return tile('accuracy', percent(end), parts.join(', '))
}

function tile(name: string, value: string, note: string): string {
  return `<div class="tile"><span>${escapeHtml(name)}</span><b>${escapeHtml(value)}</b><span>${escapeHtml(note)}</span></div>`
}

/** Warnings that stand open; deep networks can have hundreds, which would push all else out of sight. */
const OPEN_WARNINGS = 5

function warnings(texts: string[]): string {
  if (texts.length === 0) return ''
  const [first, more] = [texts.slice(0, OPEN_WARNINGS), texts.slice(OPEN_WARNINGS)].map((part) =>
    part.map((text) => `<li>${escapeHtml(text)}</li>`).join(''),
  )
  const folded = texts.length - OPEN_WARNINGS
  const rest = folded > 0 ? `<details><summary>${folded} more warnings</summary><ul>${more}</ul></details>` : ''
  return `<div class="warnings"><ul>${first}</ul>${rest}</div>`
}

function stages(report: SlimReport, { stages: { accuracy } }: SlimPageData): string {
  const measured = accuracy.some((value) => value !== null)
  const passes = passesOf(report)
  const rows = report.stages.map((stage) => {
    const { accuracy, loss, parameters, macs, seconds } = stage
    const figures = [
      accuracy === null ? '' : percent(accuracy),
      loss === null ? '' : loss.toFixed(4),
      ...[count(parameters), count(macs), `${seconds.toFixed(1)} s`],
    ]
    return `<tr><td>${escapeHtml(stageName(stage, passes))}</td>${figures.map(numberCell).join('')}</tr>`
  })
  const titles = ['accuracy', 'loss', 'parameters', 'MACs', 'time']
  return `<h2>Stages</h2>
<div class="pair">
${measured ? figure('accuracy', 'Accuracy on the test images after each stage') : ''}
${figure('cost', 'Parameters and multiply-accumulates, of those at the start')}
</div>
<div class="scroll"><table><thead><tr><th>stage</th>${titles.map((text) => `<th class="number">${text}</th>`).join('')}</tr></thead>
<tbody>${rows.join('\n')}</tbody></table></div>`
}

function figure(chart: string, label: string): string {
  return `<figure><figcaption>${label}</figcaption><div class="plot"><canvas data-chart="${chart}" role="img" aria-label="${label}"></canvas></div></figure>`
}

/** Pixels per layer below which its bar cannot be told from the next. */
const LEAST_BAR = 9

function channels({ channels: { labels } }: SlimPageData): string {
  if (labels.length === 0) return ''
  const label = 'Output channels of every convolution, linear layer and selection, before and after'
  return `<h2>Channels</h2>
<div class="key">${key('after', 'after')}${key('before', 'before')}</div>
<figure><figcaption>${label}</figcaption><div class="scroll"><div class="plot tall" style="min-width:${labels.length * LEAST_BAR}px"><canvas data-chart="channels" role="img" aria-label="${label}"></canvas></div></div></figure>`
}

function histograms(report: SlimReport, { histograms: { layers, threshold } }: SlimPageData): string {
  if (layers.length === 0) return ''
  const { strategy, score } = report
  const figures = layers.map(({ name, cut, kept }, layer) => {
    const [going, staying] = [sum(cut), sum(kept)]
    const label = `Scales of ${name}: ${going} of ${going + staying} channels go`
    return `<figure><figcaption><b>${escapeHtml(name)}</b> ${going} of ${going + staying} go</figcaption><div class="plot"><canvas data-chart="histogram" data-layer="${layer}" role="img" aria-label="${escapeHtml(label)}"></canvas></div></figure>`
  })
  const notes = [
    'How many channels of each batch-norm have a scale |gamma| of which size, on one axis for all layers.',
    ...(score === 'variance' ? ['Channels were ranked by the variance they carry, not by their scales alone.'] : []),
    ...(strategy === 'group' ? ['Channels tied by sums went together.'] : []),
    ...(passesOf(report) > 1
      ? ['Scales are those before the first of several cuts; colours show what all cuts left.']
      : []),
  ]
  const line =
    threshold === null ? '' : `<span><i class="line"></i>threshold ${escapeHtml(threshold.toPrecision(4))}</span>`
  return `<h2>Scales before the cut</h2>
<p>${notes.join(' ')}</p>
<div class="key">${key('cut', 'channels that go')}${key('after', 'channels that stay')}${line}</div>
<div class="many">${figures.join('\n')}</div>`
}

/** One entry of a legend: a square of a colour of the style, and what it means. */
function key(colour: 'before' | 'after' | 'cut', text: string): string {
  return `<span><i style="background:var(--${colour})"></i>${text}</span>`
}

function layerTable(layers: LayerReport[]): string {
  const rows = layers.map((layer) => {
    const { name, op, channels, parameters, macs } = layer
    const share = cutShare(layer)
    const bar = `<td class="number">${percent(share, 1)}</td><td class="share"><div style="--part:${(share * 100).toFixed(1)}%"></div></td>`
    return `<tr><td class="name">${escapeHtml(name)}</td><td>${escapeHtml(op)}</td>${[channels, parameters, macs].map(changeCells).join('')}${bar}</tr>`
  })
  const numbers = ['channels', 'parameters', 'MACs'].map((text) => `<th class="number" colspan="2">${text}</th>`)
  return `<h2>Layers</h2>
<div class="scroll"><table class="wide"><thead><tr><th>layer</th><th>op</th>${numbers.join('')}<th class="number">cut</th><th></th></tr></thead>
<tbody>${rows.join('\n')}</tbody></table></div>`
}

function changeCells({ before, after }: Change): string {
  if (before === 0 && after === 0) return '<td></td><td></td>'
  return `<td class="number was">${count(before)}</td>${numberCell(count(after))}`
}

function numberCell(text: string): string {
  return `<td class="number">${escapeHtml(text)}</td>`
}

function facts(settings: [string, string][]): string {
  if (settings.length === 0) return ''
  const rows = settings.map(([name, value]) => `<tr><td>${escapeHtml(name)}</td><td>${escapeHtml(value)}</td></tr>`)
  return `<h2>Settings</h2>\n<table class="facts"><tbody>${rows.join('\n')}</tbody></table>`
}

function gone(change: Change): string {
  return `−${percent(goneShare(change), 1)}`
}

function percent(share: number, digits = 2): string {
  return `${(share * 100).toFixed(digits)} %`
}

function count(value: number): string {
  return value.toLocaleString('en-US')
}

function sum(values: number[]): number {
  return values.reduce((a, b) => a + b, 0)
}
