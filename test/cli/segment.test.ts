import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { decode } from 'fast-png'
import { beforeAll, describe, expect, test } from 'vitest'
import { writeMask } from '../../lib/data/mask-files.ts'
import { videoInfo } from '../../lib/data/video.ts'
import { hasFfmpeg, makeVideo } from '../data/helpers.ts'
import { eventsOf, filesBelow, HEIGHT, makeFrames, makeMask, scratch, torchvid, WIDTH } from './helpers.ts'

const folder = scratch()
const frames = join(folder, 'frames')
const mask = join(folder, 'mask.png')
const names = ['shot2', 'shot9', 'shot10']
/** A network to fine-tune: without it the default model is meant. */
const trunk = ['--backbone', 'mobilenet']
const quick = [...trunk, '--iterations', '2']

beforeAll(async () => {
  await makeFrames(frames, names)
  await makeMask(mask)
})

function pngOf(...parts: string[]) {
  return decode(readFileSync(join(folder, ...parts)))
}

test('writes a mask for every frame, named after it and of its size, and says where things are', async () => {
  const out = join(folder, 'plain', 'below')
  const outcome = await torchvid(['segment', frames, '--mask', mask, '--out', out, '--no-overlay', ...quick])
  expect(outcome).toMatchObject({ status: 0 })
  expect(filesBelow(out)).toEqual([...names.map((name) => `${name}.png`), 'strip.png'].sort())
  for (const name of names) {
    const { width, height, channels, data } = pngOf('plain', 'below', `${name}.png`)
    expect({ width, height, channels }).toEqual({ width: WIDTH, height: HEIGHT, channels: 1 })
    expect([...new Set(data)].every((value) => value === 0 || value === 255)).toBe(true)
  }
  expect(outcome.stdout).toContain('1 object in')
  expect(outcome.stdout).toContain('3 frames')
  expect(outcome.stdout).toContain(join(out, 'strip.png'))
})

test('in a pipe progress is plain lines on stderr, and random weights are warned of', async () => {
  const out = join(folder, 'lines')
  const outcome = await torchvid(['segment', frames, '--mask', mask, '--out', out, '--no-overlay', ...quick])
  const lines = outcome.stderr.trimEnd().split('\n')
  expect(lines[0]).toMatch(/^Warning: .*random weights/)
  expect(lines).toContainEqual(expect.stringMatching(/^Fitting: step 2 of 2, loss \S+, .* left$/))
  expect(lines).toContainEqual(expect.stringMatching(/^Segmenting: frame 3 of 3, .* frames\/s$/))
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what a terminal's bar would write
  expect(outcome.stderr).not.toMatch(/[\r\x1b]/)
})

