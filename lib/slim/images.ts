import { checkImageSet, type ImageAugmentation, type ImageSet } from '../data/image-set.ts'
import { describe, invalidArgument, TorchvidError } from '../errors.ts'
import type { NativeImages, NativeLayer } from '../native.ts'
import { Network } from '../network.ts'

/** The output that holds a classifier's scores. */
export const logitsOutput = 'logits'

/** How a network takes images of one size. */
export interface Intake {
  input: string
  /** It takes (N, C * H * W). */
  flat: boolean
  /** What each layer makes of one image. */
  layers: NativeLayer[]
}

/** A set of images that was given, perhaps later; without `labelled` its labels do not matter and become 0. */
export async function imageSetOf(name: string, given: unknown, labelled = true): Promise<ImageSet> {
  const set = await given
  if (labelled || typeof set !== 'object' || set === null) return checkImageSet(name, set)
  const count = Array.isArray((set as ImageSet).shape) ? (set as ImageSet).shape[0] : 0
  const labels = new Uint8Array(Number.isSafeInteger(count) && count > 0 ? count : 0)
  return checkImageSet(name, { ...set, labels, classes: undefined })
}

/** `net` itself, when it is a network. */
export function checkNetwork(name: string, net: unknown): Network {
  if (net instanceof Network) return net
  throw invalidArgument(name, net, 'a Network: from Network.create or Network.open')
}

/**
 * How `net` takes the images of `set`, the argument called `name`.
 * @throws TorchvidError ERR_SHAPE when they do not fit its input, ERR_INVALID_ARGUMENT when it has several
 */
export async function intakeOf(net: Network, name: string, set: ImageSet): Promise<Intake> {
  const [input, ...others] = net.graph.inputs
  if (input === undefined || others.length > 0) {
    const names = net.graph.inputs.map((each) => each.name)
    throw invalidArgument('net', names, 'a network with one input, which takes the images')
  }
  const [, ...image] = set.shape
  const pixels = image.reduce((product, side) => product * side, 1)
  const flat = input.shape.length === 2
  const sizes = flat ? [pixels] : image
  const declared = input.shape.slice(1)
  if (declared.length !== sizes.length || declared.some((size, i) => size !== null && size !== sizes[i])) {
    const wanted = input.shape.map((size) => size ?? 'any').join(', ')
    const message = `${name}.shape: images of ${image.join(' x ')} (channels, height, width) do not fit the network's input '${input.name}', [${wanted}]. Resize the images, or create the network for their size.`
    throw new TorchvidError('ERR_SHAPE', message)
  }
  const { layers } = await net.summary({ [input.name]: [1, ...sizes] })
  return { input: input.name, flat, layers }
}

/**
 * Checks that `net` classifies and that every label is one of its classes.
 * @throws TorchvidError ERR_INVALID_ARGUMENT, ERR_SHAPE
 */
export function checkClasses(net: Network, name: string, set: ImageSet, { layers }: Intake): void {
  const node = net.graph.outputs[logitsOutput]
  if (node === undefined) {
    const outputs = Object.keys(net.graph.outputs)
    throw invalidArgument('net', outputs, `a network with an output '${logitsOutput}'`)
  }
  const shape = layers.find((layer) => layer.name === node)?.shape
  if (shape?.length !== 2) {
    const message = `net: its output '${logitsOutput}' has shape ${describe(shape)} for one image, wanted [1, classes].`
    throw new TorchvidError('ERR_SHAPE', message)
  }
  const classes = shape[1] as number
  for (let i = 0; i < set.labels.length; i++) {
    if ((set.labels[i] as number) < classes) continue
    const wanted = `0 to ${classes - 1}: the network has ${classes} classes`
    throw invalidArgument(`${name}.labels[${i}]`, set.labels[i], wanted)
  }
}

/**
 * A batch-norm that sees one value per channel cannot learn: its variance is 0.
 * @throws TorchvidError ERR_INVALID_ARGUMENT when a batch of one image would meet such a layer
 */
export function checkBatches(net: Network, name: string, set: ImageSet, { layers }: Intake, batchSize: number): void {
  const [count] = set.shape
  if (batchSize !== 1 && count % batchSize !== 1) return
  const fixed = new Set(net.graph.nodes.filter((node) => node.attributes?.fixedStatistics).map((node) => node.name))
  const layer = layers.find(({ name, op, shape }) => {
    const values = shape.reduce((product, size) => product * size, 1)
    return op === 'batchNorm' && !fixed.has(name) && values === shape[1]
  })
  if (layer === undefined) return
  const which = batchSize === 1 ? 'batches' : `${count} images of '${name}' leave a last batch`
  const message = `batchSize: got ${batchSize}, so ${which} of one image meet layer '${layer.name}' (batchNorm), which then sees one value per channel and has no variance. Take another batchSize.`
  throw new TorchvidError('ERR_INVALID_ARGUMENT', message)
}

/** The set in the addon's terms. */
export function nativeImages(
  set: ImageSet,
  { input, flat }: Intake,
  batches: { batchSize: number; shuffle: boolean; augment: ImageAugmentation | false },
): NativeImages {
  const { images, shape, labels, mean, std } = set
  const { augment, batchSize, shuffle } = batches
  const channels = shape[1]
  return {
    kind: 'images',
    images: { data: images, shape },
    labels: { data: Int32Array.from(labels), shape: [labels.length] },
    mean: mean ?? new Array<number>(channels).fill(0),
    std: std ?? new Array<number>(channels).fill(1),
    batchSize,
    shuffle,
    augment: augment === false ? null : { pad: augment.pad ?? 4, flip: augment.flip ?? 0.5 },
    input,
    flat,
  }
}
