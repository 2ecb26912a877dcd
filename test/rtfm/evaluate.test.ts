import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { data, type FeatureSettings, metrics, Network, networks, RTFM } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { writeFeatureSettings } from '../../lib/data/feature-settings.ts'
import { failureOf, leftovers, refuses, scratch } from '../helpers/expect.ts'
import { bitsOf, detector, testVideos, video, videos, withDetector } from './helpers.ts'

const folder = scratch()

/** What `features.extract` would have written beside a file. */
const settings: FeatureSettings = {
  ...{ backbone: 'mobilenet', size: 16, crops: 1, every: 16, frameStep: 1, resize: 256, crop: 224, order: 'RGB' },
  ...{ mean: [0], std: [255], tail: 'loop', frames: 384, meanNorm: 1.4 },
}

/** A folder of ShanghaiTech-like features with a list, and masks of their frames. */
async function dataset(name: string, changes: Partial<FeatureSettings> = {}) {
  const root = join(folder, name)
  mkdirSync(join(root, 'masks'), { recursive: true })
  const { test, groundTruth } = testVideos(2, 3)
  const names = ['01_001', '01_002', '01_0003', '01_0004', '01_0005']
  for (const [i, features] of test.entries()) {
    const path = join(root, `${names[i]}_i3d.npy`)
    await data.writeNpy(path, features)
    await writeFeatureSettings(path, { ...settings, ...changes })
  }
  // Frames of the abnormal ones, a few fewer than 16 a segment: the last are made up for.
  for (const i of [2, 3, 4]) {
    const frames = Uint8Array.from({ length: 24 * 16 - i }, (_, frame) => groundTruth[i]![Math.floor(frame / 16)]!)
    await data.writeNpy(join(root, 'masks', `${names[i]}.npy`), { data: frames, shape: [frames.length] })
  }
  const list = join(root, 'test.list')
  writeFileSync(list, names.map((each) => `/somebody/else/${each}_i3d.npy\n`).join(''))
  return { root, list, names, masks: join(root, 'masks'), features: test, groundTruth }
}

const frames = (labels: Uint8Array) => Uint8Array.from({ length: labels.length * 16 }, (_, i) => labels[i >> 4]!)

describe('evaluate', () => {
  test('a list file, its videos, or features: the same figures, and those of all frames together', async () => {
    const { list, root, masks, names, features, groundTruth } = await dataset('forms')
    await withDetector({ seed: 1 }, async (rtfm) => {
      const seen: unknown[] = []
      const run = rtfm.evaluate(list, masks, { root })
      for await (const record of run) seen.push(record)
      const result = await run
      expect(seen).toEqual(names.map((name, i) => ({ video: i + 1, videos: 5, name })))
      expect(result.videos.map(({ name, segments }) => [name, segments])).toEqual(names.map((name) => [name, 24]))
      expect(result.warnings).toEqual([])

      const scores: number[] = []
      const labels: number[] = []
      for (const [i, each] of features.entries()) {
        const { scores: own } = await rtfm.score(each)
        expect(result.videos[i]!.scores).toEqual(own)
        expect(result.videos[i]!.labels).toEqual(frames(groundTruth[i]!))
        for (const score of own) for (let frame = 0; frame < 16; frame++) scores.push(score)
        labels.push(...frames(groundTruth[i]!))
      }
      expect(result.frames).toBe(5 * 24 * 16)
      expect(result.abnormalFrames).toBe(labels.reduce((a, b) => a + b))
      for (const figure of ['rocAuc', 'prAuc', 'averagePrecision'] as const)
        expect(result[figure]).toBe(await metrics[figure](scores, labels))

      const { videos: _, warnings, ...figures } = result
      const parsed = await data.featureList(list, { root })
      for (const [given, truth] of [
        [parsed, masks],
        [parsed, Object.fromEntries(names.map((name, i) => [name, frames(groundTruth[i]!)]))],
        [features, groundTruth.map(frames)],
        [features, labels],
      ] as const)
        expect(await rtfm.evaluate(given as never, truth)).toMatchObject(figures)
      expect(await rtfm.evaluate(features, groundTruth, { framesPerSegment: 1 })).toMatchObject({
        ...figures,
        frames: 120,
        abnormalFrames: 9,
        ...{
          prAuc: expect.any(Number),
          averagePrecision: expect.any(Number),
          rocAuc: expect.closeTo(figures.rocAuc, 12),
        },
      })
    })
  })

  test('lengths that do not fit are explained before anything is scored', async () => {
    const { features, groundTruth } = await dataset('lengths')
    await withDetector({ seed: 1 }, async (rtfm) => {
      let scored = 0
      const evaluate = (truth: unknown, options = {}) =>
        rtfm.evaluate(features, truth as never, { ...options, onProgress: () => scored++ })
      const labels = groundTruth.map(frames)
      await refuses('ERR_SHAPE', /1900 frame labels.*120 segments of 16 frames, which want 1920: 20 are missing/, () =>
        evaluate(labels.flatMap((each) => [...each]).slice(20)),
      )
      await refuses('ERR_SHAPE', /24 segments of 16.*framesPerSegment: 8 would fit/, () =>
        evaluate(labels.map((each) => each.slice(0, 24 * 8))),
      )
      await refuses('ERR_SHAPE', /4 videos, and there are 5/, () => evaluate(labels.slice(1)))
      await refuses('ERR_SHAPE', /24 segments of 15/, () => evaluate(labels, { framesPerSegment: 15 }))
      await refuses('ERR_IO', /nothing\.npy/, () => evaluate(join(folder, 'nothing.npy')))
      await refuses('ERR_INVALID_ARGUMENT', /groundTruth/, () => evaluate(undefined))
      await refuses('ERR_INVALID_ARGUMENT', /framesPerSegment/, () => evaluate(labels, { framesPerSegment: 0 }))
      for (const list of [undefined, [], 5, {}])
        await refuses('ERR_INVALID_ARGUMENT', /list/, () => rtfm.evaluate(list as never, labels))
      await refuses('ERR_SHAPE', /list\[0\].*8 numbers a segment/, () =>
        rtfm.evaluate([video(1, { size: 8 })], [labels[0]!]),
      )
      expect(scored).toBe(0)
    })
  })

  test('an abort ends it', async () => {
    const { features, groundTruth } = await dataset('abort')
    await withDetector({ seed: 1 }, async (rtfm) => {
      const run = rtfm.evaluate(features, groundTruth, {
        framesPerSegment: 1,
        onProgress: () => run.abort('enough'),
      })
      expect(await failureOf(() => run)).toBe('enough')
    })
  })
})

