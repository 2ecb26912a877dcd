import { type graph, type Network, networks, type PruneOptions, type PruneReport, slim } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { refuses } from '../helpers/expect.ts'
import { withNetwork } from '../helpers/tensors.ts'
import { randomise } from './masks.ts'
import { floats, setTensor, smallNetwork } from './training.ts'

const inputs = { image: [1, 3, 32, 32] }
const some: Record<string, graph.Graph> = {
  vgg: networks.vgg({ cfg: [16, 24, 'M', 32, 32, 'M', 40], classes: 10 }),
  preresnet: networks.preresnet({ depth: 11, classes: 10 }),
  densenet: networks.densenet({ depth: 10, classes: 10 }),
  mobilenet: networks.mobilenet({ classes: 10 }),
}

async function reportOf(network: Network, options: PruneOptions): Promise<PruneReport> {
  const { network: cut, report } = await slim.prune(network, { inputs, keepAtLeast: 1, ...options })
  const { macs, parameters } = await cut.summary(inputs)
  expect([report.macs.after, report.parameters.after]).toEqual([macs, parameters])
  cut.dispose()
  return report
}

describe('target', () => {
  for (const [name, description] of Object.entries(some)) {
    for (const strategy of ['select', 'group'] as const) {
      test(`${name}, ${strategy}: reached, and not by more than the last group`, async () => {
        await withNetwork(description, async (network) => {
          await randomise(network, 4)
          const whole = await network.summary(inputs)
          for (const [key, share] of [
            ['macs', 0.7],
            ['parameters', 0.6],
          ] as const) {
            const options: PruneOptions = { strategy, score: 'scale' }
            const wanted = Math.floor(share * whole[key])
            const report = await reportOf(network, { ...options, target: { [key]: share } })
            expect(report[key].after).toBeLessThanOrEqual(wanted)
            // As a count it is the same cut, and so is the ratio that was found.
            expect(await reportOf(network, { ...options, target: { [key]: wanted } })).toEqual(report)
            expect((await reportOf(network, { ...options, ratio: report.ratio }))[key]).toEqual(report[key])
            // The threshold one place lower does not do it.
            const less = await reportOf(network, { ...options, ratio: report.ratio * (1 - 1e-9) })
            expect(less[key].after).toBeGreaterThan(wanted)
          }
        })
      })
    }
  }

  test('both are reached', async () => {
    await withNetwork(some.vgg as graph.Graph, async (network) => {
      await randomise(network, 4)
      const whole = await network.summary(inputs)
      for (const [macs, parameters] of [
        [0.5, 0.9],
        [0.9, 0.5],
        [0.5, 0.5],
      ] as const) {
        const report = await reportOf(network, { target: { macs, parameters } })
        expect(report.macs.after).toBeLessThanOrEqual(macs * whole.macs)
        expect(report.parameters.after).toBeLessThanOrEqual(parameters * whole.parameters)
        const harder = await Promise.all([{ macs }, { parameters }].map((target) => reportOf(network, { target })))
        expect(report.ratio).toBe(Math.max(...harder.map(({ ratio }) => ratio)))
      }
    })
  })

  test('what the network is already is no cut', async () => {
    await withNetwork(some.vgg as graph.Graph, async (network) => {
      const { parameters, macs } = await network.summary(inputs)
      const report = await reportOf(network, { target: { parameters, macs: macs + 5 } })
      expect(report).toMatchObject({ ratio: 0, parameters: { after: parameters }, macs: { after: macs } })
    })
  })

  test.each(['select', 'group'] as const)(
    '%s, with roundTo: reached with widths that are multiples',
    async (strategy) => {
      for (const description of Object.values(some)) {
        await withNetwork(description, async (network) => {
          await randomise(network, 4)
          const whole = await network.summary(inputs)
          const report = await reportOf(network, { strategy, target: { macs: 0.75 }, roundTo: 4 })
          expect(report.macs.after).toBeLessThanOrEqual(0.75 * whole.macs)
          for (const { name, channels } of report.layers)
            if (channels.after !== channels.before) expect(channels.after % 4, name).toBe(0)
        })
      }
    },
  )

  test('one that cannot be reached: coded, and says what can', async () => {
    await withNetwork(some.vgg as graph.Graph, async (network) => {
      const options: PruneOptions = { target: { macs: 0.001 }, keepAtLeast: 4 }
      const error = await refuses('ERR_INVALID_ARGUMENT', /target: .*are left/s, () => slim.prune(network, options))
      const [parameters, macs] = (error.message.match(/\d+/g) ?? []).map(Number) as [number, number]
      // What it says is possible is possible, and no less.
      const least = await reportOf(network, { target: { macs, parameters }, keepAtLeast: 4 })
      expect([least.macs.after, least.parameters.after]).toEqual([macs, parameters])
      await refuses('ERR_INVALID_ARGUMENT', /target/, () =>
        slim.prune(network, { ...options, target: { macs: macs - 1 } }),
      )
    })
  })

  test('keepAtLeast 0 does not end at a dead network', async () => {
    await withNetwork(smallNetwork(), async (network) => {
      await setTensor(network, 'norm.weight', [9, 9, 9, 9, 9, 9])
      const options = { target: { macs: 0.15 }, keepAtLeast: 0, inputs: { image: [1, 3, 8, 8] } }
      const { network: cut, report } = await slim.prune(network, options)
      for (const { name, channels } of report.layers) expect(channels.after, name).toBeGreaterThan(0)
      cut.dispose()
    })
  })
})

