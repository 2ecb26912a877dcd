import { join } from 'node:path'
import { type ErrorCode, graph, type Network, slim } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { leftovers, refuses, scratch } from '../helpers/expect.ts'
import { differing } from '../helpers/tensors.ts'
import { linearNetwork, randomImages, smallNetwork, withNet } from './training.ts'

const folder = scratch()
const train = randomImages([6, 3, 8, 8], 3)
const keep = new Uint8Array(6)

/** Every refusal leaves the network alone. */
async function refused(code: ErrorCode, message: RegExp, options: object, how: 'train' | 'finetune' = 'train') {
  await withNet(smallNetwork(), async (net) => {
    const twin = await net.clone()
    await refuses(code, message, () => slim[how](net, options as Parameters<typeof slim.train>[1]))
    expect(await differing(net, twin)).toEqual([])
    twin.dispose()
  })
}

describe('options', () => {
  const wrong: [string, object, RegExp][] = [
    ['no epochs', { epochs: 0 }, /epochs: got 0/],
    ['half a step', { steps: 1.5 }, /steps: got 1.5/],
    ['steps and epochs', { steps: 2, epochs: 2 }, /either steps or epochs/],
    ['an empty batch', { batchSize: 0 }, /batchSize/],
    ['a negative rate', { learningRate: -1 }, /learningRate/],
    ['an infinite rate', { learningRate: Number.POSITIVE_INFINITY }, /learningRate/],
    ['a rate of 0', { learningRate: 0 }, /No parameter is left to train/],
    ['a momentum above 1', { momentum: 1.1 }, /momentum/],
    ['Nesterov without momentum', { momentum: 0, nesterov: true }, /nesterov/],
    ['Nesterov that is a text', { nesterov: 'yes' }, /nesterov: got "yes", wanted true or false/],
    ['a negative decay', { weightDecay: -1 }, /weightDecay/],
    ['a negative sparsity', { sparsity: -1 }, /sparsity/],
    ['another schedule', { schedule: 'linear' }, /schedule: got "linear"/],
    ['a milestone above 1', { milestones: [0.5, 2] }, /milestones\[1\]/],
    ['milestones of a cosine', { schedule: 'cosine', milestones: [0.5] }, /milestones/],
    ['milestones that are a number', { milestones: 0.5 }, /milestones/],
    ['a negative factor', { factor: -0.1 }, /factor/],
    ['a shuffle that is a number', { shuffle: 1 }, /shuffle/],
    ['a negative padding', { augment: { pad: -1 } }, /augment\.pad/],
    ['a flip above 1', { augment: { flip: 2 } }, /augment\.flip/],
    ['a seed below 0', { seed: -1 }, /seed/],
    ['another precision', { precision: 'float16' }, /precision/],
    ['a device that is not there', { device: 'tpu' }, /tpu/],
    ['a resume that is no path', { resume: 3 }, /resume/],
    ['a checkpoint without a path', { checkpoint: { every: 3 } }, /checkpoint/],
    ['a checkpoint every 0 steps', { checkpoint: { path: 'x', every: 0 } }, /checkpoint\.every/],
    ['masks that are no list', { masks: { norm: keep } }, /masks/],
    ['a mask of no layer', { masks: [{ name: 'nothing', keep }] }, /masks\[0\]\.name: got "nothing"/],
    ['a mask of a buffer', { masks: [{ name: 'norm.running_mean', keep }] }, /masks\[0\]\.name/],
    ['a mask that is an array', { masks: [{ name: 'norm', keep: [1, 0] }] }, /masks\[0\]\.keep/],
    ['a progress that is no function', { onProgress: 1 }, /onProgress/],
  ]
  test.each(wrong)('%s', async (name, options, message) => {
    const code = name.startsWith('a device') ? 'ERR_DEVICE_UNAVAILABLE' : 'ERR_INVALID_ARGUMENT'
    await refused(code, message, { train, batchSize: 3, ...options })
  })

  test('none at all, and no network', async () => {
    await withNet(smallNetwork(), async (net) => {
      await refuses('ERR_INVALID_ARGUMENT', /train: got undefined/, () => (slim.train as any)(net))
      await refuses('ERR_INVALID_ARGUMENT', /train: got undefined/, () => (slim.finetune as any)(net, {}))
    })
    await refuses('ERR_INVALID_ARGUMENT', /net: got/, () => slim.train(undefined as unknown as Network, { train }))
  })

  test('a mask of another width', async () => {
    await refused('ERR_SHAPE', /got 3 entries for 'norm.weight', which has 6/, {
      train,
      masks: [{ name: 'norm', keep: new Uint8Array(3) }],
    })
  })

  test('sparsity asked of a network without batch-norm; not asked, it trains', async () => {
    await withNet(linearNetwork([3, 8, 8], 3), async (net) => {
      await refuses('ERR_INVALID_ARGUMENT', /no batch-norm/, () => slim.train(net, { train, steps: 1, sparsity: 0.1 }))
      expect(await slim.train(net, { train, steps: 1 })).toBe(net)
    })
  })
})

