import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import { metrics } from 'torchvid'
import { beforeAll, describe, expect, test } from 'vitest'
import { type EvaluatedSequence, stripFrames, worstFrame, worstSequences } from '../../lib/report/davis-data.ts'
import { type PicturedSequence, writeDavisReport } from '../../lib/report/davis-report.ts'
import { MASK_COLOUR, TRUTH_COLOUR, thumbnailOf } from '../../lib/report/davis-thumbnail.ts'
import { browser, browserNote, look, type Seen } from './browser.ts'
import { inSquare, makeDavis, SIZE } from './davis-sets.ts'
import { eventsOf, scratch, torchvid } from './helpers.ts'

const folder = scratch()
const hostile = `</script><img src=x onerror="document.title='owned'">&lt;`

function sequence(name: string, jaccard: number[], contour = jaccard): EvaluatedSequence {
  const measured = jaccard.map((_, i) => i + 1)
  return {
    ...{ name, frames: jaccard.length + 2, measured, objects: [{ id: 1, jaccard, contour }] },
    seconds: { fit: 12.3, frame: 0.21 },
  }
}

const tableOf = (sequences: EvaluatedSequence[]) => metrics.davisTable(sequences)

test('the worst: sequences by J&F, a frame by both measures', () => {
  const all = [sequence('good', [0.9, 0.9]), sequence('bad', [0.2, 0.4]), sequence('fair', [0.6, 0.5], [0.6, 0.8])]
  expect(worstSequences(tableOf(all), 2)).toEqual([1, 2])
  expect(worstFrame(all[1]!)).toEqual({ frame: 1, jaccard: 0.2, contour: 0.2 })
  expect(worstFrame(all[2]!).frame).toBe(1)
})

test.each([
  [Array.from({ length: 48 }, (_, i) => i + 1), [0, 1, 9, 17, 25, 32, 40, 48]],
  [
    [1, 3, 5],
    [0, 1, 3, 5],
  ],
  [[1], [0, 1]],
])('a strip of %j', (measured, wanted) => {
  expect(stripFrames(measured)).toEqual(wanted)
})

describe('a thumbnail', () => {
  const [width, height] = [80, 40]
  const labels = (inside: (x: number, y: number) => boolean) =>
    Uint8Array.from({ length: width * height }, (_, i) => Number(inside(i % width, Math.floor(i / width))))
  const image = { data: new Uint8Array(width * height * 3).fill(90), width, height, channels: 3 as const }
  const mask = labels((x) => x < 40)
  const truth = labels((x, y) => x >= 30 && x < 70 && y >= 10 && y < 30)

  test('shows the mask as a tint and the truth as an outline', async () => {
    const { jpeg, ...size } = await thumbnailOf(image, { mask, truth })
    expect(size).toEqual({ width, height })
    const pixels = await sharp(jpeg).raw().toBuffer()
    const near = (x: number, y: number, colour: readonly number[]) => {
      const at = (y * width + x) * 3
      for (const [c, value] of colour.entries())
        expect(Math.abs(pixels[at + c]! - value), `${x}, ${y}`).toBeLessThan(70)
    }
    near(
      10,
      5,
      MASK_COLOUR.map((value) => (90 + value) / 2),
    )
    near(60, 20, [90, 90, 90])
    near(50, 10, TRUTH_COLOUR)
    near(69, 20, TRUTH_COLOUR)
  })

  test('of another size than its picture is refused', async () => {
    const bad = thumbnailOf(image, { mask: new Uint8Array(10), truth })
    await expect(bad).rejects.toMatchObject({ code: 'ERR_SHAPE', message: expect.stringMatching(/10 pixels.*80 x 40/) })
  })
})