describe('strategy group', () => {
  for (const [name, description] of Object.entries({ ...some, resnet: networks.resnet({ depth: 8, classes: 10 }) })) {
    test.each(['scale', 'variance'] as const)(
      `${name}, %s: streams shrink, and no selection is added`,
      async (score) => {
        await withNetwork(description, async (network) => {
          await randomise(network, 8)
          const {
            network: cut,
            report,
            kept,
          } = await slim.prune(network, { ratio: 0.4, strategy: 'group', score, keepAtLeast: 1, inputs })
          expect(report.score).toBe(score)
          expect(cut.graph.nodes.map((node) => node.name)).toEqual(network.graph.nodes.map((node) => node.name))
          const whole = (layer: string) => {
            const channels = report.layers.find((row) => row.name === layer)?.channels
            return channels?.after === channels?.before
          }
          // The stream's own layers: the first convolution, and those that end in a sum.
          const stream = {
            vgg: ['feature.0'],
            preresnet: ['layer1.0.conv3', 'layer1.0.downsample.0', 'layer3.0.conv3'],
            densenet: ['conv1', 'dense1.0.conv1'],
            mobilenet: ['conv1', 'conv_dw_1'],
            resnet: ['conv1', 'layer1.0.conv2', 'layer2.0.conv2'],
          }[name] as string[]
          expect(stream.filter(whole)).toEqual([])
          for (const [norm, places] of Object.entries(kept))
            expect(places, norm).toHaveLength(report.layers.find((row) => row.name === norm)?.channels.after as number)
          cut.dispose()
        })
      },
    )
  }

  test('select leaves the streams as they are', async () => {
    await withNetwork(networks.resnet({ depth: 8, classes: 10 }), async (network) => {
      await randomise(network, 8)
      const report = await reportOf(network, { ratio: 0.4 })
      for (const layer of ['conv1', 'layer1.0.conv2', 'layer2.0.conv2']) {
        const channels = report.layers.find((row) => row.name === layer)?.channels
        expect(channels?.after, layer).toBe(channels?.before)
      }
    })
  })

  test('the default score is variance, that of select scale', async () => {
    await withNetwork(smallNetwork(), async (network) => {
      const small = { inputs: { image: [1, 3, 8, 8] }, ratio: 0.2 }
      expect((await slim.prune(network, { ...small, strategy: 'group' })).report.score).toBe('variance')
      expect((await slim.prune(network, small)).report.score).toBe('scale')
    })
  })
})

describe('channels whose scales were made tiny go first, and nothing else', () => {
  const chosen: Record<string, { description: graph.Graph; norms: Record<string, number[]>; tied: string[][] }> = {
    vgg: { description: some.vgg as graph.Graph, norms: { 'feature.1': [2, 9], 'feature.8': [0, 31] }, tied: [] },
    // One stream: every batch-norm that ends in it must agree.
    resnet: {
      description: networks.resnet({ depth: 8, classes: 10 }),
      norms: { bn1: [1, 5], 'layer1.0.bn1': [3, 14], 'layer3.0.bn1': [60] },
      tied: [['bn1', 'layer1.0.bn2', 'layer2.0.bn2', 'layer3.0.bn2']],
    },
  }
  for (const [name, { description, norms, tied }] of Object.entries(chosen)) {
    test.each(['scale', 'variance'] as const)(`${name}, %s`, async (score) => {
      await withNetwork(description, async (network) => {
        await randomise(network, 6)
        const gone: Record<string, number[]> = {}
        const silence = async (norm: string, channels: number[]) => {
          for (const last of ['weight', 'bias']) {
            const values = await floats(network, `${norm}.${last}`)
            for (const channel of channels) values[channel] = 1e-7
            await setTensor(network, `${norm}.${last}`, values)
          }
          gone[norm] = channels
        }
        for (const [norm, channels] of Object.entries(norms)) {
          const others = tied.find((names) => names.includes(norm)) ?? [norm]
          for (const other of others) {
            const width = (await floats(network, `${other}.weight`)).length
            // Option A puts the narrower stream in the middle of the wider one.
            const before = (width - (await floats(network, `${norm}.weight`)).length) / 2
            await silence(
              other,
              channels.map((channel) => channel + before),
            )
          }
        }
        const wanted = Object.entries(gone).flatMap(([norm, channels]) => channels.map((each) => `${norm} ${each}`))
        // One group after another goes: as many as were chosen are these.
        let removed: string[] = []
        for (let ratio = 1e-6; removed.length < wanted.length; ratio += 0.001)
          removed = goneFrom(await reportOf(network, { ratio, strategy: 'group', score }))
        expect(removed).toEqual(wanted.sort())
      })
    })
  }
})

function goneFrom({ layers, gammas }: PruneReport): string[] {
  return Object.entries(gammas)
    .flatMap(([norm, all]) => {
      const stays = new Set(layers.find(({ name }) => name === norm)?.kept)
      return all.flatMap((_, channel) => (stays.has(channel) ? [] : [`${norm} ${channel}`]))
    })
    .sort()
}
