import { checkInteger, checkNumber, invalidArgument } from '../errors.ts'
import { native } from '../native.ts'
import type { TensorData } from '../types.ts'

/**
 * Class-balanced cross-entropy on logits (OSVOS, equation 2): with y = [label >= 0.5], P = sum y, N = sum (1 - y) and
 * T = P + N, L = (N / T) sum over y = 1 of bce + (P / T) sum over y = 0 of bce.
 * @param logits (N, 1, H, W)
 * @param labels of the same shape, 0 to 1
 * @param options `reduction`: `'sum'` divides by the batch size only, as the reference (default); `'mean'` by the number
 *   of elements
 * @returns the loss and its gradient by the logits
 * @throws TorchvidError ERR_SHAPE, ERR_INVALID_ARGUMENT
 */
export async function classBalancedCrossEntropy(
  logits: TensorData,
  labels: TensorData,
  options: { reduction?: 'sum' | 'mean' } = {},
): Promise<{ loss: number; gradient: TensorData }> {
  const { reduction = 'sum' } = options
  if (reduction !== 'sum' && reduction !== 'mean') throw invalidArgument('reduction', reduction, "'sum' or 'mean'")
  return await native().classBalancedCrossEntropy(logits, labels, reduction)
}

/**
 * The MIL ranking loss (Sultani et al., CVPR 2018, equation 6, as the authors' program batches it): the mean over normal
 * videos j of the sum over abnormal videos i of max(0, 1 - max s_i + max s_j), plus `smoothness` times the squared
 * differences of neighbouring scores and `sparsity` times the scores, both summed over the abnormal videos.
 * @param abnormalScores (videos, segments), 0 to 1
 * @param normalScores (videos, segments)
 * @param options `smoothness`, `sparsity`: default 8e-5 each
 * @returns the loss, its three parts (weighted: they add up to it), and the gradient by the scores
 * @throws TorchvidError ERR_SHAPE, ERR_INVALID_ARGUMENT
 */
export async function milRanking(
  abnormalScores: TensorData,
  normalScores: TensorData,
  options: { smoothness?: number; sparsity?: number } = {},
): Promise<{
  loss: number
  hinge: number
  smooth: number
  sparse: number
  gradient: { abnormal: TensorData; normal: TensorData }
}> {
  const { smoothness = 8e-5, sparsity = 8e-5 } = options
  checkNumber('smoothness', smoothness, 0)
  checkNumber('sparsity', sparsity, 0)
  const { loss, parts, gradient } = await native().milRanking(abnormalScores, normalScores, { smoothness, sparsity })
  return { loss, ...(parts as Record<'hinge' | 'smooth' | 'sparse', number>), gradient }
}

/** What `networks.rtfm` makes of some videos: scores and magnitudes (videos, T), features (videos, crops, T, F). */
export interface RtfmOutputs {
  scores: TensorData
  magnitudes: TensorData
  features: TensorData
}

/** Settings of `losses.rtfm`. */
export interface RtfmLossOptions {
  /** As the authors' program computes it, or as their paper writes it. Default `'reference'`. */
  objective?: 'reference' | 'paper'
  /** How many segments of a video count: those of largest magnitude. Default a tenth, at least one. */
  top?: number
  /** Of a dropout on the magnitudes before that choice, in [0, 1); the reference trains with 0.7. Default 0. */
  dropout?: number
  /** Default 100. */
  margin?: number
  /** Factor of the magnitudes' part; `'paper'` has none. Default 1e-4. */
  magnitude?: number
  /** Default 8e-4. */
  smoothness?: number
  /** Default 8e-3. */
  sparsity?: number
  /** Of the dropout. Default 0. */
  seed?: number
}

/**
 * RTFM's loss (Tian et al., ICCV 2021).
 *
 * `'reference'`: the cross-entropy of a video's mean top score; `magnitude` times the mean over crops and pairs of
 * (|margin - ||a||| + ||n||)^2, with a and n the mean top features of an abnormal and a normal video; `smoothness` times the
 * squared differences of neighbours in all abnormal scores laid end to end (so they cross from one video to the next);
 * `sparsity` times the L2 norm of these scores. `'paper'`: the cross-entropy summed over a video's top segments;
 * max(0, margin - (g(a) - g(n))) with g the mean top magnitude, meaned over all pairs (equation 6); differences within a
 * video, and the scores' sum, each meaned over abnormal videos.
 * @returns the loss, its four parts (weighted: they add up to it), and the gradients; those by the magnitudes are 0 with
 *   `'reference'`, which chooses by them alone
 * @throws TorchvidError ERR_SHAPE, ERR_INVALID_ARGUMENT
 */
export async function rtfm(
  abnormal: RtfmOutputs,
  normal: RtfmOutputs,
  options: RtfmLossOptions = {},
): Promise<{
  loss: number
  bce: number
  magnitude: number
  smooth: number
  sparse: number
  gradient: { abnormal: RtfmOutputs; normal: RtfmOutputs }
}> {
  const { objective = 'reference', top = 0, dropout = 0, seed = 0 } = options
  const { margin = 100, magnitude = 1e-4, smoothness = 8e-4, sparsity = 8e-3 } = options
  if (objective !== 'reference' && objective !== 'paper') {
    throw invalidArgument('objective', objective, "'reference' or 'paper'")
  }
  for (const [name, value] of Object.entries({ top, seed })) checkInteger(name, value, 0)
  for (const [name, value] of Object.entries({ margin, magnitude, smoothness, sparsity })) checkNumber(name, value, 0)
  if (checkNumber('dropout', dropout, 0, 1) === 1) throw invalidArgument('dropout', dropout, 'a number below 1')
  const weights = { paper: objective === 'paper', top, dropout, margin, magnitude, smoothness, sparsity, seed }
  const { loss, parts, gradient } = await native().rtfmLoss(abnormal, normal, weights)
  return { loss, ...(parts as Record<'bce' | 'magnitude' | 'smooth' | 'sparse', number>), gradient }
}
