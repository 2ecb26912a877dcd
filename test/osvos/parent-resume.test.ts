import { createHash } from 'node:crypto'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { OSVOS, weights } from 'torchvid'
import { beforeAll, describe, expect, test } from 'vitest'
import type { ParentOptions, ParentProgress } from '../../lib/osvos/parent.ts'
import { runModule } from '../helpers/child.ts'
import { failureOf, leftovers, refuses, scratch } from '../helpers/expect.ts'
import { bytesOf, stateOf } from '../helpers/tensors.ts'

const folder = scratch()

/** The same pictures here and in a child: a square in another place on each. */
const pictures = `
const pictures = (count, first) => Array.from({ length: count }, (_, n) => {
  const inside = (i) => Math.abs((i % 48) - 14 - 4 * (n + first)) < 7 && Math.abs(Math.floor(i / 48) - 16) < 8
  const image = { data: Uint8Array.from({ length: 48 * 32 * 3 }, (_, i) => (inside(Math.floor(i / 3)) ? 200 - (i % 17) : 60 + (i % 23))), width: 48, height: 32, channels: 3 }
  return { image, mask: { data: Uint8Array.from({ length: 48 * 32 }, (_, i) => (inside(i) ? 255 : 0)), width: 48, height: 32, channels: 1 } }
})
const video = (count, first) => ({ frames: pictures(count, first).map(({ image }) => image), masks: pictures(count, first).map(({ mask }) => mask) })
const data = { sequences: [video(4, 0)] }
const settings = { epochs: 3, accumulate: 3, learningRate: 1e-3, sizes: [24, 32], seed: 9, cache: 20000 }
const measured = { ...settings, validation: { sequences: [{ name: 'held', ...video(3, 1) }], every: 1, frames: 2 } }
const create = () => OSVOS.create({ backbone: 'mobilenet', device: 'cpu', seed: 2 })
`
type Given = {
  data: Parameters<OSVOS['trainParent']>[0]
  settings: ParentOptions
  measured: ParentOptions
  create(): Promise<OSVOS>
}
const given: Given = new Function('OSVOS', `${pictures} return { data, settings, measured, create }`)(OSVOS)

async function digest({ network }: OSVOS): Promise<string> {
  const hash = createHash('sha256')
  for (const [name, tensor] of await stateOf(network)) hash.update(name).update(bytesOf(tensor))
  return hash.digest('hex')
}

/** What a run told and came to. */
async function outcome(options: ParentOptions) {
  const osvos = await given.create()
  const told: unknown[] = []
  for await (const { step, loss, validation } of osvos.trainParent(given.data, options))
    told.push({ step, loss, validation })
  const weights = await digest(osvos)
  osvos.dispose()
  return { told, weights }
}

const runs = ['settings', 'measured'] as const
const whole = {} as Record<(typeof runs)[number], Awaited<ReturnType<typeof outcome>>>
beforeAll(async () => {
  for (const name of runs) whole[name] = await outcome(given[name])
})

