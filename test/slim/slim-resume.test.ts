import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Network, type SlimOptions, type SlimStageProgress, slim } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { failureOf, leftovers, refuses, scratch } from '../helpers/expect.ts'
import { differing } from '../helpers/tensors.ts'
import { held, short, slimmed, train } from './slimming.ts'
import { type Images, recordsOf, smallNetwork, withNet } from './training.ts'

describe('abort', () => {
  const everything = { ...short, iterative: { from: 0.2, step: 0.1 }, test: held }
  test.each([
    ['train', 2],
    ['iterate', 8],
    ['finetune', 14],
  ])('in %s: rejects with the reason, leaves no half-written file and the network as it was', async (stage, step) => {
    const folder = scratch()
    await withNet(smallNetwork(), async (net) => {
      const before = await net.clone()
      const controller = new AbortController()
      const reason = new Error('enough')
      const run = slim(net, {
        ...everything,
        signal: controller.signal,
        checkpoint: { path: join(folder, 'run.safetensors'), every: 1 },
      })
      const seen: SlimStageProgress[] = []
      const error = await failureOf(async () => {
        for await (const progress of run) {
          seen.push(progress)
          if (progress.step >= step) controller.abort(reason)
        }
      })
      expect(error).toBe(reason)
      expect(await failureOf(() => run)).toBe(reason)
      expect(seen.find((progress) => progress.step === step)?.stage).toBe(stage)
      expect(leftovers(folder)).toEqual([])
      for (const file of readdirSync(folder)) (await Network.open(join(folder, file))).dispose()
      expect(await differing(before, net)).toEqual([])
      before.dispose()
    })
  })

  test('before it starts, while it measures and between stages', async () => {
    await withNet(smallNetwork(), async (net) => {
      const reason = new Error('enough')
      expect(await failureOf(() => slim(net, { ...short, signal: AbortSignal.abort(reason) }))).toBe(reason)
      const run = slim(net, { ...short, test: held })
      run.abort(reason)
      expect(await failureOf(() => run)).toBe(reason)
      // Images that come after the abort start nothing.
      let give: (set: Images) => void = () => {}
      const late = slim(net, { ...short, train: new Promise<Images>((resolve) => (give = resolve)) })
      late.abort(reason)
      give(train)
      expect(await failureOf(() => recordsOf(late))).toBe(reason)
    })
  })

  test('what onProgress throws ends the run', async () => {
    await withNet(smallNetwork(), async (net) => {
      const reason = new Error('no more')
      const onProgress = () => {
        throw reason
      }
      expect(await failureOf(() => slim(net, { ...short, onProgress }))).toBe(reason)
    })
  })
})

