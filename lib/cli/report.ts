import sharp from 'sharp'
import { writeWhole } from '../data/files.ts'
import type { Tile } from './tiles.ts'

/** What a report tells. */
export interface Report {
  title: string
  /** Names and values, in order. */
  settings: [string, string][]
  results: [string, string][]
  /** The loss of every step, one list for each network that learnt. */
  losses: { id: number; values: number[] }[]
  tiles: Tile[]
}

/** Writes the report as one HTML file that needs no other. `ERR_IO` when it cannot be written. */
export async function writeReport(path: string, report: Report): Promise<void> {
  const pictures = await Promise.all(report.tiles.map(figure))
  const html = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(report.title)}</title>
<style>${STYLE}</style>
<h1>${escapeHtml(report.title)}</h1>
<h2>Frames</h2>
<div class="frames">${pictures.join('\n')}</div>
<h2>Results</h2>
${table(report.results)}
${report.losses.length === 0 ? '' : `<h2>Loss</h2>\n${lossCurve(report.losses)}`}
<h2>Settings</h2>
${table(report.settings)}
</html>
`
  await writeWhole(path, Buffer.from(html))
}

const STYLE = `
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1060px; margin: 2em auto; padding: 0 1em; color: #222 }
.frames { display: grid; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)); gap: 8px }
figure { margin: 0 } img { width: 100%; display: block } figcaption { font-size: 13px; color: #666 }
td { padding: 2px 1.5em 2px 0; vertical-align: top; overflow-wrap: anywhere } td:first-child { color: #666; white-space: nowrap }
svg { width: 100%; height: auto; background: #f6f6f6 } svg text { font: 12px system-ui, sans-serif; fill: #666 }
`

async function figure({ image, index, name }: Tile): Promise<string> {
  const { data, width, height, channels } = image
  const jpeg = await sharp(data, { raw: { width, height, channels } }).jpeg({ quality: 80 }).toBuffer()
  const label = `frame ${index} (${escapeHtml(name)})`
  return `<figure><img alt="${label}" src="data:image/jpeg;base64,${jpeg.toString('base64')}"><figcaption>${label}</figcaption></figure>`
}

function table(rows: [string, string][]): string {
  const lines = rows.map(([name, value]) => `<tr><td>${escapeHtml(name)}</td><td>${escapeHtml(value)}</td></tr>`)
  return `<table>${lines.join('\n')}</table>`
}

const CURVE = { width: 1000, height: 280, left: 64, right: 12, top: 12, bottom: 28 }
const MOST_POINTS = 400
const LINE_COLOURS = ['#c0392b', '#2471a3', '#1e8449', '#b9770e', '#7d3c98', '#117a65']

/** The losses over the steps, on a logarithmic scale; long runs are averaged to a few hundred points. */
function lossCurve(losses: Report['losses']): string {
  const curves = losses.map(({ id, values }) => ({ id, steps: values.length, points: thinOut(values) }))
  const positive = curves.flatMap(({ points }) => points).filter((value) => value > 0)
  if (positive.length === 0) return '<p>No steps were made.</p>'
  const low = Math.log10(Math.min(...positive))
  const high = Math.max(Math.log10(Math.max(...positive)), low + 1e-3)
  const { width, height, left, right, top, bottom } = CURVE
  const x = (part: number) => left + part * (width - left - right)
  const y = (loss: number) =>
    top + ((high - Math.log10(Math.max(loss, 10 ** low))) / (high - low)) * (height - top - bottom)
  const lines = curves.map(({ points }, i) => {
    const path = points.map((loss, j) => `${x((j + 0.5) / points.length).toFixed(1)},${y(loss).toFixed(1)}`)
    return `<polyline fill="none" stroke="${LINE_COLOURS[i % LINE_COLOURS.length]}" stroke-width="1.5" points="${path.join(' ')}"/>`
  })
  const ticks = [low, (low + high) / 2, high].map((log) => {
    const at = y(10 ** log).toFixed(1)
    return `<line x1="${left}" x2="${width - right}" y1="${at}" y2="${at}" stroke="#ddd"/><text x="${left - 6}" y="${at}" text-anchor="end" dominant-baseline="middle">${(10 ** log).toPrecision(2)}</text>`
  })
  const legend = curves.length > 1 ? `, objects ${curves.map(({ id }) => id).join(', ')}` : ''
  const caption = `<text x="${left}" y="${height - 8}">steps 1 to ${curves[0]?.steps}${legend}; logarithmic scale</text>`
  return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="loss over steps">${ticks.join('')}${lines.join('')}${caption}</svg>`
}

function thinOut(values: number[]): number[] {
  const count = Math.min(values.length, MOST_POINTS)
  return Array.from({ length: count }, (_, i) => {
    const part = values.slice(Math.floor((i * values.length) / count), Math.floor(((i + 1) * values.length) / count))
    return part.reduce((a, b) => a + b, 0) / part.length
  })
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)
}
