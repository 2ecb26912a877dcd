import { type SlimOptions, type SlimStageProgress, slim } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { refuses } from '../helpers/expect.ts'
import { held, short, train } from './slimming.ts'
import { randomImages, smallNetwork, withNet } from './training.ts'

const large = randomImages([4, 3, 32, 32], 10)

describe('wrong options are refused before anything is trained', () => {
  const wrong: [string, RegExp, object][] = [
    ['no images', /train/, { train: undefined }],
    ['ratio and target', /ratio/, { target: { macs: 0.5 } }],
    ['ratio 1', /ratio: got 1/, { ratio: 1 }],
    ['ratio NaN', /ratio: got NaN/, { ratio: Number.NaN }],
    ['ratio below 0', /ratio: got -1/, { ratio: -1 }],
    ['an empty target', /target/, { ratio: undefined, target: {} }],
    ['target null', /target/, { ratio: undefined, target: null }],
    ['target NaN', /target.macs: got NaN/, { ratio: undefined, target: { macs: Number.NaN } }],
    ['a target out of reach', /target: .*are left/s, { ratio: undefined, target: { macs: 1e-5 } }],
    ['a count with passes', /target/, { ratio: undefined, target: { macs: 5000 }, passes: 2 }],
    ['passes 0', /passes: got 0/, { passes: 0 }],
    ['passes 1.5', /passes: got 1.5/, { passes: 1.5 }],
    ['strategy', /strategy: got "both"/, { strategy: 'both' }],
    ['score', /score: got "l1"/, { score: 'l1' }],
    ['fold', /fold: got "yes"/, { fold: 'yes' }],
    ['roundTo', /roundTo: got 0/, { roundTo: 0 }],
    ['keepAtLeast', /keepAtLeast: got -2/, { keepAtLeast: -2 }],
    ['keepShare', /keepShare: got 1.5/, { keepShare: 1.5 }],
    ['inputs', /inputs: got 3/, { inputs: 3 }],
    ['steps and epochs', /steps/, { steps: 5 }],
    ['epochs 0', /epochs: got 0/, { epochs: 0 }],
    ['batchSize', /batchSize: got 0/, { batchSize: 0 }],
    ['sparsity', /sparsity: got -1/, { sparsity: -1 }],
    ['learningRate', /learningRate: got NaN/, { learningRate: Number.NaN }],
    ['iterative with passes', /iterative/, { iterative: true, passes: 2 }],
    ['iterative with target', /iterative/, { iterative: true, ratio: undefined, target: { macs: 0.5 } }],
    ['iterative from above ratio', /iterative.from: got 0.5/, { iterative: { from: 0.5 } }],
    ['iterative step 0', /iterative.step: got 0/, { iterative: { step: 0 } }],
    ['iterative a number', /iterative: got 5/, { iterative: 5 }],
    ['iterative null', /iterative: got null/, { iterative: null }],
    ['fineTune true', /fineTune: got true/, { fineTune: true }],
    ['fineTune null', /fineTune: got null/, { fineTune: null }],
    ['fine-tuning by steps and epochs', /steps/, { fineTune: { steps: 3, epochs: 3 } }],
    ['fine-tuning of no epochs', /epochs: got 0/, { fineTune: { epochs: 0 } }],
    ['fine-tuning rate', /learningRate: got "fast"/, { fineTune: { learningRate: 'fast' } }],
    ['teacher', /teacher: got 7/, { fineTune: { teacher: 7 } }],
    ['outputs without teacher', /outputs/, { fineTune: { outputs: ['logits'] } }],
    ['outputs the teacher lacks', /outputs/, { fineTune: { teacher: 'net', outputs: ['scores'] } }],
    ['images to fine-tune with', /train: got 5/, { fineTune: { train: 5 } }],
    ['checkpoint', /checkpoint/, { checkpoint: 'file' }],
    ['checkpoint.every', /checkpoint.every: got 0/, { checkpoint: { path: 'x', every: 0 } }],
    ['resume', /resume: got 5/, { resume: 5 }],
    ['precision', /precision/, { precision: 'float16' }],
    ['seed', /seed: got -1/, { seed: -1 }],
    ['labels', /labels/, { train: { ...train, labels: [...(train.labels as number[]).slice(1), 9] } }],
    ['labels of the test', /labels/, { test: { ...held, labels: [...(held.labels as number[]).slice(1), 9] } }],
  ]
  test.each(wrong)('%s', async (_, message, change) => {
    await withNet(smallNetwork(), async (net) => {
      const { fineTune } = change as SlimOptions
      const named = typeof fineTune === 'object' && (fineTune?.teacher as unknown) === 'net'
      const options = { ...short, ...change, ...(named && { fineTune: { ...fineTune, teacher: net } }) } as SlimOptions
      const records: SlimStageProgress[] = []
      await refuses('ERR_INVALID_ARGUMENT', message, async () => {
        const run = slim(net, options)
        for await (const record of run) records.push(record)
      })
      expect(records).toEqual([])
    })
  })

  test('images of another size, for training, fine-tuning and testing', async () => {
    await withNet(smallNetwork(), async (net) => {
      for (const change of [{ train: large }, { test: large }, { fineTune: { train: large } }]) {
        const records: SlimStageProgress[] = []
        await refuses('ERR_SHAPE', /shape/, async () => {
          for await (const record of slim(net, { ...short, ...change } as SlimOptions)) records.push(record)
        })
        expect(records).toEqual([])
      }
    })
  })

  test('no options, no network, a disposed network, a disposed teacher', async () => {
    await withNet(smallNetwork(), async (net) => {
      for (const options of [undefined, null, {}, 5])
        await refuses('ERR_INVALID_ARGUMENT', /train|options/, () => slim(net, options as never))
      for (const none of [undefined, null, {}, smallNetwork()])
        await refuses('ERR_INVALID_ARGUMENT', /net: got .*Network/s, () => slim(none as never, short))
      const gone = await net.clone()
      gone.dispose()
      await refuses('ERR_DISPOSED', /dispos/, () => slim(gone, short))
      const records: SlimStageProgress[] = []
      await refuses('ERR_DISPOSED', /dispos/, async () => {
        for await (const record of slim(net, { ...short, fineTune: { teacher: gone } })) records.push(record)
      })
      expect(records).toEqual([])
    })
  })
})
