import { join } from 'node:path'
import { type graph, Network, networks, type SlimResult, type SlimStageProgress, slim } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { scratch } from '../helpers/expect.ts'
import { differing, noise, relative } from '../helpers/tensors.ts'
import { masked, randomise } from './masks.ts'
import { expectCounting, held, short, slimmed, train } from './slimming.ts'
import { floats, randomImages, smallNetwork, withNet } from './training.ts'

const large = randomImages([4, 3, 32, 32], 10)
const inputs = { image: [1, 3, 8, 8] }

/** Nothing that counts is learnt: what is left at the end is what was there. */
const still = { train: large, steps: 1, batchSize: 4, learningRate: 1e-30, fineTune: { steps: 1, learningRate: 1e-30 } }

const stagesOf = ({ report }: Pick<SlimResult, 'report'>) => report.stages.map(({ stage, pass }) => `${stage} ${pass}`)

function runsOf(records: SlimStageProgress[]): string[] {
  return records.map(({ stage, pass }) => `${stage} ${pass}`).filter((name, i, all) => name !== all[i - 1])
}

describe('one run', () => {
  test('stages in order, steps through all of them, accuracy after each; the network given does not change', async () => {
    await withNet(smallNetwork(), async (net) => {
      await randomise(net, 1)
      const before = await net.clone()
      const seen: SlimStageProgress[] = []
      const result = await slimmed(net, { ...short, test: held, onProgress: (progress) => seen.push(progress) })
      const { network, report, records, kept } = result
      expect(stagesOf(result)).toEqual(['start 1', 'train 1', 'prune 1', 'finetune 1'])
      expect(runsOf(records)).toEqual(['train 1', 'finetune 1'])
      expectCounting(records, 9)
      expect(records.map(({ epoch, epochs }) => `${epoch}/${epochs}`).join(' ')).toBe(
        '1/2 1/2 1/2 2/2 2/2 2/2 1/1 1/1 1/1',
      )
      expect(seen.at(-1)).toEqual(records.at(-1))
      expect(await differing(before, net)).toEqual([])

      const places = [before, network] as const
      for (const [i, net] of places.entries()) {
        const { accuracy, loss } = await slim.evaluate(net, held)
        const { parameters, macs } = await net.summary(inputs)
        expect(report.stages.at(-i)).toMatchObject({ accuracy, loss, parameters, macs })
      }
      for (const { seconds, loss, accuracy } of report.stages) {
        expect(seconds).toBeGreaterThanOrEqual(0)
        expect(loss).toBeGreaterThan(0)
        expect(accuracy).toBeGreaterThanOrEqual(0)
      }
      expect(report.ratio).toBe(0.3)
      expect(report.channels).toEqual({ before: 11, after: Object.values(kept).flat().length })
      expect(report.channels.after).toBe(7)
      for (const each of places) each.dispose()
    })
  })

  test('is the same as train, prune and finetune by hand, bit for bit', async () => {
    await withNet(smallNetwork(), async (net) => {
      const options = { train, batchSize: 4, seed: 5 }
      const result = await slim(net, { ...short, seed: 5, fold: true })
      await slim.train(net, { ...options, epochs: 2, learningRate: 0.05, sparsity: 0.01 })
      const cut = await slim.prune(net, { ratio: 0.3, keepAtLeast: 1, fold: true })
      await slim.finetune(cut.network, { ...options, epochs: 1 })
      expect(result.kept).toEqual(cut.kept)
      const { stages, ...report } = result.report
      expect(report).toEqual(cut.report)
      expect(stages.every(({ accuracy, loss }) => accuracy === null && loss === null)).toBe(true)
      expect(await differing(result.network, cut.network)).toEqual([])
      for (const each of [result, cut]) each.network.dispose()
    })
  })

  test('ratio is what prune makes of it, to the last channel', async () => {
    // 1 - (1 - 0.1) is a little less than 0.1, and int(110 * that) one less than 11.
    await withNet(networks.vgg({ cfg: [60, 'M', 50], classes: 3, input: [3, 8, 8] }), async (net) => {
      await randomise(net, 1)
      const frozen = { train, steps: 1, learningRate: 1e-30, fineTune: false as const }
      for (const ratio of [0.1, 0.3, 0.7, 0.9]) {
        const [whole, cut] = [await slim(net, { ...frozen, ratio }), await slim.prune(net, { ratio })]
        expect(whole.report.ratio).toBe(ratio)
        expect(whole.kept).toEqual(cut.kept)
        for (const each of [whole, cut]) each.network.dispose()
      }
    })
  })

  test('fineTune: false, and a promise of images', async () => {
    await withNet(smallNetwork(), async (net) => {
      const options = { ...short, train: Promise.resolve(train), test: Promise.resolve(held), fineTune: false as const }
      const result = await slimmed(net, options)
      expect(stagesOf(result)).toEqual(['start 1', 'train 1', 'prune 1'])
      expectCounting(result.records, 6)
      result.network.dispose()
    })
  })

  test('target instead of ratio', async () => {
    await withNet(smallNetwork(), async (net) => {
      const { ratio: _, ...options } = short
      for (const target of [{ macs: 0.6 }, { parameters: 200 }]) {
        const { network, report } = await slim(net, { ...options, target })
        if ('macs' in target) expect(report.macs.after).toBeLessThanOrEqual(0.6 * report.macs.before)
        else expect(report.parameters.after).toBeLessThanOrEqual(200)
        network.dispose()
      }
    })
  })

  test('fine-tuning with a teacher, settings and images of its own', async () => {
    await withNet(smallNetwork(), async (net) => {
      const fineTune = { teacher: net, steps: 4, batchSize: 5, learningRate: 0.02, train: held }
      const { network, records } = await slimmed(net, { ...short, fineTune })
      expectCounting(records, 10)
      const tuned = records.filter(({ stage }) => stage === 'finetune')
      for (const { losses, learningRate } of tuned) {
        expect(Object.keys(losses)).toEqual(['logits'])
        expect(learningRate).toBe(0.02)
      }
      network.dispose()
      const epochs = await slimmed(net, { ...short, fineTune: { epochs: 2, batchSize: 5, train: held } })
      expectCounting(epochs.records, 10)
      epochs.network.dispose()
    })
  })
})

