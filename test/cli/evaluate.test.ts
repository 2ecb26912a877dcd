import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { decode } from 'fast-png'
import { beforeAll, describe, expect, test } from 'vitest'
import { sequenceNames } from '../../lib/cli/evaluate-flags.ts'
import { inSquare, makeDavis, SIZE, writeGrey } from './davis-sets.ts'
import { eventsOf, filesBelow, type Outcome, scratch, torchvid } from './helpers.ts'

const folder = scratch()
const davis = join(folder, 'davis')

beforeAll(async () => {
  await makeDavis(davis, { dog: 5, libby: 6, train: 4 })
  mkdirSync(join(davis, 'ImageSets', '480p'), { recursive: true })
  const list = (names: string[]) => `${names.join('\n')}\n`
  writeFileSync(join(davis, 'ImageSets', '480p', 'val.txt'), list(['dog', 'libby']))
  writeFileSync(join(davis, 'ImageSets', '480p', 'train.txt'), list(['train', 'dog']))
})

const evaluate = (args: string[], watch?: Parameters<typeof torchvid>[1]) =>
  torchvid(['evaluate', '--davis', davis, ...args], watch)
/** The least of a model: what it finds does not matter here. */
const MODEL = ['--backbone', 'mobilenet', '--iterations', '2', '--max-size', '32']

function doneOf(outcome: Outcome): Record<string, any> {
  expect(outcome.stderr).not.toMatch(/^ERR_/m)
  expect(outcome.status).toBe(0)
  return eventsOf(outcome).at(-1)!
}

const scoresIn = (out: string, name: string) => JSON.parse(readFileSync(join(out, name, 'scores.json'), 'utf8'))

/** J of the first mask, held still, with the square `frame` frames on. */
const copied = (frame: number) => (20 - 2 * frame) / (20 + 2 * frame)

describe('without a model', () => {
  test('--copy-first: the first mask against every frame but the first and the last', async () => {
    const outcome = await evaluate(['--copy-first', '--json'])
    const { sequences, jaccard, frames, seconds } = doneOf(outcome)
    expect(sequences.map(({ name, measured }: any) => [name, measured])).toEqual([
      ['dog', 3],
      ['libby', 4],
    ])
    const means = [
      [1, 2, 3],
      [1, 2, 3, 4],
    ].map((each) => each.reduce((sum, frame) => sum + copied(frame), 0) / each.length)
    expect(sequences.map((each: any) => each.jaccard.mean)).toEqual(means.map((mean) => expect.closeTo(mean, 10)))
    expect(jaccard.mean).toBeCloseTo((means[0]! + means[1]!) / 2, 10)
    expect([frames, seconds]).toEqual([7, { fit: null, frame: null }])
  })

  test('the table: a line for each sequence and the mean, without columns that would be empty', async () => {
    const { status, stdout } = await evaluate(['--copy-first'])
    expect(status).toBe(0)
    const lines = stdout.split('\n')
    expect(lines[0]).toMatch(/^sequence +J mean +recall +decay +F mean +recall +decay +J&F$/)
    expect(lines.slice(2, 5).map((line) => line.split(' ')[0])).toEqual(['dog', 'libby', 'mean'])
    expect(lines[2]).toContain(((copied(1) + copied(2) + copied(3)) / 3).toFixed(3))
    expect(stdout).toContain('7 frames of 2 sequences')
  })

  test('--masks scores what lies there; --every leaves frames out; the first and the last need no mask', async () => {
    const masks = join(folder, 'masks')
    mkdirSync(join(masks, 'libby'), { recursive: true })
    const write = (frame: number, value: Parameters<typeof writeGrey>[1], size = SIZE) =>
      writeGrey(join(masks, 'libby', `0000${frame}.png`), value, size)
    await write(1, (x, y) => (inSquare(1, x, y) ? 200 : 0))
    await write(3, () => 0)
    const args = ['--sequences', 'libby', '--masks', masks, '--json']
    const out = join(folder, 'scored')
    doneOf(await evaluate([...args, '--every', '2', '--out', out]))
    expect(scoresIn(out, 'libby')).toMatchObject({ measured: [1, 3], objects: [{ jaccard: [1, 0], contour: [1, 0] }] })
    expect(filesBelow(out)).toEqual([join('libby', 'scores.json')])

    const lacking = await evaluate(args)
    expect(lacking.status).toBe(1)
    expect(lacking.stderr).toMatch(/ERR_IO.*lacks 00002\.png, 00004\.png \(2 of 4 masks\)/)
    await write(2, () => 0)
    await write(4, () => 0, { width: 32, height: 24 })
    const small = await evaluate(args)
    expect(small.status).toBe(1)
    expect(small.stderr).toMatch(/ERR_SHAPE.*libby.*32 x 24.*64 x 48/)
  })

  test('--year 2017: each object for itself, one that is not found counts as empty', async () => {
    const root = join(folder, 'two')
    const idAt = (frame: number, x: number, y: number) => (inSquare(frame, x, y) ? (y < 20 ? 1 : 3) : 0)
    await makeDavis(root, { pair: 4 }, idAt)
    const masks = join(folder, 'one-of-two')
    mkdirSync(join(masks, 'pair'), { recursive: true })
    for (const frame of [1, 2]) {
      await writeGrey(join(masks, 'pair', `0000${frame}.png`), (x, y) => (idAt(frame, x, y) === 3 ? 3 : 0))
    }
    const args = ['evaluate', '--davis', root, '--sequences', 'pair', '--masks', masks, '--json']
    const [apart, merged] = [await torchvid([...args, '--year', '2017']), await torchvid(args)].map(doneOf)
    expect(apart!.jaccard.mean).toBe(0.5)
    expect(apart!.sequences[0].objects).toBe(2)
    expect(merged!.jaccard.mean).toBeCloseTo(14 / 22, 10)
  })
})

