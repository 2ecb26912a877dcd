import { metrics } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { refuses } from '../helpers/expect.ts'
import { randomFrom } from '../helpers/tensors.ts'

type Mask = { data: Uint8Array; width: number; height: number }

function mask(width: number, height: number, inside: (x: number, y: number) => boolean | number): Mask {
  return {
    data: Uint8Array.from({ length: width * height }, (_, i) => Number(inside(i % width, Math.floor(i / width)))),
    width,
    height,
  }
}

const empty = mask(40, 30, () => 0)
const full = mask(40, 30, () => 1)
const square = (x0: number, y0: number, side = 10) =>
  mask(40, 30, (x, y) => x >= x0 && x < x0 + side && y >= y0 && y < y0 + side)

describe('jaccard', () => {
  test.each([
    ['both empty', empty, empty, 1],
    ['an empty mask', empty, square(5, 5), 0],
    ['an empty truth', square(5, 5), empty, 0],
    ['the same', square(5, 5), square(5, 5), 1],
    ['apart', square(0, 0), square(20, 15), 0],
    ['half a square aside', square(5, 5), square(10, 5), 50 / 150],
    ['all against a square', full, square(5, 5), 100 / 1200],
  ])('%s', async (_, a, b, wanted) => {
    expect(await metrics.jaccard(a, b)).toBeCloseTo(wanted, 12)
    expect(await metrics.jaccard(b, a)).toBeCloseTo(wanted, 12)
  })

  test('an object is whatever is not zero', async () => {
    const other = { ...square(5, 5), data: square(5, 5).data.map((v, i) => (v ? 1 + (i % 255) : 0)) }
    expect(await metrics.jaccard(other, square(5, 5))).toBe(1)
    expect(await metrics.contour(other, square(5, 5))).toBe(1)
  })
})

/** The official code's measure, the slow way: every boundary pixel against every other. */
function contour(a: Mask, b: Mask): number {
  const radius = Math.ceil(0.008 * Math.hypot(a.width, a.height))
  const boundary = ({ data, width, height }: Mask) => {
    const at = (x: number, y: number) => data[y * width + x] !== 0
    const found: [number, number][] = []
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const right = x + 1 < width && at(x, y) !== at(x + 1, y)
        const below = y + 1 < height && at(x, y) !== at(x, y + 1)
        const across = x + 1 < width && y + 1 < height && at(x, y) !== at(x + 1, y + 1)
        if (right || below || across) found.push([x, y])
      }
    }
    return found
  }
  const share = (from: [number, number][], to: [number, number][]) =>
    from.filter(([x, y]) => to.some(([u, v]) => (x - u) ** 2 + (y - v) ** 2 <= radius ** 2)).length / from.length
  const [p, t] = [boundary(a), boundary(b)]
  if (p.length === 0 && t.length === 0) return 1
  if (p.length === 0 || t.length === 0) return 0
  const [precision, recall] = [share(p, t), share(t, p)]
  return precision + recall === 0 ? 0 : (2 * precision * recall) / (precision + recall)
}

describe('contour', () => {
  test.each([
    ['both empty', empty, empty, 1],
    ['both full: neither has a boundary', full, full, 1],
    ['empty against full', empty, full, 1],
    ['an empty mask', empty, square(5, 5), 0],
    ['an empty truth', square(5, 5), empty, 0],
    ['the same', square(5, 5), square(5, 5), 1],
    ['one pixel aside: within the tolerance', square(5, 5), square(6, 5), 1],
    ['far apart', square(0, 0), square(25, 15), 0],
  ])('%s', async (_, a, b, wanted) => {
    expect(await metrics.contour(a, b)).toBe(wanted)
  })

  test('random blobs, against the slow way, at sizes with another radius too', async () => {
    const random = randomFrom(3)
    for (const [width, height] of [
      [40, 30],
      [97, 81],
      [1, 20],
      [20, 1],
      [1, 1],
      [150, 140],
    ] as const) {
      const blob = () => {
        const [cx, cy, r] = [random() * width, random() * height, (random() * Math.min(width, height)) / 2]
        return mask(width, height, (x, y) => Math.hypot(x - cx, y - cy) + Math.sin(x + y) < r)
      }
      for (let i = 0; i < 4; i++) {
        const [a, b] = [blob(), blob()]
        expect(await metrics.contour(a, b), `${width} x ${height}`).toBeCloseTo(contour(a, b), 10)
      }
    }
  })
})

test('masks that do not fit are refused', async () => {
  for (const measure of [metrics.jaccard, metrics.contour]) {
    const call =
      (a: any, b: any = empty) =>
      () =>
        measure(a, b)
    await refuses('ERR_SHAPE', /40 x 30/, call(mask(30, 40, () => 1)))
    await refuses('ERR_SHAPE', /./, call({ ...empty, data: new Uint8Array(7) }))
    await refuses('ERR_SHAPE', /./, call({ data: new Uint8Array(0), width: 0, height: 0 }))
    await refuses('ERR_SHAPE', /./, call({ ...empty, width: -40, height: -30 }))
    await refuses('ERR_INVALID_ARGUMENT', /./, call({ ...empty, width: 40.5 }))
    await refuses('ERR_INVALID_ARGUMENT', /./, call({ ...empty, data: new Float32Array(1200) }))
    for (const nothing of [undefined, null, 5, {}]) await refuses('ERR_INVALID_ARGUMENT', /./, call(nothing))
  }
})
