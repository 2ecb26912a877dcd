import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
// @ts-expect-error the example is plain JavaScript without types
import { renderClip, writeClip } from '../../examples/clip.mjs'
import { openFrames } from '../../lib/data/frames.ts'
import { readMask } from '../../lib/data/mask.ts'
import type { RawImage } from '../../lib/types.ts'
import { scratch } from './helpers.ts'

const folder = scratch()
const render = (options: object) => [...renderClip(options)] as { image: RawImage; mask: RawImage }[]
const small = { width: 96, height: 54, frames: 6 }

describe('the rendered clip', () => {
  test('is the same for the same seed, another for another', () => {
    expect(render(small)).toEqual(render(small))
    expect(render({ ...small, seed: 8 })[0]!.image.data).not.toEqual(render(small)[0]!.image.data)
  })

  test('has an object of fair size in every frame, that moves', async () => {
    const clip = render({ width: 160, height: 90, frames: 40 })
    expect(clip).toHaveLength(40)
    for (const { mask } of clip) {
      const { data } = await readMask(mask, { width: 160, height: 90 })
      const share = data.filter((v) => v > 0).length / data.length
      expect(share).toBeGreaterThan(0.04)
      expect(share).toBeLessThan(0.3)
    }
    const [first, last] = [clip[0]!.mask.data, clip[30]!.mask.data]
    const both = first.filter((v, i) => v > 0 && last[i]! > 0).length
    expect(both / first.filter((v) => v > 0).length).toBeLessThan(0.8)
  })

  test('is written as folders that read back', async () => {
    const { images, masks } = await writeClip(folder, { ...small, name: 'star' })
    expect(images).toBe(join(folder, 'JPEGImages', '480p', 'star'))
    expect(readdirSync(masks)).toEqual(['00000.png', '00001.png', '00002.png', '00003.png', '00004.png', '00005.png'])
    const clip = render(small)
    for await (const { index, name, image } of await openFrames(images)) {
      expect(name).toBe(`0000${index}`)
      const wanted = clip[index]!.image.data
      const difference = image.data.reduce((sum, v, i) => sum + Math.abs(v - wanted[i]!), 0) / wanted.length
      expect(difference).toBeLessThan(8)
      const mask = await readMask(join(masks, `${name}.png`), { width: 96, height: 54 })
      expect([...mask.data]).toEqual(Array.from(clip[index]!.mask.data, (v) => (v ? 1 : 0)))
    }
  })
})
