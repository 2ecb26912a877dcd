// Numbers and tables.

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** Median, least and greatest. */
export function spread(values) {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values), values }
}

/** Of two sides' units: the spread of each, and the median of the ratios pair by pair. */
export function comparePairs(pairs) {
  return {
    torchvid: spread(pairs.map((pair) => pair[0])),
    pytorch: spread(pairs.map((pair) => pair[1])),
    ratio: median(pairs.map(([ours, theirs]) => ours / theirs)),
  }
}

/** Rows of text as a Markdown table. */
export function table(header, rows) {
  const widths = header.map((_, i) => Math.max(...[header, ...rows].map((row) => row[i].length)))
  const line = (row) => `| ${row.map((text, i) => text.padEnd(widths[i])).join(' | ')} |`
  return [line(header), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n')
}

/** `1.23 (1.20..1.31)` */
export function showSpread({ median, min, max }, scale = 1, digits = 2) {
  const show = (value) => (value * scale).toFixed(digits)
  return `${show(median)} (${show(min)}..${show(max)})`
}
