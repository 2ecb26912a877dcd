import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type ExtractProgress, features, type Network } from 'torchvid'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { scratch } from '../helpers/expect.ts'
import { clipNetwork, numbered, plain, readNpy } from './helpers.ts'

const folder = scratch()
let backbone: Network
beforeAll(async () => {
  backbone = await clipNetwork()
})
afterAll(() => backbone.dispose())

const video = numbered(22)
const options = () => ({ backbone, crops: 5 as const, every: 4, crop: 4, resize: 6, ...plain })

describe('the file', () => {
  test('is the features as float32 (clips, crops, F), with the settings beside it', async () => {
    const out = join(folder, 'new', 'a.npy')
    const result = await features.extract(video, { ...options(), out })
    const file = readNpy(out)
    expect(file.header).toMatch(/'descr': '<f4'.*'fortran_order': False/)
    expect(file.shape).toEqual([6, 5, 6])
    expect(result.features.shape).toEqual([6, 5, 6])
    expect([...file.data]).toEqual([...(result.features.data as Float32Array)])
    expect(result).toMatchObject({ out, clips: 6, frames: 22 })
    const { format, version, ...stored } = JSON.parse(readFileSync(`${out}.json`, 'utf8'))
    expect([format, version]).toEqual(['torchvid-features', 1])
    expect(stored).toEqual(result.settings)
    expect(stored).toMatchObject({
      backbone: 'tiny',
      crops: 5,
      every: 4,
      frameStep: 1,
      resize: 6,
      crop: 4,
      tail: 'loop',
      frames: 22,
      size: 6,
    })
    expect(readdirSync(join(folder, 'new')).sort()).toEqual(['a.npy', 'a.npy.json'])
  })

  test('keep: false gives the file alone', async () => {
    const out = join(folder, 'b.npy')
    const result = await features.extract(video, { ...options(), out, keep: false })
    expect('features' in result).toBe(false)
    expect(readNpy(out).shape).toEqual([6, 5, 6])
  })

  test('is whole or not at all', async () => {
    const out = join(folder, 'none', 'c.npy')
    const run = features.extract(video, { ...options(), out, onProgress: ({ clip }) => clip === 3 && run.abort() })
    await expect(run).rejects.toThrow()
    expect(readdirSync(join(folder, 'none'))).toEqual([])
    const broken = async function* () {
      yield* video
      throw new Error('cut')
    }
    await expect(features.extract(broken(), { ...options(), out })).rejects.toThrow('cut')
    expect(readdirSync(join(folder, 'none'))).toEqual([])
  })

  test('an earlier one stays when the new one fails', async () => {
    const out = join(folder, 'd.npy')
    await features.extract(video, { ...options(), out })
    const before = [readFileSync(out), readFileSync(`${out}.json`)]
    const run = features.extract(video, { ...options(), mean: 9, out, onProgress: () => run.abort() })
    await expect(run).rejects.toThrow()
    expect([readFileSync(out), readFileSync(`${out}.json`)]).toEqual(before)
    await features.extract(video, { ...options(), mean: 9, out })
    expect(JSON.parse(readFileSync(`${out}.json`, 'utf8'))).toMatchObject({ mean: [9, 9, 9] })
  })

  test('a folder that cannot be written to', async () => {
    const out = join(folder, 'b.npy', 'below-a-file.npy')
    await expect(features.extract(video, { ...options(), out })).rejects.toMatchObject({ code: 'ERR_IO' })
    expect(existsSync(out)).toBe(false)
  })
})

describe('progress', () => {
  test('every clip with its features, its norm, and what is left', async () => {
    const records: ExtractProgress[] = []
    const run = features.extract(video, options())
    for await (const record of run) records.push(record)
    const result = await run
    expect(records.map(({ clip, clips, frames }) => [clip, clips, frames])).toEqual(
      [4, 8, 12, 16, 20, 22].map((frames, i) => [i + 1, 6, frames]),
    )
    expect(records.at(-1)!.secondsLeft).toBe(0)
    const rows = records.flatMap((record) => [...record.features])
    expect(rows).toEqual([...(result.features.data as Float32Array)])
    expect(result.norms).toEqual(records.map(({ meanNorm }) => meanNorm))
    const norms = Array.from({ length: 30 }, (_, i) => Math.hypot(...rows.slice(i * 6, i * 6 + 6)))
    expect(result.norms[1]).toBeCloseTo(norms.slice(5, 10).reduce((a, b) => a + b) / 5, 4)
    expect(result.meanNorm).toBeCloseTo(norms.reduce((a, b) => a + b) / 30, 4)
  })

  test('keep: false: whoever listens gets the features, and what nobody reads is not stored', async () => {
    const lengths: number[] = []
    const run = features.extract(video, { ...options(), keep: false })
    for await (const record of run) lengths.push(record.features.length)
    expect(lengths).toEqual(Array(6).fill(30))
    const heard: number[] = []
    const unread = features.extract(video, {
      ...options(),
      keep: false,
      onProgress: (record) => heard.push(record.features.length),
    })
    await unread
    expect(heard).toEqual(Array(6).fill(30))
    const late: number[] = []
    for await (const record of unread) late.push(record.features.length)
    expect(late).toEqual(Array(6).fill(0))
  })

  test('a source that does not say how long it is', async () => {
    for await (const record of features.extract(video.values(), options())) {
      expect(record.clips).toBeUndefined()
      expect(record.secondsLeft).toBeUndefined()
    }
  })
})
