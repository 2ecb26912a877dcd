import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { decode } from 'fast-png'
import sharp from 'sharp'
import { type Box, metrics, OSVOS, type RawImage } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { davisPalette, encodeGrey, encodeIndexed } from '../../lib/data/png.ts'
import { native } from '../../lib/native.ts'
import { refuses, scratch, shared, sharedNote } from '../helpers/expect.ts'
import { draw } from '../helpers/pictures.ts'
import { randomFrom } from '../helpers/tensors.ts'

const WIDTH = 160
const HEIGHT = 120
const folder = scratch()
const loud = { onWarning: (message: string) => expect.unreachable(message) }

const inDisk = (x: number, y: number) => Math.hypot(x - 50, y - 60) < 28
const inBar = (x: number, y: number) => Math.abs(x - 120) < 14 && Math.abs(y - 55) < 40

/** A red disk and a yellow bar on grained green. */
const picture = (() => {
  const random = randomFrom(3)
  return draw(WIDTH, HEIGHT, (x, y) => {
    const grain = random() * 40
    if (inDisk(x, y)) return [200 + grain, 30 + grain, 40 + grain]
    return inBar(x, y) ? [210 + grain, 190 + grain, 20 + grain] : [20 + grain, 110 + grain, 60 + grain]
  })
})()
const disk = draw(WIDTH, HEIGHT, (x, y) => [inDisk(x, y) ? 1 : 0])
const bar = draw(WIDTH, HEIGHT, (x, y) => [inBar(x, y) ? 1 : 0])
const diskBox: Box = { x: 18, y: 29, width: 64, height: 63 }
const barBox: Box = { x: 103, y: 12, width: 34, height: 86 }

/** J of one of a mask's ids. */
async function overlap(mask: RawImage, id: number, truth: RawImage): Promise<number> {
  return await metrics.jaccard({ ...mask, data: mask.data.map((value) => +(value === id)) }, truth)
}

/** A stroke of `value` where `on`; 0 elsewhere. */
const strokes = (...marks: [value: number, on: (x: number, y: number) => boolean][]): RawImage =>
  draw(WIDTH, HEIGHT, (x, y) => [marks.find(([, on]) => on(x, y))?.[0] ?? 0])

const onDisk = (x: number, y: number) => Math.abs(x - 50) < 15 && Math.abs(y - 60) < 2
const onBar = (x: number, y: number) => Math.abs(x - 120) < 2 && Math.abs(y - 55) < 25
const ring = (x: number, y: number) => Math.abs(Math.hypot(x - 50, y - 60) - 36) < 1.5

describe('the minimum cut', () => {
  /** What it costs to leave the nodes of `with` with the source. */
  function costOf(terminals: number[][], edges: number[][], inSource: (node: number) => boolean): number {
    let cost = 0
    for (const [node, fromSource, toSink] of terminals) cost += (inSource(node!) ? toSink : fromSource) as number
    for (const [a, b, forward, backward] of edges) {
      if (inSource(a!) && !inSource(b!)) cost += forward as number
      if (inSource(b!) && !inSource(a!)) cost += backward as number
    }
    return cost
  }

  function randomGraph(nodes: number, count: number, random: () => number) {
    const whole = (below: number) => Math.floor(random() * below)
    const capacity = () => (random() < 0.6 ? whole(10) : 0)
    const terminals = Array.from({ length: nodes }, (_, node) => [node, capacity(), capacity()])
    const pairs = Array.from({ length: count }, () => [whole(nodes), whole(nodes), capacity(), capacity()])
    return { nodes, terminals, edges: pairs.filter(([a, b]) => a !== b) }
  }

  test('is the cheapest of all cuts of small random graphs', () => {
    const random = randomFrom(11)
    for (let round = 0; round < 400; round++) {
      const graph = randomGraph(1 + Math.floor(random() * 8), Math.floor(random() * 20), random)
      const { flow, withSource } = native().minimumCut(graph)
      const { terminals, edges } = graph
      let cheapest = Number.POSITIVE_INFINITY
      for (let cut = 0; cut < 1 << graph.nodes; cut++) {
        cheapest = Math.min(
          cheapest,
          costOf(terminals, edges, (node) => ((cut >> node) & 1) === 1),
        )
      }
      expect(flow).toBe(cheapest)
      expect(costOf(terminals, edges, (node) => withSource[node] === 1)).toBe(cheapest)
    }
  })

  test.each([1, 2, 3, 4, 5, 6, 7, 8])(
    'costs what flows, in a large graph (%i): no cut is cheaper than any flow',
    (seed) => {
      const graph = randomGraph(3000, 12000, randomFrom(seed))
      const { flow, withSource } = native().minimumCut(graph)
      expect(costOf(graph.terminals, graph.edges, (node) => withSource[node] === 1)).toBe(flow)
      expect(flow).toBeGreaterThan(0)
    },
  )

  test('refuses graphs that are none', () => {
    expect(() => native().minimumCut({ nodes: 0, terminals: [], edges: [] })).toThrow(/nodes/)
    expect(() => native().minimumCut({ nodes: 2, terminals: [[2, 1, 1]], edges: [] })).toThrow(/node/)
    expect(() => native().minimumCut({ nodes: 2, terminals: [], edges: [[0, 1, -1, 0]] })).toThrow(/capacity/)
  })
})

