import type { ImageSet } from '../data/image-set.ts'
import type { Run } from '../engine/run.ts'
import type { Graph } from '../graph/types.ts'
import type { Network } from '../network.ts'
import { type EvaluateOptions, type Evaluation, evaluate } from './evaluate.ts'
import { load, type SlimLoadOptions } from './load.ts'
import { type PruneOptions, type PruneResult, prune } from './prune.ts'
import type { SlimProgress } from './recipe.ts'
import { type SlimOptions, type SlimResult, type SlimStageProgress, slimNetwork } from './slim.ts'
import { type FineTuneOptions, finetune, type SlimTrainOptions, train } from './train.ts'

/** Network slimming (Liu et al. 2017, arXiv 1708.06519): `slim(net, options)` does it all; its stages are functions too. */
export interface Slim {
  /**
   * Sparse training, cut and fine-tuning as one run, as often as `passes` says. `net` is not changed. With `test`, the
   * accuracy is measured at the start and after every stage. What is wrong with an option is said before anything is trained.
   * @throws TorchvidError (the run rejects) as the stages
   */
  (net: Network, options: SlimOptions): Run<SlimResult, SlimStageProgress>
  /**
   * Sparse training: SGD on the cross-entropy of output `logits`, with an L1 penalty on the scales of all batch-norms that
   * enters by its gradient. `net` itself is updated, once the run is over, and is what the run resolves with; an aborted or
   * failed run leaves it as it was.
   * @throws TorchvidError (the run rejects) ERR_INVALID_ARGUMENT, ERR_SHAPE, ERR_NOT_FINITE when training diverges,
   *   ERR_CHECKPOINT_FORMAT, ERR_CHECKPOINT_MISMATCH, ERR_IO, ERR_DISPOSED
   */
  train(net: Network, options: SlimTrainOptions): Run<Network, SlimProgress>
  /**
   * Removes channels by rebuilding the layers narrower: those whose score is at or below a global threshold. Gives a new
   * network and needs no data; works on any graph.
   * @throws TorchvidError ERR_INVALID_ARGUMENT when nothing can be cut, a layer would lose every channel
   *   (`keepAtLeast: 0`) or the target cannot be reached; ERR_NOT_FINITE, ERR_DISPOSED
   */
  prune(net: Network, options: PruneOptions): Promise<PruneResult>
  /**
   * Trains without a penalty, on labels or on a teacher's outputs: recovers what a cut cost. As `train` in all else.
   * @throws TorchvidError (the run rejects) as `train`
   */
  finetune(net: Network, options: FineTuneOptions): Run<Network, SlimProgress>
  /**
   * How `net` classifies the images of `test`, in inference mode and never augmented.
   * @throws TorchvidError ERR_INVALID_ARGUMENT, ERR_SHAPE, ERR_DISPOSED
   */
  evaluate(net: Network, test: ImageSet | PromiseLike<ImageSet>, options?: EvaluateOptions): Promise<Evaluation>
  /**
   * A slimmed network from a file of the references, `{ cfg, state_dict }`:
   * `slim.load('pruned.pth.tar', networks.preresnet)`.
   * @param builder makes the graph from the widths and the number of classes
   * @throws TorchvidError ERR_IO, ERR_CHECKPOINT_FORMAT, ERR_CHECKPOINT_MISMATCH, ERR_INVALID_ARGUMENT
   */
  load<Cfg extends (number | 'M')[]>(
    file: string,
    builder: (options: { cfg: Cfg; classes: number }) => Graph,
    options?: SlimLoadOptions,
  ): Promise<Network>
}

/** Network slimming: a smaller, faster network from a larger one. */
export const slim: Slim = Object.assign(slimNetwork.bind(null), { train, prune, finetune, evaluate, load })
