import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { graph, type Network, networks, type PruneOptions, type PruneResult, slim } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { refuses, scratch, shared, sharedNote } from '../helpers/expect.ts'
import { formulaImage, formulaWeights } from '../helpers/formula.ts'
import { readFloats, writeFloats } from '../helpers/safetensors.ts'
import { differing, noise, relative, tensor, withNetwork } from '../helpers/tensors.ts'
import { masked, randomise } from './masks.ts'
import { setTensor, smallNetwork } from './training.ts'

const folder = scratch()

/** Widths of the convolutions and linear layers, by name, in order. */
function widths(network: Network): Record<string, number> {
  const layers = network.graph.nodes.filter(({ op }) => op === 'conv' || op === 'linear')
  return Object.fromEntries(layers.map(({ name, attributes }) => [name, attributes?.out as number]))
}

/** `norm`: 6 channels, `norm2`: 5. */
async function scaled(network: Network, first: number[], second: number[]): Promise<void> {
  await setTensor(network, 'norm.weight', first)
  await setTensor(network, 'norm2.weight', second)
}

async function keptOf(network: Network, options: PruneOptions): Promise<PruneResult['kept']> {
  const result = await slim.prune(network, { keepAtLeast: 0, ...options })
  result.network.dispose()
  return result.kept
}

const goldens = ['vgg11_50', 'vgg16_70', 'preresnet29_40', 'densenet40_40']
describe.skipIf(shared === undefined)(`the references' own cuts${sharedNote}`, () => {
  test.each(goldens)('%s: kept channels, cfg, parameters, logits', async (name) => {
    const base = join(shared as string, 'golden/slim', name)
    const golden = JSON.parse(readFileSync(`${base}.json`, 'utf8'))
    const wanted = readFloats(`${base}.safetensors`)
    const { arch, depth, seed, batch, percent } = golden
    const { vgg, preresnet, densenet } = networks
    const make = { vgg, resnet: preresnet, densenet }[arch as 'vgg' | 'resnet' | 'densenet']
    const bytes = formulaImage(batch * 3072, seed)
    const [mean, std] = [
      [0.4914, 0.4822, 0.4465],
      [0.2023, 0.1994, 0.201],
    ] as [number[], number[]]
    const channel = (i: number) => Math.floor(i / 1024) % 3
    const normalised = (i: number) =>
      ((bytes[i] as number) / 255 - (mean[channel(i)] as number)) / (std[channel(i)] as number)
    const input = { image: tensor([batch, 3, 32, 32], normalised) }
    await withNetwork(make({ depth, classes: 10 }), async (network) => {
      const file = join(folder, `${name}.safetensors`)
      writeFloats(file, formulaWeights(network.parameters(), seed))
      await network.load(file, { strict: false })
      const result = await slim.prune(network, { ratio: percent })
      expect(result.kept).toEqual(golden.kept)
      expect(result.report.warnings).toEqual([])

      // Without `indexes`: the references count parameters, not buffers.
      const { parameters } = await result.network.summary({ image: [1, 3, 32, 32] })
      const trainable = (net: Network) =>
        net
          .parameters()
          .filter((each) => each.trainable)
          .reduce((all, { shape }) => all + shape.reduce((a, b) => a * b, 1), 0)
      expect(trainable(result.network)).toBe(golden.parameters_after)
      expect(trainable(network)).toBe(golden.parameters_before)
      expect(parameters).toBe(golden.parameters_after)
      expect(result.report.parameters).toEqual({ before: golden.parameters_before, after: golden.parameters_after })

      // The cfg makes the same network: it takes the weights.
      const saved = join(folder, `${name}-pruned.pth`)
      await result.network.exportPyTorch(saved)
      const reopened = await slim.load(saved, make as (options: object) => graph.Graph)
      expect(await differing(reopened, result.network)).toEqual([])
      await withNetwork(make({ cfg: golden.cfg, classes: 10 }), async (same) => {
        const shapes = (net: Network) => Object.fromEntries(net.parameters().map((each) => [each.name, each.shape]))
        expect(shapes(same)).toEqual(shapes(result.network))
      })

      const mask = await masked(network, result)
      const outputs = { base: network, masked: mask, pruned: result.network }
      for (const [which, net] of Object.entries(outputs)) {
        const { logits } = await net.forward(input)
        const expected = (wanted[which] ?? wanted.pruned) as { data: Float32Array }
        expect(relative(logits?.data ?? [], expected.data), which).toBeLessThanOrEqual(1e-4)
      }
      for (const net of [mask, result.network, reopened]) net.dispose()
    })
  })
})

