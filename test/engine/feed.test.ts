import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type MakeSample, runTraining } from '../../lib/engine/training.ts'
import { build, conv, input } from '../../lib/graph/index.ts'
import type { PixelFormat } from '../../lib/graph/types.ts'
import { abortedCode, type NativeSample, type NativeTraining, native } from '../../lib/native.ts'
import { Network } from '../../lib/network.ts'
import { failureOf } from '../helpers/expect.ts'
import { disk } from '../helpers/pictures.ts'
import { bytesOf } from '../helpers/tensors.ts'

const pixels: PixelFormat = { order: 'RGB', mean: [127.5, 127.5, 127.5], std: [127.5, 127.5, 127.5] }
const graph = build({ fuse: conv(input('image', [null, 3, null, null], pixels), { out: 1, kernel: 3, padding: 1 }) })
let network: Network
beforeAll(async () => {
  network = await Network.create(graph, { device: 'cpu', seed: 3 })
})
afterAll(() => network.dispose())

const augment = { flip: 0.5, rotation: 30, scale: [0.75, 1.25] as [number, number] }
const settings = (more: Partial<NativeTraining> = {}): NativeTraining => ({
  passes: 8,
  accumulate: 2,
  schedule: { kind: 'constant' },
  bfloat16: false,
  seed: 5,
  device: 'cpu',
  optimizer: {
    kind: 'adam',
    momentum: 0.9,
    nesterov: false,
    groups: [{ pattern: '*', learningRate: 0.01, weightDecay: 0 }],
  },
  source: { kind: 'feed', ahead: 2, pixels, augment },
  objective: { kind: 'classBalanced', outputs: { fuse: 1 }, reduction: 'mean' },
  ...more,
})

/** A batch of one or two pictures, different for every pass. */
function sampleOf(pass: number): NativeSample {
  const stills = [disk(40, 32, pass), disk(40, 32, -pass - 1)].slice(pass % 2)
  const images = stills.map(({ image, mask }) => ({ image, mask }))
  return { kind: 'stills', images, height: 24 + 4 * (pass % 3), width: 30 }
}

/** Names of the tensors that differ, bit by bit. */
async function differing(a: Network, b: Network): Promise<string[]> {
  const names = a.parameters().map(({ name }) => name)
  const same = async (name: string) => bytesOf(await a.tensor(name)).equals(bytesOf(await b.tensor(name)))
  const equal = await Promise.all(names.map(same))
  return names.filter((_, i) => !equal[i])
}

const wait = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))

/** What a network came to when its samples were made so, and the losses on the way. */
async function trained(makeSample: MakeSample, more: Partial<NativeTraining> = {}) {
  const losses: number[] = []
  const never = new AbortController().signal
  const handle = await runTraining(
    network,
    settings(more),
    (records) => losses.push(...records.map(({ loss }) => loss)),
    never,
    makeSample,
  )
  return { losses, network: new Network(graph, handle) }
}

describe('a training that JavaScript feeds', () => {
  test('asks for every pass once, in order, and no more than `ahead` before it runs', async () => {
    const asked: number[] = []
    const job = native().train(
      network.handle,
      settings(),
      () => {},
      (pass) => asked.push(pass),
    )
    await wait(80)
    expect(asked).toEqual([0, 1, 2])
    for (const pass of [2, 1]) job.supply(pass, sampleOf(pass))
    await wait(40)
    expect(asked).toEqual([0, 1, 2])
    job.supply(0, sampleOf(0))
    for (let pass = 3; pass < 8; pass++) {
      while (!asked.includes(pass)) await wait(1)
      job.supply(pass, sampleOf(pass))
    }
    ;(await job.promise).dispose()
    expect(asked).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  })

  test('comes to the same bits however long each sample takes', async () => {
    const [atOnce, late] = await Promise.all([
      trained(async (pass) => sampleOf(pass)),
      trained(async (pass) => {
        await wait([30, 0, 12, 1, 25][pass % 5]!)
        return sampleOf(pass)
      }),
    ])
    const sparse = await trained(async (pass) => sampleOf(pass), { source: { ...feed, ahead: 0 } })
    expect(atOnce.losses).toHaveLength(8)
    expect(new Set(atOnce.losses).size).toBe(8)
    for (const other of [late, sparse]) {
      expect(other.losses).toEqual(atOnce.losses)
      expect(await differing(other.network, atOnce.network)).toEqual([])
      other.network.dispose()
    }
    atOnce.network.dispose()
  })

  test('with one picture over and over is the training on that picture', async () => {
    const { image, mask } = disk(40, 32)
    const still: NativeSample = { kind: 'stills', images: [{ image, mask }], height: 32, width: 40 }
    const fed = await trained(async () => still)
    const once = await trained(async () => still, {
      source: { kind: 'oneShot', image, mask, pixels, maxSize: 0, augment },
    })
    expect(fed.losses).toEqual(once.losses)
    expect(await differing(fed.network, once.network)).toEqual([])
    fed.network.dispose()
    once.network.dispose()
  })

  test('lets other work through while it waits for a sample', async () => {
    const job = native().train(
      network.handle,
      settings(),
      () => {},
      () => {},
    )
    const { fuse } = await network.forward({ image: { data: new Float32Array(3 * 64), shape: [1, 3, 8, 8] } })
    expect(fuse?.shape).toEqual([1, 1, 8, 8])
    job.abort()
    await expect(job.promise).rejects.toMatchObject({ code: abortedCode })
  })
})

