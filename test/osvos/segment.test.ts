import sharp from 'sharp'
import { type ImageInput, Network, OSVOS, type SegmentedFrame } from 'torchvid'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { failureOf, refuses } from '../helpers/expect.ts'
import { disk, draw } from '../helpers/pictures.ts'
import { tensor } from '../helpers/tensors.ts'

const { image } = disk()
let model: OSVOS
beforeAll(async () => {
  model = await OSVOS.create({ backbone: 'mobilenet', device: 'cpu', seed: 1 })
  // Its first answers are all about half; these weights make them differ from pixel to pixel.
  for (const { name, shape } of model.network.parameters()) {
    if (name === 'fuse.weight')
      await model.network.handle.write(
        name,
        tensor(shape, (i) => Math.sin(i) * 3),
      )
  }
})
afterAll(() => model.dispose())

async function all(frames: Parameters<OSVOS['segment']>[0], options = {}): Promise<SegmentedFrame[]> {
  const found: SegmentedFrame[] = []
  for await (const frame of model.segment(frames, options)) found.push(frame)
  return found
}

describe('what a frame gives', () => {
  test('the sigmoid of fuse, and where it reaches the threshold', async () => {
    const x = tensor([1, 3, 48, 64], (i) => (image.data[(i % 3072) * 3 + Math.floor(i / 3072)]! - 127.5) / 127.5)
    const { fuse } = await model.network.forward({ image: x }, { outputs: ['fuse'] })
    const wanted = Float32Array.from(fuse!.data as Float32Array, (v) => 1 / (1 + Math.exp(-v)))
    const sorted = [...wanted].sort((a, b) => a - b)
    for (const threshold of [0.5, sorted[1000]!]) {
      const [frame] = await all([image], { threshold })
      expect(frame).toMatchObject({ index: 0, name: '00000', width: 64, height: 48 })
      expect(frame!.probability).toHaveLength(64 * 48)
      for (const [i, p] of frame!.probability.entries()) {
        expect(Math.abs(p - wanted[i]!)).toBeLessThan(1e-4)
        expect(frame!.mask[i]).toBe(p >= Math.fround(threshold) ? 1 : 0)
      }
    }
  })

  test('thresholds of 0 and 1', async () => {
    expect(new Set((await all([image], { threshold: 0 }))[0]!.mask)).toEqual(new Set([1]))
    expect(new Set((await all([image], { threshold: 1 }))[0]!.mask)).toEqual(new Set([0]))
  })

  test('the same frame, the same answer, whether raw, encoded or grey of three channels', async () => {
    const png = await sharp(Buffer.from(image.data), { raw: { width: 64, height: 48, channels: 3 } })
      .png()
      .toBuffer()
    const rgba = draw(64, 48, (x, y) => [...image.data.subarray((y * 64 + x) * 3, (y * 64 + x) * 3 + 3), 255])
    const [raw, encoded, withAlpha, again] = await all([image, png, rgba, image])
    for (const frame of [encoded, withAlpha, again]) expect(frame!.probability).toEqual(raw!.probability)
  })

  test('frames of different sizes, each at its own; with maxSize too', async () => {
    const sizes = [
      [64, 48],
      [33, 51],
      [80, 16],
      [64, 48],
    ] as const
    const frames = sizes.map(([width, height]) => disk(width, height).image)
    for (const options of [{}, { maxSize: 32 }]) {
      const found = await all(frames, options)
      expect(found.map(({ width, height }) => [width, height])).toEqual(sizes)
      for (const { width, height, mask, probability } of found) {
        expect(mask).toHaveLength(width * height)
        expect(probability).toHaveLength(width * height)
        expect(probability.every((p) => p >= 0 && p <= 1)).toBe(true)
      }
      expect(found[3]!.probability).toEqual(found[0]!.probability)
    }
  })

  test('no frames, no results', async () => {
    expect(await all([])).toEqual([])
  })
})

/** A source that counts: how many frames it was asked for, and whether it was closed. */
function counted(total: number, frame: (index: number) => ImageInput = () => image) {
  const state = { asked: 0, closed: false }
  async function* frames() {
    try {
      for (let i = 0; i < total; i++) {
        state.asked++
        yield frame(i)
      }
    } finally {
      state.closed = true
    }
  }
  return { state, frames: frames() }
}

