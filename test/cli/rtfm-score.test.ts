import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { data, RTFM } from 'torchvid'
import { beforeAll, describe, expect, test } from 'vitest'
import { eventsOf, filesBelow, scratch } from './helpers.ts'
import {
  type FeatureSet,
  type Scored,
  SIZE,
  scoreWith,
  trainModel,
  writeFeatureSet,
  writeSettings,
  writeVideo,
} from './rtfm-sets.ts'

const folder = scratch()
const model = join(folder, 'model.safetensors')
let set: FeatureSet

beforeAll(async () => {
  set = await writeFeatureSet(join(folder, 'set'), { train: 6, test: 4 })
  await trainModel(set, model)
})

async function score(inputs: string[], name: string, more: string[] = []): Promise<Scored> {
  return await scoreWith(model, inputs, join(folder, name), more)
}

describe('score', () => {
  test('a folder of features: a line for each segment, the stretches, and how it did', async () => {
    const result = await score([set.test], 'scored', ['--ground-truth', set.masks, '--json'])
    expect(result).toMatchObject({ status: 0 })
    expect(filesBelow(result.out)).toEqual([0, 1, 2, 3].flatMap((i) => [`seen${i}.csv`, `seen${i}.json`]))
    const lines = result.read('seen0.csv').trimEnd().split('\n')
    expect(lines[0]).toBe('segment,first_frame,last_frame,score,magnitude,abnormal_frames')
    expect(lines).toHaveLength(31)
    expect(lines[11]).toMatch(/^10,160,175,0?\.?\d\S*,\d\S*,16$/)
    const found = result.json('seen0.json')
    expect(found).toMatchObject({ name: 'seen0', frames: 480, fps: null, framesPerSegment: 16, threshold: 0.5 })
    expect(found.segments[10]).toMatchObject({ segment: 10, firstFrame: 160, lastFrame: 175 })
    expect(found.figures.rocAuc).toBeGreaterThan(0.9)
    const detector = await RTFM.open(model)
    const { scores } = await detector.score(join(set.test, 'seen0.npy'))
    detector.dispose()
    // The program runs on another number of threads, which adds up in another order.
    expect(found.segments.map(({ score }: { score: number }) => score)).toEqual(
      [...scores].map((score) => expect.closeTo(score, 5)),
    )
    // A normal video has no frames of both kinds to tell apart.
    expect(result.json('seen1.json').figures).toBe(null)
    const events = eventsOf(result)
    expect(events.filter(({ event }) => event === 'scored').map(({ name }) => name)).toEqual([
      ...['seen0', 'seen1', 'seen2', 'seen3'],
    ])
    expect(events.at(-1)).toMatchObject({ event: 'done' })
  })

  test('the threshold decides what is marked', async () => {
    const file = join(set.test, 'seen0.npy')
    const [all, none] = [
      await score([file], 'all', ['--threshold', '0']),
      await score([file], 'none', ['--threshold', '1']),
    ]
    expect(all.json('seen0.json').stretches).toMatchObject([{ firstFrame: 0, lastFrame: 479, segments: [0, 29] }])
    expect(none.json('seen0.json').stretches).toEqual([])
    expect(all.stdout).toContain('frames 0 to 479')
  })

  test('settings beside the features give times; those that do not fit are said, and not believed', async () => {
    const own = join(folder, 'own')
    mkdirSync(own)
    for (const name of ['fits', 'other']) await writeVideo(own, { name, segments: 20 })
    writeSettings(join(own, 'fits.npy'), 313)
    writeSettings(join(own, 'other.npy'), 640)
    const result = await score([join(own, 'fits.npy'), join(own, 'other.npy')], 'timed')
    expect(result).toMatchObject({ status: 0 })
    expect(result.read('fits.csv').split('\n').slice(0, 2)).toEqual([
      'segment,first_frame,last_frame,start_seconds,end_seconds,score,magnitude',
      expect.stringMatching(/^0,0,15,0,0\.64,/),
    ])
    expect(result.json('fits.json')).toMatchObject({ frames: 313, fps: 25, warnings: [] })
    expect(result.json('fits.json').segments.at(-1)).toMatchObject({
      firstFrame: 304,
      lastFrame: 312,
      seconds: [12.16, 12.52],
    })
    expect(result.stderr).toMatch(/other: .*640 frames, and 20 segments of 16 are 320.*--frames-per-segment 32/)
    expect(result.json('other.json')).toMatchObject({ frames: 320 })
  })

  test('one video of a crop a file, and features as text', async () => {
    const crops = join(folder, 'crops')
    mkdirSync(crops)
    for (const crop of [0, 1, 2]) await writeVideo(crops, { name: `film__${crop}`, segments: 7 })
    const text = Array.from({ length: 5 }, () => new Array(SIZE).fill('2.5').join(' ')).join('\n')
    writeFileSync(join(crops, 'words.txt'), text)
    const result = await score([crops], 'from-crops')
    expect(result).toMatchObject({ status: 0 })
    expect(filesBelow(result.out)).toEqual(['film.csv', 'film.json', 'words.csv', 'words.json'])
    expect(result.json('words.json').segments).toHaveLength(5)
    rmSync(join(crops, 'film__1.npy'))
    const incomplete = await score([crops], 'from-crops')
    expect(incomplete.status).toBe(1)
    expect(incomplete.stderr).toMatch(/^ERR_IO: "film": there is no file of crop 1/)
  })

  test('what cannot work fails before anything is scored', async () => {
    const never = async (inputs: string[], more: string[], status: number, text: RegExp) => {
      const result = await score(inputs, 'never', more)
      expect(result.stderr).toMatch(text)
      expect(result.status).toBe(status)
      expect(filesBelow(result.out)).toEqual([])
    }
    const file = join(set.test, 'seen0.npy')
    await never([join(folder, 'none.npy')], [], 1, /^ERR_IO: There is no file or folder/)
    await never(
      [file, join(set.test, '..', 'test', 'seen0.npy')],
      [],
      2,
      /^ERR_INVALID_ARGUMENT: Two inputs are called "seen0"/,
    )
    await never([file], ['--backbone', 'i3d'], 2, /--backbone: .*no video among the inputs/)
    await never([file, join(set.test, 'seen1.npy')], ['--video', 'x.mp4'], 2, /--video: .*several inputs/)
    await never([file], ['--ground-truth', join(set.masks, 'seen3.npy')], 1, /ERR_SHAPE: .*528 frame labels.*480/)
    const wide = join(folder, 'wide.npy')
    await data.writeNpy(wide, { data: new Float32Array(64), shape: [2, 32] })
    await never([wide], [], 1, /ERR_SHAPE: .*32 numbers a segment, the network takes 24/)
    const text = join(folder, 'mine', 'film.csv')
    mkdirSync(join(folder, 'mine'))
    writeFileSync(text, new Array(SIZE).fill(1).join(','))
    const over = await score([text], 'mine')
    expect(over).toMatchObject({ status: 2, stderr: expect.stringContaining('would be written over') })
    expect(readFileSync(text, 'utf8')).toMatch(/^1,1/)
  })
})
