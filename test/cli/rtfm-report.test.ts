import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import {
  aboveIntervals,
  formatTime,
  peaksAtBothEnds,
  rtfmPageData,
  thumbnailFrames,
  timelineOf,
  truthIntervals,
} from '../../lib/report/rtfm-data.ts'
import { type RtfmReport, rtfmReportHtml, writeRtfmReport } from '../../lib/report/rtfm-report.ts'
import { browser, browserNote, look, type Seen } from './browser.ts'
import { filesBelow, scratch } from './helpers.ts'

const folder = scratch()
const WIDE = { width: 1200, height: 1800 }
const hostile = `</script><img src=x onerror="document.title='owned'">&lt;`

const SEGMENTS = 120
const FRAMES = SEGMENTS * 16
/** Of segments 40 to 49 and 90. */
const scores = Float32Array.from({ length: SEGMENTS }, (_, i) => ((i >= 40 && i < 50) || i === 90 ? 0.9 : 0.1))
/** Just the fifth of the twelve thumbnails' stretches. */
const EVENT = { start: FRAMES / 3, end: (FRAMES * 5) / 12 }
const GREEN = [0, 200, 0]

/** A picture of one colour. */
function plain([red, green, blue]: number[]) {
  const data = new Uint8Array(64 * 36 * 3)
  for (let i = 0; i < data.length; i += 3) data.set([red!, green!, blue!], i)
  return { data, width: 64, height: 36, channels: 3 as const }
}

/** A video of which all is known; its fifth thumbnail is green, the others grey. */
function known(): RtfmReport {
  return {
    name: 'camera-1',
    scores,
    magnitudes: scores.map((score) => 20 + 10 * score),
    fps: 24,
    labels: new Uint8Array(FRAMES).fill(1, EVENT.start, EVENT.end),
    thumbnails: thumbnailFrames(FRAMES).map((frame, i) => ({ frame, image: plain(i === 4 ? GREEN : [150, 150, 150]) })),
    figures: { rocAuc: 0.9876, prAuc: 0.8765, averagePrecision: 0.8764 },
    warnings: ['Something to mind.'],
    settings: [['model', 'model.safetensors']],
  }
}

async function written(name: string, report: RtfmReport): Promise<string> {
  const file = join(folder, name)
  await writeRtfmReport(file, report)
  return file
}

/** The longest row of columns of the window in which some pixels have about this colour. */
function columnsOf({ data, width, height, channels }: Seen['picture'], colour: number[]): [number, number] {
  let longest: [number, number] = [-1, -1]
  let start = 0
  for (let x = 0; x < width; x++) {
    let found = 0
    for (let y = 0; y < height; y++) {
      const at = (y * width + x) * channels
      if (colour.every((value, c) => Math.abs(data[at + c]! - value) <= 6)) found++
    }
    if (found < 5) start = x + 1
    else if (x - start > longest[1] - longest[0]) longest = [start, x]
  }
  return longest
}

/** Whether two stretches of columns are the same but for a hair. */
function expectNear([a, b]: [number, number], [c, d]: [number, number], hair = 3): void {
  expect(a).toBeGreaterThan(0)
  expect(Math.abs(a - c), `${a}..${b} and ${c}..${d}`).toBeLessThanOrEqual(hair)
  expect(Math.abs(b - d), `${a}..${b} and ${c}..${d}`).toBeLessThanOrEqual(hair)
}

const TRUTH = [0x7a, 0x5b, 0xd0]
const TRUTH_GROUND = [0xeb, 0xe5, 0xfb]
const ABOVE = [0xd9, 0x77, 0x2a]

