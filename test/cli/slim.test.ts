import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import { Network, networks, slim } from 'torchvid'
import { beforeAll, describe, expect, test } from 'vitest'
import { eventsOf, filesBelow, scratch, torchvid } from './helpers.ts'
import { writeCifar10, writeMnist } from './image-sets.ts'

const folder = scratch()
const mnist = join(folder, 'mnist')
const model = join(folder, 'small.safetensors')
const quick = ['--epochs', '1', '--fine-tune-epochs', '1', '--batch-size', '32', '--learning-rate', '0.05']

beforeAll(async () => {
  writeMnist(mnist, { train: 192, test: 64 })
  const network = await Network.create(networks.vgg({ cfg: [16, 'M', 24, 'M', 32], input: [1, 28, 28] }))
  await network.save(model)
  network.dispose()
})

test('trains, cuts, fine-tunes, saves what opens without any code, and says what it did', async () => {
  const out = join(folder, 'below', 'slim.safetensors')
  const args = ['slim', model, '--data', mnist, '--out', out, '--ratio', '0.5', ...quick, '--epochs', '15']
  const outcome = await torchvid(args)
  expect(outcome).toMatchObject({ status: 0 })
  const lines = outcome.stdout.split('\n')
  expect(lines[0]).toMatch(/^stage +accuracy +loss +parameters +MACs +time$/)
  expect(lines.slice(2, 6).map((line) => line.split(/\s{2,}/)[0])).toEqual([
    'start',
    'sparse training',
    'cut',
    'fine-tuning',
  ])
  const accuracies = lines.slice(2, 6).map((line) => Number(/(\d+\.\d+) %/.exec(line)?.[1]))
  expect(accuracies[1]).toBeGreaterThan(40)
  expect(outcome.stdout).toMatch(/^Channels +72 -> \d\d \(-\d+\.\d %\)$/m)
  expect(outcome.stdout).toMatch(new RegExp(`^Network +${out}$`, 'm'))
  expect(outcome.stderr).toMatch(/^Data: mnist, 192 images of 1x28x28 for training, 64 for testing/m)
  expect(outcome.stderr).toMatch(/^Training: epoch \d+ of 15, loss \S+, \S+ % right, .* left$/m)
  expect(outcome.stderr).toMatch(/^Fine-tuning: epoch 1 of 1, .*, 0\.00 s left$/m)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what a terminal's bar would write
  expect(outcome.stderr).not.toMatch(/[\r\x1b]/)

  const network = await Network.open(out)
  const { parameters, macs } = await network.summary({ image: [1, 1, 28, 28] })
  expect(outcome.stdout).toContain(`-> ${parameters.toLocaleString('en-US')} (`)
  expect(outcome.stdout).toContain(`-> ${macs.toLocaleString('en-US')} (`)
  network.dispose()
  expect(filesBelow(join(folder, 'below'))).toEqual(['slim.safetensors'])
})

test('--json: events only; a network by its name takes classes and sizes from the data; held-out images without a test split', async () => {
  const out = join(folder, 'mlp.safetensors')
  const data = writeMnist(join(folder, 'train-only'), { train: 200 })
  const args = ['slim', 'mlp', '--data', data, '--out', out, '--json', '--test-split', '0.2', '--report', ...quick]
  const outcome = await torchvid(args)
  expect(outcome.status).toBe(0)
  const events = eventsOf(outcome)
  expect(events[0]).toMatchObject({
    event: 'data',
    dataset: 'mnist',
    image: [1, 28, 28],
    train: 160,
    test: 40,
    heldOut: true,
  })
  const trained = events.filter(({ event }) => event === 'train')
  expect(trained.at(-1)).toMatchObject({ stage: 'finetune', pass: 1, step: 10, steps: 10, secondsLeft: 0 })
  const done = events.at(-1)!
  expect(done).toMatchObject({ event: 'done', out, report: join(folder, 'mlp.html'), strategy: 'select', ratio: 0.7 })
  expect(done.stages.map(({ stage }: any) => stage)).toEqual(['start', 'train', 'prune', 'finetune'])
  expect(done.parameters.before).toBe(546_610)
  expect(done.parameters.after).toBeLessThan(done.parameters.before)
  expect(readFileSync(done.report, 'utf8')).toContain('200 for training'.replace('200', '160'))
})