describe('a box', () => {
  test('gives the object in it, and nothing outside it', async () => {
    const mask = await OSVOS.maskFrom(picture, { box: diskBox }, loud)
    expect(mask).toMatchObject({ width: WIDTH, height: HEIGHT, channels: 1 })
    expect(await overlap(mask, 1, disk)).toBeGreaterThan(0.97)
    const { x, y, width, height } = diskBox
    const outside = mask.data.some((id, i) => {
      const [column, row] = [i % WIDTH, Math.floor(i / WIDTH)]
      return id !== 0 && (column < x || column >= x + width || row < y || row >= y + height)
    })
    expect(outside).toBe(false)
  })

  test('is as exact in a large picture, where the object is looked for in a small one', async () => {
    const times = 6
    const large = draw(WIDTH * times, HEIGHT * times, (x, y) => {
      const at = 3 * (Math.floor(y / times) * WIDTH + Math.floor(x / times))
      return [...picture.data.subarray(at, at + 3)]
    })
    const truth = draw(WIDTH * times, HEIGHT * times, (x, y) => [
      inDisk(Math.floor(x / times), Math.floor(y / times)) ? 1 : 0,
    ])
    const box = { x: diskBox.x * times, y: diskBox.y * times, width: 64 * times, height: 63 * times }
    expect(await overlap(await OSVOS.maskFrom(large, { box }, loud), 1, truth)).toBeGreaterThan(0.98)
  })

  test('may be tight round an object that fills it', async () => {
    const box = { x: 107, y: 16, width: 27, height: 79 }
    expect(await overlap(await OSVOS.maskFrom(picture, { box }, loud), 1, bar)).toBeGreaterThan(0.95)
  })

  test('may stick out of the picture, and lie between pixels', async () => {
    const edge = draw(WIDTH, HEIGHT, (x, y) => (Math.hypot(x, y - 50) < 30 ? [220, 30, 30] : [20, 120, 60]))
    const truth = draw(WIDTH, HEIGHT, (x, y) => [Math.hypot(x, y - 50) < 30 ? 1 : 0])
    const box = { x: -20.5, y: 18.2, width: 53.1, height: 64.7 }
    expect(await overlap(await OSVOS.maskFrom(edge, { box }, loud), 1, truth)).toBeGreaterThan(0.97)
  })

  test('of the whole picture works too', async () => {
    const box = { x: 0, y: 0, width: WIDTH, height: HEIGHT }
    const alone = draw(WIDTH, HEIGHT, (x, y) =>
      Math.hypot(x - 80, y - 60) < 40 ? [220, 30 + (x % 9), 30] : [20, 120 + (y % 9), 60],
    )
    const truth = draw(WIDTH, HEIGHT, (x, y) => [Math.hypot(x - 80, y - 60) < 40 ? 1 : 0])
    expect(await overlap(await OSVOS.maskFrom(alone, { box }, loud), 1, truth)).toBeGreaterThan(0.97)
  })

  test('each is an object of its own, with ids in order', async () => {
    const mask = await OSVOS.maskFrom(picture, { box: [barBox, diskBox] }, loud)
    expect(await overlap(mask, 1, bar)).toBeGreaterThan(0.95)
    expect(await overlap(mask, 2, disk)).toBeGreaterThan(0.95)
  })

  test('overlaps with another: pixels go to the object they look like', async () => {
    const touching = draw(WIDTH, HEIGHT, (x, y) => {
      const grain = (x * 7 + y * 13) % 24
      if (x >= 40 && x < 80 && y >= 40 && y < 90) return [200 + grain, 30, 40]
      return x >= 80 && x < 120 && y >= 40 && y < 90 ? [30, 40, 200 + grain] : [120 + grain, 130, 120]
    })
    const boxes = [
      { x: 36, y: 36, width: 60, height: 58 },
      { x: 64, y: 36, width: 60, height: 58 },
    ]
    const mask = await OSVOS.maskFrom(touching, { box: boxes }, loud)
    const half = (from: number) =>
      draw(WIDTH, HEIGHT, (x, y) => [x >= from && x < from + 40 && y >= 40 && y < 90 ? 1 : 0])
    expect(await overlap(mask, 1, half(40))).toBeGreaterThan(0.9)
    expect(await overlap(mask, 2, half(80))).toBeGreaterThan(0.9)
  })

  test.each<[string, Box]>([
    ['somewhere', { x: 30, y: 20, width: 40, height: 30 }],
    ['a single pixel', { x: 30, y: 20, width: 1, height: 1 }],
    ['everywhere', { x: 0, y: 0, width: WIDTH, height: HEIGHT }],
  ])('on nothing (%s) is its ellipse, with a warning', async (_, box) => {
    const plain = draw(WIDTH, HEIGHT, () => [90, 90, 90])
    const warnings: string[] = []
    const mask = await OSVOS.maskFrom(plain, { box }, { onWarning: (message) => warnings.push(message) })
    expect(warnings).toEqual([expect.stringMatching(/^Object 1 could not be told .* ellipse/)])
    const inside = (x: number, y: number) =>
      ((x + 0.5 - box.x - box.width / 2) / (box.width / 2)) ** 2 +
        ((y + 0.5 - box.y - box.height / 2) / (box.height / 2)) ** 2 <=
      1
    expect([...mask.data]).toEqual([...draw(WIDTH, HEIGHT, (x, y) => [inside(x, y) ? 1 : 0]).data])
  })

  test.each<[string, unknown, RegExp]>([
    ['beside the picture', { x: 160, y: 0, width: 9, height: 9 }, /^box: got .* wanted a box in the picture/],
    ['of no width', { x: 1, y: 1, width: 0, height: 9 }, /^box\.width: got 0, wanted more than 0/],
    ['of less than no height', { x: 1, y: 1, width: 3, height: -9 }, /^box\.height: got -9/],
    ['at NaN', { x: Number.NaN, y: 1, width: 3, height: 9 }, /^box\.x: got NaN/],
    ['without end', { x: 1, y: 1, width: Number.POSITIVE_INFINITY, height: 9 }, /^box\.width: got Infinity/],
    ['of text', { x: '1', y: 1, width: 3, height: 9 }, /^box\.x: got "1"/],
    ['that is none', null, /^box: got null/],
    ['in an empty list', [], /^box: got \[\], wanted 1 to 254/],
    ['second of two', [diskBox, { x: 1, y: 1, width: 3 }], /^box\[1\]\.height: got undefined/],
  ])('%s is refused', async (_, box, message) => {
    await refuses('ERR_INVALID_ARGUMENT', message, () => OSVOS.maskFrom(picture, { box: box as Box }))
  })

  test('the same seed gives the same mask', async () => {
    const random = randomFrom(9)
    const grained = draw(WIDTH, HEIGHT, (x, y) => {
      const grain = random() * 120
      return inDisk(x, y) ? [90 + grain, 60 + grain, 60 + grain] : [60 + grain, 80 + grain, 60 + grain]
    })
    const cut = async (seed: number) => (await OSVOS.maskFrom(grained, { box: diskBox }, { seed, onWarning() {} })).data
    const first = await cut(4)
    expect(await cut(4)).toEqual(first)
  })
})

