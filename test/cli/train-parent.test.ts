import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import { OSVOS } from 'torchvid'
import { beforeAll, describe, expect, test } from 'vitest'
import { eventsOf, filesBelow, makeFrames, scratch, torchvid } from './helpers.ts'

const folder = scratch()
const davis = join(folder, 'DAVIS')
const WIDTH = 64
const HEIGHT = 48

/** A small DAVIS: two sequences of three frames in train.txt, one of two in val.txt. */
beforeAll(async () => {
  const lists = { train: ['bear', 'bus'], val: ['dog'] }
  for (const [list, names] of Object.entries(lists)) {
    const lines: string[] = []
    for (const name of names) {
      const frames = list === 'train' ? ['00000', '00001', '00002'] : ['00000', '00001']
      await makeFrames(join(davis, 'JPEGImages/480p', name), frames)
      mkdirSync(join(davis, 'Annotations/480p', name), { recursive: true })
      for (const [i, frame] of frames.entries()) {
        await writeAnnotation(join(davis, 'Annotations/480p', name, `${frame}.png`), i)
        lines.push(`/JPEGImages/480p/${name}/${frame}.jpg /Annotations/480p/${name}/${frame}.png`)
      }
    }
    mkdirSync(join(davis, 'ImageSets/480p'), { recursive: true })
    writeFileSync(join(davis, 'ImageSets/480p', `${list}.txt`), `${lines.join('\n')}\n`)
  }
})

/** The square of `makeFrames`, in its place on frame `i`. */
async function writeAnnotation(file: string, i: number): Promise<void> {
  const data = Buffer.alloc(WIDTH * HEIGHT)
  for (let at = 0; at < data.length; at++) {
    const [x, y] = [(at % WIDTH) - i, Math.floor(at / WIDTH)]
    if (x >= 10 && x < 34 && y >= 10 && y < 36) data[at] = 255
  }
  await sharp(data, { raw: { width: WIDTH, height: HEIGHT, channels: 1 } })
    .toColourspace('b-w')
    .png()
    .toFile(file)
}

test('trains on the list, measures on the other, saves the best as a model, and says what it did', async () => {
  const out = join(folder, 'below', 'parent.safetensors')
  const args = ['train-parent', davis, '--out', out, '--val', 'val', '--epochs', '3', '--sizes', '32,48', '--seed', '1']
  const outcome = await torchvid([...args, '--learning-rate', '1e-3', '--accumulate', '1', '--threads', '1'])
  expect(outcome).toMatchObject({ status: 0 })
  expect(outcome.stderr).toMatch(/^Data: 6 frames of 2 sequences to learn from; measured on 1 others$/m)
  expect(outcome.stderr).toMatch(/^Warning: without --weights/m)
  expect(outcome.stderr).toMatch(/^Training: epoch 3 of 3, step 18 of 18, loss \S+, 0\.00 s left$/m)
  const measured = [...outcome.stderr.matchAll(/^After epoch (\d): J 0\.\d{3}, F 0\.\d{3}$/gm)].map(
    ([, epoch]) => epoch,
  )
  expect(measured).toEqual(['1', '2', '3'])
  expect(outcome.stdout).toMatch(/^sequence +J +F$/m)
  expect(outcome.stdout).toMatch(/^dog +0\.\d{3} +0\.\d{3}$/m)
  expect(outcome.stdout).toMatch(/^Trained +18 steps in/m)
  expect(outcome.stdout).toMatch(/^Best +after epoch [123], step (6|12|18)$/m)
  expect(outcome.stdout).toMatch(new RegExp(`^Model +${out}$`, 'm'))
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what a terminal's bar would write
  expect(outcome.stderr).not.toMatch(/[\r\x1b]/)
  expect(filesBelow(join(folder, 'below'))).toEqual(['parent.safetensors'])
  const model = await OSVOS.open(out, { device: 'cpu' })
  expect(model.network.graph.labels).toMatchObject({ backbone: 'mobilenet' })
  model.dispose()
})

