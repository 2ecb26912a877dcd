import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { metrics, OSVOS, type RawImage } from 'torchvid'
import { describe, expect, test } from 'vitest'
import type { ParentOptions, ParentProgress } from '../../lib/osvos/parent.ts'
import { failureOf, refuses, scratch, shared, sharedNote } from '../helpers/expect.ts'
import { formulaImage, formulaWeights } from '../helpers/formula.ts'
import { disk } from '../helpers/pictures.ts'
import { bytesOf, stateOf } from '../helpers/tensors.ts'

const folder = scratch()

/** A video of a disk that moves. */
function video(count: number, first = 0) {
  const pictures = Array.from({ length: count }, (_, i) => disk(64, 48, first + 2 * i))
  return { frames: pictures.map(({ image }) => image), masks: pictures.map(({ mask }) => mask) }
}

const create = (backbone: 'mobilenet' | 'vgg16' = 'mobilenet') => OSVOS.create({ backbone, device: 'cpu', seed: 2 })

async function recordsOf(run: AsyncIterable<ParentProgress>): Promise<ParentProgress[]> {
  const records: ParentProgress[] = []
  for await (const record of run) records.push(record)
  return records
}

/** What tells all of a model's weights, bit by bit. */
async function weightsOf({ network }: OSVOS): Promise<string> {
  const hash = createHash('sha256')
  for (const [name, tensor] of await stateOf(network)) hash.update(name).update(bytesOf(tensor))
  return hash.digest('hex')
}

describe.skipIf(shared === undefined).each(['forward_64x96', 'forward_75x101'])(
  `the reference's parent: %s${sharedNote}`,
  (name) => {
    const exact: ParentOptions = { accumulate: 1, momentum: 0, weightDecay: 0, augment: false, shuffle: false }

    /** The golden's only frame, and a VGG16 with its weights. */
    async function setUp() {
      const golden = JSON.parse(readFileSync(join(shared!, 'golden/osvos', `${name}.json`), 'utf8'))
      const { H: height, W: width, seed, mask } = golden
      const osvos = await create('vgg16')
      for (const [parameter, value] of formulaWeights(osvos.network.parameters(), seed))
        await osvos.network.handle.write(parameter, value)
      const area = height * width
      const rgb = formulaImage(3 * area, seed)
      const object = (i: number) => {
        const [x, y] = [i % width, Math.floor(i / width)]
        return y >= mask.rows[0] && y < mask.rows[1] && x >= mask.cols[0] && x < mask.cols[1]
      }
      const image: RawImage = {
        data: Uint8Array.from(rgb, (_, i) => rgb[(i % 3) * area + Math.floor(i / 3)]!),
        width,
        height,
        channels: 3,
      }
      const data = Uint8Array.from({ length: area }, (_, i) => (object(i) ? 255 : 0))
      const sequences = [{ frames: [image], masks: [{ data, width, height, channels: 1 as const }] }]
      return { golden, osvos, data: { sequences } }
    }

    test('losses, their fading, and the gradient, at the first and the second quarter of the epochs', async () => {
      const { golden, osvos, data } = await setUp()
      const before = await stateOf(osvos.network)
      const path = join(folder, `${name}.safetensors`)
      // An update too small to change a weight; then one so large that the movement is the gradient.
      const still = { ...exact, epochs: 4, steps: 1, learningRate: 1e-30, checkpoint: { path, every: 1 } }
      const records = await recordsOf(osvos.trainParent(data, still))
      const moving = { ...exact, epochs: 4, steps: 2, learningRate: 1, resume: path }
      records.push(...(await recordsOf(osvos.trainParent(data, moving))))
      const [sides, fuse] = [golden.loss.slice(0, 4) as number[], golden.loss[4] as number]
      for (const [epoch, { loss, losses }] of records.entries()) {
        const outputs = ['side1', 'side2', 'side3', 'side4', 'fuse']
        for (const [i, output] of outputs.entries())
          expect(Math.abs(losses[output]! / golden.loss[i] - 1), output).toBeLessThanOrEqual(1e-5)
        const wanted = (1 - epoch / 4) * sides.reduce((a, b) => a + b) + fuse
        expect(Math.abs(loss / wanted - 1)).toBeLessThanOrEqual(1e-5)
      }
      expect(records.map(({ step, epoch }) => [step, epoch])).toEqual([
        [1, 1],
        [2, 2],
      ])
      const rates: [RegExp, number][] = [
        [/^score_dsn/, 0.1],
        [/^fuse/, 0.01],
        [/./, 1],
      ]
      for (const [parameter, wanted] of Object.entries(
        golden.grad_norm_parent_epoch60of240 as Record<string, number>,
      )) {
        const group = rates.find(([pattern]) => pattern.test(parameter))![1]
        const rate = group * (parameter.endsWith('.bias') ? 2 : 1)
        const [after, start] = [(await osvos.network.tensor(parameter)).data, before.get(parameter)!.data]
        let sum = 0
        for (let i = 0; i < after.length; i++) sum += (Number(after[i]) - Number(start[i])) ** 2
        expect(Math.abs(Math.sqrt(sum) / rate / wanted - 1), parameter).toBeLessThanOrEqual(1e-4)
      }
      osvos.dispose()
    })
  },
)