describe('images', () => {
  test.each<[string, object, ErrorCode, RegExp]>([
    [
      'a label that is no class',
      { labels: [0, 1, 2, 3, 0, 1] },
      'ERR_INVALID_ARGUMENT',
      /train\.labels\[3\]: got 3, wanted 0 to 2/,
    ],
    ['a label of a half', { labels: [0, 0.5, 1, 0, 0, 0] }, 'ERR_INVALID_ARGUMENT', /labels\[1\]/],
    ['labels of other images', { labels: [0, 1] }, 'ERR_SHAPE', /got 2 labels for 6 images/],
    ['none', { images: new Uint8Array(0), shape: [0, 3, 8, 8], labels: [] }, 'ERR_INVALID_ARGUMENT', /shape\[0\]/],
    ['too few bytes', { images: new Uint8Array(10) }, 'ERR_SHAPE', /10 bytes/],
    ['floats', { images: new Float32Array(6 * 192) }, 'ERR_INVALID_ARGUMENT', /images/],
    [
      'another size',
      { shape: [6, 3, 16, 4] },
      'ERR_SHAPE',
      /3 x 16 x 4 .* do not fit the network's input 'image', \[any, 3, 8, 8\]/,
    ],
    ['a mean of one channel', { mean: [0.5] }, 'ERR_SHAPE', /mean/],
    ['a std of 0', { std: [1, 0, 1] }, 'ERR_INVALID_ARGUMENT', /std\[1\]/],
  ])('%s', async (_, part, code, message) => {
    await refused(code, message, { train: { ...train, ...part } })
    if (!('labels' in part)) await refused(code, message, { train: Promise.resolve({ ...train, ...part }) }, 'finetune')
  })

  test('a promise of images that fails is the run’s failure', async () => {
    await withNet(smallNetwork(), async (net) => {
      const failing = slim.train(net, { train: Promise.reject(new Error('no such set')) })
      await expect(failing).rejects.toThrow('no such set')
    })
  })

  test('batches of one that a batch-norm cannot learn from', async () => {
    const { build, input, linear, batchNorm } = graph
    const of = build({
      logits: linear(batchNorm(linear(input('image', [null, 192]), { out: 4 }), { name: 'bn' }), { out: 3 }),
    })
    await withNet(of, async (net) => {
      const attempt = (batchSize: number) => () =>
        slim.train(net, { train: randomImages([7, 3, 8, 8], 3), batchSize, epochs: 1 })
      await refuses('ERR_INVALID_ARGUMENT', /batches of one image meet layer 'bn'/, attempt(1))
      await refuses('ERR_INVALID_ARGUMENT', /7 images of 'train' leave a last batch of one image/, attempt(3))
      expect(await attempt(4)()).toBe(net)
    })
    // Maps of several pixels have a variance even of one image.
    await withNet(smallNetwork(), async (net) => {
      expect(await slim.train(net, { train, batchSize: 1, steps: 2, learningRate: 0.01 })).toBe(net)
    })
  })
})

describe('teachers', () => {
  test('that do not fit', async () => {
    await withNet(smallNetwork(4), async (teacher) => {
      await refused('ERR_SHAPE', /teacher: its output 'logits' has shape \[6, 4\]/, { train, teacher }, 'finetune')
      const outputs = (given: unknown, message: RegExp) =>
        refused('ERR_INVALID_ARGUMENT', message, { train, teacher, outputs: given }, 'finetune')
      await outputs(['nothing'], /outputs: got "nothing", wanted outputs of both networks/)
      await outputs([], /outputs/)
      await outputs({ logits: -1 }, /outputs\.logits/)
      await refused('ERR_INVALID_ARGUMENT', /given with teacher/, { train, outputs: ['logits'] }, 'finetune')
      await refused('ERR_INVALID_ARGUMENT', /teacher: got "vgg"/, { train, teacher: 'vgg' }, 'finetune')
    })
    await withNet(linearNetwork([3, 8, 7], 3), async (teacher) => {
      await refused('ERR_SHAPE', /\[6, 3, 8, 8\]/, { train, teacher }, 'finetune')
    })
    await withNet(smallNetwork(), async (teacher) => {
      teacher.dispose()
      await refused('ERR_DISPOSED', /disposed/, { train, teacher }, 'finetune')
    })
  })
})

test('a checkpoint of another network or run is refused', async () => {
  const path = join(folder, 'run.safetensors')
  await withNet(smallNetwork(), async (net) => {
    await slim.train(net, { train, steps: 4, checkpoint: { path, every: 2 } })
  })
  await refused('ERR_CHECKPOINT_MISMATCH', /step 4 of a run of 3/, { train, steps: 3, resume: path })
  await refused('ERR_IO', /missing/, { train, steps: 3, resume: join(folder, 'missing.safetensors') })
  await withNet(smallNetwork(5), async (net) => {
    await refuses('ERR_CHECKPOINT_MISMATCH', /classifier/, () => slim.train(net, { train, steps: 8, resume: path }))
    const plain = join(folder, 'plain.safetensors')
    await net.save(plain)
    await refuses('ERR_CHECKPOINT_MISMATCH', /no training checkpoint/, () => slim.train(net, { train, resume: plain }))
  })
  expect(leftovers(folder)).toEqual([])
})
