import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import { beforeAll, expect, test } from 'vitest'
import { writeMask } from '../../lib/data/mask-files.ts'
import { eventsOf, filesBelow, HEIGHT, makeFrames, makeMask, scratch, torchvid, WIDTH } from './helpers.ts'

const folder = scratch()
const frames = join(folder, 'frames')
const mask = join(folder, 'mask.png')
const scribble = join(folder, 'marks', 'scribble.png')
const common = ['--no-overlay', '--json', '--iterations', '2']

beforeAll(async () => {
  await makeFrames(frames, ['a', 'b'])
  await makeMask(mask)
  const marks = new Uint8Array(WIDTH * HEIGHT)
  for (let x = 14; x < 30; x++) marks.fill(5, 20 * WIDTH + x, 20 * WIDTH + x + 1)
  for (let x = 45; x < 60; x++) marks[40 * WIDTH + x] = 255
  await writeMask(join(folder, 'marks'), 'scribble', { mask: marks, width: WIDTH, height: HEIGHT }, [5, 255])
})

function segment(out: string, ...args: string[]) {
  return torchvid(['segment', frames, '--out', join(folder, out), ...common, ...args])
}

test('--box starts from a box, and the report says so', async () => {
  const outcome = await segment('box', '--box', '8,8,28,30', '--report')
  expect(outcome).toMatchObject({ status: 0 })
  expect(eventsOf(outcome).at(-1)).toMatchObject({ event: 'done', frames: 2, objects: [1] })
  expect(readFileSync(join(folder, 'box', 'report.html'), 'utf8')).toContain('28 x 30 pixels at (8, 8)')
})

test('several --box are several objects', async () => {
  const outcome = await segment('boxes', '--box', '8,8,28,30', '--box', '40,5,20,30')
  expect(outcome).toMatchObject({ status: 0 })
  expect(eventsOf(outcome).at(-1)).toMatchObject({ objects: [1, 2], fit: { steps: 2 } })
})

test('--scribble starts from strokes and keeps their ids', async () => {
  const outcome = await segment('scribble', '--scribble', scribble)
  expect(outcome).toMatchObject({ status: 0 })
  expect(eventsOf(outcome).at(-1)).toMatchObject({ event: 'done', frames: 2, objects: [5] })
})

test('a box on nothing is warned of', async () => {
  const plain = join(folder, 'plain')
  await makeFrames(plain, [])
  const background = { width: WIDTH, height: HEIGHT, channels: 3 as const, background: '#777' }
  await sharp({ create: background }).png().toFile(join(plain, 'a.png'))
  const args = ['segment', plain, '--out', join(folder, 'nothing'), ...common]
  const outcome = await torchvid([...args, '--box', '8,8,28,30'])
  expect(outcome).toMatchObject({ status: 0 })
  expect(outcome.stderr).toMatch(/Warning: Object 1 could not be told from its surroundings/)
})

test.each([
  ['nothing', []],
  ['a box and a mask', ['--box', '8,8,28,30', '--mask', mask]],
  ['a box and a scribble', ['--box', '8,8,28,30', '--scribble', scribble]],
  ['a box of three numbers', ['--box', '8,8,28']],
  ['a box without a number', ['--box', '8,,28,30']],
  ['a box of no size', ['--box', '8,8,0,30']],
  ['a box beside the picture', ['--box', '800,8,28,30']],
])('%s is wrong usage', async (_, args) => {
  const out = join(folder, 'never')
  const outcome = await torchvid(['segment', frames, '--out', out, '--iterations', '2', ...args])
  expect(outcome).toMatchObject({ status: 2, stdout: '' })
  expect(outcome.stderr).toMatch(/^ERR_INVALID_ARGUMENT: /)
  expect(existsSync(out)).toBe(false)
})

test('a missing scribble fails before any training, and none is written over', async () => {
  const missing = await segment('missing', '--scribble', join(folder, 'none.png'))
  expect(missing.status).toBe(1)
  expect(missing.stderr).toMatch(/^ERR_IO: scribble: /)
  const before = filesBelow(join(folder, 'marks'))
  const over = await segment('marks', '--scribble', scribble)
  expect(over.status).toBe(2)
  expect(filesBelow(join(folder, 'marks'))).toEqual(before)
})
