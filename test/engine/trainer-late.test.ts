// Training as it goes on a GPU (nothing read back in a pass, passes recorded and played again), driven on the CPU: the
// environment variable has passes go that way, where a recording is simply done again.
import { join } from 'node:path'
import { graph, type Network, OSVOS, slim, weights } from 'torchvid'
import { afterEach, describe, expect, test } from 'vitest'
import { failureOf, refuses, scratch } from '../helpers/expect.ts'
import { disk } from '../helpers/pictures.ts'
import { differing, expectClose, relative, stateOf } from '../helpers/tensors.ts'
import { randomImages, recordsOf, setTensor, smallNetwork, withNet } from '../slim/training.ts'

const folder = scratch()
afterEach(() => {
  delete process.env.TORCHVID_STEP_GRAPHS
})

/** What `run` gives with passes done at once, and with passes done the device's way. */
async function bothWays<T>(run: () => Promise<T>): Promise<[atOnce: T, late: T]> {
  const atOnce = await run()
  process.env.TORCHVID_STEP_GRAPHS = 'plain'
  return [atOnce, await run()]
}

async function expectAlike(a: Map<string, { data: ArrayLike<number | bigint> }>, b: typeof a, tolerance: number) {
  for (const [name, { data }] of a) expect(relative(b.get(name)!.data, data), name).toBeLessThanOrEqual(tolerance)
}

describe('a classifier', () => {
  // 10 images in batches of 4: the last batch of an epoch has other shapes.
  const images = randomImages([10, 3, 8, 8], 3, 8)
  const settings = { train: images, steps: 17, batchSize: 4, learningRate: 0.05, seed: 3, shuffle: true }

  async function trained(options: object) {
    return await withNet(smallNetwork(3, { dropout: 0.4 }), async (net) => {
      const records = await recordsOf(slim.train(net, { ...settings, ...options }))
      return { records, state: await stateOf(net) }
    })
  }

  test.each([
    ['momentum, decay and a penalty', {}],
    ['Nesterov on a falling rate', { nesterov: true, schedule: 'cosine' }],
    ['no momentum', { momentum: 0, sparsity: 0 }],
    ['held channels', { masks: [{ name: 'norm', keep: new Uint8Array([1, 0, 1, 1, 0, 1]) }] }],
  ])('learns the same: %s', async (_, options) => {
    const [atOnce, late] = await bothWays(() => trained(options))
    expect(late.records.map(({ step }) => step)).toEqual(atOnce.records.map(({ step }) => step))
    expect(late.records.map(({ accuracy }) => accuracy)).toEqual(atOnce.records.map(({ accuracy }) => accuracy))
    expect(late.records.map(({ learningRate }) => learningRate)).toEqual(
      atOnce.records.map(({ learningRate }) => learningRate),
    )
    for (const key of ['loss'] as const)
      expect(
        relative(
          late.records.map((record) => record[key]),
          atOnce.records.map((record) => record[key]),
        ),
      ).toBeLessThanOrEqual(1e-4)
    for (const { loss, losses } of late.records) expect(losses).toEqual({ crossEntropy: loss })
    await expectAlike(atOnce.state, late.state, 1e-4)
  })

  test.each([2, 5, 11])('interrupted after step %i and resumed comes to the same weights, bit by bit', async (at) => {
    process.env.TORCHVID_STEP_GRAPHS = 'plain'
    const path = join(folder, `at-${at}.safetensors`)
    const run = async (net: Network, options: object) =>
      (await recordsOf(slim.train(net, { ...settings, ...options }))).map(({ step, loss }) => ({ step, loss }))
    await withNet(smallNetwork(3, { dropout: 0.4 }), async (net) => {
      const [plain, other] = [await net.clone(), await net.clone()]
      // There is room for one checkpoint only.
      const cut = slim.train(net, { ...settings, checkpoint: { path, every: at } })
      await failureOf(async () => {
        for await (const { step } of cut) if (step >= at) cut.abort('enough')
        throw new Error('over')
      })
      const names = (await weights.list(path)).map(({ name }) => name)
      expect(names).toContain('torchvid.random.device')
      const resumed = await run(other, { resume: path })
      const whole = await run(plain, {})
      expect(resumed).toEqual(whole.slice(resumed[0]!.step - 1))
      expect(await differing(other, plain)).toEqual([])
      plain.dispose()
      other.dispose()
    })
  })

  test('a loss that is no number is found, at its step, with the records before it', async () => {
    const { build, input, flatten, linear } = graph
    const net = build({
      logits: linear(flatten(input('image', [null, 3, 8, 8]), { channels: 192 }), { out: 3, name: 'l' }),
    })
    const diverge = () =>
      withNet(net, async (network) => {
        await setTensor(network, 'l.weight', new Float32Array(576).fill(1e10))
        const steps: number[] = []
        const run = slim.train(network, { ...settings, learningRate: 1e36, momentum: 0, schedule: 'constant' })
        const error = await refuses('ERR_NOT_FINITE', /step \d+ of 17.*learning rate/s, async () => {
          for await (const { step } of run) steps.push(step)
        })
        return { steps, message: error.message }
      })
    const [atOnce, late] = await bothWays(diverge)
    expect(late).toEqual(atOnce)
    expect(atOnce.steps.length).toBeGreaterThan(0)
  })
})

describe('OSVOS, whose updates stand on several passes', () => {
  const { image, mask } = disk()

  test.each([1, 3, 5])('accumulate %i: learns the same', async (accumulate) => {
    const model = await OSVOS.create({ backbone: 'mobilenet', device: 'cpu', seed: 2 })
    const fit = async () => {
      const run = model.fit(image, mask, { iterations: 13, accumulate, seed: 5 })
      const losses = (await recordsOf(run)).map(({ loss }) => loss)
      const fitted = await run
      const state = await stateOf(fitted.network)
      fitted.dispose()
      return { losses, state }
    }
    const [atOnce, late] = await bothWays(fit)
    expect(relative(late.losses, atOnce.losses)).toBeLessThanOrEqual(1e-3)
    expectClose(
      { data: Float32Array.from(late.losses), shape: [13] },
      { data: Float32Array.from(atOnce.losses), shape: [13] },
      1e-2 * Math.max(...atOnce.losses),
    )
    model.dispose()
  })
})
