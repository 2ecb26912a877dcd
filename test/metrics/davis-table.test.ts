import { metrics } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { refuses } from '../helpers/expect.ts'

const table = metrics.davisTable
const one = (jaccard: number[], contour = jaccard) => table([{ name: 'a', objects: [{ jaccard, contour }] }])

describe('an object', () => {
  test('mean, and recall: the share above one half', () => {
    const { mean, recall } = one([0.2, 0.5, 0.6, 0.9]).jaccard
    expect(mean).toBeCloseTo(0.55, 12)
    expect(recall).toBe(0.5)
  })

  // Borders by numpy: np.round(np.linspace(1, n, 5) + 1e-10) - 1. Value i is i / 100: the decay tells the quarters.
  test.each([
    [1, [0, 0, 0, 0, 0]],
    [2, [0, 0, 1, 1, 1]],
    [3, [0, 1, 1, 2, 2]],
    [4, [0, 1, 2, 2, 3]],
    [7, [0, 2, 3, 5, 6]],
    [48, [0, 12, 24, 35, 47]],
    [50, [0, 12, 25, 37, 49]],
    [79, [0, 20, 39, 59, 78]],
  ])('of %i frames: decay from the quarters of the official code', (frames, [, first, , last, end]) => {
    const values = Array.from({ length: frames }, (_, i) => i / 100)
    const middle = (from: number, to: number) => (from + to) / 200
    expect(one(values).jaccard.decay).toBeCloseTo(middle(0, first!) - middle(last!, end!), 12)
  })

  test('J&F is the mean of both means', () => {
    const { jaccard, contour, jf } = one([0.2, 0.4, 0.9], [0.9, 0.9, 0.9])
    expect([jaccard.mean, contour.mean]).toEqual([expect.closeTo(0.5, 12), expect.closeTo(0.9, 12)])
    expect(jf).toBeCloseTo(0.7, 12)
  })
})

test('sequences and all: means over objects', () => {
  const object = (value: number) => ({ jaccard: [value, value], contour: [1, 1] })
  const found = table([
    { name: 'one', objects: [object(0.1)] },
    { name: 'two', objects: [object(0.4), object(0.7)] },
  ])
  expect(found.sequences.map(({ name, jaccard }) => [name, jaccard.mean])).toEqual([
    ['one', expect.closeTo(0.1, 12)],
    ['two', expect.closeTo(0.55, 12)],
  ])
  expect(found.sequences[1]!.objects.map(({ jf }) => jf)).toEqual([expect.closeTo(0.7, 12), expect.closeTo(0.85, 12)])
  expect(found.jaccard.mean).toBeCloseTo(0.4, 12)
  expect(found.jaccard.recall).toBeCloseTo(1 / 3, 12)
  expect(found.contour).toEqual({ mean: 1, recall: 1, decay: 0 })
})

test.each([
  ['ERR_INVALID_ARGUMENT', /sequences/, []],
  ['ERR_INVALID_ARGUMENT', /objects of "a"/, [{ name: 'a', objects: [] }]],
  ['ERR_INVALID_ARGUMENT', /jaccard of a, object 1/, [{ name: 'a', objects: [{ jaccard: [], contour: [] }] }]],
  [
    'ERR_INVALID_ARGUMENT',
    /contour of a, object 1, value 1/,
    [{ name: 'a', objects: [{ jaccard: [1], contour: [1, Number.NaN] }] }],
  ],
  ['ERR_INVALID_ARGUMENT', /value 0.*1\.5/, [{ name: 'a', objects: [{ jaccard: [1.5], contour: [1] }] }]],
  ['ERR_SHAPE', /2 values of J and 1 of F/, [{ name: 'a', objects: [{ jaccard: [1, 1], contour: [1] }] }]],
] as const)('%s %s', async (code, message, sequences) => {
  await refuses(code, message, () => table(sequences as never))
})
