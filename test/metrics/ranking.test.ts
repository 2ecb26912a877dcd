import { metrics } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { refuses } from '../helpers/expect.ts'
import { randomFrom } from '../helpers/tensors.ts'

type Figure = 'rocAuc' | 'prAuc' | 'averagePrecision'
const figures: Figure[] = ['rocAuc', 'prAuc', 'averagePrecision']

/** The chance that a positive scores higher than a negative, pair by pair. */
function pairs(scores: number[], labels: number[]): number {
  let [won, count] = [0, 0]
  for (const [i, score] of scores.entries()) {
    if (labels[i] === 0) continue
    for (const [j, other] of scores.entries()) {
      if (labels[j] !== 0) continue
      won += score > other ? 1 : score === other ? 0.5 : 0
      count++
    }
  }
  return won / count
}

/** Recall and precision at every score that occurs, from the highest down, counted anew at each. */
function points(scores: number[], labels: number[]) {
  const positives = labels.filter((label) => label !== 0).length
  return [...new Set(scores)]
    .sort((a, b) => b - a)
    .map((threshold) => {
      const found = labels.filter((_, i) => scores[i]! >= threshold)
      const hits = found.filter((label) => label !== 0).length
      return { recall: hits / positives, precision: hits / found.length }
    })
}

const plain: Record<Figure, (scores: number[], labels: number[]) => number> = {
  rocAuc: pairs,
  prAuc(scores, labels) {
    let before = { recall: 0, precision: 1 }
    let area = 0
    for (const point of points(scores, labels)) {
      area += ((point.recall - before.recall) * (point.precision + before.precision)) / 2
      before = point
    }
    return area
  },
  averagePrecision(scores, labels) {
    let before = 0
    let sum = 0
    for (const { recall, precision } of points(scores, labels)) {
      sum += (recall - before) * precision
      before = recall
    }
    return sum
  },
}

describe.each(figures)('%s', (figure) => {
  const measure = metrics[figure]

  test('is what counting gives, with and without ties', async () => {
    const random = randomFrom(3)
    for (const values of [2, 3, 10, 1e9]) {
      for (const count of [2, 3, 17, 100]) {
        const scores = Array.from({ length: count }, () => Math.floor(random() * values) / 8 - 1)
        const labels = Array.from({ length: count }, () => (random() < 0.3 ? 1 : 0))
        labels[0] = 1
        labels[count - 1] = 0
        expect(Math.abs((await measure(scores, labels)) - plain[figure](scores, labels))).toBeLessThan(1e-12)
      }
    }
  })

  test.each([
    ['perfect', [0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0], { rocAuc: 1, prAuc: 1, averagePrecision: 1 }],
    ['all alike', [0.5, 0.5, 0.5, 0.5], [1, 0, 0, 0], { rocAuc: 0.5, prAuc: 0.625, averagePrecision: 0.25 }],
    ['the wrong way', [0.1, 0.9], [1, 0], { rocAuc: 0, prAuc: 0.25, averagePrecision: 0.5 }],
    ['interleaved', [0.8, 0.7, 0.6, 0.5], [1, 0, 1, 0], { rocAuc: 0.75, prAuc: 19 / 24, averagePrecision: 5 / 6 }],
  ])('of a ranking that is %s', async (_, scores, labels, wanted) => {
    expect(await measure(scores, labels)).toBeCloseTo(wanted[figure], 14)
  })

  test('tells scores apart that float32 would not', async () => {
    expect(await measure([0.5 + 1e-12, 0.5], [1, 0])).toBe(1)
  })

  test('takes any array of numbers; a label that is not 0 is positive', async () => {
    const wanted = await measure([0.3, 0.2, 0.1, 0.4], [0, 1, 0, 1])
    for (const labels of [
      Uint8Array.from([0, 1, 0, 1]),
      Float64Array.from([0, 1, -0, 0.5]),
      Float32Array.from([0, 2, 0, -1]),
      BigInt64Array.from([0n, 1n, 0n, 1n]) as unknown as number[],
      [false, true, false, true] as unknown as number[],
    ])
      expect(await measure(Float64Array.from([0.3, 0.2, 0.1, 0.4]), labels)).toBe(wanted)
    expect(await measure(Int32Array.from([3, 2, 1, 4]), [0, 1, 0, 1])).toBe(wanted)
  })

  test('is refused where nothing can be measured', async () => {
    await refuses('ERR_SHAPE', /3 scores and 2 labels/, () => measure([1, 2, 3], [0, 1]))
    await refuses('ERR_INVALID_ARGUMENT', /all are positive/, () => measure([1, 2], [1, 1]))
    await refuses('ERR_INVALID_ARGUMENT', /all are negative/, () => measure([1, 2], [0, 0]))
    await refuses('ERR_INVALID_ARGUMENT', /labels/, () => measure([], []))
    for (const odd of [Number.NaN, Number.POSITIVE_INFINITY, undefined as unknown as number])
      await refuses('ERR_INVALID_ARGUMENT', /scores.*finite/, () => measure([1, odd, 0], [0, 1, 0]))
    await refuses('ERR_INVALID_ARGUMENT', /labels.*NaN/, () => measure([1, 2, 3], [0, 1, Number.NaN]))
    for (const odd of [undefined, null, 5, 'text', {}]) {
      await refuses('ERR_INVALID_ARGUMENT', /scores/, () => measure(odd as unknown as number[], [0, 1]))
      await refuses('ERR_INVALID_ARGUMENT', /labels/, () => measure([0, 1], odd as unknown as number[]))
    }
  })
})

describe('areaUnderCurve', () => {
  const { areaUnderCurve } = metrics

  test("is the trapezoids', whichever way x goes", () => {
    expect(areaUnderCurve([0, 0.5, 1], [0, 1, 1])).toBe(0.75)
    expect(areaUnderCurve([1, 0.5, 0], [1, 1, 0])).toBe(0.75)
    expect(areaUnderCurve(Float64Array.from([0, 0, 2]), Float64Array.from([0, 1, 1]))).toBe(2)
    expect(areaUnderCurve([3, 3], [0, 1])).toBe(0)
  })

  test('of a curve that is none is refused', async () => {
    await refuses('ERR_SHAPE', /x has 2 points and y 3/, () => areaUnderCurve([0, 1], [0, 1, 1]))
    await refuses('ERR_SHAPE', /at least two/, () => areaUnderCurve([0], [0]))
    await refuses('ERR_INVALID_ARGUMENT', /x\[2\].*one direction/, () => areaUnderCurve([0, 0.5, 0.4, 1], [0, 1, 1, 1]))
    await refuses('ERR_INVALID_ARGUMENT', /x\[2\].*one direction/, () => areaUnderCurve([0, 1, 0], [0, 1, 1]))
    await refuses('ERR_INVALID_ARGUMENT', /x\[1\]/, () => areaUnderCurve([0, Number.NaN, 1], [0, 1, 1]))
    await refuses('ERR_INVALID_ARGUMENT', /y\[1\]/, () => areaUnderCurve([0, 0.5, 1], [0, Number.NaN, 1]))
    await refuses('ERR_INVALID_ARGUMENT', /x/, () => areaUnderCurve(undefined as unknown as number[], [0, 1]))
  })
})