describe('a scribble', () => {
  test('on the object and round it gives the object', async () => {
    const mask = await OSVOS.maskFrom(picture, { scribble: strokes([1, onDisk], [255, ring]) }, loud)
    expect(await overlap(mask, 1, disk)).toBeGreaterThan(0.97)
    expect(mask.data.some((id, i) => id !== 0 && ring(i % WIDTH, Math.floor(i / WIDTH)))).toBe(false)
  })

  test('on the object alone does as well where it stands out', async () => {
    const mask = await OSVOS.maskFrom(picture, { scribble: strokes([7, onDisk]) }, loud)
    expect(new Set(mask.data)).toEqual(new Set([0, 7]))
    expect(await overlap(mask, 7, disk)).toBeGreaterThan(0.95)
  })

  test('marks several objects by their ids', async () => {
    const corner = (x: number, y: number) => x > 10 && x < 90 && y > 4 && y < 7
    const mask = await OSVOS.maskFrom(picture, { scribble: strokes([3, onDisk], [200, onBar], [255, corner]) }, loud)
    expect(await overlap(mask, 3, disk)).toBeGreaterThan(0.95)
    expect(await overlap(mask, 200, bar)).toBeGreaterThan(0.95)
  })

  test('is read alike from a palette, from grey, from transparent strokes and from colours', async () => {
    const drawn = strokes([1, onDisk], [2, onBar], [255, ring])
    const palette = davisPalette()
    const coloured = (i: number) =>
      drawn.data[i] === 255 ? [255, 255, 255] : [...palette.subarray(drawn.data[i]! * 3, drawn.data[i]! * 3 + 3)]
    const colours = draw(WIDTH, HEIGHT, (x, y) => coloured(y * WIDTH + x))
    // What is transparent has any colour.
    const clear = draw(WIDTH, HEIGHT, (x, y) => {
      const i = y * WIDTH + x
      return drawn.data[i] === 0 ? [255, 255, 255, 0] : [...coloured(i), 255]
    })
    const file = join(folder, 'scribble.png')
    writeFileSync(file, await encodeIndexed(drawn.data, WIDTH, HEIGHT, palette))
    const raw = { width: WIDTH, height: HEIGHT, channels: 4 as const }
    const inputs = [
      file,
      await encodeGrey(drawn.data, WIDTH, HEIGHT),
      colours,
      clear,
      await sharp(clear.data, { raw }).png().toBuffer(),
    ]
    const { data } = await OSVOS.maskFrom(picture, { scribble: drawn }, loud)
    for (const scribble of inputs) expect((await OSVOS.maskFrom(picture, { scribble }, loud)).data).toEqual(data)
  })

  test.each<[string, RawImage, RegExp]>([
    ['without a mark', strokes(), /^scribble: got one without a mark/],
    ['with background alone', strokes([255, ring]), /only mark is 255 .* wanted a mark on the object/],
    ['with soft edges', draw(WIDTH, HEIGHT, (x) => [x]), /^scribble: got an image of 160 values, wanted .* hard-edged/],
    ['that is a photograph', picture, /^scribble: got a colour image of more than 32 colours/],
  ])('%s is refused', async (_, scribble, message) => {
    await refuses('ERR_INVALID_ARGUMENT', message, () => OSVOS.maskFrom(picture, { scribble }))
  })

  test('of another size, of 16 bits, missing or beside a box is refused', async () => {
    const small = draw(80, 60, () => [1])
    await refuses('ERR_SHAPE', /80 x 60 .* 160 x 120/, () => OSVOS.maskFrom(picture, { scribble: small }))
    const encoded = await encodeGrey(small.data, 80, 60)
    await refuses('ERR_SHAPE', /80 x 60 .* 160 x 120/, () => OSVOS.maskFrom(picture, { scribble: encoded }))
    const deep = await sharp(disk.data, { raw: { width: WIDTH, height: HEIGHT, channels: 1 } })
      .toColourspace('grey16')
      .png()
      .toBuffer()
    await refuses('ERR_INVALID_ARGUMENT', /16 bits/, () => OSVOS.maskFrom(picture, { scribble: deep }))
    const missing = join(folder, 'none.png')
    await refuses('ERR_IO', /^scribble: there is no file/, () => OSVOS.maskFrom(picture, { scribble: missing }))
    const both = { box: diskBox, scribble: disk }
    await refuses('ERR_INVALID_ARGUMENT', /either boxes or a scribble/, () => OSVOS.maskFrom(picture, both))
    const none = {} as { box: Box }
    await refuses('ERR_INVALID_ARGUMENT', /^prompt: got .* wanted \{ box \} or/, () => OSVOS.maskFrom(picture, none))
  })
})

