import { copyFileSync } from 'node:fs'
import { join } from 'node:path'
import { OSVOS, type ParentOptions, type ParentProgress } from 'torchvid'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { failureOf, refuses, scratch } from '../helpers/expect.ts'
import { disk, draw } from '../helpers/pictures.ts'
import { differing } from '../helpers/tensors.ts'

const folder = scratch()

/** Two videos: a disk that goes right, and one that goes left. */
const sequences = [1, -1].map((way) => {
  const drawn = Array.from({ length: 10 }, (_, t) => disk(96, 64, way * 3 * t))
  return { frames: drawn.map(({ image }) => image), masks: drawn.map(({ mask }) => mask) }
})

const create = () => OSVOS.create({ backbone: 'matcher', device: 'cpu', seed: 5 })

let untrained: OSVOS
beforeAll(async () => {
  untrained = await create()
})
afterAll(() => untrained.dispose())

async function train(options: ParentOptions): Promise<{ model: OSVOS; records: ParentProgress[] }> {
  const model = await create()
  const records: ParentProgress[] = []
  for await (const record of model.trainParent({ sequences }, { steps: 3, seed: 2, ...options })) records.push(record)
  return { model, records }
}

test('learns clips: the trunk stays, all else moves; interrupted and resumed, bit by bit the same', async () => {
  const path = join(folder, 'state.safetensors')
  const whole = await train({ checkpoint: { path, every: 2 } })
  expect(whole.records.map(({ step, steps }) => [step, steps])).toEqual([
    [1, 3],
    [2, 3],
    [3, 3],
  ])
  for (const { loss, losses } of whole.records) {
    expect(loss).toBeCloseTo(losses.crossEntropy! + losses.dice!, 5)
    expect(losses.jaccard).toBeGreaterThanOrEqual(0)
    expect(losses.jaccard).toBeLessThanOrEqual(1)
  }
  const moved = await differing(whole.model.network, untrained.network)
  expect(moved.length).toBeGreaterThan(20)
  expect(moved.filter((name) => name.startsWith('conv'))).toEqual([])

  const kept = join(folder, 'kept.safetensors')
  copyFileSync(path, kept)
  const resumed = await train({ resume: kept })
  expect(resumed.records).toHaveLength(1)
  expect(resumed.records[0]!.loss).toBe(whole.records[2]!.loss)
  expect(await differing(resumed.model.network, whole.model.network)).toEqual([])
  for (const { model } of [whole, resumed]) model.dispose()
})

test('is measured by following the objects of videos from their first frame that shows one', async () => {
  const hidden = draw(96, 64, () => [0])
  const late = { ...sequences[0]!, masks: sequences[0]!.masks.map((mask, i) => (i < 2 ? hidden : mask)) }
  const validation = { sequences: [sequences[1]!, late], frames: 4 }
  const { model, records } = await train({ steps: 1, validation })
  const score = records.at(-1)!.validation!
  expect(score.sequences).toHaveLength(2)
  for (const value of [score.jaccard, score.contour]) {
    expect(value).toBeGreaterThanOrEqual(0)
    expect(value).toBeLessThanOrEqual(1)
  }
  model.dispose()
})

test('another seed gives other clips', async () => {
  const [a, b] = [await train({ steps: 1 }), await train({ steps: 1, seed: 3 })]
  expect(a.records[0]!.loss).not.toBe(b.records[0]!.loss)
  for (const { model } of [a, b]) model.dispose()
})

test.each(['accumulate', 'momentum', 'augment', 'sizes', 'shuffle'])('has no setting %s', async (name) => {
  const options = { [name]: name === 'sizes' ? [64] : name === 'shuffle' || name === 'augment' ? false : 1 }
  await refuses('ERR_INVALID_ARGUMENT', new RegExp(`${name}.*matcher`), () =>
    untrained.trainParent({ sequences }, { steps: 1, ...options }),
  )
})

test('an aborted training leaves the model as it was', async () => {
  const model = await create()
  const run = model.trainParent({ sequences }, { steps: 50 })
  for await (const _ of run) {
    run.abort(new Error('enough'))
    break
  }
  expect(await failureOf(() => run)).toMatchObject({ message: 'enough' })
  expect(await differing(model.network, untrained.network)).toEqual([])
  model.dispose()
})
