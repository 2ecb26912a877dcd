import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { features, type Network, type RawImage } from 'torchvid'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { shared, sharedNote } from '../helpers/expect.ts'
import { uniform01 } from '../helpers/formula.ts'
import { randomFrom } from '../helpers/tensors.ts'
import { frame, pictureMirror, plain } from './helpers.ts'

let mirror: Network
beforeAll(async () => {
  mirror = await pictureMirror()
})
afterAll(() => mirror.dispose())

type Resize = number | [width: number, height: number]

/** The pixels of a frame after resizing, from crops at its left and right end, [y][x][channel]. */
async function resized(image: RawImage, resize: Resize, width: number, height: number): Promise<number[][][]> {
  const side = Math.min(width, height)
  const options = { backbone: mirror, crops: 5 as const, crop: side, every: 1, resize, ...plain }
  const { features: found } = await features.extract([image], options)
  const [, , size] = found.shape as [number, number, number]
  const at = (y: number, x: number, channel: number) => {
    const [row, down] = y < side ? [0, 0] : [2, height - side]
    const [column, right] = x < side ? [0, 0] : [1, width - side]
    const place = channel * side * side + (y - down) * side + (x - right)
    return (found.data as Float32Array)[(row + column) * size + place]!
  }
  return Array.from({ length: height }, (_, y) =>
    Array.from({ length: width }, (_, x) => [0, 1, 2].map((channel) => at(y, x, channel))),
  )
}

/** The triangle filter, widened when it shrinks, in floating point: one line. */
function filtered(line: number[], to: number): number[] {
  const scale = line.length / to
  const reach = Math.max(1, scale)
  return Array.from({ length: to }, (_, place) => {
    const weights = line.map((_, i) => Math.max(0, 1 - Math.abs(i + 0.5 - (place + 0.5) * scale) / reach))
    const total = weights.reduce((a, b) => a + b)
    return line.reduce((sum, value, i) => sum + value * weights[i]!, 0) / total
  })
}

function reference(image: RawImage, width: number, height: number): number[][][] {
  const planes = [0, 1, 2].map((channel) => {
    const rows = Array.from({ length: image.height }, (_, y) =>
      filtered(
        Array.from({ length: image.width }, (_, x) => image.data[(y * image.width + x) * 3 + channel]!),
        width,
      ),
    )
    return Array.from({ length: width }, (_, x) =>
      filtered(
        rows.map((row) => row[x]!),
        height,
      ),
    )
  })
  return Array.from({ length: height }, (_, y) =>
    Array.from({ length: width }, (_, x) => planes.map((plane) => plane[x]![y]!)),
  )
}

describe('resizing', () => {
  const random = randomFrom(5)
  const noise = (width: number, height: number) => frame(width, height, () => [0, 1, 2].map(() => random() * 256))

  const cases: [from: [number, number], resize: Resize, to: [number, number]][] = [
    [[40, 30], 16, [21, 16]],
    [[30, 40], 16, [16, 21]],
    [[12, 9], 20, [26, 20]],
    [
      [40, 30],
      [17, 17],
      [17, 17],
    ],
    [
      [16, 30],
      [16, 20],
      [16, 20],
    ],
    [
      [30, 16],
      [20, 16],
      [20, 16],
    ],
    [
      [5, 3],
      [8, 8],
      [8, 8],
    ],
  ]
  for (const [[width, height], resize, [toWidth, toHeight]] of cases) {
    test(`${width} x ${height} by ${JSON.stringify(resize)} is the antialiased bilinear filter`, async () => {
      const image = noise(width, height)
      const found = await resized(image, resize, toWidth, toHeight)
      const wanted = reference(image, toWidth, toHeight)
      let worst = 0
      for (const [y, row] of wanted.entries()) {
        for (const [x, pixel] of row.entries()) {
          for (const [c, value] of pixel.entries()) worst = Math.max(worst, Math.abs(value - found[y]![x]![c]!))
        }
      }
      // Rounded to bytes twice, after rows and after columns.
      expect(worst).toBeLessThan(1.001)
    })
  }

  test('a plain colour stays what it is, and the longer side is cut off, not rounded', async () => {
    const found = await resized(
      frame(120, 90, () => [255, 128, 0]),
      64,
      85,
      64,
    )
    for (const pixel of found.flat()) expect(pixel).toEqual([255, 128, 0])
  })

  // Made by Pillow: Image.resize((85, 64), Image.BILINEAR).
  test.skipIf(shared === undefined)(`Pillow's to the bit${sharedNote}`, async () => {
    const golden = join(shared!, 'golden/features/pipeline_i3d_r50.safetensors')
    const bytes = readFileSync(golden)
    const length = Number(bytes.readBigUInt64LE())
    const header = JSON.parse(bytes.subarray(8, 8 + length).toString())
    const [from, to] = header.resized_frame_0.data_offsets
    expect(header.resized_frame_0).toMatchObject({ dtype: 'U8', shape: [64, 85, 3] })
    const video = Uint8Array.from(uniform01('video', 90 * 120 * 3, 1), (u) => Math.floor(u * 256))
    const found = await resized({ data: video, width: 120, height: 90, channels: 3 }, 64, 85, 64)
    expect(found.flat(2)).toEqual([...bytes.subarray(8 + length + from, 8 + length + to)])
  })
})
