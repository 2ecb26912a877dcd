import type { DescribedFeatures } from '../data/feature-settings.ts'
import { type FeatureInput, openFeatures } from '../data/features.ts'
import type { GroundTruth } from '../data/ground-truth.ts'
import { type Run, startRun } from '../engine/run.ts'
import { TorchvidError } from '../errors.ts'
import { Network } from '../network.ts'
import type { Device, TensorData } from '../types.ts'
import {
  type DetectionList,
  evaluate,
  type RtfmEvaluateOptions,
  type RtfmEvaluation,
  type RtfmEvaluationProgress,
} from './evaluate.ts'
import { fitDetector, type RtfmTraining, type RtfmVideos } from './fit.ts'
import { mismatches, trainedOn } from './norms.ts'
import type { RtfmFitOptions, RtfmProgress } from './recipe.ts'
import { type RtfmScores, scoreFeatures } from './score.ts'
import { graphOf, type RtfmOptions, type RtfmSettings, savedSettings, settingsOf } from './settings.ts'
import { type StreamOptions, type StreamScore, scoreStream } from './stream.ts'

/**
 * Weakly-supervised detection of anomalies in video: it learns from videos of which is known only whether something abnormal
 * happens in them, and scores every segment. RTFM (Tian et al., ICCV 2021, arXiv 2101.10030), and the MIL ranking it starts
 * from (Sultani et al., CVPR 2018, arXiv 1801.04264). Videos enter as features: see `features.extract`.
 */
export class RTFM {
  /** The network; its weights are what `fit` changes. */
  readonly network: Network
  /** What the detector is. Treat it as read-only. */
  readonly settings: RtfmSettings

  private constructor(network: Network, settings: RtfmSettings) {
    this.network = network
    this.settings = settings
  }

  /**
   * A detector that has learnt nothing yet. For the reference's weights: `rtfm.network.load('rtfm.pkl')`.
   * @throws TorchvidError ERR_INVALID_ARGUMENT, ERR_DEVICE_UNAVAILABLE, ERR_LIBTORCH_NOT_FOUND
   */
  static async create(options: RtfmOptions = {}): Promise<RTFM> {
    const settings = settingsOf(options)
    const { device, seed } = options
    return new RTFM(await Network.create(graphOf(settings), { device, seed }), settings)
  }

  /**
   * A detector from a file: what `save` or a checkpoint of `fit` wrote.
   * @throws TorchvidError ERR_IO, ERR_CHECKPOINT_FORMAT; ERR_CHECKPOINT_MISMATCH when it is another kind of network
   */
  static async open(path: string, options: { device?: Device } = {}): Promise<RTFM> {
    const network = await Network.open(path, options)
    const settings = savedSettings(network.graph)
    if (settings !== undefined) return new RTFM(network, settings)
    network.dispose()
    const message = `${path} is a network, but no anomaly detector of torchvid. Use RTFM.create, then network.load, for weights of other programs.`
    throw new TorchvidError('ERR_CHECKPOINT_MISMATCH', message)
  }

  /**
   * Learns from normal and abnormal videos. This detector itself is updated, once the run is over: with its best state where
   * it was measured (`validation`), else its last; an aborted or failed run leaves it as it was. Every video is resampled to
   * `segments` rows once and stays in memory, so a step reads no file. Records are one per step; their `losses` are
   * `{ bce, magnitude, smooth, sparse }`, or `{ hinge, smooth, sparse }` with `'milRanking'`.
   *
   * `seed` settles what is held out, the order and dropout; a run resumed from a checkpoint, with the same options and
   * videos, goes on exactly.
   * @throws (rejects) TorchvidError ERR_INVALID_ARGUMENT; ERR_SHAPE when features do not fit together or the network; ERR_IO;
   *   ERR_NOT_FINITE when training diverges; ERR_OUT_OF_MEMORY, ERR_CHECKPOINT_FORMAT, ERR_CHECKPOINT_MISMATCH, ERR_DISPOSED
   */
  fit(videos: RtfmVideos, options: RtfmFitOptions = {}): Run<RtfmTraining, RtfmProgress> {
    return startRun<RtfmTraining, RtfmProgress>(options ?? {}, async (context) => {
      const { handle, training, labels } = await fitDetector(this, videos, options ?? {}, context)
      if (context.signal.aborted) {
        handle.dispose()
        throw context.signal.reason
      }
      this.network.adopt(handle)
      this.network.graph.labels = labels
      return training
    })
  }

  /**
   * Scores every segment of a video of any length; memory does not grow with it beyond the scores themselves.
   * @param features a .npy or .txt file, one file per crop, or numbers in memory: (T, crops, F) or (T, F), T at least 1
   * @throws TorchvidError ERR_SHAPE when the network takes another size; ERR_IO, ERR_INVALID_ARGUMENT, ERR_DISPOSED
   */
  async score(features: FeatureInput, options: { signal?: AbortSignal } = {}): Promise<RtfmScores> {
    const reader = await openFeatures(features, 'features')
    const scores = await scoreFeatures(this, reader, options.signal)
    return { ...scores, warnings: await mismatches([reader], this.trainedOn) }
  }

  /**
   * Scores segments as they come, as from a camera. Each score rests on the last `window` segments alone, so it differs from
   * the whole video's: attention sees the window instead of the video, and convolutions miss what comes after `delay`.
   * docs/rtfm.md has the differences measured.
   * @param segments features of one segment each, (crops, F) or (F)
   * @throws (while iterating) TorchvidError ERR_INVALID_ARGUMENT, ERR_SHAPE, ERR_DISPOSED
   */
  scoreStream(
    segments: AsyncIterable<TensorData> | Iterable<TensorData>,
    options: StreamOptions = {},
  ): AsyncGenerator<StreamScore, void, undefined> {
    return scoreStream(this, segments, options)
  }

  /**
   * How well the scores of some videos tell abnormal frames from normal ones: a segment's score is that of its frames, all
   * videos are ranked together. Lengths are checked before anything is scored.
   * @param list a list file, its videos, or features
   * @param groundTruth which frames are abnormal
   * @throws (rejects) TorchvidError ERR_SHAPE when lengths do not fit, saying which and what would; ERR_INVALID_ARGUMENT,
   *   ERR_IO, ERR_DISPOSED
   */
  evaluate(
    list: DetectionList,
    groundTruth: GroundTruth,
    options: RtfmEvaluateOptions = {},
  ): Run<RtfmEvaluation, RtfmEvaluationProgress> {
    return startRun<RtfmEvaluation, RtfmEvaluationProgress>(options ?? {}, async (context) => {
      return await evaluate(this, list, groundTruth, options ?? {}, context)
    })
  }

  /**
   * Saves the detector as one safetensors file, whole or not at all: `RTFM.open` reads it.
   * @throws TorchvidError ERR_IO, ERR_DISPOSED
   */
  async save(path: string): Promise<void> {
    await this.network.save(path)
  }

  /** What is known of the features it was trained on. */
  private get trainedOn(): DescribedFeatures | undefined {
    return trainedOn(this.network.graph)
  }

  /** Frees the network. */
  dispose(): void {
    this.network.dispose()
  }

  /** As `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}