test('--json: events only, the last one done; all extras are where it says', async () => {
  const out = join(folder, 'json')
  const model = join(folder, 'json-model', 'fitted.safetensors')
  const extras = ['--probabilities', '--report', '--save-model', model, '--no-overlay', '--seed', '3']
  const outcome = await torchvid(['segment', frames, '--mask', mask, '--out', out, '--json', ...extras, ...quick])
  expect(outcome.status).toBe(0)
  const events = eventsOf(outcome)
  expect(events.filter(({ event }) => event === 'fit').at(-1)).toMatchObject({ step: 2, steps: 2, secondsLeft: 0 })
  const framed = events.filter(({ event }) => event === 'frame')
  expect(framed.map(({ index, name, file }) => [index, name, file])).toEqual(
    names.map((name, index) => [index, name, join(out, `${name}.png`)]),
  )
  const done = events.at(-1)
  expect(done).toMatchObject({ event: 'done', frames: 3, objects: [1], fit: { steps: 2 }, overlay: null, model })
  const written = filesBelow(out)
  expect(written).toEqual(expect.arrayContaining(['probabilities/shot2.png', 'report.html', 'strip.png', 'shot10.png']))
  expect(pngOf('json', 'probabilities', 'shot2.png').depth).toBe(16)
  const report = readFileSync(done!.report, 'utf8')
  expect(report).toContain('<svg')
  expect(report.match(/data:image\/jpeg;base64,/g)).toHaveLength(3)
  expect(report).not.toMatch(/(src|href)="(?!data:)/)

  const again = join(folder, 'json-again')
  const args = ['segment', join(frames, '*.jpg'), '--mask', mask, '--out', again, '--model', model, '--no-overlay']
  const second = await torchvid([...args, '--iterations', '2', '--json'])
  expect(second.stderr).not.toContain('random weights')
  expect(eventsOf(second).at(-1)).toMatchObject({ event: 'done', frames: 3 })
})

test('several objects: palette masks with the ids of the first mask', async () => {
  const data = new Uint8Array(WIDTH * HEIGHT)
  for (let y = 8; y < 40; y++) for (let x = 6; x < 50; x++) data[y * WIDTH + x] = x < 28 ? 3 : 7
  await writeMask(folder, 'two', { mask: data, width: WIDTH, height: HEIGHT }, [3, 7])
  const out = join(folder, 'objects')
  const args = ['segment', frames, '--mask', join(folder, 'two.png'), '--out', out, '--no-overlay', '--json']
  const outcome = await torchvid([...args, ...trunk, '--iterations', '8', '--threshold', '0'])
  expect(eventsOf(outcome).at(-1)).toMatchObject({ event: 'done', objects: [3, 7], fit: { steps: 16 } })
  for (const name of names) {
    const png = pngOf('objects', `${name}.png`)
    expect(png.palette).toBeDefined()
    // At threshold 0 every pixel belongs to one of the two.
    expect([...new Set(png.data)].every((id) => id === 3 || id === 7)).toBe(true)
  }
})

test('a frame called strip keeps its mask', async () => {
  const source = join(folder, 'named-strip')
  await makeFrames(source, ['a', 'strip'])
  const out = join(folder, 'named-strip-out')
  await torchvid(['segment', source, '--mask', mask, '--out', out, '--no-overlay', ...quick])
  expect(filesBelow(out)).toEqual(['a.png', 'strip-of-frames.png', 'strip.png'])
  expect(pngOf('named-strip-out', 'strip.png')).toMatchObject({ width: WIDTH, channels: 1 })
})

test('frames of several sizes: every mask has the size of its frame', async () => {
  const source = join(folder, 'sizes')
  await makeFrames(source, ['a', 'b'])
  await makeFrames(source, ['c'], { width: 80, height: 40 })
  const out = join(folder, 'sizes-out')
  const outcome = await torchvid(['segment', source, '--mask', mask, '--out', out, ...quick])
  expect(outcome.status).toBe(0)
  expect(pngOf('sizes-out', 'a.png')).toMatchObject({ width: WIDTH, height: HEIGHT })
  expect(pngOf('sizes-out', 'c.png')).toMatchObject({ width: 80, height: 40 })
})

test.runIf(hasFfmpeg)('a video gives numbered masks and, where it was asked for, an overlay video', async () => {
  const video = join(folder, 'film.mp4')
  makeVideo(video, 5)
  const out = join(folder, 'film')
  const overlay = join(folder, 'film-overlay', 'seen.mp4')
  const args = ['segment', video, '--mask', mask, '--out', out, '--json', '--overlay-video', overlay, ...quick]
  const outcome = await torchvid(args)
  expect(eventsOf(outcome).at(-1)).toMatchObject({ event: 'done', frames: 5, overlay })
  expect(filesBelow(out)).toEqual([0, 1, 2, 3, 4].map((i) => `0000${i}.png`).concat('strip.png'))
  expect(filesBelow(join(folder, 'film-overlay'))).toEqual(['seen.mp4'])
  expect(await videoInfo(overlay)).toMatchObject({ width: WIDTH, height: HEIGHT, fps: 25, frames: 5 })
})

describe('what cannot work fails before any training', () => {
  const attempt = (changes: { source?: string; mask?: string; out?: string; more?: string[] }) => {
    const { source = frames, mask: file = mask, out = join(folder, 'never'), more = [] } = changes
    return torchvid([
      'segment',
      source,
      '--mask',
      file,
      '--out',
      out,
      '--json',
      ...(more.includes('--model') ? ['--iterations', '2'] : quick),
      ...more,
    ])
  }

  test.each([
    ['a missing video', { source: join(folder, 'none.mp4') }, 'ERR_IO', 1],
    ['a missing mask', { mask: join(folder, 'none.png') }, 'ERR_IO', 1],
    ['a missing model', { more: ['--model', join(folder, 'none.safetensors')] }, 'ERR_IO', 1],
    ['an object that the mask has not', { more: ['--objects', '9'] }, 'ERR_INVALID_ARGUMENT', 2],
    ['an output folder below a file', { out: join(folder, 'mask.png', 'out') }, 'ERR_IO', 1],
    ['a checkpoint below a file', { more: ['--checkpoint', join(folder, 'mask.png', 'c.safetensors')] }, 'ERR_IO', 1],
    ['the frames as output folder', { out: frames }, 'ERR_INVALID_ARGUMENT', 2],
    ['masks over the mask', { out: folder }, 'ERR_INVALID_ARGUMENT', 2],
  ])('%s', async (_, changes, code, status) => {
    const before = filesBelow(frames)
    const outcome = await attempt(changes)
    expect(outcome.status).toBe(status)
    expect(outcome.stderr).toContain(`${code}: `)
    expect(eventsOf(outcome)).toEqual([{ event: 'error', code, message: expect.any(String) }])
    expect(filesBelow(frames)).toEqual(before)
    expect(filesBelow(folder).filter((file) => file.endsWith('.tmp'))).toEqual([])
  })

  test('a mask of another size', async () => {
    const other = join(folder, 'other-size.png')
    await makeMask(other, { width: 80, height: 40 })
    const outcome = await attempt({ mask: other, out: join(folder, 'never-made') })
    expect(outcome.status).toBe(1)
    expect(outcome.stderr).toMatch(/^ERR_SHAPE: .*80 x 40.*64 x 48/)
    expect(filesBelow(join(folder, 'never-made'))).toEqual([])
  })

  test('a frame that is no image, late in the source: the masks before it stay', async () => {
    const source = join(folder, 'damaged')
    await makeFrames(source, ['a', 'b', 'c', 'd'])
    writeFileSync(join(source, 'd.jpg'), 'this is no picture')
    const out = join(folder, 'damaged-out')
    const outcome = await attempt({ source, out })
    expect(outcome.status).toBe(1)
    const events = eventsOf(outcome)
    expect(events.at(-1)).toMatchObject({ event: 'error', code: 'ERR_IO' })
    const said = events.filter(({ event }) => event === 'frame').map(({ name }) => `${name}.png`)
    expect(said.length).toBeGreaterThan(0)
    expect(filesBelow(out)).toEqual(said)
  })
})