describe('trainParent', () => {
  const data = { sequences: [video(3), video(3, -6)] }

  test('trains the model itself, pass by pass, until it sees disks nobody showed it', async () => {
    const osvos = await create()
    const run = osvos.trainParent(data, { epochs: 8, accumulate: 1, learningRate: 2e-3, sizes: [32, 48], seed: 1 })
    const records = await recordsOf(run)
    expect(await run).toBe(osvos)
    expect(records).toHaveLength(48)
    expect(records.map(({ step }) => step)).toEqual(records.map((_, i) => i + 1))
    expect(records.at(-1)).toMatchObject({ steps: 48, epoch: 8, epochs: 8 })
    expect(records.map(({ epoch }) => epoch).slice(5, 8)).toEqual([1, 2, 2])
    const unseen = disk(64, 48, -1)
    for await (const { mask, width, height } of osvos.segment([unseen.image])) {
      const truth = { data: unseen.mask.data, width, height }
      expect(await metrics.jaccard({ data: mask, width, height }, truth)).toBeGreaterThan(0.6)
    }
    osvos.dispose()
  })

  test("the side losses' weight falls with every pass (MobileNet)", async () => {
    const osvos = await create()
    const records = await recordsOf(osvos.trainParent(data, { steps: 8 }))
    for (const [pass, { loss, losses }] of records.entries()) {
      const { fuse, ...sides } = losses
      expect(Object.keys(sides)).toEqual(['side1', 'side2', 'side3', 'side4', 'side5'])
      const sum = Object.values(sides).reduce((a, b) => a + b)
      expect(loss / (fuse! + (1 - pass / 8) * sum)).toBeCloseTo(1, 5)
    }
    osvos.dispose()
  })

  test('a frame without its object is no mistake: it has nothing to teach', async () => {
    const osvos = await create()
    const { image, mask } = disk(64, 48)
    const empty = { ...mask, data: new Uint8Array(64 * 48) }
    const run = osvos.trainParent({ sequences: [{ frames: [image], masks: [empty] }] }, { steps: 1 })
    expect((await recordsOf(run))[0]!.loss).toBe(0)
    osvos.dispose()
  })

  test('an abort, or a file that cannot be read, leaves the model as it was', async () => {
    const osvos = await create()
    const before = await weightsOf(osvos)
    const run = osvos.trainParent(data, { steps: 500, onProgress: ({ step }) => step > 2 && run.abort('enough') })
    expect(await failureOf(() => run)).toBe('enough')
    const { frames, masks } = video(3)
    const broken = {
      sequences: [{ name: 'bear', frames: [...frames, join(folder, 'gone.jpg')], masks: [...masks, masks[0]!] }],
    }
    const train = (more: object) => async () => await osvos.trainParent(broken, { epochs: 2, ...more })
    await refuses('ERR_IO', /frame 3 of "bear".*gone\.jpg/, train({}))
    await refuses('ERR_NOT_FINITE', /./, async () => await osvos.trainParent(data, { steps: 50, learningRate: 1e30 }))
    expect(await weightsOf(osvos)).toEqual(before)
    osvos.dispose()
  })

  test.each([
    [{ epochs: 0 }, /epochs: got 0/],
    [{ steps: 1.5 }, /steps: got 1\.5/],
    [{ accumulate: 0 }, /accumulate/],
    [{ learningRate: -1 }, /learningRate/],
    [{ sizes: [] }, /sizes/],
    [{ sizes: [8] }, /sizes: got 8/],
    [{ sizes: 480 }, /sizes: got 480/],
    [{ cache: -1 }, /cache/],
    [{ shuffle: 'yes' }, /shuffle/],
    [{ augment: { flip: 2 } }, /augment\.flip/],
    [{ augment: { scale: [2, 1] } }, /augment\.scale/],
    [{ validation: { sequences: [] } }, /validation\.sequences/],
    [{ validation: { ...data, every: 0 } }, /validation\.every/],
    [{ validation: { ...data, frames: 0 } }, /validation\.frames/],
    [{ checkpoint: { path: 'x' } }, /checkpoint\.every/],
    [null, /options: got null/],
  ])('refuses %j', async (options, message) => {
    const osvos = await create()
    await refuses('ERR_INVALID_ARGUMENT', message, async () => await osvos.trainParent(data, options as never))
    osvos.dispose()
  })

  test('refuses a model of several objects', async () => {
    const osvos = await create()
    const { image, mask } = disk(64, 48)
    const two = { ...mask, data: mask.data.map((value, i) => (value > 0 ? 1 + ((i >> 5) % 2) : 0)) }
    const fitted = await osvos.fit(image, two, { iterations: 1 })
    await refuses('ERR_INVALID_ARGUMENT', /2 objects/, async () => await fitted.trainParent(data))
    fitted.dispose()
    osvos.dispose()
  })

  test('says what a folder of DAVIS lacks', async () => {
    const osvos = await create()
    const root = join(folder, 'DAVIS')
    for (const part of ['JPEGImages/480p/bear', 'Annotations/480p/bear', 'ImageSets/480p'])
      mkdirSync(join(root, part), { recursive: true })
    const train = (split?: 'train' | string[]) => async () =>
      await osvos.trainParent({ davis: root, split }, { steps: 1 })
    await refuses('ERR_IO', /train\.txt/, train())
    writeFileSync(
      join(root, 'ImageSets/480p/train.txt'),
      '/JPEGImages/480p/bear/00000.jpg /Annotations/480p/bear/00000.png\n',
    )
    await refuses('ERR_IO', /bear.*00000\.jpg/, train('train'))
    await refuses('ERR_INVALID_ARGUMENT', /wolf/, train(['wolf']))
    await refuses('ERR_IO', /DAVIS/, async () => await osvos.trainParent({ davis: join(folder, 'none') }))
    osvos.dispose()
  })

  test.skipIf(shared === undefined)(`learns from the real one${sharedNote}`, async () => {
    const osvos = await create()
    const davis = join(shared!, 'data/davis-2016')
    const records = await recordsOf(osvos.trainParent({ davis }, { steps: 2, sizes: [96] }))
    expect(records[0]).toMatchObject({ steps: 2, epoch: 1, epochs: 1 })
    expect(records[0]!.loss).toBeGreaterThan(0)
    osvos.dispose()
  })
})

