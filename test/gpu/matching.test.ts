import { type Device, metrics, OSVOS, type RawImage } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { collect } from '../helpers/collect.ts'
import { disk, draw } from '../helpers/pictures.ts'
import { absent, device, note } from './helpers.ts'

const [width, height] = [160, 128]
const first = disk(width, height)
const frames = [0, 4, 8, 12, 16].map((shift) => disk(width, height, shift))

/** What the model that comes with the package finds on a device. */
async function segment(on: Device, mask: RawImage, preset: 'fast' | 'best') {
  const osvos = await OSVOS.open('default', { device: on })
  const fitted = await osvos.fit(first.image, mask, { preset, iterations: 0, device: on, precision: 'float32' })
  const found = await collect(fitted.segment(frames.map(({ image }) => image)))
  for (const each of [osvos, fitted]) each.dispose()
  return found
}

describe.skipIf(absent)(`an object followed by matching, on the device beside the CPU${note}`, () => {
  test.each(['fast', 'best'] as const)("preset '%s'", async (preset) => {
    const [wanted, got] = [await segment('cpu', first.mask, preset), await segment(device, first.mask, preset)]
    expect(got).toHaveLength(frames.length)
    for (const [i, frame] of got.entries()) {
      const differing = frame.mask.filter((value, pixel) => value !== wanted[i]!.mask[pixel]).length
      // One frame's rounding is in the memory of the next.
      expect(differing / frame.mask.length, `share of pixels of frame ${i} that differ`).toBeLessThan(2e-3)
      const gap = frame.probability.reduce(
        (max, p, pixel) => Math.max(max, Math.abs(p - wanted[i]!.probability[pixel]!)),
        0,
      )
      expect(gap, `probability of frame ${i}`).toBeLessThan(0.05)
      const truth = frames[i]!.mask
      const found = { data: frame.mask, width, height }
      const other = { data: wanted[i]!.mask, width, height }
      const [ours, cpus] = [await metrics.jaccard(found, truth), await metrics.jaccard(other, truth)]
      expect(Math.abs(ours - cpus), `J of frame ${i}`).toBeLessThan(0.003)
    }
  })

  test('several objects at once', async () => {
    const mask = draw(width, height, (x, y) => [y > 40 && y < 90 ? (x < 60 ? 3 : x >= 90 ? 7 : 0) : 0])
    const [wanted, got] = [await segment('cpu', mask, 'fast'), await segment(device, mask, 'fast')]
    for (const [i, frame] of got.entries()) {
      const differing = frame.mask.filter((value, pixel) => value !== wanted[i]!.mask[pixel]).length
      expect(differing / frame.mask.length, `share of pixels of frame ${i} that differ`).toBeLessThan(5e-3)
    }
  })
})
