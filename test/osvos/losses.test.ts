import { losses, type TensorData } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { refuses } from '../helpers/expect.ts'
import { expectClose, noise, tensor } from '../helpers/tensors.ts'

/** Equation 2 of the OSVOS paper in double precision. */
function reference(logits: ArrayLike<number>, labels: ArrayLike<number>, divisor: number): number {
  const object = Array.from(labels, (v) => v >= 0.5)
  const positives = object.filter(Boolean).length
  const total = object.length
  let loss = 0
  for (const [i, inside] of object.entries()) {
    const x = logits[i]!
    const stable = Math.max(x, 0) - (inside ? x : 0) + Math.log1p(Math.exp(-Math.abs(x)))
    loss += stable * (inside ? (total - positives) / total : positives / total)
  }
  return loss / divisor
}

const shape = [2, 1, 6, 7]
const logits = tensor(shape, (i) => noise(shape, 3).data[i]! * 5)
const labels = tensor(shape, (i) => [0, 1, 0, 0.4, 0.5, 0.9][i % 6]!)

describe('classBalancedCrossEntropy', () => {
  test.each([
    ['sum', 2], // by the batch size alone
    ['mean', 84],
  ] as const)('%s: the loss by the formula, and its gradient by finite differences', async (reduction, divisor) => {
    const { loss, gradient } = await losses.classBalancedCrossEntropy(logits, labels, { reduction })
    const wanted = reference(logits.data, labels.data, divisor)
    expect(Math.abs(loss - wanted) / wanted).toBeLessThan(1e-6)
    const numeric = tensor(shape, (i) => {
      const moved = (by: number) =>
        reference(
          Float64Array.from(logits.data, (v, k) => (k === i ? v + by : v)),
          labels.data,
          divisor,
        )
      return (moved(1e-5) - moved(-1e-5)) / 2e-5
    })
    expectClose(gradient, numeric, 1e-5)
  })

  test("the default is the reference's sum", async () => {
    const [plain, sum] = [
      await losses.classBalancedCrossEntropy(logits, labels),
      await losses.classBalancedCrossEntropy(logits, labels, { reduction: 'sum' }),
    ]
    expect(plain.loss).toBe(sum.loss)
  })

  test('is stable for huge logits', async () => {
    const huge = tensor([1, 1, 1, 4], (i) => [1e4, -1e4, 1e4, -1e4][i]!)
    const half = tensor([1, 1, 1, 4], (i) => [1, 0, 0, 1][i]!)
    const { loss, gradient } = await losses.classBalancedCrossEntropy(huge, half)
    expect(loss).toBe(1e4)
    expect([...gradient.data]).toEqual([0, 0, 0.5, -0.5])
  })

  test.each([0, 1])('labels that are all %i weigh nothing', async (value) => {
    const { loss, gradient } = await losses.classBalancedCrossEntropy(
      logits,
      tensor(shape, () => value),
    )
    expect(loss).toBe(0)
    expect(gradient.data.every((v) => Number(v) === 0)).toBe(true)
  })

  test('takes typed arrays of other kinds', async () => {
    const bytes: TensorData = { data: Uint8Array.from(labels.data, (v) => (v >= 0.5 ? 1 : 0)), shape }
    const doubles: TensorData = { data: Float64Array.from(logits.data), shape }
    const found = await losses.classBalancedCrossEntropy(doubles, bytes)
    expect(found.loss).toBe((await losses.classBalancedCrossEntropy(logits, labels)).loss)
  })

  test('refuses what does not fit', async () => {
    const loss = (a: any, b: any, options?: any) => () => losses.classBalancedCrossEntropy(a, b, options)
    await refuses('ERR_SHAPE', /labels/, loss(logits, noise([2, 1, 6, 8])))
    await refuses('ERR_SHAPE', /empty/, loss(noise([0, 1]), noise([0, 1])))
    await refuses('ERR_SHAPE', /./, loss({ data: new Float32Array(3), shape: [4] }, noise([4])))
    await refuses('ERR_INVALID_ARGUMENT', /reduction/, loss(logits, labels, { reduction: 'max' }))
    for (const nothing of [undefined, null, 5, [], {}])
      await refuses('ERR_INVALID_ARGUMENT', /./, loss(nothing, labels))
  })
})