describe.skipIf(browser === undefined)(`a scored video in a browser${browserNote}`, () => {
  let seen: Seen

  beforeAll(async () => {
    seen = await look(await written('known.html', known()), { ...WIDE, count: '.band .above' })
  })

  test('the curves are drawn, nothing is asked of a network, nothing is complained of', () => {
    expect(seen.complaints).toEqual([])
    expect(seen.requests).toEqual([])
    expect(seen.canvases.map(({ chart }) => chart)).toEqual(['scores', 'magnitudes'])
    for (const { drawn, width, height, colours } of seen.canvases) {
      expect(drawn).toBe(true)
      expect(width).toBeGreaterThan(1000)
      expect(height).toBeGreaterThan(90)
      expect(colours).toBeGreaterThan(4)
    }
    expect(seen.overflow).toBeLessThanOrEqual(0)
    expect(seen.dark).toBe(false)
  })

  test('thumbnail, ground truth of the curve and of the bar lie over the same moments', () => {
    const truth = columnsOf(seen.picture, TRUTH)
    expectNear(columnsOf(seen.picture, GREEN), truth)
    expectNear(columnsOf(seen.picture, TRUTH_GROUND), truth)
  })

  test('stretches above the threshold are marked and listed', () => {
    expect(seen.elements).toBe(2)
    // The green thumbnail is of segments 40 to 50.
    expectNear(columnsOf(seen.picture, ABOVE), columnsOf(seen.picture, GREEN))
    expect(seen.text).toContain('40 to 49')
    expect(seen.text).toContain(`${formatTime((40 * 16) / 24)} to ${formatTime((50 * 16) / 24)}`)
    expect(seen.text).toContain('90 to 90')
  })

  test('the threshold is a dashed line from end to end', () => {
    const { data, width, height, channels } = seen.picture
    const [left, right] = [60, width - 60]
    const dark = (x: number, y: number) => [0, 1, 2].every((c) => data[(y * width + x) * channels + c]! < 110)
    const dashes = Array.from({ length: height }, (_, y) => {
      let found = 0
      for (let x = left; x < right; x++) if (dark(x, y)) found++
      return found / (right - left)
    })
    // A dash of 6, a gap of 4; the full lines are of other colours.
    expect(Math.max(...dashes.filter((share) => share < 0.9))).toBeGreaterThan(0.5)
  })

  test('says what was found, and everything that is known', () => {
    for (const text of ['0.9876', '0.8765', 'average precision 0.8764', 'Something to mind.', 'model.safetensors']) {
      expect(seen.text).toContain(text)
    }
    expect(seen.text).toContain('1 of 1')
    expect(seen.text).toContain('frames a second')
  })

  test('in a narrow, dark window: it fits, and one thumbnail of three is left, where it belongs', async () => {
    const narrow = await look(join(folder, 'known.html'), { width: 500, height: 2200, dark: true })
    expect(narrow.dark).toBe(true)
    expect(narrow.overflow).toBeLessThanOrEqual(0)
    expect(narrow.complaints).toEqual([])
    expect(narrow.canvases.every(({ drawn, colours, width }) => drawn && colours > 4 && width < 500)).toBe(true)
    const green = columnsOf(narrow.picture, GREEN)
    const truth = columnsOf(narrow.picture, [0xa6, 0x8c, 0xf0])
    expect(Math.abs((green[0] + green[1]) / 2 - (truth[0] + truth[1]) / 2)).toBeLessThanOrEqual(3)
    expect(green[1] - green[0]).toBeGreaterThan(2.5 * (truth[1] - truth[0]))
  })

  test('a name, a warning, a setting may hold anything, and be all that is known: it is shown as text', async () => {
    const warnings = [hostile]
    const settings: [string, string][] = [[hostile, hostile]]
    const file = await written('hostile.html', { name: hostile, scores: [0.2], warnings, settings })
    const shown = await look(file, { ...WIDE, count: 'img, .strip' })
    expect(shown.elements).toBe(0)
    expect(shown.complaints).toEqual([])
    expect(shown.text.split(hostile).length - 1).toBe(4)
    expect(shown.canvases).toHaveLength(1)
    expect(shown.canvases[0]).toMatchObject({ drawn: true })
    expect(shown.text).toContain('1 segment of 16 frames; 16 frames.')
    expect(shown.text).not.toMatch(/ground truth|undefined|NaN|a second/i)
  })
})

test('ten hours of video: as much as a screen can show, and the only peak with it', async () => {
  const long = new Float32Array(135_000).fill(0.1)
  long[77_777] = 0.95
  const html = await rtfmReportHtml({ name: 'long', scores: long, fps: 60 })
  expect(html.length).toBeLessThan(400_000)
  expect(html.match(/<span class="above"/g)).toHaveLength(1)
  expect(html).toContain('5:45:40.5')
  const data = JSON.parse(/id="data">(.*)<\/script>/.exec(html)![1]!)
  expect(data.scores).toContain(0.95)
})