describe('threshold: sorted[int(count * ratio)], what is strictly above it stays', () => {
  const rising = [
    [0.1, 0.9, 0.3, 0.7, 0.5, 1.1],
    [0.2, 1, 0.4, 0.8, 0.6],
  ] as const
  test('int(count * ratio) + 1 of 11 channels go, whatever the sign', async () => {
    await withNetwork(smallNetwork(), async (network) => {
      await scaled(network, [...rising[0]], [...rising[1]])
      // int(11 * 0.3) = 3: sorted[3] = 0.4 and below go.
      expect(await keptOf(network, { ratio: 0.3 })).toEqual({ norm: [1, 3, 4, 5], norm2: [1, 3, 4] })
      // int(11 * 0.05) = 0: the smallest goes all the same.
      expect(await keptOf(network, { ratio: 0.05 })).toEqual({ norm: [1, 2, 3, 4, 5], norm2: [0, 1, 2, 3, 4] })
      await scaled(
        network,
        rising[0].map((scale) => -scale),
        [...rising[1]],
      )
      const result = await slim.prune(network, { ratio: 0.3, keepAtLeast: 0 })
      expect(result.kept).toEqual({ norm: [1, 3, 4, 5], norm2: [1, 3, 4] })
      expect(result.report.threshold).toBeCloseTo(0.4, 6)
      expect(result.report.gammas.norm?.[5]).toBeCloseTo(1.1, 6)
      result.network.dispose()
    })
  })

  test('ties at the threshold all go', async () => {
    await withNetwork(smallNetwork(), async (network) => {
      await scaled(network, [0.5, 0.5, 0.9, 0.5, 0.9, 0.1], [0.5, 1, 1, 0.5, 1])
      expect(await keptOf(network, { ratio: 0.1 })).toEqual({ norm: [2, 4], norm2: [1, 2, 4] })
    })
  })

  test('ratio 0 changes nothing, bit for bit', async () => {
    for (const description of [smallNetwork(), networks.preresnet({ depth: 11 }), networks.resnet({ depth: 8 })]) {
      for (const strategy of ['select', 'group'] as const) {
        await withNetwork(description, async (network) => {
          await randomise(network, 5)
          const { network: same, report } = await slim.prune(network, { ratio: 0, strategy })
          const layers = (net: Network) => net.graph.nodes.map(({ init, ...node }) => node)
          expect(layers(same)).toEqual(layers(network))
          expect(same.graph.outputs).toEqual(network.graph.outputs)
          expect(await differing(network, same)).toEqual([])
          expect(report.channels.after).toBe(report.channels.before)
          expect(report.warnings).toEqual([])
          same.dispose()
        })
      }
    }
  })

  test('all scales equal: everything would go; the floor keeps the first 4 of every layer and says so', async () => {
    await withNetwork(smallNetwork(), async (network) => {
      await scaled(network, [1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1])
      const { kept, report, network: cut } = await slim.prune(network, { ratio: 0.01 })
      expect(kept).toEqual({ norm: [0, 1, 2, 3], norm2: [0, 1, 2, 3] })
      expect(widths(cut)).toEqual({ conv: 4, conv2: 4, classifier: 3 })
      expect(report.warnings).toHaveLength(2)
      for (const name of ['norm', 'norm2'])
        expect(report.warnings.some((text) => text.includes(`'${name}'`))).toBe(true)
      cut.dispose()
      await refuses('ERR_INVALID_ARGUMENT', /'conv'.*every channel.*keepAtLeast/s, () =>
        slim.prune(network, { ratio: 0.01, keepAtLeast: 0 }),
      )
    })
  })

  test('a ratio near 1 takes all, or all but the floor', async () => {
    await withNetwork(smallNetwork(), async (network) => {
      await scaled(network, [...rising[0]], [...rising[1]])
      expect(await keptOf(network, { ratio: 0.999999, keepAtLeast: 2 })).toEqual({ norm: [1, 5], norm2: [1, 3] })
      await refuses('ERR_INVALID_ARGUMENT', /every channel/, () => keptOf(network, { ratio: 0.999999 }))
    })
  })
})