/** Sequences with a picture for all that is shown. */
async function pictured(names: string[]): Promise<PicturedSequence[]> {
  const data = new Uint8Array(SIZE.width * SIZE.height * 3).fill(120)
  const truth = Uint8Array.from({ length: SIZE.width * SIZE.height }, (_, i) =>
    Number(inSquare(0, i % SIZE.width, Math.floor(i / SIZE.width))),
  )
  const picture = await thumbnailOf({ data, ...SIZE, channels: 3 }, { mask: truth, truth })
  return names.map((name, place) => {
    const values = Array.from({ length: 30 }, (_, i) => 0.5 + 0.05 * place + 0.4 * Math.sin(i / 5 + place) ** 2)
    const own = sequence(
      name,
      values.map((value) => Math.min(1, value)),
    )
    const frames = [...stripFrames(own.measured), worstFrame(own).frame]
    return { ...own, pictures: new Map(frames.map((frame) => [frame, picture])) }
  })
}

describe.skipIf(browser === undefined)(`in a browser${browserNote}`, () => {
  let seen: Seen

  beforeAll(async () => {
    const file = join(folder, 'report.html')
    const sequences = await pictured(['swan', hostile, 'dog', 'car'])
    const settings: [string, string][] = [[hostile, hostile]]
    await writeDavisReport(file, {
      table: tableOf(sequences),
      sequences,
      settings,
      title: hostile,
      warnings: [hostile],
    })
    expect(readFileSync(file, 'utf8')).toContain("default-src 'none'")
    seen = await look(file, { width: 1200, height: 1800, count: '.strip img, .worst img' })
  })

  test('curves are drawn, nothing is asked of a network, nothing is complained of', () => {
    expect(seen.complaints).toEqual([])
    expect(seen.requests.filter((address) => !address.startsWith('data:'))).toEqual([])
    expect(seen.canvases.map(({ chart }) => chart)).toEqual(['0', '1', '2', '3'])
    for (const { drawn, width, height, colours } of seen.canvases) {
      expect(drawn).toBe(true)
      expect(width).toBeGreaterThan(1000)
      expect(height).toBeGreaterThan(80)
      expect(colours).toBeGreaterThan(4)
    }
    expect(seen.overflow).toBeLessThanOrEqual(0)
  })

  test('every strip has eight frames, and the three worst sequences come first, with their worst frame', () => {
    expect(seen.elements).toBe(4 * 8 + 3)
    const order = ['swan', hostile, 'dog', 'car']
    const places = order.map((name) => seen.text.indexOf(`${name} J&F`))
    expect(places[3]).toBe(-1)
    expect(places[0]).toBeLessThan(seen.text.indexOf('sequence\tframes'))
    expect([...places.slice(0, 3)].sort((a, b) => a - b)).toEqual(places.slice(0, 3))
    expect(seen.text).toContain('frame 0: given')
    expect(seen.text).toMatch(/worst frame \d+: J 0\.5/)
  })

  test('texts are text, however they read', () => {
    expect(seen.text).toContain(hostile)
    expect(seen.text).not.toContain('owned\n')
    expect(seen.text.split(hostile).length - 1).toBeGreaterThanOrEqual(7)
  })

  test('a telephone and a dark screen do as well', async () => {
    const file = join(folder, 'report.html')
    const narrow = await look(file, { width: 500, height: 1600, dark: true })
    expect(narrow.complaints).toEqual([])
    expect(narrow.overflow).toBeLessThanOrEqual(0)
    expect(narrow.dark).toBe(true)
  })
})

test('from the command line: --report, of results of an earlier call too, without a folder for results, and small', async () => {
  const davis = await makeDavis(join(folder, 'davis'), { dog: 6, libby: 5 })
  const report = join(folder, 'made', 'report.html')
  const call = ['evaluate', '--davis', davis, '--sequences', 'dog,libby', '--json', '--report', report]
  for (const more of [
    ['--copy-first'],
    ['--backbone', 'mobilenet', '--iterations', '1', '--max-size', '32', '--jobs', '2'],
  ]) {
    const outcome = await torchvid([...call, ...more])
    expect(outcome.status).toBe(0)
    expect(eventsOf(outcome).at(-1)).toMatchObject({ event: 'done', report, out: null })
    const html = readFileSync(report, 'utf8')
    // The first frame, and all that are measured; and of both sequences the worst one.
    expect(html.match(/<img /g)?.length).toBe(5 + 4 + 2)
    expect(statSync(report).size).toBeLessThan(500_000)
  }
})