test('is one file without an address of anything, and says so to the browser', async () => {
  const html = readFileSync(await written('plain.html', known()), 'utf8')
  const markup = html.replace(/<script>.*?<\/script>/gs, '')
  expect(markup).toContain("default-src 'none'")
  expect(markup).not.toMatch(/<(link|iframe|base|script[^>]*src)|url\(|@import|https?:/i)
  expect(markup.match(/<img[^>]*src="(?!data:image\/jpeg;base64,)/g)).toBe(null)
  expect(markup.match(/<img/g)).toHaveLength(12)
  expect(filesBelow(folder).filter((name) => name.endsWith('.tmp'))).toEqual([])
})

test('what does not fit together is ERR_SHAPE and says what was wanted', async () => {
  const attempt = (change: Partial<RtfmReport>) => rtfmReportHtml({ ...known(), ...change })
  const shape = (text: RegExp) => ({ code: 'ERR_SHAPE', message: expect.stringMatching(text) })
  await expect(attempt({ scores: [] })).rejects.toMatchObject(shape(/got none/))
  await expect(attempt({ magnitudes: [1, 2] })).rejects.toMatchObject(shape(/got 2, wanted 120/))
  await expect(attempt({ labels: new Uint8Array(100) })).rejects.toMatchObject(shape(/got 100, wanted 1920/))
  await expect(attempt({ frames: 5000 })).rejects.toMatchObject(shape(/5000 frames make 313 segments.*120 scores/))
})

test('a folder that cannot be written to is ERR_IO, and leaves nothing', async () => {
  const file = join(await written('in-the-way', known()), 'report.html')
  await expect(writeRtfmReport(file, known())).rejects.toMatchObject({ code: 'ERR_IO' })
  expect(existsSync(file)).toBe(false)
})

describe('places in time', () => {
  test('a last segment ends with the video, and where it was left out, the video goes on', () => {
    expect(timelineOf(3, { frames: 40 })).toMatchObject({ frames: 40, framesPerSegment: 16 })
    expect(aboveIntervals([0, 0, 1], 0.5, timelineOf(3, { frames: 40 }))).toMatchObject([{ start: 32, end: 40 }])
    expect(timelineOf(2, { frames: 40 }).frames).toBe(40)
    // One segment more than the frames make, as some extractors have it.
    expect(timelineOf(4, { frames: 40 }).frames).toBe(49)
  })

  test('stretches: the threshold itself counts, neighbours go together, each has its peak and its share of the truth', () => {
    const labels = new Uint8Array(96).fill(1, 40, 64)
    expect(aboveIntervals([0.4, 0.5, 0.7, 0.6, 0.1, 0.9], 0.5, timelineOf(6), labels)).toEqual([
      { start: 16, end: 64, segments: [1, 3], peak: 0.7, peakSegment: 2, truthShare: 0.5 },
      { start: 80, end: 96, segments: [5, 5], peak: 0.9, peakSegment: 5, truthShare: 0 },
    ])
    expect(truthIntervals(labels)).toEqual([{ start: 40, end: 64 }])
    expect(truthIntervals([1, 0, 1, 1])).toEqual([
      { start: 0, end: 1 },
      { start: 2, end: 4 },
    ])
  })

  test('a rise at both ends alone is seen, one in the middle or everywhere is none', () => {
    const flat = new Array(60).fill(0.1)
    const at = (...places: number[]) => flat.map((value, i) => (places.includes(i) ? 0.9 : value))
    expect(peaksAtBothEnds(at(0, 59), 5)).toBe(true)
    expect(peaksAtBothEnds(at(4, 55), 5)).toBe(true)
    expect(peaksAtBothEnds(at(0), 5)).toBe(false)
    expect(peaksAtBothEnds(at(5, 54), 5)).toBe(false)
    expect(peaksAtBothEnds(flat, 5)).toBe(false)
    expect(peaksAtBothEnds(at(...flat.keys()), 5)).toBe(false)
    expect(peaksAtBothEnds([0.9, 0.1, 0.9], 5)).toBe(false)
    expect(peaksAtBothEnds(at(0, 59), 0)).toBe(false)
  })

  test('thinning keeps the ends and every extreme', () => {
    const many = Float32Array.from({ length: 50_000 }, (_, i) => 0.5 + 0.1 * Math.sin(i))
    many[12_345] = 0.99
    many[40_000] = 0.01
    const { segments } = rtfmPageData(timelineOf(many.length), 0.5, { scores: many })
    expect(segments.length).toBeLessThanOrEqual(4002)
    expect(segments).toEqual([...segments].sort((a, b) => a - b))
    expect(segments).toEqual(expect.arrayContaining([0, 12_345, 40_000, 49_999]))
    const few = rtfmPageData(timelineOf(50), 0.5, { scores: many.slice(0, 50) })
    expect(few.segments).toHaveLength(50)
  })

  test('thumbnails are of the middles of equal parts, and no more than there are frames', () => {
    expect(thumbnailFrames(1200, 12)).toEqual([50, 150, 250, 350, 450, 550, 650, 750, 850, 950, 1050, 1150])
    expect(thumbnailFrames(2, 12)).toEqual([0, 1])
  })
})