test('the same seed gives the same file; another one another', async () => {
  const run = async (name: string, seed: string) => {
    const out = join(folder, `seed-${name}.safetensors`)
    const args = ['slim', 'mlp', '--data', mnist, '--out', out, '--seed', seed, ...quick, '--threads', '1']
    expect((await torchvid(args)).status).toBe(0)
    return readFileSync(out)
  }
  const [first, again, other] = [await run('a', '3'), await run('b', '3'), await run('c', '4')]
  expect(first.equals(again)).toBe(true)
  expect(first.equals(other)).toBe(false)
})

describe('--only-prune', () => {
  test('cuts as the library does, without data', async () => {
    const out = join(folder, 'cut.safetensors')
    // Fresh scales are all equal; these differ.
    const network = await Network.open(model)
    const trained = join(folder, 'scales.safetensors')
    const names = network.parameters().filter(({ name }) => /feature\.(1|5|9)\.weight/.test(name))
    for (const { name, shape } of names) {
      const data = Float32Array.from({ length: shape[0]! }, (_, i) => ((i * 7) % shape[0]!) / shape[0]! + 0.01)
      await (network as any).handle.write(name, { data, shape })
    }
    await network.save(trained)
    const { report } = await slim.prune(network, {
      ratio: 0.4,
      roundTo: 4,
      strategy: 'group',
      score: 'scale',
      fold: true,
      keepShare: 0.7,
    })
    network.dispose()
    const options = [
      '--ratio',
      '0.4',
      '--round-to',
      '4',
      '--strategy',
      'group',
      '--score',
      'scale',
      '--fold',
      '--keep-share',
      '0.7',
    ]
    const outcome = await torchvid(['slim', trained, '--only-prune', '--out', out, '--json', ...options])
    expect(outcome.status).toBe(0)
    const { channels, parameters, macs, threshold } = report
    expect(eventsOf(outcome)).toEqual([
      expect.objectContaining({ event: 'done', channels, parameters, macs, threshold }),
    ])
    const cut = await Network.open(out)
    expect((await cut.summary({ image: [1, 1, 28, 28] })).parameters).toBe(parameters.after)
    cut.dispose()
  })

  test('with data it measures before and after; a target is reached', async () => {
    const out = join(folder, 'target.safetensors')
    const args = [
      'slim',
      'vgg11',
      '--data',
      mnist,
      '--only-prune',
      '--out',
      out,
      '--json',
      '--target-macs',
      '40%',
      '--score',
      'variance',
    ]
    const outcome = await torchvid(args)
    expect(outcome).toMatchObject({ status: 0 })
    const { stages, macs } = eventsOf(outcome).at(-1)!
    expect(stages.map(({ stage, accuracy }: any) => [stage, typeof accuracy])).toEqual([
      ['start', 'number'],
      ['prune', 'number'],
    ])
    expect(macs.after).toBeLessThanOrEqual(0.4 * macs.before)
  })
})