test('--sequences: a list by its name, sequences by theirs, and the one that is called as a list', async () => {
  expect(['val', 'train', 'train,', 'libby, dog', 'dog'].map(sequenceNames)).toEqual([
    ...['val', 'train'],
    ...[['train'], ['libby', 'dog'], ['dog']],
  ])
  for (const bad of ['', ',', 'dog,,libby', ',dog']) expect(() => sequenceNames(bad), bad).toThrow(/Wanted/)
  const { sequences } = doneOf(await evaluate(['--copy-first', '--json', '--sequences', 'train']))
  expect(sequences.map(({ name }: any) => name)).toEqual(['train', 'dog'])
})

describe('a model', () => {
  const out = join(folder, 'model')
  let first: Outcome

  beforeAll(async () => {
    first = await evaluate([...MODEL, '--out', out, '--json'])
  })

  test('keeps masks by frame, the first one as it was given, and a file of figures', () => {
    const { sequences, seconds, jaccard } = doneOf(first)
    const masks = Array.from({ length: 5 }, (_, frame) => join('dog', `0000${frame}.png`))
    expect(filesBelow(out).filter((file) => file.startsWith('dog'))).toEqual([...masks, join('dog', 'scores.json')])
    expect(filesBelow(out).length).toBe(6 + 7)
    const { data, width, height } = decode(readFileSync(join(out, 'dog', '00000.png')))
    const wanted = Array.from(data, (_, i) => (inSquare(0, i % width, Math.floor(i / width)) ? 255 : 0))
    expect([width, height, [...data]]).toEqual([SIZE.width, SIZE.height, wanted])
    const { objects, seconds: own, settings, threads } = scoresIn(out, 'dog')
    expect(objects[0].jaccard.length).toBe(3)
    expect(own.fit).toBeGreaterThan(0)
    expect(own.frame).toBeGreaterThan(0)
    expect([settings['--iterations'], threads]).toEqual(['2', 1])
    expect(seconds.fit).toBeGreaterThan(0)
    expect(jaccard.mean).toBeCloseTo((sequences[0].jaccard.mean + sequences[1].jaccard.mean) / 2, 12)
  })

  test('its figures are those of the masks it kept', async () => {
    const { jaccard, contour } = doneOf(await evaluate(['--masks', out, '--json']))
    const of = doneOf(first)
    expect([jaccard, contour]).toEqual([of.jaccard, of.contour])
  })

  test('run again, it does only what is missing', async () => {
    const kept = statSync(join(out, 'dog', 'scores.json')).mtimeMs
    rmSync(join(out, 'libby'), { recursive: true })
    const again = await evaluate([...MODEL, '--out', out, '--json'])
    const told = eventsOf(again).filter(({ event }) => event === 'sequence')
    expect(told.map(({ name, resumed }) => [name, resumed])).toEqual([
      ['dog', true],
      ['libby', false],
    ])
    expect(statSync(join(out, 'dog', 'scores.json')).mtimeMs).toBe(kept)
    const [before, after] = [first, again].map(doneOf)
    expect([after!.jaccard, after!.contour]).toEqual([before!.jaccard, before!.contour])
  })

  test('as many processes as --jobs says come to the same', async () => {
    const both = join(folder, 'jobs')
    const outcome = await evaluate([...MODEL, '--jobs', '2', '--threads', '2', '--out', both, '--json'])
    const { jaccard, contour } = doneOf(outcome)
    expect([jaccard, contour]).toEqual([doneOf(first).jaccard, doneOf(first).contour])
    for (const name of ['dog', 'libby']) {
      expect(scoresIn(both, name).objects).toEqual(scoresIn(out, name).objects)
      expect(scoresIn(both, name).threads).toBe(1)
    }
    // The warning of the trunk is told once, not once a process.
    expect(eventsOf(outcome).filter(({ event }) => event === 'warning').length).toBe(1)
  })

  test.each([
    ['--iterations', ['--iterations', '3'], /--iterations was 2 and is 3 now/],
    ['--max-size', ['--max-size', '48'], /--max-size was 32 and is 48 now/],
    ['--seed', ['--seed', '1'], /--seed was 0 and is 1 now/],
    ['the kind of masks', ['--no-fit'], /masks was of a fitted model and is of a model without a fit/],
  ])('other settings in the same folder are refused: %s', async (_, args, message) => {
    const base = args[0] === '--no-fit' ? ['--backbone', 'mobilenet', '--max-size', '32'] : MODEL
    const { status, stderr } = await evaluate([...base, ...args, '--out', out])
    expect(status).toBe(1)
    expect(stderr).toMatch(/^ERR_CHECKPOINT_MISMATCH: /)
    expect(stderr).toMatch(message)
    expect(stderr).toContain('--out')
  })

  test('other frames under the same names are refused', async () => {
    const other = join(folder, 'other-davis')
    await makeDavis(other, { dog: 5, libby: 6 })
    writeFileSync(join(other, 'JPEGImages', '480p', 'dog', '00002.jpg'), 'another picture')
    const args = ['evaluate', '--davis', other, '--sequences', 'dog,libby', ...MODEL, '--out', out]
    const { status, stderr } = await torchvid(args)
    expect(status).toBe(1)
    expect(stderr).toMatch(/ERR_CHECKPOINT_MISMATCH.*frames was 5 files/)
  })

  test('a damaged file of figures says what to do', async () => {
    const broken = join(folder, 'broken')
    mkdirSync(join(broken, 'dog'), { recursive: true })
    writeFileSync(join(broken, 'dog', 'scores.json'), '{"measured": [')
    const { status, stderr } = await evaluate([...MODEL, '--out', broken])
    expect([status, stderr]).toEqual([1, expect.stringMatching(/ERR_CHECKPOINT_FORMAT.*Remove its folder/)])
  })

  test('--no-fit takes the model as it is', async () => {
    const { seconds, settings } = doneOf(
      await evaluate(['--backbone', 'mobilenet', '--no-fit', '--max-size', '32', '--sequences', 'dog', '--json']),
    )
    expect(seconds.fit).toBe(null)
    expect(seconds.frame).toBeGreaterThan(0)
    expect(settings['--iterations']).toBe(undefined)
  })

  test.each([['1'], ['2']])(
    'what fails with --jobs %s fails with its code, and leaves nothing half-written',
    async (jobs) => {
      const bad = join(folder, `bad-${jobs}`)
      await makeDavis(bad, { good: 4, cut: 4 })
      writeFileSync(join(bad, 'JPEGImages', '480p', 'cut', '00002.jpg'), 'no picture')
      const place = join(folder, `bad-out-${jobs}`)
      const args = ['--sequences', 'cut,good', ...MODEL, '--out', place, '--jobs', jobs]
      const { status, stderr } = await torchvid(['evaluate', '--davis', bad, ...args])
      expect(status).toBe(1)
      expect(stderr).toMatch(/^ERR_IO: .*00002\.jpg/m)
      expect(filesBelow(place).filter((file) => !file.startsWith('good'))).toEqual([])
    },
  )
})