test('the network before the cut teaches: as by hand', async () => {
  await withNet(smallNetwork(), async (net) => {
    const recipe = { steps: 3, learningRate: 0.02, seed: 4, train, batchSize: 4 }
    const { network } = await slimmed(net, { ...short, seed: 4, fineTune: { ...recipe, teacher: 'uncut' } })
    const trained = await net.clone()
    await slim.train(trained, { train, epochs: 2, batchSize: 4, learningRate: 0.05, sparsity: 0.01, seed: 4 })
    const cut = await slim.prune(trained, { ratio: 0.3, keepAtLeast: 1 })
    await slim.finetune(cut.network, { ...recipe, teacher: trained })
    expect(await differing(network, cut.network)).toEqual([])
    for (const each of [network, trained, cut.network]) each.dispose()
  })
})

describe('several passes', () => {
  const some: Record<string, graph.Graph> = {
    vgg: networks.vgg({ cfg: [16, 24, 'M', 20], classes: 10 }),
    preresnet: networks.preresnet({ depth: 11, classes: 10 }),
    resnet: networks.resnet({ depth: 8, classes: 10 }),
  }
  for (const [name, description] of Object.entries(some)) {
    test.each(['select', 'group'] as const)(`${name}, %s: kept are places in the network given`, async (strategy) => {
      await withNet(description, async (net) => {
        await randomise(net, 9)
        const options = { ...still, ratio: 0.6, keepAtLeast: 1, strategy, score: 'scale' as const, passes: 3 }
        const { network, kept, report, records } = await slimmed(net, options)
        expect(stagesOf({ report })).toEqual(
          ['start 1', [1, 2, 3].map((pass) => [`train ${pass}`, `prune ${pass}`, `finetune ${pass}`])].flat(2),
        )
        expectCounting(records, 6)
        expect(report.ratio).toBeCloseTo(0.6, 9)
        for (const [norm, channels] of Object.entries(kept)) {
          const [before, after] = [await floats(net, `${norm}.weight`), await floats(network, `${norm}.weight`)]
          const stays = report.layers.find((layer) => layer.name === norm)?.kept ?? []
          const wanted = stays.map((place) => (channels.includes(place) ? (before[place] as number) : 0))
          expect(
            [...after].map((gamma) => gamma + 0),
            norm,
          ).toEqual(wanted)
          expect(channels.length, norm).toBe(after.filter((gamma) => gamma !== 0).length)
        }
        const { parameters, macs, layers } = await network.summary({ image: [1, 3, 32, 32] })
        expect([report.parameters.after, report.macs.after]).toEqual([parameters, macs])
        for (const row of report.layers) {
          const layer = layers.find((each) => each.name === row.name)
          expect(row, row.name).toMatchObject({
            channels: { after: layer?.shape[1] },
            parameters: { after: layer?.parameters },
            macs: { after: layer?.macs },
          })
          expect(row.kept).toHaveLength(row.channels.after)
        }
        const count = (lists: Record<string, number[]>) => Object.values(lists).flat().length
        expect(report.channels).toEqual({ before: count(report.gammas), after: count(kept) })
        network.dispose()
      })
    })
  }

  test('each takes at most half of a layer, and the same share of what is left', async () => {
    await withNet(some.vgg as graph.Graph, async (net) => {
      await randomise(net, 9)
      // The last layer is the weakest by far.
      await net.handle.write('feature.8.weight', { data: new Float32Array(20).fill(0.01), shape: [20] })
      const { network, kept, report } = await slim(net, { ...still, ratio: 0.75, passes: 2, keepAtLeast: 1 })
      expect(kept['feature.8']).toHaveLength(5)
      expect(report.warnings.some((text) => text.includes("'feature.8'"))).toBe(true)
      network.dispose()
      const own = await slim(net, { ...still, ratio: 0.5, passes: 2, keepAtLeast: 1, keepShare: 0 })
      expect(own.kept['feature.8']).toHaveLength(1)
      own.network.dispose()
    })
  })

  test('a target is reached by the last', async () => {
    await withNet(some.vgg as graph.Graph, async (net) => {
      await randomise(net, 9)
      const { network, report } = await slim(net, { ...still, target: { macs: 0.3 }, passes: 2 })
      expect(report.macs.after).toBeLessThanOrEqual(0.3 * report.macs.before)
      expect(report.stages.find(({ stage }) => stage === 'prune')?.macs).toBeGreaterThan(0.45 * report.macs.before)
      network.dispose()
    })
  })
})

