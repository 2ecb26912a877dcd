import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { metrics } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { type RtfmEvaluationReport, rtfmEvaluationHtml, writeRtfmEvaluation } from '../../lib/report/rtfm-evaluation.ts'
import { type EvaluatedVideo, rankingCurves, summaryOfVideo } from '../../lib/report/rtfm-evaluation-data.ts'
import { browser, browserNote, look } from './browser.ts'
import { scratch } from './helpers.ts'

const folder = scratch()
const hostile = `</td><img src=x onerror="document.title='owned'">&lt;`

/** Videos whose scores tell a little of their labels, with ties. */
function videos(): EvaluatedVideo[] {
  return Array.from({ length: 8 }, (_, v) => {
    const segments = 20 + 13 * v
    const labels = new Uint8Array(segments * 16)
    if (v % 2 === 1) labels.fill(1, 70, 150 + 9 * v)
    const scores = Float32Array.from({ length: segments }, (_, i) => {
      const hint = labels[i * 16] ? 0.25 : 0
      return Math.round((hint + 0.7 * Math.abs(Math.sin(12.9 * i + v))) * 50) / 50
    })
    return { name: `video ${v}`, scores, labels }
  })
}

function report(change: Partial<RtfmEvaluationReport> = {}): RtfmEvaluationReport {
  return { videos: videos(), figures: { rocAuc: 0.8123, prAuc: 0.2345, averagePrecision: 0.2346 }, ...change }
}

test('the curves have the areas that are measured', async () => {
  const all = videos()
  const labels = all.flatMap((video) => [...(video.labels as Uint8Array)])
  const scores = all.flatMap((video) => labelsOf(video))
  const { roc, precisionRecall } = rankingCurves(all)
  const area = (curve: [number, number][]) =>
    metrics.areaUnderCurve(
      curve.map(([x]) => x),
      curve.map(([, y]) => y),
    )
  // Points closer than a pixel are left out, which moves the area by less than one.
  expect(area(roc)).toBeCloseTo(await metrics.rocAuc(scores, labels), 3)
  expect(area(precisionRecall)).toBeCloseTo(await metrics.prAuc(scores, labels), 2)
  expect([roc[0], roc.at(-1)]).toEqual([
    [0, 0],
    [1, 1],
  ])
})

/** The score of each frame. */
function labelsOf({ scores, labels }: EvaluatedVideo): number[] {
  return Array.from(labels, (_, frame) => scores[Math.floor((frame * scores.length) / labels.length)]!)
}

test('a video in numbers: its parts by what is true of them', () => {
  const labels = new Uint8Array(8).fill(1, 3, 6)
  const summary = summaryOfVideo({ name: 'a', scores: [0.1, 0.9, 0.5, 0.3], labels })
  expect(summary).toMatchObject({ segments: 4, frames: 8, abnormal: 3 / 8, highest: 0.9 })
  expect(summary.meanAbnormal).toBeCloseTo(0.7, 10)
  expect(summary.meanNormal).toBeCloseTo(0.2, 10)
  expect(summaryOfVideo({ name: 'b', scores: [0.1], labels: [0, 0] }).meanAbnormal).toBe(undefined)
})

test('frames of one kind alone: there are no curves, and that is said', () => {
  const calm = videos().filter(({ labels }) => !Array.from(labels).includes(1))
  const html = rtfmEvaluationHtml(report({ videos: calm }))
  expect(html).toContain('Frames of one kind are missing')
  expect(html).not.toContain('class="curve"')
})

test('labels that are no whole number of frames for each score are ERR_SHAPE', () => {
  const odd = { name: 'odd', scores: [0.1, 0.2], labels: new Uint8Array(33) }
  const make = () => rtfmEvaluationHtml(report({ videos: [odd] }))
  expect(make).toThrowError(
    expect.objectContaining({ code: 'ERR_SHAPE', message: expect.stringContaining('33 labels') }),
  )
})

describe.skipIf(browser === undefined)(`in a browser${browserNote}`, () => {
  test('curves and videos are there, names are text, nothing is asked for, and a narrow window is enough', async () => {
    const file = join(folder, 'evaluation.html')
    const named = videos().map((video, i) => (i === 0 ? { ...video, name: hostile } : video))
    await writeRtfmEvaluation(
      file,
      report({ videos: named, title: hostile, warnings: [hostile], settings: [[hostile, hostile]] }),
    )
    expect(readFileSync(file, 'utf8')).toContain("default-src 'none'")
    const seen = await look(file, { width: 500, height: 1600, count: 'svg.curve polyline, svg.spark polyline' })
    expect(seen.complaints).toEqual([])
    expect(seen.requests).toEqual([])
    expect(seen.elements).toBe(10)
    expect(seen.overflow).toBeLessThanOrEqual(0)
    expect(seen.text.split(hostile).length - 1).toBe(5)
    for (const text of ['0.8123', '0.2345', '0.2346', 'average precision', 'PR AUC (trapezoid)']) {
      expect(seen.text).toContain(text)
    }
  })
})