describe('floors and rounding', () => {
  test('keepAtLeast keeps the strongest; a layer with fewer channels stays whole', async () => {
    await withNetwork(smallNetwork(), async (network) => {
      await scaled(network, [3, 4, 5, 6, 7, 8], [0.1, 0.5, 0.2, 0.4, 0.3])
      expect(await keptOf(network, { ratio: 0.4, keepAtLeast: 2 })).toEqual({
        norm: [0, 1, 2, 3, 4, 5],
        norm2: [1, 3],
      })
      const whole = { norm: [0, 1, 2, 3, 4, 5], norm2: [0, 1, 2, 3, 4] }
      expect(await keptOf(network, { ratio: 0.4, keepAtLeast: 99 })).toEqual(whole)
    })
  })

  test('keepShare is rounded up, and holds in every layer', async () => {
    await withNetwork(smallNetwork(), async (network) => {
      await scaled(network, [1, 2, 3, 4, 5, 6], [0.1, 0.5, 0.2, 0.4, 0.3])
      // 0.5 of 6 is 3, of 5 is 3.
      expect(await keptOf(network, { ratio: 0.9, keepShare: 0.5 })).toEqual({ norm: [3, 4, 5], norm2: [1, 3, 4] })
      expect(await keptOf(network, { ratio: 0.9, keepShare: 1 })).toEqual({
        norm: [0, 1, 2, 3, 4, 5],
        norm2: [0, 1, 2, 3, 4],
      })
    })
  })

  test('roundTo brings the strongest back', async () => {
    await withNetwork(smallNetwork(), async (network) => {
      await scaled(network, [0.1, 0.9, 0.3, 0.7, 0.5, 1.1], [0.2, 1, 0.4, 0.8, 0.6])
      // Above 0.4: 4 and 3 channels; norm2's next strongest is 2 (0.4).
      expect(await keptOf(network, { ratio: 0.3, roundTo: 2 })).toEqual({ norm: [1, 3, 4, 5], norm2: [1, 2, 3, 4] })
      // No multiple of 7 or 100 fits: the layers stay whole.
      const whole = { norm: [0, 1, 2, 3, 4, 5], norm2: [0, 1, 2, 3, 4] }
      expect(await keptOf(network, { ratio: 0.3, roundTo: 7 })).toEqual(whole)
      expect(await keptOf(network, { ratio: 0.9, roundTo: 100, keepAtLeast: 1 })).toEqual(whole)
    })
  })

  const branched: Record<string, graph.Graph> = {
    resnet: networks.resnet({ depth: 8, classes: 10 }),
    preresnet: networks.preresnet({ depth: 11, classes: 10 }),
    densenet: networks.densenet({ depth: 10, classes: 10 }),
    mobilenet: networks.mobilenet({ classes: 10 }),
  }
  for (const [name, description] of Object.entries(branched)) {
    test.each(['select', 'group'] as const)(
      `${name}, %s: every cut layer keeps the floor and a multiple of 4`,
      async (strategy) => {
        await withNetwork(description, async (network) => {
          await randomise(network, 11)
          const options = { strategy, inputs: { image: [1, 3, 32, 32] } }
          const rounded = await slim.prune(network, { ...options, ratio: 0.5, roundTo: 4, keepAtLeast: 1 })
          let narrower = 0
          for (const { name: layer, op, channels } of rounded.report.layers) {
            if (channels.before === channels.after) continue
            narrower++
            expect(channels.after % 4, `${layer} (${op}): ${channels.after} of ${channels.before}`).toBe(0)
          }
          expect(narrower).toBeGreaterThan(5)
          const floored = await slim.prune(network, { ...options, ratio: 0.95, keepAtLeast: 7, keepShare: 0.25 })
          for (const { name: layer, op, channels } of floored.report.layers) {
            const wanted = Math.min(channels.before, Math.max(7, Math.ceil(channels.before / 4)))
            expect(channels.after, `${layer} (${op}) of ${channels.before}`).toBeGreaterThanOrEqual(wanted)
          }
          for (const [norm, kept] of Object.entries(floored.kept)) {
            const all = floored.report.gammas[norm]?.length as number
            expect(kept.length, norm).toBeGreaterThanOrEqual(Math.min(all, Math.max(7, Math.ceil(all / 4))))
          }
          expect(floored.report.channels.after).toBeLessThan(floored.report.channels.before * 0.75)
          for (const { network: cut } of [rounded, floored]) cut.dispose()
        })
      },
    )
  }
})

