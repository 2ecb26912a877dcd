/** How one column of a table looks. */
export interface Column {
  title: string
  /** Numbers stand right. Default left. */
  align?: 'left' | 'right'
}

/** A table as plain text, columns two spaces apart; the last line without trailing spaces or line end. */
export function textTable(columns: Column[], rows: string[][]): string {
  const widths = columns.map(({ title }, i) =>
    Math.max(...[title, ...rows.map((row) => row[i] ?? '')].map((t) => t.length)),
  )
  const line = (cells: string[]) =>
    columns
      .map(({ align }, i) =>
        align === 'right' ? (cells[i] ?? '').padStart(widths[i]!) : (cells[i] ?? '').padEnd(widths[i]!),
      )
      .join('  ')
      .trimEnd()
  return [
    line(columns.map(({ title }) => title)),
    line(widths.map((width) => '-'.repeat(width))),
    ...rows.map(line),
  ].join('\n')
}

/** A whole number with commas between thousands. */
export function formatCount(value: number): string {
  return value.toLocaleString('en-US')
}

/** A large number in three digits: "398 M", "20.0 M", "1.20 G"; small ones whole. */
export function formatShort(value: number): string {
  const units: [number, string][] = [
    [1e12, 'T'],
    [1e9, 'G'],
    [1e6, 'M'],
    [1e3, 'k'],
  ]
  const [size, unit] = units.find(([size]) => value >= size * 0.9995) ?? [1, '']
  return size === 1 ? formatCount(value) : `${(value / size).toPrecision(3)} ${unit}`
}

/** A share in percent: "91.7 %". */
export function formatPercent(value: number, digits = 1): string {
  return `${(value * 100).toFixed(digits)} %`
}

/** How much of `before` is gone: "-88.5 %". */
export function formatChange({ before, after }: { before: number; after: number }): string {
  if (before === 0) return '0.0 %'
  const change = ((after - before) / before) * 100
  return `${change > 0 ? '+' : ''}${change.toFixed(1).replace(/^-0\.0$/, '0.0')} %`
}

/** Text from a file, safe for a terminal: control and direction characters are shown, not obeyed. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) => `\\u{${c.codePointAt(0)?.toString(16)}}`)
}
