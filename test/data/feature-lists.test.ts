import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type FeatureListOptions, type FeatureVideo, featureList } from '../../lib/data/feature-lists.ts'
import { sharedNote } from '../helpers/expect.ts'
import { refuses, scratch, shared } from './helpers.ts'

const folder = scratch()

/** A list in a folder of its own, with these (empty) files beside it. */
function newList(lines: string[], beside: string[] = [], end = '\n'): string {
  const path = join(mkdtempSync(join(folder, 'list-')), 'the.list')
  writeFileSync(path, lines.join(end))
  for (const name of beside) {
    mkdirSync(dirname(join(dirname(path), name)), { recursive: true })
    writeFileSync(join(dirname(path), name), '')
  }
  return path
}

const kinds = (videos: FeatureVideo[]) => videos.map(({ abnormal }) => abnormal)
const count = (videos: FeatureVideo[]) => videos.filter(({ abnormal }) => abnormal).length

describe.skipIf(shared === undefined)(`the lists of the field${sharedNote}`, () => {
  const at = (name: string) => join(shared!, 'data/rtfm/list', name)

  test.each([
    ['shanghai-i3d-train-10crop.list', 238, 63],
    ['shanghai-i3d-test-10crop.list', 199, 44],
    ['ucf-i3d.list', 1610, 810],
    ['ucf-i3d-test.list', 290, 140],
    ['SH_Train.txt', 238, 63],
    ['SH_Test.txt', 199, 44],
  ])('%s: %i videos, %i abnormal', async (name, videos, abnormal) => {
    const list = await featureList(at(name))
    expect([list.length, count(list)]).toEqual([videos, abnormal])
    expect(list.every((video) => video.abnormal !== undefined)).toBe(true)
    expect(new Set(list.map((video) => video.name)).size).toBe(videos)
    expect(list.every((video) => !/[\\/]|_i3d|\.npy/.test(video.name))).toBe(true)
  })

  test('in the training lists the abnormal videos come first, as RTFM counts on', async () => {
    for (const [name, abnormal] of [
      ['shanghai-i3d-train-10crop.list', 63],
      ['ucf-i3d.list', 810],
    ] as const) {
      const found = kinds(await featureList(at(name)))
      expect(found).toEqual(found.map((_, i) => i < abnormal))
    }
  })

  test("other people's paths stay as they are, or move to the folder given", async () => {
    const [ucf] = await featureList(at('ucf-i3d-test.list'))
    expect(ucf).toEqual({
      name: 'Abuse028_x264',
      features: 'G:\\UCF_Test_ten_crop_i3d\\Abuse028_x264_i3d.npy',
      abnormal: true,
    })
    const [moved] = await featureList(at('ucf-i3d-test.list'), { root: folder })
    expect(moved!.features).toBe(join(folder, 'Abuse028_x264_i3d.npy'))
    const [sh] = await featureList(at('shanghai-i3d-test-10crop.list'), { root: 'some/where' })
    expect(sh).toEqual({ name: '01_0015', features: join('some/where', '01_0015_i3d.npy'), abnormal: true })
    const same = (videos: FeatureVideo[]) => new Set(videos.map(({ name }) => name))
    expect(same(await featureList(at('SH_Test.txt')))).toEqual(
      same(await featureList(at('shanghai-i3d-test-10crop.list'))),
    )
  })
})