describe('report', () => {
  test.each(['select', 'group'] as const)(
    '%s: totals are those of summary, layers those of the new network',
    async (strategy) => {
      await withNetwork(networks.preresnet({ depth: 11, classes: 10 }), async (network) => {
        await randomise(network, 3)
        const inputs = { image: [2, 3, 32, 32] }
        const {
          network: cut,
          report,
          kept,
        } = await slim.prune(network, { ratio: 0.4, strategy, score: 'scale', inputs })
        const [before, after] = [await network.summary(inputs), await cut.summary(inputs)]
        expect(report).toMatchObject({ strategy, score: 'scale', ratio: 0.4, inputs })
        expect(report.parameters).toEqual({ before: before.parameters, after: after.parameters })
        expect(report.macs).toEqual({ before: before.macs, after: after.macs })
        for (const [which, summary] of Object.entries({ before, after }) as ['before' | 'after', typeof before][]) {
          const layers = new Map(summary.layers.map((layer) => [layer.name, layer]))
          for (const row of report.layers) {
            const layer = layers.get(row.name)
            expect(row.parameters[which], row.name).toBe(layer?.parameters)
            expect(row.macs[which], row.name).toBe(layer?.macs)
            expect(row.channels[which], row.name).toBe(layer?.shape[1])
          }
          const total = report.layers.reduce((all, row) => all + row.parameters[which], 0)
          expect(total).toBe(summary.parameters)
        }
        for (const { name, op, kept: places, channels } of report.layers) {
          expect(places, name).toHaveLength(channels.after)
          expect(
            places.every((place, i) => place < channels.before && (i === 0 || place > (places[i - 1] as number))),
          ).toBe(true)
          if (op !== 'batchNorm') continue
          // What stays of a scale is what it was; what a selection behind it drops is zero.
          const [old, now] = [await network.tensor(`${name}.weight`), await cut.tensor(`${name}.weight`)]
          const wanted = places.map((place) => (kept[name]?.includes(place) ? Number(old.data[place]) : 0))
          expect([...now.data].map((gamma) => Number(gamma) + 0)).toEqual(wanted) // -0 is 0
          expect(report.gammas[name]).toEqual([...old.data].map((gamma) => Math.abs(Number(gamma))))
        }
        const count = (lists: Record<string, number[]>) =>
          Object.values(lists).reduce((all, list) => all + list.length, 0)
        expect(report.channels).toEqual({ before: count(report.gammas), after: count(kept) })
        cut.dispose()
      })
    },
  )

  test('kept stays true when a network with selections is cut again', async () => {
    await withNetwork(networks.preresnet({ depth: 11, classes: 10 }), async (network) => {
      await randomise(network, 3)
      const first = await slim.prune(network, { ratio: 0.3, keepAtLeast: 1 })
      const second = await slim.prune(first.network, { ratio: 0.4, keepAtLeast: 1 })
      const mask = await masked(first.network, second)
      const input = { image: noise([2, 3, 32, 32]) }
      const [wanted, got] = [await mask.forward(input), await second.network.forward(input)]
      expect(relative(got.logits?.data ?? [], wanted.logits?.data ?? [])).toBeLessThan(1e-5)
      expect(second.report.channels.after).toBeLessThan(first.report.channels.after)
      for (const net of [mask, first.network, second.network]) net.dispose()
    })
  })
})

