import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type NativeTraining, native } from '../../lib/native.ts'
import { Network } from '../../lib/network.ts'
import { osvos } from '../../lib/networks/index.ts'
import { shared, sharedNote } from '../helpers/expect.ts'
import { formulaImage, formulaWeights } from '../helpers/formula.ts'
import { oneStep } from '../helpers/one-step.ts'

/**
 * The parent's loss is no option of `fit`, so this goes through the trainer itself: one pass with all five outputs, at
 * epoch 60 of 240, and a step so large that the movement is the gradient.
 */
test.skipIf(shared === undefined).each(['forward_64x96', 'forward_75x101'])(
  `the parent's gradient, parameter by parameter: %s${sharedNote}`,
  async (name) => {
    const golden = JSON.parse(readFileSync(join(shared!, 'golden/osvos', `${name}.json`), 'utf8'))
    const { H: height, W: width, seed, mask } = golden
    const parent = await Network.create(osvos({ backbone: 'vgg16' }), { device: 'cpu' })
    for (const [parameter, value] of formulaWeights(parent.parameters(), seed))
      await parent.handle.write(parameter, value)
    const area = height * width
    const rgb = formulaImage(3 * area, seed)
    const object = (x: number, y: number) =>
      y >= mask.rows[0] && y < mask.rows[1] && x >= mask.cols[0] && x < mask.cols[1]
    const training: NativeTraining = {
      ...oneStep,
      source: {
        kind: 'oneShot',
        image: {
          data: Uint8Array.from(rgb, (_, i) => rgb[(i % 3) * area + Math.floor(i / 3)]!),
          width,
          height,
          channels: 3,
        },
        mask: {
          data: Uint8Array.from({ length: area }, (_, i) => (object(i % width, Math.floor(i / width)) ? 1 : 0)),
          width,
          height,
        },
        pixels: parent.graph.inputs[0]!.pixels!,
        maxSize: 0,
        augment: null,
      },
      objective: {
        kind: 'classBalanced',
        outputs: { side1: 0.75, side2: 0.75, side3: 0.75, side4: 0.75, fuse: 1 },
        reduction: 'sum',
      },
    }
    const stepped = await native().train(parent.handle, training, () => {}).promise
    const wanted = golden.grad_norm_parent_epoch60of240 as Record<string, number>
    expect(Object.keys(wanted).length).toBeGreaterThan(40)
    for (const [parameter, value] of Object.entries(wanted)) {
      const [after, before] = [await stepped.read(parameter), await parent.handle.read(parameter)]
      let sum = 0
      for (let i = 0; i < after.data.length; i++) sum += (Number(after.data[i]) - Number(before.data[i])) ** 2
      expect(Math.abs(Math.sqrt(sum) - value) / value, parameter).toBeLessThanOrEqual(1e-4)
    }
    parent.dispose()
    stepped.dispose()
  },
)
