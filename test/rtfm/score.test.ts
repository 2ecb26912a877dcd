import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { data, type RtfmOptions, type TensorData } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { columnMajor, makeNpy, numbersAs } from '../data/npy-files.ts'
import { failureOf, refuses, scratch } from '../helpers/expect.ts'
import { formulaWeights } from '../helpers/formula.ts'
import { writeFloats } from '../helpers/safetensors.ts'
import { noise, relative, tensor } from '../helpers/tensors.ts'
import { type Features, video, withDetector } from './helpers.ts'

const folder = scratch()

/** (T, crops, F) as the network's input (1, crops, T, F). */
function input({ data, shape }: Features): Record<string, TensorData> {
  const [segments, crops, size] = shape as [number, number, number]
  const features = tensor([1, crops, segments, size], (i) => {
    const [crop, t] = [Math.floor(i / (segments * size)), Math.floor(i / size) % segments]
    return data[(t * crops + crop) * size + (i % size)]!
  })
  return { features }
}

const kinds: [string, RtfmOptions][] = [
  ['reference', { objective: 'reference' }],
  ['paper', { objective: 'paper' }],
  ['deepMil', { network: 'deepMil' }],
]

describe.each(kinds)('%s', (_, options) => {
  test.each([1, 2, 3, 53])('a video of %i segments, with ten crops and with one', async (segments) => {
    await withDetector({ seed: 1, ...options }, async (rtfm) => {
      for (const crops of [1, 10]) {
        const features = video(3, { segments, crops })
        const { scores, magnitudes, warnings } = await rtfm.score(features)
        const whole = await rtfm.network.forward(input(features))
        expect(scores).toHaveLength(segments)
        expect(scores).toEqual(whole.scores!.data)
        expect(magnitudes).toEqual(whole.magnitudes?.data)
        expect(warnings).toEqual([])
      }
    })
  })

  test.each([
    [9000, 1],
    [8193, 1],
    [2100, 4],
    [820, 10],
  ])('%i segments of %i crops, in pieces: what the network makes of all at once', async (segments, crops) => {
    const size = 4
    await withDetector({ ...options, featureSize: size }, async (rtfm) => {
      // The attention's batch-norm starts at 0; with these weights the attention matters.
      const file = join(folder, 'weights.safetensors')
      writeFloats(file, formulaWeights(rtfm.network.parameters(), 5))
      await rtfm.network.load(file)
      const features = noise([segments, crops, size], 7)
      const { scores, magnitudes } = await rtfm.score(features)
      const whole = await rtfm.network.forward(input(features))
      expect(scores).toHaveLength(segments)
      expect(relative(scores, whole.scores!.data)).toBeLessThan(1e-5)
      if (options.network === 'deepMil') expect(magnitudes).toBeUndefined()
      else expect(relative(magnitudes!, whole.magnitudes!.data)).toBeLessThan(1e-5)
      expect(new Set(scores).size).toBeGreaterThan(segments / 4)
    })
  })
})

test('more crops than there is room for at once: pieces keep a length', async () => {
  await withDetector({ network: 'deepMil', featureSize: 4 }, async (mil) => {
    const features = noise([70, 130, 4], 3)
    const { scores } = await mil.score(features)
    expect(relative(scores, (await mil.network.forward(input(features))).scores!.data)).toBeLessThan(1e-5)
  })
})

test('normalised features are what the network gets, whole and in pieces', async () => {
  for (const segments of [5, 8300]) {
    const features = noise([segments, 1, 4], 3)
    features.data.fill(0, 4, 8)
    const normed = tensor(features.shape, (i) => {
      const row = features.data.subarray(i - (i % 4), i - (i % 4) + 4)
      return features.data[i]! / (Math.hypot(...row) || 1)
    })
    await withDetector({ network: 'deepMil', featureSize: 4, normalise: true }, async (mil) => {
      const { scores } = await mil.score(features)
      expect(relative(scores, (await mil.network.forward(input(normed))).scores!.data)).toBeLessThan(1e-5)
    })
  }
})