describe('bad input', () => {
  const wrong: [string, RegExp, unknown][] = [
    ['nothing', /options/, undefined],
    ['null', /options/, null],
    ['neither ratio nor target', /ratio/, {}],
    ['both', /ratio/, { ratio: 0.5, target: { macs: 0.5 } }],
    ['ratio 1', /ratio.*below 1/s, { ratio: 1 }],
    ['ratio below 0', /ratio: got -0.1/, { ratio: -0.1 }],
    ['ratio NaN', /ratio: got NaN/, { ratio: Number.NaN }],
    ['ratio as a text', /ratio: got "0.5"/, { ratio: '0.5' }],
    ['strategy', /strategy: got "both"/, { ratio: 0.5, strategy: 'both' }],
    ['strategy of the prototype', /strategy/, { ratio: 0.5, strategy: 'toString' }],
    ['score', /score: got "l1"/, { ratio: 0.5, score: 'l1' }],
    ['fold', /fold: got 1/, { ratio: 0.5, fold: 1 }],
    ['roundTo 0', /roundTo: got 0/, { ratio: 0.5, roundTo: 0 }],
    ['roundTo 1.5', /roundTo: got 1.5/, { ratio: 0.5, roundTo: 1.5 }],
    ['keepAtLeast', /keepAtLeast: got -1/, { ratio: 0.5, keepAtLeast: -1 }],
    ['keepShare', /keepShare: got 2/, { ratio: 0.5, keepShare: 2 }],
    ['target no object', /target: got 0.5/, { target: 0.5 }],
    ['target null', /target/, { target: null }],
    ['an empty target', /target/, { target: {} }],
    ['an unknown target', /target.*macs or parameters/s, { target: { flops: 0.5 } }],
    ['target 0', /target.macs: got 0/, { target: { macs: 0 } }],
    ['target below 0', /target.parameters: got -5/, { target: { parameters: -5 } }],
    ['target NaN', /target.macs: got NaN/, { target: { macs: Number.NaN } }],
    ['inputs of another name', /./, { ratio: 0.5, inputs: { picture: [1, 3, 8, 8] } }],
    ['inputs that are none', /inputs/, { ratio: 0.5, inputs: 5 }],
    ['inputs null', /inputs/, { ratio: 0.5, inputs: null }],
    ['input sizes that are no numbers', /./, { ratio: 0.5, inputs: { image: ['a', 3, 8, 8] } }],
  ]
  test.each(wrong)('%s', async (_, message, options) => {
    await withNetwork(smallNetwork(), (network) =>
      refuses('ERR_INVALID_ARGUMENT', message, () => slim.prune(network, options as PruneOptions)),
    )
  })

  test('inputs that do not fit the network', async () => {
    await withNetwork(smallNetwork(), (network) =>
      refuses('ERR_SHAPE', /./, () => slim.prune(network, { ratio: 0.5, inputs: { image: [1, 4, 8, 8] } })),
    )
  })

  test('no network, and a disposed one', async () => {
    for (const net of [undefined, null, {}, smallNetwork(), 'net'])
      await refuses('ERR_INVALID_ARGUMENT', /network.*Network/s, () => slim.prune(net as never, { ratio: 0.5 }))
    await withNetwork(smallNetwork(), async (network) => {
      network.dispose()
      await refuses('ERR_DISPOSED', /dispos/, () => slim.prune(network, { ratio: 0.5 }))
      await refuses('ERR_DISPOSED', /dispos/, () => slim.prune(network, { target: { macs: 0.5 } }))
    })
  })

  test.each(['select', 'group'] as const)('%s: scales that are no numbers rank nothing', async (strategy) => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      await withNetwork(smallNetwork(), async (network) => {
        await scaled(network, [1, bad, 2, bad, 3, 4], [1, 2, 3, 4, 5])
        await refuses('ERR_NOT_FINITE', /norm/, () => slim.prune(network, { ratio: 0.5, strategy }))
      })
    }
  })

  test('a network in which nothing can go', async () => {
    const { build, input, linear, batchNorm, conv, add, relu } = graph
    const plain = build({ logits: linear(input('image', [null, 4]), { out: 3 }) })
    const only = build({ logits: batchNorm(linear(input('image', [null, 4]), { out: 3 })) })
    const x = input('image', [null, 4, 5, 5])
    const sum = build({
      logits: conv(relu(add([batchNorm(conv(x, { out: 4, kernel: 1 })), x])), { out: 2, kernel: 1 }),
    })
    for (const description of [plain, only, sum])
      await withNetwork(description, (network) =>
        refuses('ERR_INVALID_ARGUMENT', /no channel that could go/, () => slim.prune(network, { ratio: 0.5 })),
      )
  })
})
