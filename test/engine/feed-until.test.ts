import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { checkpointOf, resumeOf, runTraining } from '../../lib/engine/training.ts'
import { build, conv, input, relu } from '../../lib/graph/index.ts'
import type { PixelFormat } from '../../lib/graph/types.ts'
import type { NativeRecord, NativeSample, NativeTraining } from '../../lib/native.ts'
import { Network } from '../../lib/network.ts'
import { readTable } from '../../lib/weights/table.ts'
import { scratch } from '../helpers/expect.ts'
import { disk } from '../helpers/pictures.ts'
import { bytesOf } from '../helpers/tensors.ts'

const folder = scratch()
const pixels: PixelFormat = { order: 'RGB', mean: [127.5, 127.5, 127.5], std: [127.5, 127.5, 127.5] }
const image = input('image', [null, 3, null, null], pixels)
const inner = relu(conv(image, { out: 4, kernel: 3, padding: 1, name: 'a' }))
const graph = build({
  side: conv(inner, { out: 1, kernel: 1, name: 'b' }),
  fuse: conv(inner, { out: 1, kernel: 1, name: 'c' }),
})
let network: Network
beforeAll(async () => {
  network = await Network.create(graph, { device: 'cpu', seed: 3 })
})
afterAll(() => network.dispose())

const groups = [{ pattern: '*', learningRate: 0.01, weightDecay: 0.1 }]
const base: NativeTraining = {
  passes: 11,
  accumulate: 3,
  schedule: { kind: 'cosine', warmup: 3 },
  bfloat16: false,
  seed: 5,
  device: 'cpu',
  optimizer: { kind: 'adamw', momentum: 0.9, nesterov: false, clip: 0.05, groups },
  source: { kind: 'feed', ahead: 2, pixels, augment: { flip: 0.5, rotation: 30, scale: [0.75, 1.25] } },
  objective: {
    kind: 'classBalanced',
    outputs: { side: 1, fuse: 1 },
    reduction: 'mean',
    fading: { outputs: ['side'], every: 2, periods: 5 },
  },
}

async function sampleOf(pass: number): Promise<NativeSample> {
  const { image, mask } = disk(40, 32, pass)
  return { kind: 'stills', images: [{ image, mask }], height: 32, width: 40 }
}

async function train(more: Partial<NativeTraining> = {}) {
  const records: NativeRecord[] = []
  const asked: number[] = []
  const handle = await runTraining(
    network,
    { ...base, ...more },
    (batch) => records.push(...batch),
    new AbortController().signal,
    (pass) => {
      asked.push(pass)
      return sampleOf(pass)
    },
  )
  return { records, asked, network: new Network(graph, handle) }
}

async function stateOf(of: Network): Promise<Map<string, Buffer>> {
  const state = new Map<string, Buffer>()
  for (const { name } of of.parameters()) state.set(name, bytesOf(await of.tensor(name)))
  return state
}

const losses = ({ records }: { records: NativeRecord[] }) => records.map(({ step, loss }) => [step, loss])