describe('features in files', () => {
  const [segments, crops, size] = [11, 2, 16]
  // Numbers that half precision holds exactly.
  const values = Array.from(noise([segments, crops, size], 4).data, (x) => Math.round(x * 64) / 64)
  const shape = [segments, crops, size]
  const file = (name: string, bytes: Uint8Array) => {
    writeFileSync(join(folder, name), bytes)
    return join(folder, name)
  }
  const ofCrop = (crop: number) => values.filter((_, i) => Math.floor(i / size) % crops === crop)

  test.each([
    ['float32', () => file('a.npy', makeNpy({ shape }, numbersAs('f4', values)))],
    ['float16', () => file('b.npy', makeNpy({ shape, descr: '<f2' }, numbersAs('f2', values)))],
    ['float64', () => file('c.npy', makeNpy({ shape, descr: '<f8', version: 2 }, numbersAs('f8', values)))],
    ['big-endian', () => file('d.npy', makeNpy({ shape, descr: '>f4' }, numbersAs('f4', values, false)))],
    [
      'Fortran order',
      () => file('e.npy', makeNpy({ shape, fortran: true }, numbersAs('f4', columnMajor(values, shape)))),
    ],
    [
      'a file per crop',
      () =>
        [0, 1].map((crop) =>
          file(`f__${crop}.npy`, makeNpy({ shape: [segments, size] }, numbersAs('f4', ofCrop(crop)))),
        ),
    ],
    ['float64 in memory', () => ({ data: Float64Array.from(values), shape })],
  ])('%s: the same scores', async (_, make) => {
    await withDetector({ seed: 1 }, async (rtfm) => {
      const wanted = await rtfm.score({ data: Float32Array.from(values), shape })
      expect(await rtfm.score(make())).toEqual(wanted)
    })
  })

  test('text, and one crop of shape (T, F)', async () => {
    await withDetector({ seed: 1 }, async (rtfm) => {
      const flat = { data: Float32Array.from(ofCrop(0)), shape: [segments, size] }
      const wanted = await rtfm.score(flat)
      const lines = Array.from({ length: segments }, (_, t) =>
        ofCrop(0)
          .slice(t * size, (t + 1) * size)
          .join(' '),
      )
      expect(await rtfm.score(file('g.txt', Buffer.from(`${lines.join('\n')}\n`)))).toEqual(wanted)
      expect(await rtfm.score({ ...flat, shape: [segments, 1, size] })).toEqual(wanted)
    })
  })

  test('a long file is read piece by piece: memory does not grow with it', async () => {
    const rows = 400_000
    const path = join(folder, 'long.npy')
    await data.writeNpy(
      path,
      tensor([rows, 1, 32], (i) => Math.sin(i) / 2),
    )
    await withDetector({ network: 'deepMil', featureSize: 32 }, async (mil) => {
      await mil.score(video(1, { segments: 9000, size: 32 }))
      globalThis.gc?.()
      const before = process.memoryUsage().rss
      let most = before
      const watch = setInterval(() => {
        most = Math.max(most, process.memoryUsage().rss)
      }, 5)
      const { scores } = await mil.score(path)
      clearInterval(watch)
      expect(scores).toHaveLength(rows)
      // Its rows are 51 MB, and one layer's maps of them would be 820.
      expect(most - before).toBeLessThan(250e6)
    })
  })
})

describe('a score that cannot be', () => {
  test('an abort ends it between two pieces, and at once when it came before', async () => {
    await withDetector({ featureSize: 4 }, async (rtfm) => {
      const features = noise([60_000, 1, 4], 1)
      const controller = new AbortController()
      const scoring = rtfm.score(features, { signal: controller.signal })
      setTimeout(() => controller.abort('enough'), 20)
      expect(await failureOf(() => scoring)).toBe('enough')
      expect(await failureOf(() => rtfm.score(features, { signal: AbortSignal.abort('no') }))).toBe('no')
      // The pieces' views are gone; the detector works on.
      expect((await rtfm.score(noise([9000, 1, 4], 1))).scores).toHaveLength(9000)
    })
  })

  test('features of another size, shape or kind are refused by name', async () => {
    await withDetector({ seed: 1 }, async (rtfm) => {
      const size = /features.*8 numbers a segment, the network takes 16.*featureSize: 8/
      await refuses('ERR_SHAPE', size, () => rtfm.score(video(1, { size: 8 })))
      await refuses('ERR_SHAPE', /\(16\)/, () => rtfm.score(tensor([16], () => 0)))
      await refuses('ERR_SHAPE', /nothing/, () => rtfm.score(tensor([0, 16], () => 0)))
      await refuses('ERR_INVALID_ARGUMENT', /row 1 of 2/, () =>
        rtfm.score(tensor([2, 16], (i) => (i === 20 ? Number.NaN : 0))),
      )
      await refuses('ERR_IO', /missing\.npy/, () => rtfm.score(join(folder, 'missing.npy')))
      for (const odd of [undefined, 5, {}, []])
        await refuses('ERR_INVALID_ARGUMENT', /features/, () => rtfm.score(odd as never))
      rtfm.dispose()
      await refuses('ERR_DISPOSED', /disposed/, () => rtfm.score(video(1)))
    })
  })
})