describe('streaming', () => {
  test('300 frames: in order, only a few ahead of the reader, and memory does not grow', async () => {
    const { state, frames } = counted(300, (i) => disk(64, 48, i % 8).image)
    const seen: number[] = []
    let ahead = 0
    let early = 0
    for await (const { index } of model.segment(frames)) {
      seen.push(index)
      ahead = Math.max(ahead, state.asked - index)
      if (index === 99) early = process.memoryUsage().rss
    }
    expect(seen).toEqual(Array.from({ length: 300 }, (_, i) => i))
    expect(ahead).toBeLessThanOrEqual(6)
    // 200 frames with their results are 6 MB; that all their activations were kept would be gigabytes.
    expect(process.memoryUsage().rss - early).toBeLessThan(100e6)
  })

  test('leaving the loop closes the source and asks for no more', async () => {
    const { state, frames } = counted(1000)
    for await (const { index } of model.segment(frames)) if (index === 2) break
    const { asked } = state
    expect(state.closed).toBe(true)
    expect(asked).toBeLessThanOrEqual(9)
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(state.asked).toBe(asked)
  })

  test('a frame that is no image ends the loop in its turn; those before it are given', async () => {
    const { state, frames } = counted(10, (i) => (i === 4 ? Buffer.from('no image at all') : image))
    const seen: number[] = []
    await refuses('ERR_INVALID_ARGUMENT', /frame 4/, async () => {
      for await (const { index } of model.segment(frames)) seen.push(index)
    })
    expect(seen).toEqual([0, 1, 2, 3])
    expect(state.closed).toBe(true)
  })

  test('what the source throws ends the loop', async () => {
    async function* broken() {
      yield image
      throw new Error('the camera fell down')
    }
    expect(await failureOf(() => all(broken()))).toMatchObject({ message: 'the camera fell down' })
  })

  test('aborted before, and in the middle', async () => {
    expect(await failureOf(() => all([image], { signal: AbortSignal.abort('early') }))).toBe('early')
    const { state, frames } = counted(1000)
    const controller = new AbortController()
    const seen: number[] = []
    const reason = await failureOf(async () => {
      for await (const { index } of model.segment(frames, { signal: controller.signal })) {
        seen.push(index)
        if (index === 3) controller.abort('midway')
      }
    })
    expect(reason).toBe('midway')
    expect(seen).toEqual([0, 1, 2, 3])
    expect(state.closed).toBe(true)
  })

  test('several segmentations at once do not mix', async () => {
    const other = disk(64, 48, 9).image
    const [a, b] = await Promise.all([all(Array(6).fill(image)), all(Array(6).fill(other))])
    const [one] = await all([image])
    const [two] = await all([other])
    for (const { probability } of a) expect(probability).toEqual(one!.probability)
    for (const { probability } of b) expect(probability).toEqual(two!.probability)
  })
})

describe('wrong settings and sources', () => {
  test.each([
    ['threshold', -0.1],
    ['threshold', 1.1],
    ['threshold', Number.NaN],
    ['maxSize', 3],
    ['maxSize', 20.5],
  ])('%s: %d', async (option, value) => {
    await refuses('ERR_INVALID_ARGUMENT', new RegExp(option), () => all([image], { [option]: value }))
  })

  test.each([undefined, null, 5, {}, Buffer.from('x')])('no source: %j', async (source) => {
    await refuses('ERR_INVALID_ARGUMENT', /frames/, () => all(source as any))
  })

  test('a path where nothing is', async () => {
    await refuses('ERR_IO', /nowhere/, () => all('/nowhere/at/all.mp4'))
  })
})

describe('disposing', () => {
  const create = () => OSVOS.create({ backbone: 'mobilenet', device: 'cpu' })

  test('during fit: the run ends with a result or ERR_DISPOSED', async () => {
    const { mask } = disk()
    const parent = await create()
    const run = parent.fit(image, mask, { iterations: 30 })
    for await (const { step } of run) {
      if (step === 2) parent.dispose()
    }
    // A fit works on its own copy, so it may go on to its end.
    const fitted = await run
    expect(fitted.network.parameters().length).toBeGreaterThan(0)
    await refuses('ERR_DISPOSED', /disposed/, () => parent.fit(image, mask, { iterations: 1 }).result)
    fitted.dispose()
  })

  test('right after fit was called: refused or fitted, never a crash', async () => {
    const parent = await create()
    const run = parent.fit(image, disk().mask, { iterations: 2 })
    parent.dispose()
    const end = await run.then(
      (fitted) => fitted,
      (error) => error.code,
    )
    if (end instanceof OSVOS) end.dispose()
    else expect(end).toBe('ERR_DISPOSED')
  })

  test('during segment: ERR_DISPOSED, and the source is closed', async () => {
    const { state, frames } = counted(100)
    const parent = await create()
    await refuses('ERR_DISPOSED', /disposed/, async () => {
      for await (const { index } of parent.segment(frames)) if (index === 2) parent.dispose()
    })
    expect(state.closed).toBe(true)
  })

  test('afterwards everything is refused; disposing again does nothing', async () => {
    const parent = await create()
    parent[Symbol.dispose]()
    parent.dispose()
    await refuses('ERR_DISPOSED', /disposed/, () => parent.fit(image, disk().mask).result)
    await refuses('ERR_DISPOSED', /disposed/, () => parent.network.save('never'))
    await refuses('ERR_DISPOSED', /disposed/, async () => {
      for await (const _ of parent.segment([image])) expect.unreachable()
    })
  })

  test('many networks made and dropped: their memory is given back', async () => {
    const graph = model.network.graph // 13 MB each
    const cycle = async (count: number) => {
      for (let i = 0; i < count; i++) (await Network.create(graph, { device: 'cpu' })).dispose()
    }
    await cycle(3)
    const before = process.memoryUsage().rss
    await cycle(25)
    expect(process.memoryUsage().rss - before).toBeLessThan(150e6)
  })
})
