import type { ChartClass, ComputedStyle, MediaQuery, PageDocument, Pen } from './browser.ts'
import type { RtfmPageData } from './rtfm-data.ts'

/*
 * The report's program. It runs in the browser: `drawRtfmPage` is written into the page as text, so it may use nothing from
 * outside itself but the browser's own and chart.js's `Chart`. TypeScript is told of just what it uses.
 */

interface CanvasElement {
  dataset: { chart?: string; drawn?: string }
  closest(selector: string): { style: { setProperty(name: string, value: string): void } } | null
}

interface Scale {
  ticks: { value: number }[]
  getPixelForValue(value: number): number
}

interface DrawnChart {
  destroy(): void
  canvas: CanvasElement
  ctx: Pen & {
    fillRect(x: number, y: number, width: number, height: number): void
    fillText(text: string, x: number, y: number): void
  }
  width: number
  chartArea: { left: number; right: number; top: number; bottom: number }
  scales: { x: Scale; y: Scale }
}

declare const Chart: ChartClass<CanvasElement, DrawnChart>
declare const document: PageDocument<CanvasElement>
declare const getComputedStyle: ComputedStyle
declare const matchMedia: MediaQuery

/** Draws the scores, and the magnitudes where there are some, over time; again when the colour scheme changes. */
export function drawRtfmPage(): void {
  /** Pixels that a label of the time axis takes at least. */
  const LABEL = 64
  const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 36_000]
  const data: RtfmPageData = JSON.parse(document.getElementById('data').textContent)
  const { frames, fps, framesPerSegment, threshold, segments } = data
  const drawn = new Map<CanvasElement, DrawnChart>()

  const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()

  const clock = (seconds: number, digits: number) => {
    const hours = Math.floor(seconds / 3600)
    const minutes = Math.floor(seconds / 60) % 60
    const rest = (seconds % 60).toFixed(digits).padStart(digits > 0 ? 3 + digits : 2, '0')
    return hours > 0 ? `${hours}:${String(minutes).padStart(2, '0')}:${rest}` : `${minutes}:${rest}`
  }

  const startOf = (segment: number) => segment * framesPerSegment
  const endOf = (segment: number) => Math.min(startOf(segment) + framesPerSegment, frames)

  /** A value holds until the next segment begins, the last one until the video ends. */
  const pointsOf = (values: number[]) => {
    const points = segments.map((segment, i) => ({ x: startOf(segment), y: values[i] as number }))
    const last = points.at(-1)
    return last === undefined ? [] : [...points, { x: endOf(segments.at(-1) as number), y: last.y }]
  }

  const axis = (extra: { ticks?: object; grid?: object; [name: string]: unknown }) => ({
    ...extra,
    border: { display: false },
    grid: { color: colour('line'), ...extra.grid },
    ticks: { color: colour('muted'), maxRotation: 0, ...extra.ticks },
  })

  const frameAxis = (own: object) => axis({ axis: 'x', type: 'linear', min: 0, max: frames, ...own })

  /** Whole seconds, minutes or hours where the rate is known. */
  const timeAxis = (rate: number) => {
    let step = 1
    return frameAxis({
      afterBuildTicks: (scale: Scale & { chart: DrawnChart }) => {
        const room = Math.max(2, scale.chart.width / LABEL)
        const seconds = frames / rate
        step = STEPS.find((each) => seconds / each <= room) ?? Math.ceil(seconds / room / 36_000) * 36_000
        scale.ticks = Array.from({ length: Math.floor(seconds / step + 1e-9) + 1 }, (_, i) => ({
          value: i * step * rate,
        }))
      },
      ticks: { autoSkip: false, callback: (frame: number) => clock(frame / rate, step < 1 ? 1 : 0) },
    })
  }

  const plainFrames = () =>
    frameAxis({
      position: 'bottom',
      grid: { display: fps === null },
      ticks: { includeBounds: false, maxTicksLimit: 12, precision: 0 },
      title: { display: true, text: 'frame', color: colour('muted'), padding: 0, font: { size: 11 } },
    })

  /** Of the same width in all charts, so that one moment is at one place in all of them. */
  const valueAxis = (own: object) =>
    axis({
      beginAtZero: true,
      ...own,
      afterFit: (scale: { width: number }) => {
        scale.width = 44
      },
    })

  const underlay = {
    id: 'underlay',
    /** The strip and the bars of the page lie over the same moments as the curve. */
    afterLayout({ canvas, chartArea, width }: DrawnChart) {
      const style = canvas.closest('.timeline')?.style
      style?.setProperty('--left', `${chartArea.left}px`)
      style?.setProperty('--right', `${width - chartArea.right}px`)
    },
    beforeDatasetsDraw({ ctx, chartArea, scales }: DrawnChart) {
      ctx.save()
      ctx.fillStyle = colour('truth-ground')
      for (const [start, end] of data.truth ?? []) {
        const left = scales.x.getPixelForValue(start)
        ctx.fillRect(left, chartArea.top, scales.x.getPixelForValue(end) - left, chartArea.bottom - chartArea.top)
      }
      ctx.restore()
    },
  }

  const thresholdLine = {
    id: 'threshold',
    afterDatasetsDraw({ ctx, chartArea, scales }: DrawnChart) {
      const y = scales.y.getPixelForValue(threshold)
      ctx.save()
      ctx.strokeStyle = colour('text')
      ctx.lineWidth = 1.5
      ctx.setLineDash([6, 4])
      ctx.beginPath()
      ctx.moveTo(chartArea.left, y)
      ctx.lineTo(chartArea.right, y)
      ctx.stroke()
      ctx.fillStyle = colour('text')
      ctx.font = '12px system-ui, sans-serif'
      ctx.textAlign = 'right'
      ctx.textBaseline = threshold > 0.9 ? 'top' : 'bottom'
      ctx.fillText(`threshold ${threshold}`, chartArea.right - 4, y + (threshold > 0.9 ? 4 : -3))
      ctx.restore()
    },
  }

  /** When, which frames, which segment. */
  const placeOf = (items: { dataIndex: number }[]) => {
    const segment = segments[Math.min(items[0]?.dataIndex ?? 0, segments.length - 1)] as number
    const [start, end] = [startOf(segment), endOf(segment)]
    const time = fps === null ? [] : [`${clock(start / fps, 1)} to ${clock(end / fps, 1)}`]
    return [...time, `frames ${start} to ${end - 1}, segment ${segment}`]
  }

  const truthOf = (items: { dataIndex: number }[]) => {
    if (data.truth === null) return []
    const segment = segments[Math.min(items[0]?.dataIndex ?? 0, segments.length - 1)] as number
    const isAbnormal = data.truth.some(([start, end]) => start < endOf(segment) && startOf(segment) < end)
    return [`ground truth: ${isAbnormal ? 'abnormal' : 'normal'}`]
  }

  const chartOf = (
    values: number[],
    own: { name: string; axes: object; y: object; dataset: object; plugins: object[] },
  ) => ({
    type: 'line',
    data: {
      datasets: [{ data: pointsOf(values), stepped: true, pointRadius: 0, borderWidth: 2, ...own.dataset }],
    },
    options: {
      animation: false,
      responsive: true,
      maintainAspectRatio: false,
      parsing: false,
      normalized: true,
      interaction: { mode: 'index', intersect: false },
      layout: { autoPadding: false, padding: { top: 8, right: 28 } },
      scales: {
        ...own.axes,
        y: valueAxis(own.y),
      },
      plugins: {
        legend: { display: false },
        tooltip: {
          displayColors: false,
          callbacks: {
            title: placeOf,
            label: (item: { parsed: { y: number } }) => `${own.name} ${item.parsed.y.toFixed(3)}`,
            afterBody: truthOf,
          },
        },
      },
    },
    plugins: [underlay, ...own.plugins],
  })

  const scoreChart = () => {
    const above = (point: { parsed: { y: number } }) => point.parsed.y >= threshold
    return chartOf(data.scores, {
      name: 'score',
      axes: fps === null ? { x: plainFrames() } : { x: timeAxis(fps), x2: plainFrames() },
      y: { min: 0, max: 1, ticks: { stepSize: 0.2 } },
      dataset: {
        borderColor: colour('after'),
        segment: {
          borderColor: (part: { p0: { parsed: { y: number } } }) => (above(part.p0) ? colour('cut') : undefined),
        },
        fill: { value: threshold, above: colour('above-ground'), below: 'transparent' },
        // The line of a score of 0 or 1 is a whole one.
        clip: false,
      },
      plugins: [thresholdLine],
    })
  }

  const magnitudeChart = () =>
    chartOf(data.magnitudes ?? [], {
      name: 'magnitude',
      // The scores' axes are just above.
      axes: { x: frameAxis({ grid: { display: false }, ticks: { display: false } }) },
      y: { ticks: { maxTicksLimit: 4 } },
      dataset: { borderColor: colour('muted') },
      plugins: [],
    })

  const draw = (canvas: CanvasElement) => {
    drawn.get(canvas)?.destroy()
    drawn.set(canvas, new Chart(canvas, canvas.dataset.chart === 'scores' ? scoreChart() : magnitudeChart()))
    canvas.dataset.drawn = 'yes'
  }

  Chart.defaults.font.family = 'system-ui, sans-serif'
  const canvases = [...document.querySelectorAll('canvas[data-chart]')]
  canvases.forEach(draw)
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => canvases.forEach(draw))
}
