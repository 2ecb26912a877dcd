import { type Network, type SlimOptions, type SlimStageProgress, slim } from 'torchvid'
import { expect } from 'vitest'
import { randomImages, recordsOf } from './training.ts'

/** Images for `smallNetwork`, to learn from and to measure on. */
export const train = randomImages([12, 3, 8, 8], 3)
export const held = randomImages([10, 3, 8, 8], 3, 2)

/** 12 images in batches of 4: three steps each epoch, nine in all. */
export const short: SlimOptions = {
  train,
  epochs: 2,
  batchSize: 4,
  learningRate: 0.05,
  sparsity: 0.01,
  ratio: 0.3,
  keepAtLeast: 1,
  fineTune: { epochs: 1 },
}

/** What `slim` gives, and all of its records. */
export async function slimmed(net: Network, options: SlimOptions) {
  const run = slim(net, options)
  const records = await recordsOf(run)
  return { ...(await run), records }
}

/** Expects the records of a whole run of so many steps. */
export function expectCounting(records: SlimStageProgress[], steps: number): void {
  expect(records.map(({ step }) => step)).toEqual(Array.from({ length: steps }, (_, i) => i + 1))
  for (const record of records) expect(record.steps).toBe(steps)
  expect(records.at(-1)?.secondsLeft).toBe(0)
}
