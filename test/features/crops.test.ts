import { features, type Network } from 'torchvid'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { frame, pictureMirror, plain } from './helpers.ts'

let mirror: Network
beforeAll(async () => {
  mirror = await pictureMirror()
})
afterAll(() => mirror.dispose())

/** Every pixel says where it is. */
const places = (width: number, height: number) => frame(width, height, (x, y) => [x, y, 0])

/** Of each crop: [row, column, step] of its first pixel, the step to the next one being -1 in a mirrored frame. */
async function cropPlaces(width: number, height: number, crops: 1 | 5 | 10, crop: number): Promise<number[][]> {
  const options = { backbone: mirror, crops, crop, every: 1, resize: null, ...plain }
  const { features: found } = await features.extract([places(width, height)], options)
  const size = 3 * crop * crop
  expect(found.shape).toEqual([1, crops, size])
  return Array.from({ length: crops }, (_, i) => {
    const numbers = (found.data as Float32Array).subarray(i * size, (i + 1) * size)
    return [numbers[crop * crop]!, numbers[0]!, numbers[1]! - numbers[0]!]
  })
}

describe('crops are where torchvision has them', () => {
  // FiveCrop and TenCrop of 56 from 85 x 64.
  const five = [
    [0, 0, 1],
    [0, 29, 1],
    [8, 0, 1],
    [8, 29, 1],
    [4, 14, 1],
  ]

  test('ten: corners and centre, then those of the mirrored frame', async () => {
    const mirrored = five.map(([top, left]) => [top, 84 - left!, -1])
    expect(await cropPlaces(85, 64, 10, 56)).toEqual([...five, ...mirrored])
  })

  test('five', async () => {
    expect(await cropPlaces(85, 64, 5, 56)).toEqual(five)
  })

  test('one: the centre', async () => {
    expect(await cropPlaces(85, 64, 1, 56)).toEqual([five[4]])
  })

  test('the centre of an odd rest goes to the even place', async () => {
    expect(await cropPlaces(9, 7, 1, 4)).toEqual([[2, 2, 1]])
    expect(await cropPlaces(11, 5, 1, 4)).toEqual([[0, 4, 1]])
  })

  test('a crop of the whole frame', async () => {
    expect(await cropPlaces(6, 6, 10, 6)).toEqual([...Array(5).fill([0, 0, 1]), ...Array(5).fill([0, 5, -1])])
  })
})

describe('what becomes of a pixel', () => {
  const one = [frame(2, 2, () => [10, 20, 40])]
  const numbers = async (backbone: Network, options: object) => {
    const { features: found, settings } = await features.extract(one, {
      backbone,
      crop: 1,
      every: 1,
      resize: null,
      ...options,
    })
    return { colours: [...(found.data as Float32Array)], settings }
  }

  test('(x - mean) / std, by one number or three, in the order given', async () => {
    const { colours } = await numbers(mirror, { mean: 20, std: 10 })
    expect(colours).toEqual([-1, 0, 2])
    const { colours: bgr, settings } = await numbers(mirror, { order: 'BGR', mean: [1, 2, 3], std: [1, 2, 7] })
    expect(bgr).toEqual([39, 9, 1])
    expect(settings).toMatchObject({ order: 'BGR', mean: [1, 2, 3], std: [1, 2, 7] })
  })

  test("a network's own format is the default, and each colour keeps its numbers in the other order", async () => {
    const own = await pictureMirror({ order: 'BGR', mean: [4, 5, 6], std: [1, 5, 1] })
    expect((await numbers(own, {})).colours).toEqual([36, 3, 4])
    const turned = await numbers(own, { order: 'RGB' })
    expect(turned.colours).toEqual([4, 3, 36])
    expect(turned.settings).toMatchObject({ order: 'RGB', mean: [6, 5, 4], std: [1, 5, 1] })
    expect((await numbers(own, { mean: 0, std: 1 })).colours).toEqual([40, 20, 10])
    own.dispose()
  })

  test('normalise divides by the L2 norm of each crop', async () => {
    const { features: found, meanNorm } = await features.extract(one, {
      backbone: mirror,
      crops: 5,
      crop: 1,
      every: 1,
      resize: null,
      normalise: true,
      ...plain,
    })
    const norm = Math.hypot(10, 20, 40)
    for (const [i, value] of [...(found.data as Float32Array)].entries()) {
      expect(value).toBeCloseTo([10, 20, 40][i % 3]! / norm, 6)
    }
    expect(meanNorm).toBeCloseTo(1, 6)
  })
})
