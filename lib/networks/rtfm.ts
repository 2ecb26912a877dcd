import { checkInteger, invalidArgument } from '../errors.ts'
import {
  add,
  attention,
  batchNorm,
  build,
  concat,
  conv,
  dropout,
  flatten,
  input,
  linear,
  matmul,
  mean,
  mergeBatch,
  norm,
  permute,
  relu,
  sigmoid,
  splitBatch,
  type Value,
} from '../graph/index.ts'
import type { Graph, Init } from '../graph/types.ts'
import { checkProbability } from './parts.ts'

/** Settings of `networks.rtfm`. */
export interface RtfmNetworkOptions {
  /** Numbers per segment: 2048 for I3D-ResNet50, 1024 for I3D, 4096 for C3D. Default 2048. */
  featureSize?: number
  /** Crops per video. Default: any number. */
  crops?: number
  /** Share of the features and of the classifier's hidden numbers that training sets to 0, in [0, 1). Default 0.7. */
  dropout?: number
  /**
   * Where they differ: as the authors' program has it (`'reference'`, the default), the attention block adds its input; as
   * their paper has it (equation 5), the values it weighs, which then keep all 512 channels.
   */
  form?: 'reference' | 'paper'
}

/** How far the convolutions over time reach to each side, in segments: the dilation of 4, then a kernel of 3. */
export const rtfmReach = 5

/** Channels of each of the four branches; the authors' D / 4 for D = 2048, whatever the features' size. */
const width = 512
/** Channels of the attention's query and key. */
const inner = 256

const xavier: Init = { distribution: 'xavierUniform' }
const zero: Init = { distribution: 'constant', value: 0 }
const weights = { weight: xavier, bias: zero }

type Settings = Required<Omit<RtfmNetworkOptions, 'crops'>> & { crops: number | null }

function settingsOf(options: RtfmNetworkOptions): Settings {
  const { featureSize = 2048, crops = null, dropout: probability = 0.7, form = 'reference' } = options
  checkInteger('featureSize', featureSize, 1)
  if (crops !== null) checkInteger('crops', crops, 1)
  checkProbability(probability)
  if (form !== 'reference' && form !== 'paper') throw invalidArgument('form', form, "'reference' or 'paper'")
  return { featureSize, crops, dropout: probability, form }
}

function featuresInput({ featureSize, crops }: Settings): Value {
  return input('features', [null, crops, null, featureSize])
}

/** (B, crops, T, F) -> (B * crops, F, T). */
function byTime(features: Value, { featureSize }: Settings): Value {
  return permute(mergeBatch(features), { order: [0, 2, 1], channels: featureSize })
}

/** The branch that attends over the whole video: its input, and the three projections of it. */
function projections(x: Value, { form }: Settings): { x: Value; g: Value; theta: Value; phi: Value } {
  const branch = conv(x, { out: width, kernel: [1], bias: false, init: { weight: xavier }, name: 'Aggregate.conv_4.0' })
  const own = relu(branch, { name: 'Aggregate.conv_4.1' })
  const project = (out: number, name: string) =>
    conv(own, { out, kernel: [1], init: weights, name: `Aggregate.non_local.${name}` })
  return {
    x: own,
    g: project(form === 'paper' ? width : inner, 'g'),
    theta: project(inner, 'theta'),
    phi: project(inner, 'phi'),
  }
}

/** The attention's result, projected, and what it is added to. */
function attended(y: Value, residual: Value): Value {
  const projected = conv(y, { out: width, kernel: [1], init: weights, name: 'Aggregate.non_local.W.0' })
  const normed = batchNorm(projected, { init: { weight: zero, bias: zero }, name: 'Aggregate.non_local.W.1' })
  return add([normed, residual])
}

/** A dilated convolution over time, ReLU, then batch-norm: in that order. */
function pyramid(x: Value, index: number, dilation: number): Value {
  const name = `Aggregate.conv_${index}`
  const y = conv(x, { out: width, kernel: [3], padding: dilation, dilation, init: weights, name: `${name}.0` })
  return batchNorm(relu(y, { name: `${name}.1` }), { name: `${name}.2` })
}

