import type { ChartClass, ComputedStyle, MediaQuery, PageDocument, Pen } from './browser.ts'
import type { SlimPageData } from './slim-data.ts'

/*
 * The report's program. It runs in the browser: `drawSlimPage` is written into the page as text, so it may use nothing from
 * outside itself but the browser's own and chart.js's `Chart`. TypeScript is told of just what it uses.
 */

interface CanvasElement {
  dataset: { chart?: string; layer?: string; drawn?: string }
  getBoundingClientRect(): { top: number }
}

interface DrawnChart {
  destroy(): void
  ctx: Pen
  chartArea: { left: number; right: number; top: number; bottom: number }
  scales: { x: { getPixelForValue(value: number): number } }
}

declare const Chart: ChartClass<CanvasElement, DrawnChart>
declare const document: PageDocument<CanvasElement>
declare const innerHeight: number
declare const getComputedStyle: ComputedStyle
declare const matchMedia: MediaQuery
declare const addEventListener: (type: string, listener: () => void) => void
declare const IntersectionObserver: new (
  listener: (entries: { isIntersecting: boolean; target: CanvasElement }[]) => void,
  options: { rootMargin: string },
) => { observe(canvas: CanvasElement): void; unobserve(canvas: CanvasElement): void }

/** Draws every canvas of the page when it comes near the window, and again when the colour scheme changes. */
export function drawSlimPage(): void {
  /** Pixels from the window within which a chart is drawn. */
  const NEAR = 400
  const data: SlimPageData = JSON.parse(document.getElementById('data').textContent)
  const drawn = new Map<CanvasElement, DrawnChart>()

  const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()

  const common = (extra: { scales: object; plugins?: object; tooltips?: object }) => ({
    animation: false,
    responsive: true,
    maintainAspectRatio: false,
    interaction: { mode: 'index', intersect: false },
    scales: extra.scales,
    plugins: { legend: { display: false }, tooltip: { callbacks: extra.tooltips ?? {} }, ...extra.plugins },
  })

  const axis = ({
    grid = {},
    ticks = {},
    ...extra
  }: {
    grid?: object
    ticks?: object
    [name: string]: unknown
  } = {}) => ({
    ...extra,
    border: { display: false },
    grid: { color: colour('line'), ...grid },
    ticks: { color: colour('muted'), ...ticks },
  })

  const legend = { legend: { display: true, position: 'bottom', labels: { color: colour('text'), boxWidth: 12 } } }
  const percent = (value: number) => `${Math.round(value * 100) / 100} %`

  const accuracyChart = () => ({
    type: 'line',
    data: {
      labels: data.stages.labels,
      datasets: [
        {
          data: data.stages.accuracy,
          borderColor: colour('after'),
          backgroundColor: colour('after'),
          pointRadius: 5,
          // A point at 100 % is a whole one.
          clip: false,
          spanGaps: true,
        },
      ],
    },
    options: common({
      scales: {
        x: axis({ grid: { display: false }, offset: true }),
        y: axis({ beginAtZero: true, max: 100, ticks: { callback: percent } }),
      },
      tooltips: { label: (item: { parsed: { y: number } }) => `${item.parsed.y.toFixed(2)} % right` },
    }),
  })

  const notTooWide = { maxBarThickness: 64 }

  const costChart = () => ({
    type: 'bar',
    data: {
      labels: data.stages.labels,
      datasets: [
        { label: 'parameters', data: data.stages.parameters, backgroundColor: colour('after'), ...notTooWide },
        { label: 'MACs', data: data.stages.macs, backgroundColor: colour('cut'), ...notTooWide },
      ],
    },
    options: common({
      scales: {
        x: axis({ grid: { display: false } }),
        y: axis({ beginAtZero: true, ticks: { callback: percent } }),
      },
      plugins: legend,
      tooltips: {
        label: (item: { dataset: { label: string }; parsed: { y: number } }) =>
          `${item.dataset.label}: ${item.parsed.y.toFixed(1)} %`,
      },
    }),
  })

  const channelsChart = () => ({
    type: 'bar',
    data: {
      labels: data.channels.labels,
      datasets: [
        // The first is on top.
        { label: 'after', data: data.channels.after, backgroundColor: colour('after'), grouped: false, ...notTooWide },
        {
          label: 'before',
          data: data.channels.before,
          backgroundColor: colour('before'),
          grouped: false,
          ...notTooWide,
        },
      ],
    },
    options: common({
      scales: {
        x: axis({ grid: { display: false }, ticks: { maxRotation: 90, minRotation: 0, autoSkip: true } }),
        y: axis({ beginAtZero: true, ticks: { precision: 0 } }),
      },
    }),
  })

  const histogramChart = (layer: number) => {
    const { binWidth, threshold, layers } = data.histograms
    const { cut = [], kept = [] } = layers[layer] ?? {}
    const points = (counts: number[]) => counts.map((y, bin) => ({ x: (bin + 0.5) * binWidth, y }))
    const bars = { barPercentage: 1, categoryPercentage: 1, borderWidth: 0 }
    const line = {
      id: 'threshold',
      afterDatasetsDraw({ ctx, chartArea, scales }: DrawnChart) {
        if (threshold === null) return
        const x = scales.x.getPixelForValue(threshold)
        if (x < chartArea.left || x > chartArea.right) return
        ctx.save()
        ctx.strokeStyle = colour('text')
        ctx.lineWidth = 1.5
        ctx.setLineDash([4, 3])
        ctx.beginPath()
        ctx.moveTo(x, chartArea.top)
        ctx.lineTo(x, chartArea.bottom)
        ctx.stroke()
        ctx.restore()
      },
    }
    return {
      type: 'bar',
      data: {
        datasets: [
          { label: 'go', data: points(cut), backgroundColor: colour('cut'), ...bars },
          { label: 'stay', data: points(kept), backgroundColor: colour('after'), ...bars },
        ],
      },
      options: common({
        scales: {
          x: axis({
            type: 'linear',
            stacked: true,
            offset: false,
            min: 0,
            max: cut.length * binWidth,
            grid: { display: false },
            ticks: { maxTicksLimit: 5, maxRotation: 0, includeBounds: false },
          }),
          y: axis({ stacked: true, beginAtZero: true, ticks: { maxTicksLimit: 4, precision: 0 } }),
        },
        tooltips: {
          title: (items: { parsed: { x: number } }[]) => {
            const middle = items[0]?.parsed.x ?? 0
            return `${(middle - binWidth / 2).toPrecision(3)} to ${(middle + binWidth / 2).toPrecision(3)}`
          },
        },
      }),
      plugins: [line],
    }
  }

  const configOf = ({ dataset }: CanvasElement) => {
    if (dataset.chart === 'accuracy') return accuracyChart()
    if (dataset.chart === 'cost') return costChart()
    if (dataset.chart === 'channels') return channelsChart()
    return histogramChart(Number(dataset.layer))
  }

  const draw = (canvas: CanvasElement) => {
    if (drawn.has(canvas)) return
    drawn.set(canvas, new Chart(canvas, configOf(canvas)))
    canvas.dataset.drawn = 'yes'
  }

  const redraw = () => {
    for (const [canvas, chart] of [...drawn]) {
      chart.destroy()
      drawn.delete(canvas)
      draw(canvas)
    }
  }

  Chart.defaults.font.family = 'system-ui, sans-serif'
  const canvases = [...document.querySelectorAll('canvas[data-chart]')]
  const observer = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue
        observer.unobserve(target)
        draw(target)
      }
    },
    { rootMargin: `${NEAR}px` },
  )
  for (const canvas of canvases) {
    // What is seen first waits for no observer, which a window in the background may keep waiting.
    if (canvas.getBoundingClientRect().top < innerHeight + NEAR) draw(canvas)
    else observer.observe(canvas)
  }
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw)
  addEventListener('beforeprint', () => canvases.forEach(draw))
}
