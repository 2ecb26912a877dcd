/** A figure before and after a cut. */
export interface Change {
  before: number
  after: number
}

/** What a cut did to one layer that has channels: a convolution, linear layer, batch-norm or selection. */
export interface LayerReport {
  /** The layer's name in the network that was cut. */
  name: string
  op: string
  /** Output channels. */
  channels: Change
  /** The output channels that are left, by their places before the cut. */
  kept: number[]
  parameters: Change
  /** Multiply-accumulates of one forward pass at the report's input shapes. */
  macs: Change
}

/** What `slim.prune` did. */
export interface PruneReport {
  strategy: 'select' | 'group'
  /** What channels were ranked by: |gamma|, or the share of variance they bring. */
  score: 'scale' | 'variance'
  /** The share of channels that was asked for, or that the target led to. */
  ratio: number
  /** Channels whose score is not above it went; a |gamma| with score `'scale'`. */
  threshold: number
  /** Input shapes of the MACs: `{ image: [1, 3, 32, 32] }`. */
  inputs: Record<string, number[]>
  layers: LayerReport[]
  channels: Change
  parameters: Change
  macs: Change
  /** |gamma| of every batch-norm before the cut, by its name. */
  gammas: Record<string, number[]>
  /** What is odd but no error: a layer kept alive by `keepAtLeast`, a batch-norm that could not be cut. */
  warnings: string[]
}

/** One stage of `slim`, once it is over. */
export interface StageReport {
  stage: 'start' | 'train' | 'prune' | 'finetune'
  /** 1 for the first pass. */
  pass: number
  /** Share of the test images whose class is right, 0..1; null without `test`. */
  accuracy: number | null
  /** Mean cross-entropy over the test images; null without `test`. */
  loss: number | null
  parameters: number
  macs: number
  seconds: number
}

/** What `slim` did: its cut (all passes together) and its stages in order. */
export interface SlimReport extends PruneReport {
  stages: StageReport[]
}

/** Several cuts, one after another, as one: kept channels by their places in the first network. */
export function mergeReports(cuts: { kept: Record<string, number[]>; report: PruneReport }[]) {
  const [first, ...later] = cuts as [(typeof cuts)[number], ...typeof cuts]
  return later.reduce(
    (merged, { kept, report }) => ({
      kept: mapValues(merged.kept, (before, name) => {
        // Before a selection a batch-norm keeps its width: what is left of it is more than goes on from it.
        const left = merged.report.layers.find((layer) => layer.name === name)?.kept ?? before
        return (kept[name] ?? []).map((place) => left[place] as number)
      }),
      report: {
        ...merged.report,
        threshold: report.threshold,
        ratio: 1 - (1 - merged.report.ratio) * (1 - report.ratio),
        layers: merged.report.layers.map((layer) => mergeLayers(layer, report.layers)),
        channels: through(merged.report.channels, report.channels),
        parameters: through(merged.report.parameters, report.parameters),
        macs: through(merged.report.macs, report.macs),
        warnings: [...merged.report.warnings, ...report.warnings],
      },
    }),
    { kept: first.kept, report: first.report },
  )
}

function through({ before }: Change, { after }: Change): Change {
  return { before, after }
}

function mergeLayers(layer: LayerReport, later: LayerReport[]): LayerReport {
  const next = later.find(({ name }) => name === layer.name)
  if (next === undefined) return layer
  return {
    ...layer,
    channels: through(layer.channels, next.channels),
    kept: next.kept.map((place) => layer.kept[place] as number),
    parameters: through(layer.parameters, next.parameters),
    macs: through(layer.macs, next.macs),
  }
}

function mapValues<T>(object: Record<string, T>, map: (value: T, name: string) => T): Record<string, T> {
  return Object.fromEntries(Object.entries(object).map(([name, value]) => [name, map(value, name)]))
}
