import { graph, Network, type slim } from 'torchvid'
import { randomFrom, sizeOf } from '../helpers/tensors.ts'

/** What `slim.train` takes as images. */
export type Images = Awaited<Parameters<typeof slim.train>[1]['train']>

/** Images of random bytes; labels go round the classes. */
export function randomImages(shape: [number, number, number, number], classes: number, seed = 1): Images {
  const random = randomFrom(seed)
  const images = Uint8Array.from({ length: sizeOf(shape) }, () => Math.floor(random() * 256))
  return { images, shape, labels: Array.from({ length: shape[0] }, (_, i) => i % classes) }
}

/** One batch-norm network with everything training can meet: convolution, batch-norm, dropout, linear. */
export function smallNetwork(classes = 3, options: { dropout?: number } = {}): graph.Graph {
  const { build, input, conv, batchNorm, relu, dropout, globalAveragePool, linear } = graph
  let x = conv(input('image', [null, 3, 8, 8]), { out: 6, kernel: 3, padding: 1, bias: false, name: 'conv' })
  x = relu(batchNorm(x, { name: 'norm' }))
  x = relu(batchNorm(conv(x, { out: 5, kernel: 3, name: 'conv2' }), { name: 'norm2' }))
  x = globalAveragePool(x)
  if (options.dropout !== undefined) x = dropout(x, { probability: options.dropout })
  return build({ logits: linear(x, { out: classes, name: 'classifier' }) })
}

/** logits = W x + b of the flattened image, all zero at first. */
export function linearNetwork(image: [number, number, number], classes: number): graph.Graph {
  const { build, input, flatten, linear } = graph
  const zero = { weight: { distribution: 'constant' as const }, bias: { distribution: 'constant' as const } }
  const x = flatten(input('image', [null, ...image]), { channels: sizeOf(image) })
  return build({ logits: linear(x, { out: classes, name: 'classifier', init: zero }) })
}

/** Sets one tensor. */
export async function setTensor(net: Network, name: string, data: ArrayLike<number>): Promise<void> {
  const { shape } = net.parameters().find((each) => each.name === name)!
  await net.handle.write(name, { data: Float32Array.from(data), shape })
}

export const floats = async (net: Network, name: string) => (await net.tensor(name)).data as Float32Array

/** The length of a vector. */
export function norm(values: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i]! ** 2
  return Math.sqrt(sum)
}

/** All records of a run that must succeed. */
export async function recordsOf<P>(run: AsyncIterable<P> & PromiseLike<unknown>): Promise<P[]> {
  const records: P[] = []
  for await (const record of run) records.push(record)
  await run
  return records
}

/** Runs `use` with a network on the CPU, and disposes of it. */
export async function withNet<T>(of: graph.Graph, use: (net: Network) => Promise<T>, seed = 3): Promise<T> {
  const net = await Network.create(of, { device: 'cpu', seed })
  try {
    return await use(net)
  } finally {
    net.dispose()
  }
}
