import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import sharp from 'sharp'
import { describe, expect, test } from 'vitest'
import { type Frame, openFrames } from '../../lib/data/frames.ts'
import { prefetch } from '../../lib/data/prefetch.ts'
import type { FrameSource, RawImage } from '../../lib/types.ts'
import { picture, refuses, scratch } from './helpers.ts'

const folder = scratch()
const tiny = (shift: number) => picture(4, 2, shift)
const encoded = async (image: RawImage) =>
  await sharp(image.data, { raw: { width: image.width, height: image.height, channels: 3 } })
    .png()
    .toBuffer()

async function folderOf(name: string, files: string[]): Promise<string> {
  const path = join(folder, name)
  mkdirSync(path)
  for (const [i, file] of files.entries()) writeFileSync(join(path, file), await encoded(tiny(i)))
  return path
}

async function all(source: FrameSource): Promise<Frame[]> {
  const frames: Frame[] = []
  for await (const frame of await openFrames(source)) frames.push(frame)
  return frames
}

describe('files', () => {
  test('of a folder come in natural order, named after the files', async () => {
    const path = await folderOf('natural', ['f10.png', 'f2.png', 'f1.PNG', '.hidden.png', 'notes.txt'])
    const reader = await openFrames(path)
    expect(reader).toMatchObject({ count: 3, name: 'natural' })
    const frames = await all(path)
    expect(frames.map((f) => [f.index, f.name])).toEqual([
      [0, 'f1'],
      [1, 'f2'],
      [2, 'f10'],
    ])
    expect([...frames[1]!.image.data]).toEqual([...tiny(1).data])
  })

  test('of a glob, and one alone', async () => {
    const path = await folderOf('glob', ['a1.png', 'a2.png', 'b1.png'])
    expect((await all(join(path, 'a*.png'))).map((f) => f.name)).toEqual(['a1', 'a2'])
    expect((await all(join(path, '*.{png,jpg}'))).map((f) => f.name)).toEqual(['a1', 'a2', 'b1'])
    expect((await all(join(path, 'b1.png'))).map((f) => f.name)).toEqual(['b1'])
  })

  test('whose path looks like a glob are taken as they are', async () => {
    const path = await folderOf('take [1]', ['x(1).png'])
    expect((await all(path)).map((f) => f.name)).toEqual(['x(1)'])
    expect((await all(join(path, 'x(1).png'))).map((f) => f.name)).toEqual(['x(1)'])
  })

  test('whose names would clash are numbered', async () => {
    const path = await folderOf('clash', ['0.png', '0.webp', '1.png'])
    expect((await all(path)).map((f) => f.name)).toEqual(['00000', '00001', '00002'])
  })

  test('that are not there are ERR_IO, saying what was looked for', async () => {
    const empty = await folderOf('empty', [])
    await refuses('ERR_IO', /empty.* has no images.*jpg/, () => openFrames(empty))
    await refuses('ERR_IO', /no image matches ".*\*\.png"/, () => openFrames(join(empty, '*.png')))
    await refuses('ERR_IO', /no file or folder ".*nothing"/, () => openFrames(join(empty, 'nothing')))
  })

  test('that are damaged fail at their turn, after the good ones', async () => {
    const path = await folderOf('damaged', ['1.png', '2.png', '3.png'])
    writeFileSync(join(path, '3.png'), (await encoded(tiny(9))).subarray(0, 60))
    let good = 0
    await refuses('ERR_IO', /frame 2: ".*3\.png"/, async () => {
      for await (const _ of await openFrames(path)) good++
    })
    expect(good).toBe(2)
  })
})

describe('frames from memory', () => {
  test('come from arrays, generators and async generators, numbered', async () => {
    const images = [tiny(0), await encoded(tiny(1)), join(await folderOf('one', ['z.png']), 'z.png')]
    const sync = function* () {
      yield* images
    }
    const async = async function* () {
      yield* images
    }
    for (const source of [images, sync(), async()]) {
      const frames = await all(source)
      expect(frames.map((f) => f.name)).toEqual(['00000', '00001', '00002'])
      expect([...frames[1]!.image.data]).toEqual([...tiny(1).data])
    }
    expect((await openFrames(images)).count).toBe(3)
    expect((await openFrames(sync())).count).toBeUndefined()
  })

  test('that are no frames are refused', async () => {
    for (const source of [Buffer.from('x'), 5, null, {}, tiny(0)]) {
      await refuses('ERR_INVALID_ARGUMENT', /frames: got/, () => openFrames(source as never))
    }
    await refuses('ERR_INVALID_ARGUMENT', /frame 1/, () => all([tiny(0), 7 as never]))
  })

  test('are pulled at most two ahead of the reader, and the source is closed when it leaves', async () => {
    let pulled = 0
    let closed = false
    const source = async function* () {
      try {
        for (;;) {
          pulled++
          yield tiny(pulled)
        }
      } finally {
        closed = true
      }
    }
    let seen = 0
    for await (const frame of await openFrames(source())) {
      expect(frame.index).toBe(seen++)
      for (let i = 0; i < 5; i++) await turn()
      expect(pulled - seen).toBeLessThanOrEqual(2)
      if (seen === 50) break
    }
    expect(pulled).toBeGreaterThan(50)
    expect(closed).toBe(true)
  })

  test('may differ in size', async () => {
    const frames = await all([tiny(0), picture(3, 5)])
    expect(frames.map((f) => f.image.width)).toEqual([4, 3])
  })

  test('stop with the reason of the signal, even while the source is silent', async () => {
    const controller = new AbortController()
    const silent = async function* (): AsyncGenerator<RawImage> {
      yield tiny(0)
      await new Promise(() => {})
    }
    const reason = new Error('enough')
    const read = async () => {
      for await (const _ of await openFrames(silent(), { signal: controller.signal })) {
        setTimeout(() => controller.abort(reason), 5)
      }
    }
    await expect(read()).rejects.toBe(reason)
    await expect(openFrames([], { signal: controller.signal })).rejects.toBe(reason)
  })

  test('pass on the error of their source, at its turn', async () => {
    const failing = async function* () {
      yield tiny(0)
      throw new Error('camera unplugged')
    }
    const seen: number[] = []
    const read = async () => {
      for await (const frame of await openFrames(failing())) seen.push(frame.index)
    }
    await expect(read()).rejects.toThrow('camera unplugged')
    expect(seen).toEqual([0])
  })
})

describe('prefetch', () => {
  test('decodes ahead while the reader works, in order, never calling next twice at once', async () => {
    let overlapping = 0
    let most = 0
    let next = 0
    const source: AsyncIterator<number> = {
      async next() {
        most = Math.max(most, ++overlapping)
        await turn()
        overlapping--
        return next < 9 ? { done: false, value: next++ } : { done: true, value: undefined }
      },
    }
    const decoded: number[] = []
    const decode = async (item: number) => {
      // Later items are done sooner.
      for (let i = 9; i > item; i--) await turn()
      decoded.push(item)
      return item
    }
    const results: number[] = []
    for await (const result of prefetch(source, decode, { ahead: 2 })) {
      results.push(result)
      if (result === 0) {
        for (let i = 0; i < 40; i++) await turn()
        expect([...decoded].sort()).toEqual([0, 1, 2])
      }
    }
    expect(results).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8])
    expect(most).toBe(1)
  })
})