describe('features of other kinds are warned of', () => {
  test('in training, in scoring, and in an evaluation', async () => {
    const [same, other] = [await dataset('same'), await dataset('other', { backbone: 'i3d', crop: 112 })]
    const path = (set: typeof same, i: number) => join(set.root, `${set.names[i]}_i3d.npy`)
    const heard: string[] = []
    const options = { steps: 1, validation: false as const, onWarning: (message: string) => heard.push(message) }
    await withDetector({ seed: 1 }, async (rtfm) => {
      expect((await rtfm.score(path(other, 0))).warnings).toEqual([])
      const mixed = { normal: [path(same, 0)], abnormal: [path(other, 2)] }
      const { warnings } = await rtfm.fit(mixed, options)
      expect(warnings.map((text) => /'(\w+)'/.exec(text)?.[1])).toEqual(['backbone', 'crop'])
      expect(heard).toEqual(warnings)

      heard.length = 0
      await rtfm.fit({ normal: [path(same, 0), path(same, 1)], abnormal: [path(same, 2)] }, options)
      expect(heard).toEqual([])
      expect((await rtfm.score(path(same, 3))).warnings).toEqual([])
      const { warnings: ofOther } = await rtfm.score(path(other, 3))
      expect(ofOther[0]).toMatch(/'backbone': mobilenet.*i3d/)
      expect((await rtfm.evaluate(other.list, other.masks, { root: other.root })).warnings).toEqual([
        expect.stringMatching(/'backbone'/),
        expect.stringMatching(/'crop'/),
      ])
      expect((await rtfm.evaluate(same.list, same.masks, { root: same.root })).warnings).toEqual([])

      // What it was trained on goes with it.
      const file = join(folder, 'trained.safetensors')
      await rtfm.save(file)
      const opened = await RTFM.open(file, { device: 'cpu' })
      expect((await opened.score(path(other, 3))).warnings).toEqual(ofOther)
      opened.dispose()
    })
  })

  test('by their norms, where nothing tells how they were made', async () => {
    const loud = (i: number) => {
      const made = video(i)
      return { ...made, data: made.data.map((x) => 10 * x) }
    }
    await withDetector({ network: 'deepMil' }, async (mil) => {
      const options = { steps: 1, validation: false as const, onWarning() {} }
      const { warnings } = await mil.fit({ normal: [video(1), loud(2)], abnormal: [video(3)] }, options)
      expect(warnings).toEqual([expect.stringMatching(/normal\[1\].*times as long/)])
      expect((await mil.fit(videos(2, 2), options)).warnings).toEqual([])
      expect((await mil.score(loud(1))).warnings).toEqual([expect.stringMatching(/training features.*times as long/)])
    })
  })
})

describe('files', () => {
  test('save and open: the same detector, with its settings', async () => {
    const path = join(folder, 'detector.safetensors')
    for (const options of [
      { objective: 'paper', segments: 20, dropout: 0.1, normalise: true, seed: 3 },
      { network: 'deepMil', dropout: 0.2 },
      { objective: 'milRanking', network: 'rtfm' },
    ] as const) {
      await withDetector(options, async (rtfm) => {
        await rtfm.save(path)
        const opened = await RTFM.open(path, { device: 'cpu' })
        expect(opened.settings).toEqual(rtfm.settings)
        expect(await bitsOf(opened.network)).toEqual(await bitsOf(rtfm.network))
        expect(await opened.score(video(1))).toEqual(await rtfm.score(video(1)))
        opened.dispose()
      })
    }
    expect(leftovers(folder)).toEqual([])
  })

  test('a network that is no detector, and a file that is no network, are refused', async () => {
    const path = join(folder, 'network.safetensors')
    const network = await Network.create(networks.rtfm({ featureSize: 8 }), { device: 'cpu' })
    await network.save(path)
    network.dispose()
    await refuses('ERR_CHECKPOINT_MISMATCH', /network\.safetensors.*no anomaly detector.*RTFM\.create/s, () =>
      RTFM.open(path),
    )
    writeFileSync(path, 'nothing of the kind')
    await refuses('ERR_CHECKPOINT_FORMAT', /network\.safetensors/, () => RTFM.open(path))
    await refuses('ERR_IO', /missing/, () => RTFM.open(join(folder, 'missing.safetensors')))
    const rtfm = await detector()
    await refuses('ERR_IO', /nowhere/, () => rtfm.save(join(folder, 'nowhere', 'x.safetensors')))
    rtfm.dispose()
  })
})