describe('a place for results where something could be lost is refused', () => {
  test.each([
    ['the annotations', () => join(davis, 'Annotations', '480p'), /Annotations/],
    ['a new folder in the pictures', () => join(davis, 'JPEGImages', 'results'), /JPEGImages/],
    ["another's masks", () => join(folder, 'others'), /others.dog.* holds no scores\.json/],
  ])('%s', async (_, out, message) => {
    mkdirSync(join(folder, 'others', 'dog'), { recursive: true })
    writeFileSync(join(folder, 'others', 'dog', '00001.png'), 'a mask of somebody')
    const { status, stderr } = await evaluate(['--copy-first', '--out', out()])
    expect(status).toBe(2)
    expect(stderr).toMatch(/^ERR_INVALID_ARGUMENT: --out/)
    expect(stderr).toMatch(message)
    expect(existsSync(join(davis, 'JPEGImages', 'results'))).toBe(false)
  })
})

describe('wrong usage', () => {
  test.each([
    [['--masks', 'a', '--copy-first']],
    [['--masks', 'a', '--model', 'default']],
    [['--copy-first', '--iterations', '3']],
    [['--no-fit', '--preset', 'fast']],
    [['--model', 'a', '--backbone', 'vgg16']],
    [['--preset', 'slow']],
    [['--jobs', '0']],
    [['--every', '0']],
    [['--sequences', 'dog,,libby']],
    [['--year', '2018']],
  ])('%j', async (args) => {
    const { status, stderr } = await evaluate(args)
    expect(status).toBe(2)
    expect(stderr).toMatch(/^ERR_INVALID_ARGUMENT: /)
    expect(stderr).toContain(args[0])
  })

  test('no --davis, and a sequence that is not there', async () => {
    expect(await torchvid(['evaluate'])).toMatchObject({ status: 2, stderr: expect.stringContaining('--davis') })
    const unknown = await evaluate(['--copy-first', '--sequences', 'cat'])
    expect(unknown).toMatchObject({ status: 2, stderr: expect.stringMatching(/"cat".*dog, libby, train/) })
  })

  test('a folder that is no DAVIS, a sequence of two frames', async () => {
    const none = await torchvid(['evaluate', '--davis', join(folder, 'nowhere'), '--copy-first'])
    expect(none).toMatchObject({ status: 1, stderr: expect.stringMatching(/ERR_IO.*nowhere/) })
    const short = join(folder, 'short')
    await makeDavis(short, { clip: 2 })
    const { status, stderr } = await torchvid(['evaluate', '--davis', short, '--copy-first', '--sequences', 'clip'])
    expect([status, stderr]).toEqual([2, expect.stringMatching(/clip has 2 frames.*at least three/)])
  })
})
