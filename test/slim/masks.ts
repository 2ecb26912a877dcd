import type { Network, PruneResult, TensorData } from 'torchvid'
import { randomFrom } from '../helpers/tensors.ts'

/** Random parameters and running statistics of a size that keeps values near 1. */
export async function randomise(network: Network, seed: number): Promise<void> {
  const random = randomFrom(seed)
  const norms = new Set(network.graph.nodes.filter(({ op }) => op === 'batchNorm').map(({ name }) => name))
  for (const { name, shape } of network.parameters()) {
    const [layer, last] = [name.slice(0, name.lastIndexOf('.')), name.slice(name.lastIndexOf('.') + 1)]
    if (last === 'num_batches_tracked' || last === 'indexes') continue
    const fan = Math.sqrt(3 / shape.slice(1).reduce((a, b) => a * b, 1))
    const draw = {
      weight: norms.has(layer) ? () => (random() < 0.5 ? -1 : 1) * (0.05 + random()) : () => (2 * random() - 1) * fan,
      bias: () => random() - 0.5,
      running_mean: () => random() - 0.5,
      running_var: () => 0.5 + random(),
    }[last] as () => number
    const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, draw)
    await network.handle.write(name, { data, shape })
  }
}

async function zeroRows(network: Network, name: string, kept: number[]): Promise<void> {
  const tensor = (await network.tensor(name)) as TensorData & { data: Float32Array }
  const row = tensor.data.length / (tensor.shape[0] as number)
  const stays = new Set(kept)
  for (let i = 0; i < (tensor.shape[0] as number); i++) {
    if (!stays.has(i)) tensor.data.fill(0, i * row, (i + 1) * row)
  }
  await network.handle.write(name, tensor)
}

/** The network with scale and shift of every removed batch-norm channel at zero: the references' masked network. */
export async function masked(network: Network, { kept }: PruneResult): Promise<Network> {
  const copy = await network.clone()
  for (const [name, channels] of Object.entries(kept)) {
    await zeroRows(copy, `${name}.weight`, channels)
    await zeroRows(copy, `${name}.bias`, channels)
  }
  return copy
}

/**
 * The masked network of strategy `group`, where a removed channel of a sum is removed from everything that makes it: the
 * output channels of convolutions that lead into the sum without a batch-norm are zero too.
 */
export async function maskedWhole(network: Network, result: PruneResult): Promise<Network> {
  const copy = await masked(network, result)
  const names = new Set(network.parameters().map(({ name }) => name))
  for (const { name, op, kept } of result.report.layers) {
    const { groups, in: inside } = network.graph.nodes.find((node) => node.name === name)?.attributes ?? {}
    const depthwise = groups !== undefined && groups === inside // passes on what its input's batch-norm makes
    if ((op !== 'conv' && op !== 'linear') || depthwise) continue
    for (const parameter of [`${name}.weight`, `${name}.bias`]) {
      if (names.has(parameter)) await zeroRows(copy, parameter, kept)
    }
  }
  return copy
}
