import { join } from 'node:path'
import { type ExtractProgress, features, type ImageInput, type Network } from 'torchvid'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { refuses } from '../helpers/expect.ts'
import { clipMirror, clipNetwork, frame, numbered, pictureMirror, plain } from './helpers.ts'

let clips: Network
let pictures: Network
let tiny: Network
beforeAll(async () => {
  clips = await clipMirror()
  pictures = await pictureMirror()
  tiny = await clipNetwork()
})
afterAll(() => {
  for (const network of [clips, pictures, tiny]) network.dispose()
})

const small = { crop: 1, resize: null, ...plain }

/** The numbers of the frames that the network saw, clip by clip; their first channel is enough. */
async function seen(count: number, options: Partial<Parameters<typeof features.extract>[1]> = {}): Promise<number[][]> {
  const result = await features.extract(numbered(count), { backbone: clips, every: 4, ...small, ...options })
  const [rows, crops, size] = result.features.shape as [number, number, number]
  expect(result).toMatchObject({ frames: count, clips: rows, width: 8, height: 6 })
  expect(crops).toBe(1)
  const data = result.features.data as Float32Array
  return Array.from({ length: rows }, (_, i) => [...data.subarray(i * size, i * size + size / 3)])
}

describe('clips', () => {
  const whole = [
    [0, 1, 2, 3],
    [4, 5, 6, 7],
  ]

  test('follow one another without a gap', async () => {
    expect(await seen(8)).toEqual(whole)
  })

  test('a short last one is looped, or its last frame repeated, or it is dropped', async () => {
    expect(await seen(10)).toEqual([...whole, [8, 9, 8, 9]])
    expect(await seen(10, { tail: 'repeat' })).toEqual([...whole, [8, 9, 9, 9]])
    expect(await seen(10, { tail: 'drop' })).toEqual(whole)
  })

  test('a single frame is a clip', async () => {
    expect(await seen(1)).toEqual([[0, 0, 0, 0]])
    expect(await seen(1, { every: 1 })).toEqual([[0]])
  })

  test('frameStep takes every so many-th frame of each clip', async () => {
    expect(await seen(10, { frameStep: 3 })).toEqual([
      [0, 3],
      [4, 7],
      [8, 8],
    ])
  })

  test('nothing to extract from is an error', async () => {
    await refuses('ERR_INVALID_ARGUMENT', /no frames/, () => seen(0))
    await refuses('ERR_INVALID_ARGUMENT', /3 frames, fewer than one clip of 4.*'loop'/, () => seen(3, { tail: 'drop' }))
  })

  test('a network for pictures runs over the frames, and their features are averaged', async () => {
    const { features: found } = await features.extract(numbered(6), { backbone: pictures, every: 4, ...small })
    expect(found).toMatchObject({ shape: [2, 1, 3] })
    expect([...(found.data as Float32Array)]).toEqual([1.5, 1.5, 1.5, 4.5, 4.5, 4.5])
  })

  test('are what the network itself gives, and maps are averaged', async () => {
    const video = [0, 1, 2, 3].map((i) => frame(8, 8, (x, y) => [x * 30, y * 30, i * 60]))
    const options = { backbone: tiny, every: 4, crop: 8, resize: null, mean: 100, std: 50 }
    const data = Float32Array.from({ length: 3 * 4 * 64 }, (_, i) => {
      const [channel, time, place] = [Math.floor(i / 256), Math.floor(i / 64) % 4, i % 64]
      return (video[time]!.data[place * 3 + channel]! - 100) / 50
    })
    const wanted = await tiny.forward({ clip: { data, shape: [1, 3, 4, 8, 8] } })
    for (const output of ['features', 'maps']) {
      const { features: found, settings } = await features.extract(video, { ...options, output })
      for (const [i, value] of [...(found.data as Float32Array)].entries()) {
        expect(value).toBeCloseTo(Number(wanted.features!.data[i]), 5)
      }
      expect(settings).toMatchObject({ backbone: 'tiny', output, size: 6 })
    }
  })
})

describe('reading', () => {
  test('no further ahead of the network than the next clip', async () => {
    let pulled = 0
    const video = function* (): Generator<ImageInput> {
      for (const image of numbered(40)) {
        pulled++
        yield image
      }
    }
    let clip = 0
    const onProgress = ({ frames, features: row }: ExtractProgress) => {
      expect(frames).toBe(++clip * 4)
      expect(row).toHaveLength(6)
      // The next clip is ready; a few frames after it are on their way.
      expect(pulled).toBeLessThanOrEqual(frames + 4 + 3)
    }
    await features.extract(video(), { backbone: tiny, every: 4, ...small, onProgress })
    expect(clip).toBe(10)
    expect(pulled).toBe(40)
  })

  test('a camera that yields no more frames can be left', async () => {
    const controller = new AbortController()
    let closed = false
    const camera = async function* () {
      try {
        yield* numbered(5)
        await new Promise((resolve) => controller.signal.addEventListener('abort', resolve))
      } finally {
        closed = true
      }
    }
    const run = features.extract(camera(), { backbone: tiny, every: 4, ...small, signal: controller.signal })
    for await (const { clip } of run) {
      expect(clip).toBe(1)
      break
    }
    const reason = new Error('enough')
    controller.abort(reason)
    await expect(run).rejects.toBe(reason)
    await expect.poll(() => closed).toBe(true)
  })

  test('a camera that is silent is closed when the extraction fails', async () => {
    const images = numbered(5)
    let closed = false
    const camera = {
      [Symbol.asyncIterator]: () => ({
        next: async () => {
          const value = images.shift()
          return value === undefined ? await new Promise<never>(() => {}) : { done: false as const, value }
        },
        return: async () => {
          closed = true
          return { done: true as const, value: undefined }
        },
      }),
    }
    const out = join(import.meta.filename, 'below-a-file.npy')
    await refuses('ERR_IO', /could not be written/, () =>
      features.extract(camera, { backbone: tiny, every: 4, ...small, out }),
    )
    expect(closed).toBe(true)
  })

  test('an error of the source, of the network and of onProgress end it', async () => {
    const broken = async function* () {
      yield* numbered(5)
      throw new Error('lens cap')
    }
    await expect(features.extract(broken(), { backbone: tiny, every: 4, ...small })).rejects.toThrow('lens cap')
    const gone = await clipNetwork()
    const run = features.extract(numbered(8), {
      backbone: gone,
      every: 4,
      ...small,
      onProgress: () => gone.dispose(),
    })
    await refuses('ERR_DISPOSED', /disposed/, () => run)
    const onProgress = () => {
      throw new Error('no more')
    }
    await expect(features.extract(numbered(8), { backbone: tiny, every: 4, ...small, onProgress })).rejects.toThrow(
      'no more',
    )
  })
})
