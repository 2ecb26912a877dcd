import { networks, slim } from 'torchvid'
import { expect, test } from 'vitest'
import { noise, relative, withNetwork } from '../helpers/tensors.ts'
import { masked, maskedWhole, randomise } from '../slim/masks.ts'

const clip = { clip: [2, 3, 8, 32, 32] }

// The invariant of surgery on clips, attention and features over time: masked and rebuilt networks agree.
test.each([
  ['i3dResnet50', networks.i3dResnet50({ width: 4, classes: 5 }), clip],
  ['i3dResnet50, non-local', networks.i3dResnet50({ width: 4, classes: 5, nonLocal: true }), clip],
  ['i3d', networks.i3d({ classes: 5 }), { clip: [1, 3, 8, 32, 32] }],
  ['rtfm', networks.rtfm({ featureSize: 24 }), { features: [2, 2, 6, 24] }],
] as const)('%s, pruned: masked and rebuilt agree', async (_, graph, shapes) => {
  const [[name, shape]] = Object.entries(shapes) as [[string, number[]]]
  await withNetwork(graph, async (network) => {
    await randomise(network, 7)
    const input = { [name]: noise(shape, 3) }
    for (const strategy of ['select', 'group'] as const) {
      const inputs = { [name]: [...shape] }
      const result = await slim.prune(network, { strategy, score: 'scale', ratio: 0.4, keepAtLeast: 1, inputs })
      expect(result.report.channels.after).toBeLessThan(result.report.channels.before)
      expect(result.report.macs.after).toBeLessThan(result.report.macs.before)
      // A sum's channels go whole: what makes them without a batch-norm (RTFM's conv_4) is zero too. Linear layers over
      // (N, T, F) have no channels in dimension 1.
      const layers = result.report.layers.filter(({ op }) => op === 'conv')
      const whole = { ...result, report: { ...result.report, layers } }
      const mask = await (strategy === 'group' ? maskedWhole(network, whole) : masked(network, result))
      const [wanted, actual] = [await mask.forward(input), await result.network.forward(input)]
      for (const output of Object.keys(wanted))
        expect(relative(actual[output]!.data, wanted[output]!.data), `${strategy}: ${output}`).toBeLessThan(2e-5)
      mask.dispose()
      result.network.dispose()
    }
  })
})
