import { join } from 'node:path'
import { features, type Network } from 'torchvid'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hasFfmpeg, makeVideo } from '../data/helpers.ts'
import { scratch, shared, sharedNote } from '../helpers/expect.ts'
import { clipNetwork, pictureMirror, plain } from './helpers.ts'

let backbone: Network
beforeAll(async () => {
  backbone = await clipNetwork()
})
afterAll(() => backbone.dispose())

describe.skipIf(!hasFfmpeg)('a video file', () => {
  const folder = scratch()

  test('every frame counts, once', async () => {
    const path = join(folder, 'short.mp4')
    // Each frame brighter than the one before it.
    makeVideo(path, 37, { extra: ['-vf', 'geq=lum=20+N*6:cb=128:cr=128'] })
    const mirror = await pictureMirror()
    const options = { backbone: mirror, every: 1, crop: 48, resize: null, ...plain }
    const result = await features.extract(path, options)
    expect(result).toMatchObject({ frames: 37, clips: 37, width: 64, height: 48, fps: 25 })
    expect(result.settings).toMatchObject({ frames: 37, fps: 25, video: 'short.mp4', resize: null, crop: 48 })
    for (let i = 1; i < 37; i++) expect(result.norms[i]! - result.norms[i - 1]!).toBeGreaterThan(100)
    mirror.dispose()
  })

  // Frames as `ffprobe -count_frames` counts them.
  const real: [name: string, frames: number, clips: number, width: number, height: number][] = [
    ['v_GGSY1Qvo990.mp4', 355, 23, 320, 240],
    ['v_ZNVhz7ctTq0.mp4', 420, 27, 480, 360],
  ]
  test.skipIf(shared === undefined).each(real)(
    `%s has %i frames, %i clips${sharedNote}`,
    async (name, frames, clips, width, height) => {
      const path = join(shared!, 'data/videos', name)
      const records: number[] = []
      const run = features.extract(path, { backbone, crop: 32, resize: 36, mean: 127.5, std: 127.5 })
      for await (const record of run) records.push(record.clips!)
      const result = await run
      expect(result).toMatchObject({ frames, clips, width, height })
      expect(result.features.shape).toEqual([clips, 1, 6])
      // The header says about how many.
      for (const estimate of records) expect(Math.abs(estimate - clips)).toBeLessThanOrEqual(1)
    },
  )
})
