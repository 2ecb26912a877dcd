import type { Change, LayerReport, SlimReport, StageReport } from '../slim/report.ts'

/** One batch-norm's scales |gamma|, counted in bins of equal width from 0. */
export interface Histogram {
  name: string
  /** Channels of each bin that went, and that stayed. */
  cut: number[]
  kept: number[]
}

/** What the page's program draws. */
export interface SlimPageData {
  stages: {
    labels: string[]
    /** 0..100; null where it was not measured. */
    accuracy: (number | null)[]
    /** Of what there was at the start, 0..100. */
    parameters: number[]
    macs: number[]
  }
  channels: { labels: string[]; before: number[]; after: number[] }
  histograms: {
    /** The same for all layers, so that they can be compared. */
    binWidth: number
    /** Null when it is not a scale of these bins: of another score, or of a later cut. */
    threshold: number | null
    layers: Histogram[]
  }
}

const BINS = 40
/** Layers with channels of their own; a batch-norm has those of the layer before it. */
const WIDE = new Set(['conv', 'convTranspose', 'linear', 'select'])

const STAGE_NAMES: Record<StageReport['stage'], string> = {
  start: 'start',
  train: 'sparse training',
  prune: 'cut',
  finetune: 'fine-tuning',
}

/** How often there was a cut. */
export function passesOf({ stages }: SlimReport): number {
  return Math.max(1, ...stages.map(({ pass }) => pass))
}

/** A stage's name, with its pass where there are several. */
export function stageName({ stage, pass }: StageReport, passes: number): string {
  return passes > 1 && stage !== 'start' ? `${STAGE_NAMES[stage]} ${pass}` : STAGE_NAMES[stage]
}

/** What there is to draw; `kept`, by batch-norm, says exactly which channels went (default: those up to the threshold). */
export function slimPageData(report: SlimReport, kept: Record<string, number[]> = {}): SlimPageData {
  const passes = passesOf(report)
  const { stages, layers } = report
  const wide = layers.filter(({ op }) => WIDE.has(op))
  return {
    stages: {
      labels: stages.map((stage) => stageName(stage, passes)),
      accuracy: stages.map(({ accuracy }) => (accuracy === null ? null : accuracy * 100)),
      parameters: stages.map(({ parameters }) => shareOf(parameters, report.parameters.before)),
      macs: stages.map(({ macs }) => shareOf(macs, report.macs.before)),
    },
    channels: {
      labels: wide.map(({ name }) => name),
      before: wide.map(({ channels }) => channels.before),
      after: wide.map(({ channels }) => channels.after),
    },
    histograms: histogramsOf(report, kept, passes),
  }
}

function histogramsOf({ gammas, threshold, score }: SlimReport, kept: Record<string, number[]>, passes: number) {
  const largest = Object.values(gammas).reduce((most, values) => values.reduce((a, b) => Math.max(a, b), most), 0)
  const binWidth = largest > 0 && Number.isFinite(largest) ? largest / BINS : 1 / BINS
  const layers = Object.entries(gammas).map(([name, values]): Histogram => {
    const staying = Object.hasOwn(kept, name) ? new Set(kept[name]) : undefined
    const histogram: Histogram = { name, cut: new Array(BINS).fill(0), kept: new Array(BINS).fill(0) }
    for (const [channel, gamma] of values.entries()) {
      const bin = Math.min(BINS - 1, Math.floor(gamma / binWidth) || 0)
      const stays = staying === undefined ? gamma > threshold : staying.has(channel)
      const counts = stays ? histogram.kept : histogram.cut
      counts[bin] = (counts[bin] as number) + 1
    }
    return histogram
  })
  // The report's scales are those before the first cut, its threshold is the last one's.
  return { binWidth, threshold: passes === 1 && score === 'scale' ? threshold : null, layers }
}

function shareOf(value: number, whole: number): number {
  return whole === 0 ? 100 : (value / whole) * 100
}

/** The share of a layer's channels that is gone, 0..1. */
export function cutShare({ channels }: Pick<LayerReport, 'channels'>): number {
  return goneShare(channels)
}

/** How much of a figure is gone, 0..1. */
export function goneShare({ before, after }: Change): number {
  return before === 0 ? 0 : 1 - after / before
}