describe('featureList', () => {
  test('puts the five files of an XD-Violence video together', async () => {
    const names = [
      'A.Beautiful.Mind.2001__#00-25-20_00-29-20_label_A',
      'v=8cTqh9tMz_I__#1_label_B1-0-0',
      'x_label_G-B2-0',
    ]
    const lines = names.flatMap((name) => [0, 1, 2, 3, 4].map((crop) => `/xd/RGB/${name}__${crop}.npy`))
    const expected = names.map((name, i) => ({
      name,
      features: [0, 1, 2, 3, 4].map((crop) => `/xd/RGB/${name}__${crop}.npy`),
      abnormal: i > 0,
    }))
    expect(await featureList(newList(lines, [], '\r\n'))).toEqual(expected)
    const mixed = [...lines].sort((a, b) => b.at(-5)!.localeCompare(a.at(-5)!))
    expect(await featureList(newList(mixed))).toEqual(expected)
    const one = await featureList(newList(lines.filter((line) => line.endsWith('__0.npy'))))
    expect(one.map(({ features }) => features)).toEqual(names.map((name) => `/xd/RGB/${name}__0.npy`))
    const short = [...lines.slice(0, 3), ...lines.slice(4)]
    await refuses('ERR_IO', /lists "A\.Beautiful[^"]*" with crop 0, 1, 2, 4, and others with 5 files/, () =>
      featureList(newList(short)),
    )
    await refuses('ERR_IO', /with crop 0, 1, 2, 3, 3/, () =>
      featureList(newList(lines.map((line) => line.replace('__4', '__3')))),
    )
  })

  test('finds the files of names, whatever their ending', async () => {
    const beside = ['01_0014.npy', '01_0016_i3d.npy', '01_002.txt', '01_003__0.npy', '01_003__1.npy', 'a/01_004.npy']
    const list = newList(['01_0014', '01_0016', '01_002.mp4', 'a/01_004.avi', '01_005'], beside)
    const here = (name: string) => join(dirname(list), name)
    expect(await featureList(list)).toEqual([
      { name: '01_0014', features: here('01_0014.npy'), abnormal: true },
      { name: '01_0016', features: here('01_0016_i3d.npy'), abnormal: true },
      { name: '01_002', features: here('01_002.txt'), abnormal: false },
      { name: '01_004', features: here('a/01_004.npy'), abnormal: false },
      { name: '01_005', features: here('01_005.npy'), abnormal: false },
    ])
    const root = join(here('a'), '..')
    const crops = await featureList(newList(['somewhere/01_003']), { root })
    expect(crops[0]!.features).toEqual([join(root, '01_003__0.npy'), join(root, '01_003__1.npy')])
  })

  test('takes relative paths from the folder of the list, of Windows too', async () => {
    const list = newList(['features/01_001_i3d.npy', '..\\01_002_i3d.npy', '', '  01_003.npy  '])
    const features = (await featureList(list)).map((video) => video.features)
    const at = dirname(list)
    expect(features).toEqual([
      join(at, 'features/01_001_i3d.npy'),
      join(at, '../01_002_i3d.npy'),
      join(at, '01_003.npy'),
    ])
  })

  test('tells what is abnormal by place where names do not, in the training lists alone', async () => {
    const options: FeatureListOptions = { dataset: 'shanghaitech', split: 'train' }
    const full = newList(Array.from({ length: 238 }, (_, i) => `video${i}.npy`))
    expect(kinds(await featureList(full, options))).toEqual(Array.from({ length: 238 }, (_, i) => i < 63))
    const unknown = Array(238).fill(undefined)
    expect(kinds(await featureList(full, { dataset: 'shanghaitech' }))).toEqual(unknown)
    expect(kinds(await featureList(full, { dataset: 'shanghaitech', split: 'test' }))).toEqual(unknown)
    const less = newList(Array.from({ length: 237 }, (_, i) => `video${i}.npy`))
    expect(count(await featureList(less, options))).toBe(0)
    const ucf = newList(Array.from({ length: 1610 }, (_, i) => `video${i}.npy`))
    expect(count(await featureList(ucf, { dataset: 'ucf-crime', split: 'train' }))).toBe(810)
  })

  test('asks whose list it is when the names do not tell', async () => {
    const list = newList(['Abuse001_x264.npy', 'my_video.npy'])
    await refuses(
      'ERR_INVALID_ARGUMENT',
      /^dataset: .*"Abuse001_x264", "my_video".*'other' for a list of your own/,
      () => featureList(list),
    )
    expect(kinds(await featureList(list, { dataset: 'ucf-crime' }))).toEqual([true, undefined])
    expect(kinds(await featureList(list, { dataset: 'other' }))).toEqual([undefined, undefined])
    // Scenes of ShanghaiTech end at 13.
    await refuses('ERR_INVALID_ARGUMENT', /^dataset/, () => featureList(newList(['14_001.npy'])))
  })

  test('refuses files that are no lists, lines that are no files, and other options', async () => {
    await refuses('ERR_IO', /is empty/, () => featureList(newList(['', ' '])))
    await refuses('ERR_IO', /is no text/, () => featureList(newList(['\x93NUMPY\x01\0v\0'])))
    await refuses('ERR_IO', /cannot be read/, () => featureList(join(folder, 'gone.list')))
    await refuses('ERR_IO', /line 2: "a\/\.\." names no file/, () => featureList(newList(['01_001.npy', 'a/..'])))
    await refuses('ERR_INVALID_ARGUMENT', /^root: .*two files called "01_001\.npy"/, () =>
      featureList(newList(['a/01_001.npy', 'b/01_001.npy']), { root: folder }),
    )
    const list = newList(['01_001.npy'])
    for (const wrong of [{ dataset: 'ucsd' }, { split: 'val' }, { root: '' }, { root: 3 }]) {
      const name = new RegExp(`^${Object.keys(wrong)[0]}: got`)
      await refuses('ERR_INVALID_ARGUMENT', name, () => featureList(list, wrong as any))
    }
    await refuses('ERR_INVALID_ARGUMENT', /^file: got/, () => featureList(undefined as any))
  })
})