describe('a run that stops and goes on', () => {
  test.each([
    ['at an update', 6],
    ['between two updates', 4],
    ['in the warm-up', 1],
    ['before the last pass', 10],
  ])('%s: bit for bit the whole run', async (when, until) => {
    const path = join(folder, `${when}.safetensors`)
    const whole = await train()
    const checkpoint = checkpointOf(network, { path, every: 1000 })
    const first = await train({ until, checkpoint })
    expect(first.asked).toEqual([...Array(until).keys()])
    const { tensors } = await readTable(path)
    expect(tensors.some(({ name }) => name === 'torchvid.random')).toBe(true)
    const opened = await Network.open(path, { device: 'cpu' })
    expect(await stateOf(opened)).toEqual(await stateOf(first.network)) // the network as it was then
    const second = await train({ resume: await resumeOf(path) })
    expect(second.asked[0]).toBe(until)
    expect([...losses(first), ...losses(second)]).toEqual(losses(whole))
    expect(await stateOf(second.network)).toEqual(await stateOf(whole.network))
    expect(await stateOf(first.network)).not.toEqual(await stateOf(whole.network))
    for (const each of [whole, first, second, { network: opened }]) each.network.dispose()
  })

  test('resumed where it should stop, it gives the network of then and asks for nothing', async () => {
    const path = join(folder, 'again.safetensors')
    const first = await train({ until: 5, checkpoint: checkpointOf(network, { path, every: 1000 }) })
    const again = await train({ until: 5, resume: await resumeOf(path) })
    expect(again.asked).toEqual([])
    expect(again.records).toEqual([])
    expect(await stateOf(again.network)).toEqual(await stateOf(first.network))
    first.network.dispose()
    again.network.dispose()
  })

  test('the best state so far travels in the checkpoint', async () => {
    const path = join(folder, 'best.safetensors')
    const checkpoint = { ...checkpointOf(network, { path, every: 1000 }), bestSoFar: network.handle }
    const { network: trained } = await train({ until: 3, checkpoint })
    const { tensors } = await readTable(path)
    const best = tensors.filter(({ name }) => name.startsWith('torchvid.best.'))
    expect(best).toHaveLength(network.parameters().length)
    const copy = await trained.handle.clone()
    await copy.load(
      path,
      best.map((tensor) => ({ name: tensor.name.slice('torchvid.best.'.length), tensor })),
    )
    expect(await stateOf(new Network(graph, copy))).toEqual(await stateOf(network))
    copy.dispose()
    trained.dispose()
  })
})

test('the learning rate rises, then falls along a cosine', async () => {
  const { records, network: trained } = await train()
  const cosine = (pass: number) => (1 + Math.cos((Math.PI * (pass - 3)) / 8)) / 2
  const wanted = [1 / 3, 2 / 3, 1, ...Array.from({ length: 8 }, (_, i) => cosine(3 + i))]
  for (const [i, { learningRate }] of records.entries()) expect(learningRate).toBeCloseTo(0.01 * wanted[i]!, 12)
  trained.dispose()
})

test("a fading output's weight falls by its periods, down to 0; what is reported of it does not", async () => {
  const { records, network: trained } = await train({ passes: 13 })
  for (const [pass, { loss, losses }] of records.entries()) {
    const weight = Math.max(0, 1 - Math.floor(pass / 2) / 5)
    expect(losses.side).toBeGreaterThan(0)
    expect(loss).toBeCloseTo(losses.fuse! + weight * losses.side!, 5)
  }
  trained.dispose()
})

/** How far each parameter moves in one plain step of size 1: its gradient. */
async function movement(optimizer: Partial<NativeTraining['optimizer']>): Promise<Float64Array> {
  const { network: moved } = await train({
    passes: 1,
    accumulate: 1,
    schedule: { kind: 'constant' },
    optimizer: { ...base.optimizer, kind: 'sgd', momentum: 0, clip: undefined, ...optimizer },
  })
  const all: number[] = []
  for (const { name } of network.parameters()) {
    const [after, before] = [await moved.tensor(name), await network.tensor(name)]
    for (let i = 0; i < after.data.length; i++) all.push(Number(after.data[i]) - Number(before.data[i]))
  }
  moved.dispose()
  return Float64Array.from(all)
}

describe('the optimiser', () => {
  const plain = [{ pattern: '*', learningRate: 1, weightDecay: 0 }]

  test('scales the gradients down to the norm given, all by one factor, and leaves smaller ones alone', async () => {
    const free = await movement({ groups: plain })
    const norm = Math.hypot(...free)
    const clipped = await movement({ groups: plain, clip: norm / 4 })
    expect(Math.hypot(...clipped)).toBeCloseTo(norm / 4, 5)
    for (const [i, value] of clipped.entries()) expect(value).toBeCloseTo(free[i]! / 4, 5)
    expect(await movement({ groups: plain, clip: norm * 2 })).toEqual(free)
  })

  test("AdamW's decay is apart from the gradient: a first step is the rate times the sign, and times the decay", async () => {
    const before: number[] = []
    for (const { name } of network.parameters()) before.push(...Array.from((await network.tensor(name)).data, Number))
    const free = await movement({ groups: plain })
    const moved = await movement({ kind: 'adamw', groups })
    for (const [i, value] of moved.entries()) {
      if (Math.abs(free[i]!) < 1e-4) continue
      expect(value).toBeCloseTo(0.01 * Math.sign(free[i]!) - 0.01 * 0.1 * before[i]!, 5)
    }
  })
})
