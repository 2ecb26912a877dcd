import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { features, Network, networks } from 'torchvid'
import { expect, test } from 'vitest'
import { scratch, shared, sharedNote } from '../helpers/expect.ts'
import { formulaWeights, uniform01 } from '../helpers/formula.ts'
import { writeFloats } from '../helpers/safetensors.ts'
import { relative } from '../helpers/tensors.ts'

const folder = scratch()

// A video of 37 frames through Pillow's resizing, ten crops, loop padding and I3D-ResNet50 in PyTorch.
test.skipIf(shared === undefined)(`video to features as the reference's pipeline${sharedNote}`, async () => {
  const base = join(shared!, 'golden/features/pipeline_i3d_r50')
  const facts = JSON.parse(readFileSync(`${base}.json`, 'utf8'))
  const bytes = readFileSync(`${base}.safetensors`)
  const length = Number(bytes.readBigUInt64LE())
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString())
  const golden = (name: string) => {
    const [from, to] = header[name].data_offsets
    return new Float32Array(Uint8Array.from(bytes.subarray(8 + length + from, 8 + length + to)).buffer)
  }
  const [count, height, width] = facts.input.uint8_shape as [number, number, number]
  const size = height * width * 3
  const all = Uint8Array.from(uniform01('video', count * size, facts.seed), (u) => Math.floor(u * 256))
  const video = Array.from({ length: count }, (_, i) => {
    return { data: all.subarray(i * size, (i + 1) * size), width, height, channels: 3 as const }
  })
  const backbone = await Network.create(networks.i3dResnet50(), { device: 'cpu' })
  const file = join(folder, 'weights.safetensors')
  writeFloats(file, formulaWeights(backbone.parameters(), facts.seed))
  await backbone.load(file, { strict: false })
  const options = { backbone, crops: 10, resize: facts.resize_short_side, crop: facts.crop } as const
  const looped = await features.extract(video, options)
  expect(looped).toMatchObject({ frames: count, clips: facts.clips, features: { shape: facts.features_shape } })
  expect(looped.settings).toMatchObject({ backbone: 'i3dResnet50', mean: Array(3).fill(114.75), tail: 'loop' })
  expect(relative(looped.features.data, golden('features'))).toBeLessThan(1e-4)
  for (const [clip, norms] of facts.feature_l2_norm_per_clip_crop.entries()) {
    const mean = norms.reduce((a: number, b: number) => a + b) / norms.length
    expect(Math.abs(looped.norms[clip]! / mean - 1)).toBeLessThan(1e-5)
  }
  // The last clip alone: frames 32 to 36.
  const repeated = await features.extract(video.slice(32), { ...options, tail: 'repeat' })
  const wanted = golden('features_last_clip_repeating_last_frame')
  expect(relative(repeated.features.data, wanted)).toBeLessThan(1e-4)
  backbone.dispose()
})