test('--json: events only; sequences by name; what is measured on is not learned from', async () => {
  const out = join(folder, 'json.safetensors')
  const args = ['train-parent', davis, '--out', out, '--train', 'bear,bus,dog', '--val', 'bus', '--val-frames', '1']
  const outcome = await torchvid([...args, '--steps', '7', '--sizes', '32', '--cache', '0', '--no-augment', '--json'])
  expect(outcome.status).toBe(0)
  const events = eventsOf(outcome)
  expect(events[0]).toEqual({ event: 'data', sequences: ['bear', 'dog'], frames: 5, validation: ['bus'] })
  const steps = events.filter(({ event }) => event === 'train')
  const measured = steps.filter(({ validation }) => validation !== undefined)
  expect(measured.map(({ step }) => step)).toEqual([5, 7])
  expect(measured[0]!.validation.sequences).toHaveLength(1)
  expect(events.at(-1)).toMatchObject({ event: 'done', steps: 7, model: out, best: { step: expect.any(Number) } })
})

test('interrupted, it keeps its checkpoint and goes on from there to the same model', async () => {
  const [path, wanted, found] = ['c', 'whole', 'resumed'].map((name) => join(folder, `${name}.safetensors`)) as [
    string,
    string,
    string,
  ]
  const args = (out: string) => [
    'train-parent',
    davis,
    '--out',
    out,
    '--steps',
    '40',
    '--sizes',
    '32,48',
    '--seed',
    '3',
  ]
  let sent = false
  const cut = await torchvid([...args(found), '--checkpoint', path, '--every', '2', '--json'], (child) => {
    if (sent || !existsSync(path)) return
    sent = true
    child.kill('SIGINT')
  })
  expect(cut.status).toBe(130)
  expect(cut.stderr).toMatch(/^Interrupted at step \d+ of 40\. Go on with --resume .*c\.safetensors$/m)
  expect(existsSync(found)).toBe(false)
  expect((await torchvid([...args(found), '--resume', path])).status).toBe(0)
  expect((await torchvid(args(wanted))).status).toBe(0)
  const [a, b] = [await OSVOS.open(wanted, { device: 'cpu' }), await OSVOS.open(found, { device: 'cpu' })]
  for (const { name } of a.network.parameters())
    expect(
      Buffer.from((await a.network.tensor(name)).data.buffer).equals(
        Buffer.from((await b.network.tensor(name)).data.buffer),
      ),
      name,
    ).toBe(true)
  a.dispose()
  b.dispose()
})

describe('says what is wrong', () => {
  const out = join(folder, 'never.safetensors')
  test.each([
    ['no folder', ['nowhere', '--out', out], 1, /ERR_IO: .*nowhere/],
    ['no --out', [davis], 2, /--out/],
    ['a sequence that is none', [davis, '--out', out, '--train', 'wolf'], 2, /wolf/],
    ['nothing left', [davis, '--out', out, '--train', 'bear', '--val', 'bear'], 2, /none is left to learn from/],
    ['sizes', [davis, '--out', out, '--sizes', '240,x'], 2, /--sizes/],
    ['a size too small', [davis, '--out', out, '--sizes', '8'], 2, /sizes: got 8/],
    ['another trunk', [davis, '--out', out, '--backbone', 'resnet'], 2, /--backbone/],
    ['--every alone', [davis, '--out', out, '--every', '3'], 2, /--every is for --checkpoint/],
    ['--val-frames alone', [davis, '--out', out, '--val-frames', '3'], 2, /--val-frames is for --val/],
    ['weights that are missing', [davis, '--out', out, '--weights', 'gone.pth'], 1, /gone\.pth/],
    ['a place that cannot be written', [davis, '--out', join(davis, 'ImageSets/480p/val.txt/x')], 1, /ERR_IO/],
  ])('%s', async (_, args, status, message) => {
    const outcome = await torchvid(['train-parent', ...args])
    expect(outcome.stderr).toMatch(message)
    expect(outcome.status).toBe(status)
    expect(existsSync(out)).toBe(false)
  })
})
