import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { graph as builders } from 'torchvid'
import { expect, test } from 'vitest'
import { type NativeTraining, native } from '../../lib/native.ts'
import { Network } from '../../lib/network.ts'
import { i3d, i3dResnet50 } from '../../lib/networks/index.ts'
import { shared, sharedNote } from '../helpers/expect.ts'
import { formulaWeights, uniform01 } from '../helpers/formula.ts'
import { oneStep } from '../helpers/one-step.ts'
import { norm } from '../slim/training.ts'

const [channels, frames, size] = [3, 16, 64]

/**
 * A network on clips as one on pictures (N, 3 * T, H, W), which the trainer has a source for. Dimension 1 is split by way
 * of the batch: (N * 3 * T, H, W), then by the sizes of (N * 3, T, ...), then of (N, 3, ...).
 */
function onPictures(clips: builders.Graph): builders.Graph {
  const { input, conv, mergeBatch, splitBatch, build } = builders
  const image = input('image', [null, channels * frames, size, size])
  const perChannel = conv(image, { out: channels, kernel: 1, frozen: true, name: 'sizes1' })
  const sizes = { in: size, out: frames, kernel: [1], frozen: true, name: 'sizes2' }
  const perFrame = conv(mergeBatch(perChannel), sizes)
  const clip = splitBatch(splitBatch(mergeBatch(image), perFrame), perChannel, { name: 'clip' })
  const { inputs, nodes } = build({ clip })
  return { ...clips, inputs, nodes: [...nodes, ...clips.nodes] }
}

function stepOn(bytes: Uint8Array, labels: number[], mean: number, std: number): NativeTraining {
  const perChannel = (value: number) => new Array<number>(channels * frames).fill(value)
  return {
    ...oneStep,
    source: {
      kind: 'images',
      images: { data: bytes, shape: [labels.length, channels * frames, size, size] },
      labels: { data: Int32Array.from(labels), shape: [labels.length] },
      mean: perChannel(mean),
      std: perChannel(std),
      batchSize: labels.length,
      shuffle: false,
      augment: null,
      input: 'image',
      flat: false,
    },
    objective: { kind: 'crossEntropy', output: 'logits' },
  }
}

test.skipIf(shared === undefined).each([
  ['i3d_inception_16x64x64', i3d({ dropout: 0 }), 0.5, 0.5],
  ['i3d_r50_16x64x64', i3dResnet50({ dropout: 0 }), 0.45, 0.225],
  ['i3d_r50_nl_16x64x64', i3dResnet50({ nonLocal: true, dropout: 0 }), 0.45, 0.225],
] as const)(`loss and gradients with batch statistics: %s${sharedNote}`, async (name, graph, mean, std) => {
  const { seed, train, tolerance } = JSON.parse(readFileSync(join(shared!, 'golden/features', `${name}.json`), 'utf8'))
  const labels: number[] = train.labels ?? [train.label]
  const network = await Network.create(onPictures(graph), { device: 'cpu' })
  for (const [parameter, value] of formulaWeights(network.parameters(), seed))
    await network.handle.write(parameter, value)
  const count = labels.length * channels * frames * size * size
  const bytes = Uint8Array.from(uniform01('clip', count, seed), (u) => Math.floor(u * 256))
  const losses: number[] = []
  const step = stepOn(bytes, labels, mean, std)
  const stepped = await native().train(network.handle, step, (records) => losses.push(...records.map((r) => r.loss)))
    .promise
  expect(Math.abs(losses[0]! / train.loss - 1)).toBeLessThan(tolerance.loss)
  expect(Object.keys(train.grad_norm).length).toBeGreaterThanOrEqual(4)
  for (const [parameter, wanted] of Object.entries(train.grad_norm as Record<string, number>)) {
    const [after, before] = [await stepped.read(parameter), await network.handle.read(parameter)]
    const gradient = new Float64Array(after.data as Float32Array).map((value, i) => value - Number(before.data[i]))
    expect(Math.abs(norm(gradient) / wanted - 1), parameter).toBeLessThan(tolerance.grad_norm)
  }
  network.dispose()
  stepped.dispose()
})
