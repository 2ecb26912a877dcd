import { checkInteger, checkNumber, invalidArgument } from '../errors.ts'
import type { Graph } from '../graph/types.ts'
import { type NativeLayer, type NativePruned, native } from '../native.ts'
import { Network } from '../network.ts'
import { checkNetwork } from './images.ts'
import type { LayerReport, PruneReport } from './report.ts'

/** Settings of `slim.prune`. */
export interface PruneOptions {
  /** Share of the channels that go, in [0, 1): those with the smallest scales in the whole network. Or give `target`. */
  ratio?: number
  /**
   * What the network must come down to; the ratio is then found by bisection. A number below 1 is a share of what there is,
   * any other a count. With both, both are reached.
   */
  target?: { macs?: number; parameters?: number }
  /**
   * `'select'` (default): exactly the network-slimming references. Every batch-norm channel is ranked on its own; sums keep
   * their channels, and a batch-norm on a shared stream keeps its width with a selection behind it.
   * `'group'`: channels tied by sums are ranked and go together, so that residual streams shrink too and no selection is
   * needed.
   */
  strategy?: 'select' | 'group'
  /**
   * What the ranking goes by. `'scale'` (default of `'select'`): |gamma|, the greatest of tied channels under `'select'`,
   * their mean under `'group'`. `'variance'` (default of `'group'`): the share of the variance of the layers that read the
   * channel which it brings, from gamma, beta and the weights that read it, per multiply-accumulate that goes with it;
   * much better on networks that were not trained sparse (docs/results.md).
   */
  score?: 'scale' | 'variance'
  /**
   * Keeps the mean contribution of removed channels: beta becomes E[max(N(beta, gamma^2), 0)] after ReLU, and goes into the
   * bias or the running mean of what follows. Exact for gamma = 0, but for borders padded with zeros. Default false: it is
   * dropped, as the references do.
   */
  fold?: boolean
  /** Widths are rounded up to a multiple of this, the strongest channels coming back. Default 1. */
  roundTo?: number
  /** Channels that every layer keeps at least, the strongest ones (all, where it has fewer). Default 4. */
  keepAtLeast?: number
  /** Share of its channels that every layer keeps at least, in [0, 1]. Default 0. */
  keepShare?: number
  /** Input shapes at which MACs are counted. Default: the graph's own, a batch of 1, free sizes 224. */
  inputs?: Record<string, number[]>
}

/** What `slim.prune` gives. */
export interface PruneResult {
  /** A new network; the one given is unchanged. */
  network: Network
  /** Of every batch-norm, by name: the channels that go on from it, in order. */
  kept: Record<string, number[]>
  report: PruneReport
}

type Target = NonNullable<PruneOptions['target']>

const defaultScore: Record<string, 'scale' | 'variance'> = { select: 'scale', group: 'variance' }

/** Enough for a layer to carry something on; the report says where it was needed. */
const defaultFloor = 4

/**
 * Removes the channels whose batch-norm scale |gamma| is at or below a global threshold, by rebuilding the layers narrower
 * (network slimming, Liu et al. 2017, arXiv 1708.06519): threshold = sorted scales[int(count * ratio)], what is strictly
 * above it stays. Works on any graph: sums, concatenations, depthwise and grouped convolutions. Without `fold` the result
 * computes what the network computes with those scales and shifts at zero.
 * @throws TorchvidError ERR_INVALID_ARGUMENT when nothing can be cut, a layer would lose every channel (`keepAtLeast: 0`)
 *   or the target cannot be reached; ERR_DISPOSED
 */
export async function prune(network: Network, options: PruneOptions): Promise<PruneResult> {
  checkNetwork('network', network)
  const settings = checkPruneOptions(options)
  const shapes = options.inputs ?? inputShapes(network.graph)
  const target = options.target === undefined ? {} : await absoluteTarget(network, options.target, shapes)
  const result = await native().prune(network.handle, { ...settings, target, shapes })
  const graph: Graph = { ...network.graph, nodes: result.nodes, outputs: result.outputs }
  const { kept, gammas, warnings, ratio, threshold } = result
  const report: PruneReport = {
    strategy: settings.strategy,
    score: settings.score,
    ratio,
    threshold,
    inputs: shapes,
    layers: layerReports(result),
    channels: { before: total(Object.values(gammas)), after: total(Object.values(kept)) },
    parameters: { before: sum(result.before, 'parameters'), after: sum(result.after, 'parameters') },
    macs: { before: sum(result.before, 'macs'), after: sum(result.after, 'macs') },
    gammas,
    warnings,
  }
  return { network: new Network(graph, result.network), kept, report }
}