describe('fit', () => {
  const settings = { iterations: 3, augment: false as const, ...loud }

  /** The losses of a fit and the ids it learned. */
  async function trace(mask: Parameters<OSVOS['fit']>[1]) {
    const parent = await OSVOS.create({ device: 'cpu', seed: 1 })
    const run = parent.fit(picture, mask, settings)
    const losses: number[] = []
    for await (const { loss } of run) losses.push(loss)
    const fitted = await run
    const ids = fitted.heads.map((head) => head.id)
    const frames = []
    for await (const frame of fitted.segment([picture], { threshold: 0 })) frames.push(frame)
    for (const model of [parent, fitted]) model.dispose()
    return { losses, ids, found: new Set(frames[0]?.mask) }
  }

  test('takes boxes and scribbles as it takes the masks they stand for', async () => {
    const scribble = strokes([3, onDisk], [200, onBar])
    const boxes = await trace({ box: [diskBox, barBox] })
    expect(boxes.ids).toEqual([1, 2])
    expect([...boxes.found].every((id) => id === 1 || id === 2)).toBe(true)
    expect(boxes.losses).toEqual((await trace(await OSVOS.maskFrom(picture, { box: [diskBox, barBox] }))).losses)
    const scribbled = await trace({ scribble })
    expect(scribbled.ids).toEqual([3, 200])
    expect(scribbled.losses).toHaveLength(6)
  })

  test('takes a palette mask of several objects, each with its id', async () => {
    const ids = draw(WIDTH, HEIGHT, (x, y) => [inDisk(x, y) ? 4 : inBar(x, y) ? 90 : 0])
    const mask = await encodeIndexed(ids.data, WIDTH, HEIGHT, davisPalette())
    const { ids: learned, losses, found } = await trace(mask)
    expect(learned).toEqual([4, 90])
    expect(losses).toHaveLength(6)
    expect([...found].every((id) => id === 4 || id === 90)).toBe(true)
  })

  test('refuses a bad box', async () => {
    const parent = await OSVOS.create({ device: 'cpu', seed: 1 })
    const box = { x: 900, y: 0, width: 9, height: 9 }
    await refuses('ERR_INVALID_ARGUMENT', /in the picture/, () => parent.fit(picture, { box }))
    parent.dispose()
  })
})

const davis = shared === undefined ? '' : join(shared, 'data/davis-2016')
test.skipIf(!existsSync(davis))(`a box round the object of a real frame${sharedNote}`, async () => {
  const truth = decode(readFileSync(join(davis, 'Annotations/480p/soccerball/00000.png')))
  const { width, height, channels } = truth
  const data = Uint8Array.from({ length: width * height }, (_, i) => +(truth.data[i * channels]! > 0))
  const rows = [...data.keys()].filter((i) => data[i] === 1)
  const columns = rows.map((i) => i % width)
  const [x, y] = [Math.min(...columns) - 2, Math.floor(rows[0]! / width) - 2]
  const box = { x, y, width: Math.max(...columns) + 3 - x, height: Math.floor(rows.at(-1)! / width) + 3 - y }
  const mask = await OSVOS.maskFrom(join(davis, 'JPEGImages/480p/soccerball/00000.jpg'), { box }, loud)
  expect(await metrics.jaccard(mask, { data, width, height })).toBeGreaterThan(0.88)
})