describe('validation', () => {
  const data = { sequences: [video(3)] }
  const held = [
    { name: 'left', ...video(4, -9) },
    { name: 'right', ...video(4, 7) },
  ]
  const settings = { epochs: 6, accumulate: 1, learningRate: 2e-3, sizes: [48], seed: 3 }

  test('measures J and F when it is due, and gives the state that was best', async () => {
    const before = readdirSync(tmpdir()).filter((name) => name.startsWith('torchvid-'))
    const osvos = await create()
    const validation = { sequences: held, every: 2, frames: 2 }
    const records = await recordsOf(osvos.trainParent(data, { ...settings, validation }))
    expect(records).toHaveLength(18)
    const measured = records.filter((record) => record.validation !== undefined)
    expect(measured.map(({ step }) => step)).toEqual([6, 12, 18])
    for (const { validation: score } of measured) {
      const { jaccard, contour, sequences } = score!
      expect(sequences.map(({ name }) => name)).toEqual(['left', 'right'])
      expect((sequences[0]!.jaccard + sequences[1]!.jaccard) / 2).toBeCloseTo(jaccard, 10)
      expect((sequences[0]!.contour + sequences[1]!.contour) / 2).toBeCloseTo(contour, 10)
    }
    // What the result makes of the frames that were measured, 1 and 3 of 4.
    const scores = { jaccard: 0, contour: 0 }
    for (const { frames, masks } of held) {
      for (const i of [1, 3]) {
        for await (const { mask, width, height } of osvos.segment([frames[i]!])) {
          const truth = { data: masks[i]!.data, width, height }
          scores.jaccard += (await metrics.jaccard({ data: mask, width, height }, truth)) / 4
          scores.contour += (await metrics.contour({ data: mask, width, height }, truth)) / 4
        }
      }
    }
    const merit = ({ jaccard, contour }: { jaccard: number; contour: number }) => jaccard + contour
    const best = measured.map((record) => merit(record.validation!)).reduce((a, b) => Math.max(a, b))
    expect(merit(scores)).toBeCloseTo(best, 10)
    const left = readdirSync(tmpdir()).filter((name) => name.startsWith('torchvid-') && !before.includes(name))
    expect(left.filter((name) => existsSync(join(tmpdir(), name, 'round.safetensors')))).toEqual([])
    osvos.dispose()
  })

  test('changes nothing of the training itself', async () => {
    const [plain, measured] = [await create(), await create()]
    const wanted = await recordsOf(plain.trainParent(data, settings))
    const validation = { sequences: held, every: 4, frames: 1 }
    const found = await recordsOf(measured.trainParent(data, { ...settings, validation }))
    expect(found.map(({ loss }) => loss)).toEqual(wanted.map(({ loss }) => loss))
    expect(found.filter((record) => record.validation !== undefined).map(({ step }) => step)).toEqual([12, 18])
    plain.dispose()
    measured.dispose()
  })

  test('a frame that cannot be measured ends the run, and the model stays', async () => {
    const osvos = await create()
    const before = await weightsOf(osvos)
    const masks = [join(folder, 'gone.png')]
    const sequences = [{ name: 'lost', frames: [held[0]!.frames[0]!], masks }]
    const run = osvos.trainParent(data, { ...settings, validation: { sequences } })
    const seen: number[] = []
    const failure = await failureOf(async () => {
      for await (const { step } of run) seen.push(step)
    })
    expect(failure).toMatchObject({ code: 'ERR_IO', message: expect.stringMatching(/frame 0 of "lost".*gone\.png/) })
    expect(seen).toEqual([1, 2, 3])
    expect(await weightsOf(osvos)).toEqual(before)
    rmSync(join(folder, 'gone.png'), { force: true })
    osvos.dispose()
  })
})