describe.each(runs)('a run (%s)', (name) => {
  test.each([
    ['between two updates', 2, 5],
    ['in the last epoch', 3, 10],
  ])('whose process is killed %s goes on to the same bits', async (when, every, stop) => {
    const path = join(folder, `${name} ${when}.safetensors`)
    const ending = await runModule(`${pictures}
      const osvos = await create()
      const checkpoint = { path: ${JSON.stringify(path)}, every: ${every} }
      for await (const { step } of osvos.trainParent(data, { ...${name}, checkpoint })) if (step >= ${stop}) process.kill(process.pid, 'SIGKILL')`)
    expect(ending.signal).toBe('SIGKILL')
    const resumed = await outcome({ ...given[name], resume: path, checkpoint: { path, every } })
    expect(resumed.told.length).toBeGreaterThan(0)
    expect(resumed.told.length).toBeLessThan(whole[name].told.length)
    expect(resumed.told).toEqual(whole[name].told.slice(-resumed.told.length))
    expect(resumed.weights).toBe(whole[name].weights)
  })

  test('that is aborted and resumed without its own checkpoint comes to the same bits', async () => {
    const path = join(folder, `${name} aborted.safetensors`)
    const osvos = await given.create()
    const run = osvos.trainParent(given.data, {
      ...given[name],
      checkpoint: { path, every: 1 },
      onProgress: ({ step }: ParentProgress) => step >= 6 && run.abort('enough'),
    })
    expect(await failureOf(() => run)).toBe('enough')
    osvos.dispose()
    expect((await outcome({ ...given[name], resume: path })).weights).toBe(whole[name].weights)
  })

  test('that was over comes to its end at once', async () => {
    const path = join(folder, `${name} over.safetensors`)
    expect((await outcome({ ...given[name], checkpoint: { path, every: 12 } })).weights).toBe(whole[name].weights)
    expect(await outcome({ ...given[name], resume: path })).toEqual({ told: [], weights: whole[name].weights })
  })
})

test('killed while it is measured, before any further checkpoint: the same bits', async () => {
  const path = join(folder, 'measuring.safetensors')
  // The measurement after the second epoch never ends: its process is killed there, with the checkpoint just written.
  const ending = await runModule(`${pictures}
    const osvos = await create()
    const [held] = measured.validation.sequences
    let reads = 0
    const trap = new Proxy(held.frames[1], { get: (target, key) => { if (key === 'data' && reads++ > 8) process.kill(process.pid, 'SIGKILL'); return target[key] } })
    const validation = { ...measured.validation, sequences: [{ ...held, frames: [held.frames[0], trap, held.frames[2]] }], frames: 3 }
    await osvos.trainParent(data, { ...measured, validation, checkpoint: { path: ${JSON.stringify(path)}, every: 1000 } })`)
  expect(ending.signal).toBe('SIGKILL')
  const [held] = (given.measured.validation as { sequences: object[] }).sequences
  const validation = { ...given.measured.validation, sequences: [held], frames: 3 } as ParentOptions['validation']
  const wanted = await outcome({ ...given.measured, validation })
  const resumed = await outcome({ ...given.measured, validation, resume: path })
  expect(resumed.told).toEqual(wanted.told.slice(-resumed.told.length))
  expect(resumed.weights).toBe(wanted.weights)
})

describe('checkpoints', () => {
  let path: string
  beforeAll(async () => {
    const place = join(folder, 'kept') // a process that is killed may leave part of a file
    mkdirSync(place)
    path = join(place, 'kept.safetensors')
    await outcome({ ...given.measured, checkpoint: { path, every: 3 } })
    expect(leftovers(place)).toEqual([])
  })

  test('are models, and hold the best state so far beside the last one', async () => {
    const osvos = await OSVOS.open(path, { device: 'cpu' })
    const names = (await weights.list(path)).map(({ name }) => name)
    const best = names.filter((name) => name.startsWith('torchvid.best.'))
    expect(best).toHaveLength(osvos.network.parameters().length)
    osvos.dispose()
  })

  test('of another network or run are refused', async () => {
    const vgg = await OSVOS.create({ backbone: 'vgg16', device: 'cpu' })
    const train = (options: ParentOptions) => async () => await vgg.trainParent(given.data, { steps: 2, ...options })
    await refuses('ERR_CHECKPOINT_MISMATCH', /./, train({ resume: path }))
    await refuses('ERR_CHECKPOINT_MISMATCH', /./, train({ resume: path, validation: given.measured.validation }))
    await refuses('ERR_IO', /nowhere/, train({ resume: join(folder, 'nowhere.safetensors') }))
    vgg.dispose()
    const osvos = await given.create()
    const short = async () => await osvos.trainParent(given.data, { ...given.settings, epochs: 1, resume: path })
    await refuses('ERR_CHECKPOINT_MISMATCH', /of a run of 4/, short)
    osvos.dispose()
    expect(existsSync(path)).toBe(true)
  })
})
