import { join } from 'node:path'
import { data, metrics } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { shared, sharedNote } from '../helpers/expect.ts'

/** Curves as they were published or reproduced, with the areas that NumPy and scikit-learn find under them. */
describe.skipIf(shared === undefined)(`published curves${sharedNote}`, () => {
  const read = async (file: string) => (await data.readNpy(join(shared!, 'data/rtfm', file))).data as Float64Array

  const rocAuc = 0.49333369504589875
  const prAuc = 0.058617821762937464
  const averagePrecision = 0.0590494213376031

  const near = (value: number, wanted: number) => expect(Math.abs(value - wanted)).toBeLessThan(1e-12)

  test('ROC curve of a ShanghaiTech detector, and its precision by recall', async () => {
    const [fpr, tpr] = [await read('roc_sh_repro/fpr.npy'), await read('roc_sh_repro/tpr.npy')]
    near(metrics.areaUnderCurve(fpr, tpr), rocAuc)
    const [precision, recall] = [await read('roc_sh_repro/precision.npy'), await read('roc_sh_repro/recall.npy')]
    near(metrics.areaUnderCurve(recall, precision), prAuc)
  })

  test("Sultani et al.'s ROC curve on UCF-Crime", async () => {
    near(
      metrics.areaUnderCurve(await read('roc_ucf_mil/fpr.npy'), await read('roc_ucf_mil/tpr.npy')),
      0.7541173476463656,
    )
  })

  /** Scores and labels with as many positives and negatives at each threshold as a curve counts down to it. */
  const frames = (positives: number[], negatives: number[]) => {
    const total = positives.at(-1)! + negatives.at(-1)!
    const [scores, labels] = [new Float32Array(total), new Uint8Array(total)]
    let at = 0
    for (const [i, hits] of positives.entries()) {
      const [newHits, newMisses] = [hits - (positives[i - 1] ?? 0), negatives[i]! - (negatives[i - 1] ?? 0)]
      scores.fill(-i, at, at + newHits + newMisses)
      labels.fill(1, at, at + newHits)
      at += newHits + newMisses
    }
    expect(at).toBe(total)
    return { scores, labels }
  }

  test('frames that make these curves have the same figures', async () => {
    const truth = await read('list/gt-sh.npy')
    const abnormal = truth.reduce((sum, label) => sum + label, 0)
    const normal = truth.length - abnormal
    expect([truth.length, abnormal]).toEqual([142_912, 8028])
    const whole = (values: Float64Array, count: number) => {
      const counts = Array.from(values, (value) => Math.round(value * count))
      expect(Math.max(...counts.map((n, i) => Math.abs(n - values[i]! * count)))).toBeLessThan(1e-6)
      return counts
    }
    const roc = frames(
      whole(await read('roc_sh_repro/tpr.npy'), abnormal),
      whole(await read('roc_sh_repro/fpr.npy'), normal),
    )
    near(await metrics.rocAuc(roc.scores, roc.labels), rocAuc)

    // From the highest threshold down, without the point (0, 1) that no frame makes.
    const recall = (await read('roc_sh_repro/recall.npy')).toReversed().subarray(1)
    const precision = (await read('roc_sh_repro/precision.npy')).toReversed().subarray(1)
    const hits = whole(recall, abnormal)
    // Where nothing was found yet the curve does not tell how many were missed: one more each time.
    const misses = hits.map((n, i) => (n === 0 ? i + 1 : Math.round(n / precision[i]! - n)))
    const pr = frames([...hits, abnormal], [...misses, normal])
    near(await metrics.prAuc(pr.scores, pr.labels), prAuc)
    near(await metrics.averagePrecision(pr.scores, pr.labels), averagePrecision)
  })
})
