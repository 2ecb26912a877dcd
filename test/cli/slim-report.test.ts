import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { Network, networks } from 'torchvid'
import { beforeAll, describe, expect, test } from 'vitest'
import { slimReportHtml, writeSlimReport } from '../../lib/report/slim-report.ts'
import type { SlimReport } from '../../lib/slim/report.ts'
import { browser, browserNote, look, type Seen } from './browser.ts'
import { filesBelow, scratch, torchvid } from './helpers.ts'
import { writeMnist } from './image-sets.ts'

const folder = scratch()
const WIDE = { width: 1280, height: 3000 }
const hostile = `</script><img src=x onerror="document.title='owned'">&lt;`

/** A report of `count` layers, as if from two of three stages. */
function madeUp(count: number, name = (i: number) => `layer${i}.bn`): SlimReport {
  const names = Array.from({ length: count }, (_, i) => name(i))
  const figures = { parameters: { before: 640, after: 320 }, macs: { before: 64_000, after: 32_000 } }
  return {
    ...{ strategy: 'select', score: 'scale', ratio: 0.5, threshold: 0.3, inputs: { image: [1, 3, 32, 32] } },
    layers: names.map((name) => ({
      ...{ name, op: 'conv', channels: { before: 64, after: 32 }, kept: [], ...figures },
    })),
    channels: { before: 64 * count, after: 32 * count },
    parameters: { before: 640 * count, after: 320 * count },
    macs: { before: 64_000 * count, after: 32_000 * count },
    gammas: Object.fromEntries(names.map((name) => [name, Array.from({ length: 64 }, (_, i) => i / 100)])),
    warnings: [],
    stages: [
      { stage: 'start', pass: 1, accuracy: 0.9, loss: 0.3, parameters: 640, macs: 64_000, seconds: 0 },
      { stage: 'prune', pass: 1, accuracy: null, loss: null, parameters: 320, macs: 32_000, seconds: 1 },
    ],
  }
}

async function written(name: string, ...args: Parameters<typeof slimReportHtml>): Promise<string> {
  const file = join(folder, name)
  await writeSlimReport(file, ...args)
  return file
}

/** Colours of a picture, of every 7th pixel. */
function coloursOf({ data, channels }: Seen['picture']): number {
  const colours = new Set<string>()
  for (let i = 0; i < data.length; i += 7 * channels) colours.add(`${data[i]} ${data[i + 1]} ${data[i + 2]}`)
  return colours.size
}

describe.skipIf(browser === undefined)(`the report in a browser${browserNote}`, () => {
  const report = join(folder, 'run', 'slim.html')

  beforeAll(async () => {
    const network = await Network.create(networks.vgg({ cfg: [16, 'M', 24, 'M', 32], input: [1, 28, 28] }))
    const model = join(folder, 'small.safetensors')
    await network.save(model)
    const data = writeMnist(join(folder, 'mnist'), { train: 256, test: 64 })
    const out = join(folder, 'run', 'slim.safetensors')
    const training = ['--epochs', '2', '--fine-tune-epochs', '1', '--batch-size', '32', '--learning-rate', '0.05']
    const outcome = await torchvid([
      'slim',
      model,
      '--data',
      data,
      '--out',
      out,
      '--ratio',
      '0.4',
      '--report',
      ...training,
    ])
    expect(outcome).toMatchObject({ status: 0 })
  })

  test('of a real run: every chart shows something, nothing is asked of a network, nothing is complained of', async () => {
    const seen = await look(report, WIDE)
    expect(seen.complaints).toEqual([])
    expect(seen.requests).toEqual([])
    expect(seen.canvases.map(({ chart }) => chart)).toEqual([
      'accuracy',
      'cost',
      'channels',
      ...Array(3).fill('histogram'),
    ])
    for (const { drawn, width, height, colours } of seen.canvases) {
      expect(drawn).toBe(true)
      expect(Math.min(width, height)).toBeGreaterThan(100)
      // A chart's own colours and lines; an empty canvas has none.
      expect(colours).toBeGreaterThan(2)
    }
    expect(seen.dark).toBe(false)
    expect(coloursOf(seen.picture)).toBeGreaterThan(20)
    for (const text of ['accuracy', 'sparse training', 'cut', 'fine-tuning', 'feature.1', 'threshold', 'LibTorch']) {
      expect(seen.text).toContain(text)
    }
  })

  test('in a narrow, dark window: it fits, and is dark', async () => {
    const seen = await look(report, { width: 500, height: 3000, dark: true })
    expect(seen.dark).toBe(true)
    expect(seen.overflow).toBeLessThanOrEqual(0)
    expect(seen.complaints).toEqual([])
    const [red = 255, green = 255, blue = 255] = [0, 1, 2].map((i) => seen.picture.data[i])
    expect(red + green + blue).toBeLessThan(150)
    expect(seen.canvases.every(({ drawn, colours, width }) => drawn && colours > 2 && width < 500)).toBe(true)
  })

  test("a layer's name, a title, a warning, a setting may hold anything: it is shown as text", async () => {
    const made = madeUp(2, (i) => `${hostile}${i}`)
    const file = await written(
      'hostile.html',
      { ...made, warnings: [hostile] },
      { title: hostile, settings: [[hostile, hostile]] },
    )
    const seen = await look(file, { ...WIDE, count: 'img' })
    expect(seen.elements).toBe(0)
    expect(seen.complaints).toEqual([])
    expect(seen.text.split(hostile).length - 1).toBeGreaterThanOrEqual(8)
    expect(seen.canvases.every(({ drawn, colours }) => drawn && colours > 2)).toBe(true)
  })

  test('of 160 layers: charts that are far below the window are not drawn before they come near', async () => {
    const seen = await look(await written('many.html', madeUp(160)), { width: 1000, height: 1500 })
    const histograms = seen.canvases.filter(({ chart }) => chart === 'histogram')
    expect(histograms.length).toBe(160)
    expect(histograms[0]).toMatchObject({ drawn: true })
    expect(histograms.at(-1)).toMatchObject({ drawn: false, colours: 0 })
    expect(seen.overflow).toBeLessThanOrEqual(0)
  })
})