describe('data are recognised', () => {
  const cases: [string, () => Promise<string> | string, object][] = [
    [
      'one CIFAR-10 file',
      () => writeCifar10(join(folder, 'data_batch_1.bin'), 40),
      { dataset: 'cifar10', train: 36, test: 4, heldOut: true },
    ],
    [
      'a CIFAR-10 folder',
      () => {
        const inside = join(folder, 'cifar', 'cifar-10-batches-bin')
        mkdirSync(inside, { recursive: true })
        for (const name of [1, 2, 3, 4, 5].map((i) => `data_batch_${i}`).concat('test_batch'))
          writeCifar10(join(inside, `${name}.bin`), 20)
        return join(folder, 'cifar')
      },
      { dataset: 'cifar10', train: 100, test: 20, heldOut: false },
    ],
    [
      'images by class, with a validation split',
      () => writeImages(join(folder, 'images'), ['train', 'val']),
      { dataset: 'images', image: [3, 32, 32], train: 8, test: 8, heldOut: false, classes: 2 },
    ],
  ]
  test.each(cases)('%s', async (_, make, wanted) => {
    const out = join(folder, 'recognised.safetensors')
    const outcome = await torchvid(['slim', 'resnet20', '--data', await make(), '--only-prune', '--out', out, '--json'])
    expect(outcome).toMatchObject({ status: 0 })
    expect(eventsOf(outcome)[0]).toMatchObject({ event: 'data', ...wanted })
  })

  test('what nobody knows is wrong usage, unless it is said what it is', async () => {
    const file = writeCifar10(join(folder, 'some.bin'), 20)
    const args = ['slim', 'resnet20', '--data', file, '--only-prune', '--out', join(folder, 'said.safetensors')]
    const outcome = await torchvid(args)
    expect(outcome.status).toBe(2)
    expect(outcome.stderr).toMatch(/^ERR_INVALID_ARGUMENT: --data: .*--dataset/)
    expect((await torchvid([...args, '--dataset', 'cifar10'])).status).toBe(0)
    const nothing = await torchvid(['slim', 'resnet20', '--data', join(folder, 'nowhere'), '--out', 'x.safetensors'])
    expect(nothing).toMatchObject({ status: 1 })
    expect(nothing.stderr).toMatch(/^ERR_IO: --data/)
  })
})

test('weights of a file go into a network by its name; a file without a graph is no MODEL, and says what to do', async () => {
  const source = await Network.create(networks.mlp(), { seed: 9 })
  const weights = join(folder, 'mlp.pth')
  await source.exportPyTorch(weights)
  source.dispose()
  const out = join(folder, 'from-weights.safetensors')
  const args = ['--only-prune', '--out', out, '--ratio', '0']
  expect((await torchvid(['slim', 'mlp', '--weights', weights, ...args])).status).toBe(0)
  const network = await Network.open(out)
  const fresh = await Network.create(networks.mlp(), { seed: 9 })
  expect((await network.tensor('fc3.weight')).data).toEqual((await fresh.tensor('fc3.weight')).data)
  network.dispose()
  fresh.dispose()
  const alone = await torchvid(['slim', weights, ...args])
  expect(alone.status).toBe(2)
  expect(alone.stderr).toMatch(/^ERR_INVALID_ARGUMENT: MODEL: .*--weights/)
})

describe('wrong usage ends with 2 and says what to do', () => {
  const basic = ['slim', 'mlp', '--data', 'nowhere', '--out', 'out.safetensors']
  test.each<[string, string[], RegExp]>([
    ['no data', ['slim', 'mlp', '--out', 'x.safetensors'], /--data.*--only-prune/],
    ['no out', ['slim', 'mlp', '--data', 'nowhere'], /--out/],
    ['an unknown network', ['slim', 'alexnet', '--only-prune', '--out', 'x.safetensors'], /alexnet.*vgg11/],
    ['a depth that there is not', ['slim', 'preresnet57', '--only-prune', '--out', 'x.safetensors'], /depth/],
    ['a ratio of 1', [...basic, '--ratio', '1'], /--ratio/],
    ['a ratio and a target', [...basic, '--ratio', '0.5', '--target-macs', '0.5'], /cannot be used with/],
    ['a target of nothing', [...basic, '--target-parameters', '0'], /--target-parameters/],
    ['training options without training', [...basic, '--only-prune', '--epochs', '3'], /--epochs is for training/],
    ['--every without --checkpoint', [...basic, '--every', '5'], /--every is for --checkpoint/],
    ['a mean without its deviation', [...basic, '--mean', '0.5'], /--mean and --std/],
    ['iterative with passes', [...basic, '--iterative', '--passes', '2'], /--iterative/],
    ['an unknown strategy', [...basic, '--strategy', 'all'], /--strategy/],
    [
      'weights for a file',
      ['slim', model, '--weights', 'x.pth', '--only-prune', '--out', 'x.safetensors'],
      /--weights/,
    ],
  ])('%s', async (_, args, message) => {
    const outcome = await torchvid(args)
    expect(outcome).toMatchObject({ status: 2, stdout: '' })
    expect(outcome.stderr).toMatch(/^ERR_INVALID_ARGUMENT: /)
    expect(outcome.stderr).toMatch(message)
  })
})

