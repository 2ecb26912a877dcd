import type { ChartClass, ComputedStyle, MediaQuery, PageDocument } from './browser.ts'
import type { DavisPageData } from './davis-data.ts'

/*
 * The report's program. It runs in the browser: `drawDavisPage` is written into the page as text, so it may use nothing from
 * outside itself but the browser's own and chart.js's `Chart`. TypeScript is told of just what it uses.
 */

interface CanvasElement {
  dataset: { chart?: string; drawn?: string }
}

interface DrawnChart {
  destroy(): void
}

declare const Chart: ChartClass<CanvasElement, DrawnChart>
declare const document: PageDocument<CanvasElement>
declare const getComputedStyle: ComputedStyle
declare const matchMedia: MediaQuery

/** Draws J and F of each sequence over its frames; again when the colour scheme changes. */
export function drawDavisPage(): void {
  const data: DavisPageData = JSON.parse(document.getElementById('data').textContent)
  const drawn = new Map<CanvasElement, DrawnChart>()
  const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()

  const axis = (own: { ticks?: object; [name: string]: unknown }) => ({
    type: 'linear',
    border: { display: false },
    grid: { color: colour('line') },
    ...own,
    ticks: { color: colour('muted'), maxRotation: 0, ...own.ticks },
  })

  const chartOf = ({ frames, measured, jaccard, contour }: DavisPageData['sequences'][number]) => {
    const line = (label: string, values: number[], tint: string) => ({
      label,
      data: measured.map((x, i) => ({ x, y: values[i] as number })),
      borderColor: colour(tint),
      backgroundColor: colour(tint),
      borderWidth: 1.5,
      pointRadius: measured.length === 1 ? 3 : 0,
      clip: false,
    })
    return {
      type: 'line',
      data: { datasets: [line('J', jaccard, 'after'), line('F', contour, 'cut')] },
      options: {
        animation: false,
        responsive: true,
        maintainAspectRatio: false,
        parsing: false,
        normalized: true,
        interaction: { mode: 'index', intersect: false },
        scales: {
          x: axis({ min: 0, max: frames - 1, ticks: { maxTicksLimit: 12, precision: 0, includeBounds: false } }),
          y: axis({ min: 0, max: 1, ticks: { stepSize: 0.5 } }),
        },
        plugins: {
          legend: { display: false },
          tooltip: {
            callbacks: {
              title: (items: { parsed: { x: number } }[]) => `frame ${items[0]?.parsed.x}`,
              label: (item: { dataset: { label: string }; parsed: { y: number } }) =>
                `${item.dataset.label} ${item.parsed.y.toFixed(3)}`,
            },
          },
        },
      },
    }
  }

  const draw = (canvas: CanvasElement) => {
    const sequence = data.sequences[Number(canvas.dataset.chart)]
    if (sequence === undefined) return
    drawn.get(canvas)?.destroy()
    drawn.set(canvas, new Chart(canvas, chartOf(sequence)))
    canvas.dataset.drawn = 'yes'
  }

  Chart.defaults.font.family = 'system-ui, sans-serif'
  const canvases = [...document.querySelectorAll('canvas[data-chart]')]
  canvases.forEach(draw)
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => canvases.forEach(draw))
}