describe('checkpoint and resume', () => {
  const everything: SlimOptions = { ...short, seed: 3, iterative: { from: 0.2, step: 0.1 }, fineTune: { epochs: 2 } }
  const steps = 6 + 6 + 6

  /** Steps that follow one another to the last, the first of them not before `from`. */
  function expectGoingOn(records: SlimStageProgress[], from: number): void {
    const places = records.map((record) => record.step)
    expect(places).toEqual(places.map((_, i) => steps - places.length + 1 + i))
    expect(steps - places.length + 1).toBeGreaterThanOrEqual(from)
    for (const record of records) expect(record.steps).toBe(steps)
  }

  /** Runs until a step of a stage, and is aborted there. */
  async function interrupted(net: Network, options: SlimOptions, step: number): Promise<void> {
    const run = slim(net, options)
    await failureOf(async () => {
      for await (const progress of run) if (progress.step === step) run.abort()
    })
    await failureOf(() => run)
  }

  test.each([2, 8, 14])('aborted at step %i of 18 and resumed: bit for bit the same network', async (step) => {
    const folder = scratch()
    await withNet(smallNetwork(3, { dropout: 0.2 }), async (net) => {
      const whole = await slim(net, everything)
      const path = join(folder, 'run.safetensors')
      const checkpoint = { path, every: 2 }
      await interrupted(net, { ...everything, checkpoint }, step)
      const resumed = await slimmed(net, { ...everything, checkpoint, resume: path })
      expect(await differing(resumed.network, whole.network)).toEqual([])
      expect(resumed.kept).toEqual(whole.kept)
      const { stages: _, ...report } = resumed.report
      expect(whole.report).toMatchObject(report)
      // It goes on counting where it was; steps are quick, so the stage may have been over before the abort was seen.
      expectGoingOn(resumed.records, step - 1)
      for (const each of [whole, resumed]) each.network.dispose()
    })
  })

  test('a run that was over gives its network again, without a step', async () => {
    const folder = scratch()
    await withNet(smallNetwork(), async (net) => {
      const path = join(folder, 'run.safetensors')
      const first = await slim(net, { ...everything, checkpoint: { path, every: 100 } })
      expect(readdirSync(folder).sort()).toEqual(
        ['finetune', 'iterate-1', 'iterate-2', 'train'].map((name) => `run-1-${name}-done.safetensors`),
      )
      const again = await slimmed(net, { ...everything, resume: path })
      expect(again.records).toEqual([])
      expect(await differing(first.network, again.network)).toEqual([])
      for (const each of [first, again]) each.network.dispose()
    })
  })

  test('files of an older run of that name are not taken for those of a new one', async () => {
    const folder = scratch()
    await withNet(smallNetwork(), async (net) => {
      const path = join(folder, 'run.safetensors')
      const checkpoint = { path, every: 1 }
      const old = await slim(net, { ...everything, seed: 4, checkpoint })
      await interrupted(net, { ...everything, checkpoint }, 2)
      const resumed = await slim(net, { ...everything, checkpoint, resume: path })
      const whole = await slim(net, everything)
      expect(await differing(resumed.network, whole.network)).toEqual([])
      for (const each of [old, resumed, whole]) each.network.dispose()
    })
  })

  test('from the middle of each stage: the steps that are left, and the same network', async () => {
    const folder = scratch()
    await withNet(smallNetwork(3, { dropout: 0.2 }), async (net) => {
      const whole = await slim(net, everything)
      const at = (name: string) => join(folder, `run-1-${name}.safetensors`)
      // By hand, as each of its own trainings keeps its last checkpoint: at step 4 of 6, 2 of 3, 4 of 6.
      const half = (name: string, every: number) => ({
        train,
        batchSize: 4,
        seed: 3,
        checkpoint: { path: at(name), every },
      })
      const sparse = { learningRate: 0.05, sparsity: 0.01 }
      const resumed = async () => {
        const result = await slimmed(net, { ...everything, resume: join(folder, 'run.safetensors') })
        expect(await differing(result.network, whole.network)).toEqual([])
        result.network.dispose()
        return result.records.map(({ stage, step }) => `${stage} ${step}`)[0]
      }
      const work = await net.clone()
      await slim.train(work, { ...half('train', 4), ...sparse, epochs: 2 })
      expect(await resumed()).toBe('train 5')

      await work.save(at('train-done'))
      for (const [i, ratio] of [0.2, 0.3].entries()) {
        const { kept, network } = await slim.prune(work, { ratio, keepAtLeast: 1 })
        const masks = Object.entries(kept).map(([name, channels]) => {
          return { name, keep: Uint8Array.from({ length: name === 'norm' ? 6 : 5 }, (_, j) => +channels.includes(j)) }
        })
        network.dispose()
        await slim.train(work, { ...half(`iterate-${i + 1}`, 2), ...sparse, epochs: 1, masks })
        expect(await resumed()).toBe(`iterate ${9 + 3 * i}`)
        await work.save(at(`iterate-${i + 1}-done`))
      }

      const { network } = await slim.prune(work, { ratio: 0.3, keepAtLeast: 1 })
      await slim.finetune(network, { ...half('finetune', 4), epochs: 2 })
      expect(await resumed()).toBe('finetune 17')
      for (const each of [work, network, whole.network]) each.dispose()
    })
  })

  test('a wrong option removes nothing of an older run', async () => {
    const folder = scratch()
    await withNet(smallNetwork(), async (net) => {
      const checkpoint = { path: join(folder, 'run.safetensors'), every: 100 }
      ;(await slim(net, { ...short, checkpoint })).network.dispose()
      const files = readdirSync(folder)
      expect(files).toHaveLength(2)
      for (const wrong of [{ sparsity: -1 }, { learningRate: -1 }, { fineTune: { epochs: 0 } }, { roundTo: 0 }])
        await refuses('ERR_INVALID_ARGUMENT', /./, () => slim(net, { ...short, ...wrong, checkpoint }))
      expect(readdirSync(folder)).toEqual(files)
    })
  })

  test('resumed under another name, it keeps all of its files there', async () => {
    const folder = scratch()
    await withNet(smallNetwork(), async (net) => {
      const [one, two] = ['one', 'two'].map((name) => join(folder, `${name}.safetensors`)) as [string, string]
      const first = await slim(net, { ...everything, checkpoint: { path: one, every: 1 } })
      rmSync(join(folder, 'one-1-finetune-done.safetensors'))
      const moved = await slimmed(net, { ...everything, checkpoint: { path: two, every: 1 }, resume: one })
      expect(moved.records[0]).toMatchObject({ stage: 'finetune', step: 13 })
      const files = readdirSync(folder).filter((name) => name.startsWith('two'))
      expect(files.sort()).toEqual(
        ['finetune', 'iterate-1', 'iterate-2', 'train'].map((name) => `two-1-${name}-done.safetensors`),
      )
      expect(await differing(first.network, moved.network)).toEqual([])
      for (const each of [first, moved]) each.network.dispose()
    })
  })

  test('resume where there is nothing is an error, not a new start', async () => {
    const folder = scratch()
    await withNet(smallNetwork(), async (net) => {
      const resume = join(folder, 'nothing.safetensors')
      await refuses('ERR_IO', /nothing.*checkpoint/s, () => slim(net, { ...short, resume }))
      expect(existsSync(resume)).toBe(false)
    })
  })
})
