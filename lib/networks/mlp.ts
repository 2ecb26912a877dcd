import { checkInteger, invalidArgument } from '../errors.ts'
import { build, flatten, linear, relu, type Value } from '../graph/index.ts'
import type { Graph } from '../graph/types.ts'
import { type PictureShape, pictureInput, slimBatchNorm } from './parts.ts'

/** Settings of `networks.mlp`. */
export interface MlpOptions {
  /** Widths: inputs, hidden layers, classes. Default `[784, 500, 300, 10]`. */
  layers?: number[]
  /** A batch-norm after each hidden layer: without one there are no scales, and nothing to slim. Default true. */
  batchNorm?: boolean
  /** Sizes of the pictures; their product is `layers[0]`. Default `[1, 28, 28]`. */
  input?: PictureShape
}

/**
 * Fully connected network on the pixels of a picture; by default the slimming paper's for MNIST (arXiv 1708.06519,
 * section 4). Input `image` (N, 1, 28, 28), values / 255, best normalised by MNIST's mean 0.1307 and standard deviation
 * 0.3081; output `logits` (N, classes). Hidden layers are linear, batch-norm, ReLU. Names `fc1`, `bn1`, `fc2`, ...; a
 * layer before a batch-norm has no bias. Linear layers start as PyTorch's, batch-norm's scales from 0.5.
 * @throws TorchvidError ERR_INVALID_ARGUMENT
 */
export function mlp(options: MlpOptions = {}): Graph {
  const { layers = [784, 500, 300, 10], batchNorm = true, input = [1, 28, 28] } = options
  if (!Array.isArray(layers) || layers.length < 2) {
    throw invalidArgument('layers', layers, 'a list of at least two widths: inputs, hidden layers, classes')
  }
  for (const [i, width] of layers.entries()) checkInteger(`layers[${i}]`, width, 1)
  const image = pictureInput(input)
  const pixels = input.reduce((product, size) => product * size, 1)
  if (layers[0] !== pixels) {
    throw invalidArgument('layers[0]', layers[0], `${pixels}, the numbers in a picture of ${input.join('x')} (input)`)
  }
  let x: Value = flatten(image, { channels: pixels })
  for (const [i, out] of layers.slice(1, -1).entries()) {
    x = linear(x, { out, bias: !batchNorm, name: `fc${i + 1}` })
    if (batchNorm) x = slimBatchNorm(x, `bn${i + 1}`)
    x = relu(x, { name: `relu${i + 1}` })
  }
  const logits = linear(x, { out: layers.at(-1) as number, name: `fc${layers.length - 1}` })
  return build({ logits }, { network: 'mlp' })
}