/** The graph's declared input shapes: a batch of 1, free sizes 224. */
export function inputShapes(graph: Graph): Record<string, number[]> {
  return Object.fromEntries(
    graph.inputs.map(({ name, shape }) => [name, shape.map((size, i) => size ?? (i === 0 ? 1 : 224))]),
  )
}

/**
 * What needs no network to be checked, with its defaults.
 * @throws TorchvidError ERR_INVALID_ARGUMENT
 */
export function checkPruneOptions(options: PruneOptions) {
  if (typeof options !== 'object' || options === null)
    throw invalidArgument('options', options, 'an object with ratio or target')
  const {
    ratio,
    target,
    strategy = 'select',
    score = defaultScore[strategy],
    fold = false,
    roundTo = 1,
    keepAtLeast = defaultFloor,
    keepShare = 0,
    inputs,
  } = options
  if ((ratio === undefined) === (target === undefined)) {
    throw invalidArgument('ratio', ratio, 'either ratio or target')
  }
  if (ratio !== undefined && checkNumber('ratio', ratio, 0, 1) === 1)
    throw invalidArgument('ratio', ratio, 'a number below 1')
  if (target !== undefined) checkTarget(target)
  if (strategy !== 'select' && strategy !== 'group') throw invalidArgument('strategy', strategy, "'select' or 'group'")
  if (score !== 'scale' && score !== 'variance') throw invalidArgument('score', score, "'scale' or 'variance'")
  if (typeof fold !== 'boolean') throw invalidArgument('fold', fold, 'true or false')
  checkInteger('roundTo', roundTo, 1)
  checkInteger('keepAtLeast', keepAtLeast, 0)
  checkNumber('keepShare', keepShare, 0, 1)
  if (inputs !== undefined && (typeof inputs !== 'object' || inputs === null || Array.isArray(inputs)))
    throw invalidArgument('inputs', inputs, 'an object of shapes by input, such as { image: [1, 3, 32, 32] }')
  return { ratio: ratio ?? 0, strategy, score, fold, roundTo, keepAtLeast, keepShare }
}

function checkTarget(target: unknown): asserts target is Target {
  if (typeof target !== 'object' || target === null)
    throw invalidArgument('target', target, 'an object { macs?, parameters? }')
  const unknown = Object.keys(target).find((key) => key !== 'macs' && key !== 'parameters')
  if (unknown !== undefined) throw invalidArgument('target', target, 'macs or parameters')
  const given = Object.entries(target).filter(([, value]) => value !== undefined)
  if (given.length === 0) throw invalidArgument('target', target, 'macs, parameters or both')
  for (const [key, value] of given)
    if (checkNumber(`target.${key}`, value, 0) === 0) throw invalidArgument(`target.${key}`, value, 'more than 0')
}

/** The counts to come down to. */
async function absoluteTarget(network: Network, target: Target, shapes: Record<string, number[]>): Promise<Target> {
  const summary = await network.summary(shapes)
  const count = (key: keyof Target) => {
    const value = target[key]
    return value === undefined ? {} : { [key]: Math.floor(value < 1 ? value * summary[key] : value) }
  }
  return { ...count('macs'), ...count('parameters') }
}

const reported = new Set(['conv', 'convTranspose', 'linear', 'batchNorm', 'select'])

function layerReports({ before, after, channels }: NativePruned): LayerReport[] {
  const later = new Map(after.map((row) => [row.name, row]))
  return before.flatMap((row) => {
    const cut = later.get(row.name)
    if (!reported.has(row.op) || cut === undefined) return []
    return {
      name: row.name,
      op: row.op,
      channels: { before: row.shape[1] ?? 1, after: cut.shape[1] ?? 1 },
      kept: channels[row.name] ?? [],
      parameters: { before: row.parameters, after: cut.parameters },
      macs: { before: row.macs, after: cut.macs },
    }
  })
}

function sum(layers: NativeLayer[], key: 'parameters' | 'macs'): number {
  return layers.reduce((all, layer) => all + layer[key], 0)
}

function total(lists: number[][]): number {
  return lists.reduce((all, list) => all + list.length, 0)
}
