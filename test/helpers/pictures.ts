import type { RawImage } from 'torchvid'
import { randomFrom } from './tensors.ts'

/** A raw picture or mask from a function of the pixel that gives its channels. */
export function draw(width: number, height: number, pixel: (x: number, y: number) => number[]): RawImage {
  const channels = pixel(0, 0).length as 1 | 3 | 4
  const data = new Uint8Array(width * height * channels)
  for (let i = 0; i < width * height; i++) data.set(pixel(i % width, Math.floor(i / width)), i * channels)
  return { data, width, height, channels }
}

/** A picture of a red disk on noisy green, and its mask; `shift` moves the disk to the right. */
export function disk(width = 64, height = 48, shift = 0): { image: RawImage; mask: RawImage } {
  const random = randomFrom(7 + shift)
  const inside = (x: number, y: number) => Math.hypot(x - width / 2 - shift, y - height / 2) < height / 4
  const image = draw(width, height, (x, y) => {
    const grain = random() * 40
    return inside(x, y) ? [215 + grain, 40 + grain, 30 + grain] : [30 + grain, 120 + grain, 60 + grain]
  })
  return { image, mask: draw(width, height, (x, y) => [inside(x, y) ? 255 : 0]) }
}

/** A box of `value` on 0. */
export function box(width: number, height: number, value = 255): RawImage {
  return draw(width, height, (x, y) => [
    x >= width / 4 && x < width / 2 && y >= height / 4 && y < height / 2 ? value : 0,
  ])
}
