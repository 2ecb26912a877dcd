import { join } from 'node:path'
import { type Run, startRun, type TrainingProgress } from '../engine/run.ts'
import { invalidArgument, TorchvidError } from '../errors.ts'
import { packageRoot } from '../libtorch/package.ts'
import { Network, type NetworkOptions } from '../network.ts'
import { type OsvosBackbone, osvos as osvosGraph } from '../networks/index.ts'
import type { Device, FrameSource, ImageInput, RawImage } from '../types.ts'
import { FineTuning } from './fine-tuning.ts'
import type { FitOptions, Head } from './fit.ts'
import { isMatcher } from './matcher-parent.ts'
import { Matching } from './matching.ts'
import type { Method } from './method.ts'
import { type ParentOptions, type ParentProgress, trainParent } from './parent.ts'
import type { ParentData } from './parent-frames.ts'
import { loadPretrained } from './pretrained.ts'
import { drawn, maskFrom, type Prompt, type PromptOptions } from './prompt.ts'
import type { SegmentedFrame, SegmentOptions } from './segment.ts'

/** The model that comes with the package: models/README.md. */
const defaultModel = () => join(packageRoot(), 'models', 'default.safetensors')

/** A network of `networks.matcher` matches; any other is fine-tuned. */
const methodOf = (network: Network): Method =>
  isMatcher(network) ? new Matching(network) : new FineTuning([{ id: 1, network }])

/** Settings of `OSVOS.create`. */
export interface OsvosOptions extends NetworkOptions {
  /** Default `'mobilenet'`: on a CPU about ten times as fast as `'vgg16'`. */
  backbone?: OsvosBackbone
  /** A safetensors or PyTorch file with the trunk's ImageNet weights, or those of a whole OSVOS network. Default: random. */
  pretrained?: string
}

/**
 * One-shot video object segmentation (Caelles et al., CVPR 2017): learn an object from one frame and its mask, then find
 * it in every frame.
 *
 * ```ts
 * const fitted = await osvos.fit('first.jpg', 'first.png')
 * for await (const { index, mask } of fitted.segment('video.mp4')) console.log(index, mask)
 * ```
 */
export class OSVOS {
  private readonly method: Method

  /** @internal Use `create` or `open`. */
  constructor(method: Method) {
    this.method = method
  }

  /** One network per object; a model that was not fitted has one, for object 1. */
  get heads(): readonly Head[] {
    return this.method.heads
  }

  /**
   * A model to fit, from a trunk.
   * @throws TorchvidError ERR_INVALID_ARGUMENT, ERR_DEVICE_UNAVAILABLE, ERR_LIBTORCH_NOT_FOUND; with `pretrained` also
   *   ERR_IO, ERR_CHECKPOINT_FORMAT, ERR_CHECKPOINT_MISMATCH
   */
  static async create(options: OsvosOptions = {}): Promise<OSVOS> {
    const { backbone = 'mobilenet', pretrained, device, seed } = options
    const network = await Network.create(osvosGraph({ backbone }), { device, seed })
    try {
      if (pretrained !== undefined) await loadPretrained(network, pretrained)
    } catch (error) {
      network.dispose()
      throw error
    }
    return new OSVOS(methodOf(network))
  }

  /**
   * The model that comes with the package (`'default'`), or one from a file: what `osvos.network.save` or a checkpoint of `fit` wrote.
   * @throws TorchvidError ERR_IO, ERR_CHECKPOINT_FORMAT, ERR_CHECKPOINT_MISMATCH when it is another kind of network
   */
  static async open(path: string, options: { device?: Device } = {}): Promise<OSVOS> {
    const network = await Network.open(path === 'default' ? defaultModel() : path, options)
    if (network.graph.outputs.fuse === undefined && !isMatcher(network)) {
      const outputs = Object.keys(network.graph.outputs).join(', ')
      network.dispose()
      const message = `${path} is no OSVOS model: its outputs are ${outputs}; wanted one named fuse.`
      throw new TorchvidError('ERR_CHECKPOINT_MISMATCH', message)
    }
    return new OSVOS(methodOf(network))
  }