describe('what goes wrong while it works', () => {
  test('images that do not fit the network: ERR_SHAPE, 1, and nothing is written', async () => {
    const out = join(folder, 'unfit.safetensors')
    const data = writeCifar10(join(folder, 'data_batch_2.bin'), 20)
    const outcome = await torchvid(['slim', model, '--data', data, '--out', out, ...quick])
    expect(outcome.status).toBe(1)
    expect(outcome.stderr).toMatch(/^ERR_SHAPE: /m)
    expect(existsSync(out)).toBe(false)
  })

  test('a place that cannot be written to is found out before any training', async () => {
    const file = join(folder, 'in-the-way')
    writeFileSync(file, '')
    const outcome = await torchvid(['slim', model, '--data', mnist, '--out', join(file, 'slim.safetensors'), ...quick])
    expect(outcome.status).toBe(1)
    expect(outcome.stderr).toMatch(/^ERR_IO: /)
    expect(outcome.stderr).not.toContain('Training')
  })

  test('--resume without checkpoints is ERR_IO and names what it looked for', async () => {
    const resume = join(folder, 'none.safetensors')
    const outcome = await torchvid([
      'slim',
      model,
      '--data',
      mnist,
      '--out',
      join(folder, 'x.safetensors'),
      '--resume',
      resume,
    ])
    expect(outcome.status).toBe(1)
    expect(outcome.stderr).toMatch(/^ERR_IO: resume: .*none-1-train\.safetensors/m)
  })
})

// Windows has no signals that a program could catch from another.
describe.skipIf(process.platform === 'win32')('an interrupted slim', () => {
  test('exits 130, keeps its state, writes no network; resumed, it ends with the file of an uninterrupted run', async () => {
    const place = join(folder, 'interrupted')
    const args = [
      'slim',
      model,
      '--data',
      mnist,
      '--seed',
      '1',
      '--threads',
      '1',
      '--epochs',
      '4',
      '--fine-tune-epochs',
      '8',
      '--json',
    ]
    const recipe = [...args, '--batch-size', '32', '--learning-rate', '0.05', '--ratio', '0.5']
    const whole = join(folder, 'whole.safetensors')
    expect((await torchvid([...recipe, '--out', whole])).status).toBe(0)

    const checkpoint = join(place, 'state.safetensors')
    const out = join(place, 'slim.safetensors')
    let sent = false
    const outcome = await torchvid(
      [...recipe, '--out', out, '--checkpoint', checkpoint, '--every', '1'],
      (child, text) => {
        // In the middle of fine-tuning, or as soon as it is known that it began.
        if (sent || !text.includes('"stage":"finetune"')) return
        sent = true
        child.kill('SIGINT')
      },
    )
    expect(outcome.status).toBe(130)
    expect(outcome.stderr).toContain(`--resume ${checkpoint}`)
    expect(eventsOf(outcome).at(-1)).toMatchObject({ event: 'interrupted' })
    expect(existsSync(out)).toBe(false)
    expect(filesBelow(place)).toContain('state-1-train-done.safetensors')
    expect(filesBelow(place).filter((name) => name.endsWith('.tmp'))).toEqual([])

    const resumed = await torchvid([...recipe, '--out', out, '--resume', checkpoint])
    expect(resumed.status).toBe(0)
    expect(eventsOf(resumed).filter(({ event }) => event === 'train')[0]).toMatchObject({ stage: 'finetune' })
    expect(readFileSync(out).equals(readFileSync(whole))).toBe(true)
  })
})

async function writeImages(root: string, splits: string[]): Promise<string> {
  for (const split of splits) {
    for (const [label, name] of ['dark', 'light'].entries()) {
      mkdirSync(join(root, split, name), { recursive: true })
      for (let i = 0; i < 4; i++) {
        const background = { r: label * 180 + i, g: label * 180, b: 20 }
        await sharp({ create: { width: 40, height: 36, channels: 3, background } })
          .png()
          .toFile(join(root, split, name, `${i}.png`))
      }
    }
  }
  return root
}
