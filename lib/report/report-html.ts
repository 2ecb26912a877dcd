import { escapeHtml } from './page.ts'
import { formatTime, type Interval, type Timeline } from './rtfm-data.ts'

/*
 * Pieces of the reports on scores, as HTML. Texts may hold anything.
 */

/** A key figure: its name, its value, and what to know of it. */
export function tile(name: string, value: string, note: string): string {
  return `<div class="tile"><span>${escapeHtml(name)}</span><b>${escapeHtml(value)}</b><span>${escapeHtml(note)}</span></div>`
}

/** All warnings in one box, or nothing. */
export function warningList(texts: string[]): string {
  if (texts.length === 0) return ''
  return `<div class="warnings"><ul>${texts.map((text) => `<li>${escapeHtml(text)}</li>`).join('')}</ul></div>`
}

/** Names and values under a heading, or nothing. */
export function facts(heading: string, rows: [string, string][]): string {
  if (rows.length === 0) return ''
  const lines = rows.map(([name, value]) => `<tr><td>${escapeHtml(name)}</td><td>${escapeHtml(value)}</td></tr>`)
  return `<h2>${heading}</h2>\n<table class="facts"><tbody>${lines.join('\n')}</tbody></table>`
}

/** A row of a table of stretches: the stretch, and what else there is to say of it. */
export interface IntervalRow extends Interval {
  cells: string[]
}

/** Rows that stand open; a long video can have hundreds. */
const OPEN_ROWS = 30

/** A table of stretches of a video, with the titles of their other cells; rows beyond the first ones are folded away. */
export function intervalTable({ fps }: Timeline, titles: string[], rows: IntervalRow[]): string {
  const heads = ['frames', ...titles].map((text) => `<th class="number">${escapeHtml(text)}</th>`).join('')
  const lines = rows.map(({ start, end, cells }) => {
    const when = fps === undefined ? '' : `<td class="when">${formatTime(start / fps)} to ${formatTime(end / fps)}</td>`
    const numbers = [`${count(start)} to ${count(end - 1)}`, ...cells].map(
      (text) => `<td class="number">${escapeHtml(text)}</td>`,
    )
    return `<tr>${when}${numbers.join('')}</tr>`
  })
  const table = (part: string[]) =>
    `<div class="scroll"><table><thead><tr>${fps === undefined ? '' : '<th>when</th>'}${heads}</tr></thead><tbody>${part.join('\n')}</tbody></table></div>`
  const rest = lines.slice(OPEN_ROWS)
  const more = rest.length === 0 ? '' : `<details><summary>${rest.length} more</summary>${table(rest)}</details>`
  return table(lines.slice(0, OPEN_ROWS)) + more
}

/** A share in percent. */
export function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`
}

/** A whole number with commas between thousands. */
export function count(value: number): string {
  return value.toLocaleString('en-US')
}

/** How many there are of something: "1 segment", "2 segments". */
export function counted(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? '' : 's'}`
}