  /**
   * The mask that `fit` makes of boxes or of a scribble, to look at and to mend; it can be given to `fit` in their place.
   * @throws TorchvidError ERR_INVALID_ARGUMENT, ERR_SHAPE, ERR_IO: a bad box, scribble or picture
   */
  static maskFrom(image: ImageInput, prompt: Prompt, options: PromptOptions = {}): Promise<RawImage> {
    return maskFrom(image, prompt, options)
  }

  /** The network, of the first object when there are several. */
  get network(): Network {
    return (this.heads[0] as Head).network
  }

  /**
   * Learns the object of `mask` from one picture. Gives a new model; this one is unchanged. A mask with several ids
   * (a palette PNG, say) fits one network per id, one after the other.
   * @param image the picture, of any size
   * @param mask object = above 0, of the picture's size; any two values will do; or a box or a scribble (see `Prompt`)
   * @returns a Run: its result is the fitted model, its records one per pass
   * @throws (rejects) TorchvidError ERR_INVALID_ARGUMENT: an option out of range, an empty or full mask; ERR_SHAPE: the
   *   sizes differ; ERR_IO: a file that cannot be read; ERR_NOT_FINITE: training diverged; ERR_OUT_OF_MEMORY; ERR_DISPOSED
   */
  fit(image: ImageInput, mask: ImageInput | Prompt, options: FitOptions = {}): Run<OSVOS, TrainingProgress> {
    if (typeof options !== 'object' || options === null) throw invalidArgument('options', options, 'an object')
    return startRun(options, async (context) => {
      const drawing = await drawn(image, mask, options)
      return new OSVOS(await this.method.fit(image, drawing, options, context))
    })
  }

  /**
   * Finds the object in every frame, one at a time, as they are asked for.
   * @param frames a video file, a folder of images, a glob, or anything that yields images
   * @throws (while iterating) TorchvidError ERR_INVALID_ARGUMENT, ERR_IO, ERR_OUT_OF_MEMORY, ERR_DISPOSED
   */
  segment(frames: FrameSource, options: SegmentOptions = {}): AsyncGenerator<SegmentedFrame, void, undefined> {
    return this.method.segment(frames, options)
  }

  /**
   * Trains this model offline on many videos with masks, so that it knows what objects are: the parent from which `fit`
   * starts. The model itself is changed, and only at success. Frames are decoded while the network trains; their order and
   * size follow from `seed` and the pass alone.
   *
   * ```ts
   * await osvos.trainParent({ davis: 'DAVIS', split: 'train' }, { checkpoint: { path: 'parent.safetensors', every: 500 } })
   * ```
   * @param data a folder of DAVIS, or sequences of your own
   * @returns a Run: its result is this model, its records one per pass
   * @throws (rejects) TorchvidError ERR_INVALID_ARGUMENT: an option out of range, a model with several objects, or one that
   *   matches; ERR_IO: a file that is missing or damaged; ERR_SHAPE: a mask of another size than its frame;
   *   ERR_CHECKPOINT_MISMATCH; ERR_NOT_FINITE: training diverged; ERR_OUT_OF_MEMORY; ERR_DISPOSED
   */
  trainParent(data: ParentData, options: ParentOptions = {}): Run<OSVOS, ParentProgress> {
    if (typeof options !== 'object' || options === null) throw invalidArgument('options', options, 'an object')
    return startRun(options, async (context) => {
      if (this.heads.length > 1) {
        const given = `a model of ${this.heads.length} objects`
        throw invalidArgument('trainParent', given, 'one that was not fitted to several objects')
      }
      await trainParent(this.network, data, options, context)
      return this
    })
  }

  /** Frees the networks. */
  dispose(): void {
    for (const head of this.heads) head.network.dispose()
  }

  /** As `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}
