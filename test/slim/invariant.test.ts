import { type graph, type Network, networks, type PruneResult, slim } from 'torchvid'
import { expect, test } from 'vitest'
import { noise, randomFrom, relative, withNetwork } from '../helpers/tensors.ts'
import { masked, maskedWhole, randomise } from './masks.ts'
import { randomGraph } from './random-graph.ts'

// The invariant of surgery: masked and rebuilt networks compute the same function.

interface Cut {
  strategy: 'select' | 'group'
  score?: 'scale' | 'variance'
  ratio: number
  roundTo?: number
}

/** The worst difference of the outputs of the masked and the rebuilt network, relative to the largest value. */
async function difference(network: Network, result: PruneResult, shape: number[], whole: boolean): Promise<number> {
  const input = { [network.graph.inputs[0]?.name as string]: noise(shape, 3) }
  const mask = await (whole ? maskedWhole : masked)(network, result)
  const expected = await mask.forward(input)
  const actual = await result.network.forward(input)
  mask.dispose()
  expect(Object.keys(actual)).toEqual(Object.keys(expected))
  return Math.max(...Object.keys(actual).map((name) => relative(actual[name]?.data ?? [], expected[name]?.data ?? [])))
}

async function check(
  description: graph.Graph,
  shape: number[],
  cut: Cut,
  whole = false,
): Promise<PruneResult['report']> {
  return await withNetwork(description, async (network) => {
    await randomise(network, 7)
    const result = await slim.prune(network, { keepAtLeast: 1, ...cut })
    expect(await difference(network, result, shape, whole)).toBeLessThan(1e-5)
    result.network.dispose()
    return result.report
  })
}

const cifar = [2, 3, 32, 32]
const architectures: Record<string, { description: graph.Graph; shape: number[]; strategies: Cut['strategy'][] }> = {
  vgg13: { description: networks.vgg({ depth: 13, classes: 10 }), shape: cifar, strategies: ['select', 'group'] },
  preresnet20: { description: networks.preresnet({ depth: 20, classes: 10 }), shape: cifar, strategies: ['select'] },
  densenet22: { description: networks.densenet({ depth: 22, classes: 10 }), shape: cifar, strategies: ['select'] },
  resnet20: { description: networks.resnet({ depth: 20, classes: 10 }), shape: cifar, strategies: ['select', 'group'] },
  mobilenet: {
    description: networks.mobilenet({ classes: 10 }),
    shape: [1, 3, 64, 64],
    strategies: ['select', 'group'],
  },
  mlp: { description: networks.mlp(), shape: [2, 1, 28, 28], strategies: ['select', 'group'] },
  'OSVOS on MobileNet': {
    description: networks.osvos({ backbone: 'mobilenet' }),
    shape: [1, 3, 64, 96],
    strategies: ['select', 'group'],
  },
}

for (const [name, { description, shape, strategies }] of Object.entries(architectures)) {
  for (const strategy of strategies) {
    test(`${name}, ${strategy}: masked and rebuilt agree`, async () => {
      for (const [ratio, roundTo] of [
        [0.25, 1],
        [0.6, 1],
        [0.5, 8],
      ] as const) {
        const report = await check(description, shape, { strategy, ratio, roundTo })
        expect(report.channels.after).toBeLessThan(report.channels.before)
        expect(report.macs.after).toBeLessThan(report.macs.before)
      }
    })
  }
}

for (const name of ['preresnet20', 'densenet22'] as const) {
  test(`${name}, group: the stream itself shrinks, and agrees with its channels at zero`, async () => {
    const { description, shape } = architectures[name] as (typeof architectures)[string]
    const report = await check(description, shape, { strategy: 'group', score: 'scale', ratio: 0.4 }, true)
    expect(report.layers.find((layer) => layer.name === 'conv1')?.channels.after).toBeLessThan(
      report.layers.find((layer) => layer.name === 'conv1')?.channels.before as number,
    )
  })
}

test('random graphs: masked and rebuilt agree', async () => {
  const random = randomFrom(20170822)
  let cuts = 0
  for (let i = 0; i < 150; i++) {
    const description = randomGraph(random)
    const strategy = i % 2 ? 'group' : 'select'
    const ratio = 0.1 + 0.8 * random()
    await withNetwork(description, async (network) => {
      await randomise(network, i)
      const result = await slim.prune(network, { strategy, ratio, keepAtLeast: 1 })
      if (result.report.channels.after < result.report.channels.before) cuts++
      const apart = await difference(network, result, [2, 3, 12, 12], strategy === 'group')
      expect(apart, `graph ${i}: ${strategy} ${ratio} ${JSON.stringify(description)}`).toBeLessThan(1e-5)
      result.network.dispose()
    })
  }
  expect(cuts).toBeGreaterThan(130)
})