/** The branches joined, mixed and added to the features, by segment: (N, T, F). */
function aggregated(x: Value, attention: Value, { featureSize }: Settings): Value {
  const joined = concat([pyramid(x, 1, 1), pyramid(x, 2, 2), pyramid(x, 3, 4), attention])
  const name = 'Aggregate.conv_5'
  const mixed = conv(joined, {
    out: featureSize,
    kernel: [3],
    padding: 1,
    bias: false,
    init: { weight: xavier },
    name: `${name}.0`,
  })
  const normed = batchNorm(relu(mixed, { name: `${name}.1` }), { name: `${name}.2` })
  return permute(add([normed, x]), { order: [0, 2, 1] })
}

/** Scores and magnitudes of the aggregated features (N, T, F), averaged over the crops of `features`. */
function heads(aggregate: Value, features: Value, { featureSize, dropout: probability }: Settings) {
  const dropped = dropout(aggregate, { probability, name: 'drop_out' })
  const hidden1 = relu(linear(dropped, { in: featureSize, out: 512, init: weights, name: 'fc1' }))
  const hidden2 = relu(linear(dropout(hidden1, { probability }), { in: 512, out: 128, init: weights, name: 'fc2' }))
  const score = sigmoid(linear(dropout(hidden2, { probability }), { in: 128, out: 1, init: weights, name: 'fc3' }))
  const overCrops = (x: Value) => mean(splitBatch(x, features), { dimension: 1 })
  return { scores: overCrops(flatten(score)), magnitudes: overCrops(norm(dropped, { dimension: 2 })), dropped }
}

/**
 * RTFM's network (Tian et al., ICCV 2021, arXiv 2101.10030): dilated convolutions and attention over time, then a score per
 * segment. Input `features` (B, crops, T, F), B videos of T segments; outputs `scores` (B, T), in 0..1, 1 being abnormal;
 * `magnitudes` (B, T), the L2 norms of the features it makes; both averaged over crops; and those `features`
 * (B, crops, T, F). Names as github.com/tianyu0207/RTFM has them (`Aggregate.conv_1.0`, `fc1`, ...), whose weights it loads
 * when `featureSize` is 2048: 24,718,849 parameters. Convolutions and linear layers start from Glorot's uniform weights and
 * biases of 0, the attention block's last batch-norm from scales of 0.
 * @throws TorchvidError ERR_INVALID_ARGUMENT
 */
export function rtfm(options: RtfmNetworkOptions = {}): Graph {
  const settings = settingsOf(options)
  const features = featuresInput(settings)
  const x = byTime(features, settings)
  const { x: own, g, theta, phi } = projections(x, settings)
  const y = attention(theta, phi, g, { scaling: 'mean' })
  const aggregate = aggregated(x, attended(y, settings.form === 'paper' ? g : own), settings)
  const { scores, magnitudes, dropped } = heads(aggregate, features, settings)
  return build(
    { scores, magnitudes, features: splitBatch(dropped, features) },
    { network: 'rtfm', form: settings.form },
  )
}

/**
 * @internal What the attention takes from a piece of a video: input `features` (B, crops, T, F), output `context`
 * (B * crops, D, C), the sum over the segments of g phi^T. The sums of all pieces, divided by the number of segments of the
 * whole video, are the `context` of `rtfmWithContext`. For `view` of a network of the same options.
 */
export function rtfmContext(options: RtfmNetworkOptions = {}): Graph {
  const settings = settingsOf(options)
  const { g, phi } = projections(byTime(featuresInput(settings), settings), settings)
  return build({ context: matmul(g, permute(phi, { order: [0, 2, 1] })) })
}

/**
 * @internal The network on a piece of a video: inputs `features` (B, crops, T, F) and `context` (B * crops, D, C); outputs
 * `scores` and `magnitudes` (B, T), which are the whole video's from `rtfmReach` segments within the piece on, and up to an
 * end that is the video's own. For `view` of a network of the same options.
 */
export function rtfmWithContext(options: RtfmNetworkOptions = {}): Graph {
  const settings = settingsOf(options)
  const paper = settings.form === 'paper'
  const features = featuresInput(settings)
  const context = input('context', [null, paper ? width : inner, inner])
  const x = byTime(features, settings)
  const { x: own, g, theta } = projections(x, settings)
  const aggregate = aggregated(x, attended(matmul(context, theta), paper ? g : own), settings)
  const { scores, magnitudes } = heads(aggregate, features, settings)
  return build({ scores, magnitudes })
}