test('is one file without an address of anything, and says so to the browser', async () => {
  const file = await written('plain.html', madeUp(3), {})
  const html = readFileSync(file, 'utf8')
  const markup = html.replace(/<script>.*?<\/script>/gs, '')
  expect(markup).toContain("default-src 'none'")
  expect(markup).not.toMatch(/<(link|img|iframe|base|script[^>]*src)|url\(|@import|https?:/i)
  // Developer tools would ask for the map.
  expect(html.includes('sourceMappingURL')).toBe(false)
  expect(statSync(file).size).toBeLessThan(600_000)
  expect(filesBelow(folder).filter((name) => name.endsWith('.tmp'))).toEqual([])
})

test('colours go by the channels that were really kept, and without them by the threshold', async () => {
  const data = async (meta: Parameters<typeof slimReportHtml>[1]) => {
    const html = await slimReportHtml(madeUp(1), meta)
    return JSON.parse(/id="data">(.*)<\/script>/.exec(html)![1]!).histograms
  }
  const total = (counts: number[]) => counts.reduce((a, b) => a + b, 0)
  const byThreshold = await data({})
  // 0.00 to 0.30 of 0.00 to 0.63; the threshold itself goes.
  expect(total(byThreshold.layers[0].cut)).toBe(31)
  expect(total(byThreshold.layers[0].kept)).toBe(33)
  expect(byThreshold.threshold).toBe(0.3)
  const byKept = await data({ kept: { 'layer0.bn': [0, 63] } })
  expect(total(byKept.layers[0].kept)).toBe(2)
  expect(byKept.layers[0].kept[0]).toBe(1)
})

test('draws no threshold that is not of the scales it shows', async () => {
  const thresholdOf = async (change: Partial<SlimReport>) => {
    const html = await slimReportHtml({ ...madeUp(1), ...change })
    return JSON.parse(/id="data">(.*)<\/script>/.exec(html)![1]!).histograms.threshold
  }
  const { stages } = madeUp(1)
  expect(await thresholdOf({})).toBe(0.3)
  expect(await thresholdOf({ score: 'variance' })).toBe(null)
  expect(await thresholdOf({ stages: [...stages, { ...stages[1]!, pass: 2 }] })).toBe(null)
})

test('a folder that cannot be written to is ERR_IO, and leaves nothing', async () => {
  const file = join(await written('in-the-way', madeUp(1)), 'report.html')
  await expect(writeSlimReport(file, madeUp(1))).rejects.toMatchObject({ code: 'ERR_IO' })
  expect(existsSync(file)).toBe(false)
})
