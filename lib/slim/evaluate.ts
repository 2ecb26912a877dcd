import type { ImageSet } from '../data/image-set.ts'
import { finish } from '../engine/training.ts'
import { checkInteger, invalidArgument } from '../errors.ts'
import { native } from '../native.ts'
import type { Network } from '../network.ts'
import { checkClasses, checkNetwork, imageSetOf, intakeOf, logitsOutput, nativeImages } from './images.ts'

/** Settings of `slim.evaluate`. */
export interface EvaluateOptions {
  /** Images per forward pass; it changes speed and memory, not the result. Default 256. */
  batchSize?: number
  /** Aborts the evaluation: it rejects with the signal's reason. */
  signal?: AbortSignal
}

/** How a classifier does on a set of images. */
export interface Evaluation {
  /** Share of the images whose class is right, 0..1. */
  accuracy: number
  /** 1 - accuracy. */
  error: number
  /** Mean cross-entropy, natural logarithm. */
  loss: number
  /** How many images there were. */
  images: number
}

/**
 * How `net` classifies the images of `test`, in inference mode and never augmented. Other calls get their turn between
 * batches.
 * @param net a network with one input, which takes the images, and an output `logits` (N, classes)
 * @throws TorchvidError ERR_INVALID_ARGUMENT, ERR_SHAPE when images or labels do not fit the network, ERR_DISPOSED
 */
export async function evaluate(
  net: Network,
  test: ImageSet | PromiseLike<ImageSet>,
  options: EvaluateOptions = {},
): Promise<Evaluation> {
  const { batchSize = 256, signal } = options
  checkNetwork('net', net)
  checkInteger('batchSize', batchSize, 1)
  if (signal !== undefined && !(signal instanceof AbortSignal))
    throw invalidArgument('signal', signal, 'an AbortSignal')
  signal?.throwIfAborted()
  const set = await imageSetOf('test', test)
  const intake = await intakeOf(net, 'test', set)
  checkClasses(net, 'test', set, intake)
  signal?.throwIfAborted()
  const source = nativeImages(set, intake, { batchSize, shuffle: false, augment: false })
  const { correct, images, loss } = await finish(native().evaluate(net.handle, source, logitsOutput), signal)
  const accuracy = correct / images
  return { accuracy, error: 1 - accuracy, loss, images }
}