describe('iterative', () => {
  const iterative = { ...short, iterative: { from: 0.1, step: 0.1 }, fineTune: false as const }
  test.each([{ epochs: 1 }, { steps: 2, epochs: undefined }])(
    '%o: held channels are zero before the cut',
    async (length) => {
      const folder = scratch()
      await withNet(smallNetwork(), async (net) => {
        await randomise(net, 1)
        const checkpoint = { path: join(folder, 'run.safetensors'), every: 100 }
        const result = await slimmed(net, { ...iterative, ...length, checkpoint })
        const first = length.steps ?? 3
        expect(runsOf(result.records)).toEqual(['train 1', 'iterate 1'])
        expectCounting(result.records, first + 9) // shares 0.1, 0.2, 0.3: an epoch each
        expect(stagesOf(result)).toEqual(['start 1', 'train 1', 'prune 1'])

        const whole = await Network.open(join(folder, 'run-1-iterate-3-done.safetensors'))
        const mask = await masked(whole, result)
        expect(await differing(whole, mask)).toEqual([])
        expect(Object.values(result.kept).flat()).toHaveLength(7)
        const input = { image: noise([2, 3, 8, 8]) }
        const [a, b] = [await whole.forward(input), await result.network.forward(input)]
        expect(relative(b.logits?.data ?? [], a.logits?.data ?? [])).toBeLessThan(1e-5)
        for (const each of [whole, mask, result.network]) each.dispose()
      })
    },
  )

  test('true: from 0.1 in steps of 0.01', async () => {
    await withNet(smallNetwork(), async (net) => {
      const { records, network } = await slimmed(net, {
        ...iterative,
        batchSize: 12,
        epochs: 1,
        ratio: 0.15,
        iterative: true,
      })
      expectCounting(records, 7)
      network.dispose()
    })
  })

  test('on residual networks the cut takes what was held', async () => {
    await withNet(networks.preresnet({ depth: 11, classes: 10 }), async (net) => {
      await randomise(net, 2)
      const options = { ...still, ratio: 0.3, iterative: { from: 0.3 }, fineTune: false as const }
      const [held, cut] = [await slim(net, options), await slim(net, { ...options, iterative: false })]
      expect(held.kept).toEqual(cut.kept)
      for (const each of [held, cut]) each.network.dispose()
    })
  })
})