const feed = { kind: 'feed' as const, ahead: 2, pixels, augment }

describe('a feed that goes wrong', () => {
  test.each([
    ['an error', new Error('no such frame')],
    ['a text', 'no such frame'],
    ['nothing at all', undefined],
  ])('rejects with what was thrown: %s', async (_, thrown) => {
    const failing = async (pass: number) => {
      if (pass === 4) throw thrown
      return sampleOf(pass)
    }
    expect(await failureOf(() => trained(failing))).toBe(thrown)
  })

  test('rejects with what onWanted throws', async () => {
    const thrown = new Error('on purpose')
    const job = native().train(
      network.handle,
      settings(),
      () => {},
      () => {
        throw thrown
      },
    )
    expect(await failureOf(() => job.promise)).toBe(thrown)
    job.fail('later')
    job.supply(0, sampleOf(0))
  })

  test.each([
    ['no object', 7, /sample/],
    ['another kind', { ...sampleOf(0), kind: 'films' }, /sample\.kind: wanted 'stills'/],
    ['no picture', { ...sampleOf(0), images: [] }, /sample\.images: wanted at least one/],
    ['a mask too small', withMask({ data: new Uint8Array(3), width: 40, height: 32 }), /images\[0\]\.mask/],
    ['no height', { ...sampleOf(0), height: 0 }, /sample\.height/],
  ])('names what is wrong with a sample: %s', async (_, sample, message) => {
    const code = expect.stringMatching(/ERR_INVALID_ARGUMENT|ERR_SHAPE/)
    const failure = await failureOf(() => trained(async () => sample as NativeSample))
    expect(failure).toMatchObject({ code, message: expect.stringMatching(message) })
  })

  test('refuses a sample that was not asked for, or is there already', async () => {
    const asked: number[] = []
    const job = native().train(
      network.handle,
      settings(),
      () => {},
      (pass) => asked.push(pass),
    )
    while (asked.length < 3) await wait(1)
    await refuses(/pass 3 was not asked for/, () => job.supply(3, sampleOf(3)))
    await refuses(/pass -1/, () => job.supply(-1, sampleOf(0)))
    job.supply(1, sampleOf(1))
    await refuses(/pass 1 has its sample already/, () => job.supply(1, sampleOf(1)))
    job.supply(0, sampleOf(0))
    while (!asked.includes(4)) await wait(1)
    await refuses(/pass 0 has its sample already/, () => job.supply(0, sampleOf(0)))
    job.abort()
    await failureOf(() => job.promise)
    job.supply(0, sampleOf(0)) // over: no effect
  })

  test('a training of another kind takes no samples', async () => {
    const { image, mask } = disk(40, 32)
    const source = { kind: 'oneShot' as const, image, mask, pixels, maxSize: 0, augment: null }
    const job = native().train(network.handle, settings({ passes: 300, source }), () => {})
    await refuses(/not fed/, () => job.supply(0, sampleOf(0)))
    await refuses(/not fed/, () => job.fail('x'))
    ;(await job.promise).dispose()
  })

  test('needs to know whom to ask', async () => {
    await refuses(/onWanted/, () => native().train(network.handle, settings(), () => {}))
    await refuses(/ahead/, () =>
      native().train(
        network.handle,
        settings({ source: { ...feed, ahead: -1 } }),
        () => {},
        () => {},
      ),
    )
  })

  test.each([
    ['before the first sample', -1],
    ['between two samples', 3],
  ])('an abort %s rejects with its reason', async (_, last) => {
    const controller = new AbortController()
    const waiting = new Promise<never>(() => {})
    const run = runTraining(
      network,
      settings(),
      () => {},
      controller.signal,
      async (pass) => (pass > last ? await waiting : sampleOf(pass)),
    )
    setTimeout(() => controller.abort('enough'), 40)
    expect(await failureOf(() => run)).toBe('enough')
  })

  test('the network may be disposed of while a sample is waited for', async () => {
    const other = await network.clone()
    let go = (_: NativeSample) => {}
    const first = new Promise<NativeSample>((resolve) => {
      go = resolve
    })
    const run = runTraining(
      other,
      settings({ passes: 3 }),
      () => {},
      new AbortController().signal,
      async (pass) => (pass === 0 ? await first : sampleOf(pass)),
    )
    await wait(30)
    other.dispose()
    go(sampleOf(0))
    ;(await run).dispose()
  })
})

/** Expects ERR_INVALID_ARGUMENT with this message. */
async function refuses(message: RegExp, action: () => unknown): Promise<void> {
  const wanted = { code: 'ERR_INVALID_ARGUMENT', message: expect.stringMatching(message) }
  expect(await failureOf(action)).toMatchObject(wanted)
}

function withMask(mask: { data: Uint8Array; width: number; height: number }) {
  const { image } = disk(40, 32)
  return { kind: 'stills', images: [{ image, mask }], height: 24, width: 30 }
}
