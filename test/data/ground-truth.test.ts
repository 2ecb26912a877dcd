import { mkdtempSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { featureList } from '../../lib/data/feature-lists.ts'
import { frameLabels, type GroundTruth, type LabelledVideo } from '../../lib/data/ground-truth.ts'
import { readNpy, writeNpy } from '../../lib/data/npy.ts'
import { ucfAnnotation } from '../../lib/data/ucf-annotation.ts'
import { sharedNote } from '../helpers/expect.ts'
import { refuses, scratch, shared } from './helpers.ts'
import { makeNpy, numbersAs } from './npy-files.ts'

const folder = scratch()

/** Labels as text: '0011'. */
const text = (labels: Uint8Array[]) => labels.map((video) => video.join(''))
const labelsOf = (word: string) => Array.from(word, Number)
const two: LabelledVideo[] = [
  { name: 'a', segments: 2 },
  { name: 'b', segments: 3 },
]
const by4 = { framesPerSegment: 4 }

describe('frameLabels, all videos in one piece', () => {
  const given = labelsOf('01010000' + '111100001111')
  const expected = ['01010000', '111100001111']

  test('cuts an array or a file of any type into the videos', async () => {
    expect(text(await frameLabels(given, two, by4))).toEqual(expected)
    expect(text(await frameLabels(Float64Array.from(given), two, by4))).toEqual(expected)
    const kinds: [string, number[]][] = [
      ['<f8', [20]],
      ['|b1', [20]],
      ['<i8', [20, 1]],
      ['|u1', [1, 20]],
    ]
    for (const [descr, shape] of kinds) {
      const path = join(folder, 'truth.npy')
      writeFileSync(path, makeNpy({ descr, shape }, numbersAs(descr.slice(1), given)))
      expect(text(await frameLabels(path, two, by4))).toEqual(expected)
    }
  })

  test('explains totals that differ', async () => {
    const less = await refuses('ERR_SHAPE', /holds 19 frame labels, and the 2 videos have 5 segments of 4 frames/, () =>
      frameLabels(given.slice(1), two, by4),
    )
    expect(less.message).toMatch(/which want 20: 1 are missing\. It was probably made with the same videos/)
    expect(less.message).toContain('folder of NAME.npy')
    await refuses('ERR_SHAPE', /40 frame labels.*want 20: 20 are too many\. It would fit framesPerSegment: 8\./, () =>
      frameLabels([...given, ...given], two, by4),
    )
    await refuses('ERR_SHAPE', /want 80: 59 are missing\. It belongs to other videos/, () =>
      frameLabels([...given, 0], two),
    )
  })

  test('makes up for less than a segment of the only video', async () => {
    const one = [{ name: 'a', segments: 2 }]
    expect(text(await frameLabels(labelsOf('00001'), one, by4))).toEqual(['00001111'])
    await refuses('ERR_SHAPE', /has 4 frame labels for the video "a"/, () => frameLabels(labelsOf('0000'), one, by4))
  })
})

describe('frameLabels, video by video', () => {
  const words = ['010100001', '11110001']

  async function masks(names = ['a.npy', 'b_i3d.npy']): Promise<string> {
    const path = mkdtempSync(join(folder, 'masks-'))
    for (const [i, name] of names.entries()) {
      await writeNpy(join(path, name), { data: Uint8Array.from(labelsOf(words[i]!)), shape: [words[i]!.length] })
    }
    return path
  }

  test('cuts, or continues with the last label, less than a segment', async () => {
    const videos = [two[0]!, { name: 'b', segments: 2 }]
    const truths: GroundTruth[] = [
      await masks(),
      words.map(labelsOf),
      { b: Uint8Array.from(labelsOf(words[1]!)), 'a.mp4': labelsOf(words[0]!) },
    ]
    for (const truth of truths) {
      expect(text(await frameLabels(truth, videos, by4))).toEqual(['01010000', '11110001'])
      const longer = [{ name: 'a', segments: 3 }, videos[1]!]
      expect(text(await frameLabels(truth, longer, by4))).toEqual(['010100001111', '11110001'])
    }
  })

  test('explains other differences: which video, how many frames and segments, what would fit', async () => {
    const message =
      /has 9 frame labels for the video "a", whose 4 segments of 4 frames want 16: 7 are missing.*9 frames make 2 or 3 segments/
    const videos = [{ name: 'a', segments: 4 }, two[1]!]
    await refuses('ERR_SHAPE', message, () => frameLabels(words.map(labelsOf), videos, by4))
    // Of a whole segment nothing is made up.
    const rest = /has 8 .* want 12: 4 are missing.*8 frames make 2 segments/
    await refuses('ERR_SHAPE', rest, () => frameLabels(words.map(labelsOf), two, by4))
    await refuses('ERR_SHAPE', /framesPerSegment: 8 would fit/, async () => {
      return await frameLabels([labelsOf('0'.repeat(24))], [{ name: 'a', segments: 3 }])
    })
    await refuses('ERR_SHAPE', /0 frame labels/, () => frameLabels([[], [1]], two, { framesPerSegment: 1 }))
    await refuses('ERR_SHAPE', /labels of 1 videos, and there are 2/, () => frameLabels([[0, 1]], two))
  })

  test('asks for the labels of a video that has none, unless it is known to be normal', async () => {
    const path = await masks()
    const more = [...two.slice(0, 1), { name: 'c', segments: 1 }]
    for (const truth of [path, { a: labelsOf(words[0]!) }]) {
      await refuses('ERR_INVALID_ARGUMENT', /no labels for the video "c"; it has \d, such as "a"/, () =>
        frameLabels(truth, more, by4),
      )
      const normal = [more[0]!, { ...more[1]!, abnormal: false }]
      expect(text(await frameLabels(truth, normal, by4))).toEqual(['01010000', '0000'])
    }
    const shanghai = [two[0]!, { name: '01_015', segments: 1 }]
    expect(text(await frameLabels(path, shanghai, by4))).toEqual(['01010000', '0000'])
    await refuses('ERR_INVALID_ARGUMENT', /"01_0015"/, () =>
      frameLabels(path, [two[0]!, { name: '01_0015', segments: 1 }], by4),
    )
  })

  test('refuses labels other than 0 and 1, masks of pixels, empty folders, other kinds', async () => {
    await refuses('ERR_INVALID_ARGUMENT', /^groundTruth, frame 1: got 255/, () => frameLabels([0, 255], two))
    await refuses('ERR_INVALID_ARGUMENT', /^groundTruth\["b"\], frame 0: got 0\.5/, () =>
      frameLabels({ a: labelsOf(words[0]!), b: [0.5] }, two, by4),
    )
    const pixels = join(folder, 'pixels.npy')
    await writeNpy(pixels, { data: new Uint8Array(20), shape: [5, 2, 2] })
    await refuses('ERR_SHAPE', /shape \(5, 2, 2\), wanted one label per frame/, () => frameLabels(pixels, two, by4))
    await refuses('ERR_IO', /holds no \.npy masks/, () => frameLabels(mkdtempSync(join(folder, 'none-')), two))
    await refuses('ERR_IO', /no file or folder/, () => frameLabels(join(folder, 'gone.npy'), two))
    for (const wrong of [3, null, undefined, true]) {
      await refuses('ERR_INVALID_ARGUMENT', /^groundTruth: got/, () => frameLabels(wrong as any, two))
    }
    await refuses('ERR_INVALID_ARGUMENT', /^groundTruth\["a"\]: got 3/, () => frameLabels({ a: 3 } as any, two))
    await refuses('ERR_INVALID_ARGUMENT', /^videos: got \[\]/, () => frameLabels([0], []))
    await refuses('ERR_INVALID_ARGUMENT', /^videos\[0\]\.segments: got 0/, () =>
      frameLabels([0], [{ name: 'a', segments: 0 }]),
    )
    await refuses('ERR_INVALID_ARGUMENT', /^framesPerSegment: got 0/, () =>
      frameLabels([0], two, { framesPerSegment: 0 }),
    )
  })

  test.skipIf(shared === undefined)(`ShanghaiTech's masks make RTFM's ground truth${sharedNote}`, async () => {
    const at = (name: string) => join(shared!, 'data/rtfm/list', name)
    const list = await featureList(at('shanghai-i3d-test-10crop.list'))
    const truth = Array.from((await readNpy(at('gt-sh.npy'))).data as Float64Array)
    const abnormal = list.filter((video) => video.abnormal)
    // RTFM's features fill the last segment up.
    const frames = await Promise.all(
      abnormal.map(async ({ name }) => (await readNpy(join(at('test_frame_mask'), `${name}.npy`))).shape[0]!),
    )
    const videos = abnormal.map(({ name }, i) => ({ name, segments: Math.ceil(frames[i]! / 16) }))
    const labels = (await frameLabels(at('test_frame_mask'), videos)).flatMap((video) => Array.from(video))
    expect(labels.reduce((sum, label) => sum + label, 0)).toBe(8028)
    expect(labels).toEqual(truth.slice(0, labels.length))
    // And the file as a whole: its other videos are normal, of 142,912 frames in all.
    const rest = { name: 'the rest', segments: (truth.length - labels.length) / 16 }
    const cut = await frameLabels(at('gt-sh.npy'), [...videos, rest])
    expect(cut.map((video) => video.length / 16)).toEqual([...videos, rest].map(({ segments }) => segments))
    expect(cut.at(-1)!.includes(1)).toBe(false)
    await refuses('ERR_SHAPE', /gt-sh\.npy" holds 142912 frame labels, and the 44 videos/, () =>
      frameLabels(at('gt-sh.npy'), videos),
    )
  })
})

describe("UCF-Crime's annotation", () => {
  const lines = [
    'a.mp4  Abuse  3  6  -1  -1  ',
    'Normal_Videos_003_x264.mp4  Normal  -1  -1  -1  -1  ',
    'b.mp4\tArson\t1\t1\t9\t12',
  ]

  function newFile(content: string): string {
    const path = join(mkdtempSync(join(folder, 'ucf-')), 'annotation.txt')
    writeFileSync(path, content)
    return path
  }

  test('is read with both events, and labels frames from 1 to the last of each', async () => {
    const path = newFile(lines.join('\r\n'))
    expect([...(await ucfAnnotation(path))]).toEqual([
      ['a', { class: 'Abuse', events: [[3, 6]] }],
      ['Normal_Videos_003_x264', { class: 'Normal', events: [] }],
      [
        'b',
        {
          class: 'Arson',
          events: [
            [1, 1],
            [9, 12],
          ],
        },
      ],
    ])
    const videos = [...two, { name: 'Normal_Videos_003_x264', segments: 1 }]
    expect(text(await frameLabels(path, videos, by4))).toEqual(['00111100', '100000001111', '0000'])
    // What extraction left out at the end is no more than a segment.
    const shorter = [{ name: 'b', segments: 2 }]
    await refuses('ERR_SHAPE', /"b" has an event from frame 9 to 12, .* end at frame 8\. 3 segments at least/, () =>
      frameLabels(path, shorter, by4),
    )
    expect(text(await frameLabels(path, [{ name: 'a', segments: 1 }], by4))).toEqual(['0011'])
    await refuses('ERR_SHAPE', /event from frame 3 to 6/, () =>
      frameLabels(path, [{ name: 'a', segments: 1 }], { framesPerSegment: 2 }),
    )
    const late = newFile('c Abuse 1 12 -1 -1\nd Abuse 1 13 -1 -1')
    expect(text(await frameLabels(late, [{ name: 'c', segments: 2 }], by4))).toEqual(['11111111'])
    await refuses('ERR_SHAPE', /event from frame 1 to 13/, () => frameLabels(late, [{ name: 'd', segments: 2 }], by4))
    await refuses('ERR_INVALID_ARGUMENT', /no labels for the video "z"; it has 3/, () =>
      frameLabels(path, [{ name: 'z', segments: 1 }]),
    )
  })

  const wrong: [string, string, RegExp][] = [
    ['an empty file', '\n', /holds no videos/],
    ['a list', 'a.npy\nb.npy', /line 1: "a\.npy" is not a name, a class and pairs/],
    ['an odd number of frames', `${lines[0]}\nb Arson 1 2 3`, /line 2: "b Arson 1 2 3" is not/],
    ['a word for a frame', 'b Arson 1 x', /line 1/],
    ['an event that ends before it begins', 'b Arson 9 5', /line 1: an event from frame 9 to 5/],
    ['half an event', 'b Arson -1 5', /line 1: an event from frame -1 to 5/],
    ['a video twice', `${lines[0]}\n${lines[0]}`, /line 2: a is there for the second time/],
  ]
  test.each(wrong)('refuses %s', async (_, content, message) => {
    await refuses('ERR_IO', message, () => ucfAnnotation(newFile(content)))
  })

  test.skipIf(shared === undefined)(`reads the real one: 290 videos${sharedNote}`, async () => {
    const path = join(shared!, 'data/rtfm/ucf-crime-c3d/Temporal_Anomaly_Annotation.txt')
    const videos = await ucfAnnotation(path)
    expect(videos.size).toBe(290)
    const events = [...videos.values()].map((video) => video.events.length)
    expect([0, 1, 2].map((count) => events.filter((n) => n === count).length)).toEqual([150, 124, 16])
    expect(videos.get('Arson011_x264')).toEqual({
      class: 'Arson',
      events: [
        [150, 420],
        [680, 1267],
      ],
    })
    const list = await featureList(join(shared!, 'data/rtfm/list/ucf-i3d-test.list'))
    expect(list.map(({ abnormal }) => abnormal)).toEqual(list.map(({ name }) => videos.get(name)!.events.length > 0))
    const last = ({ name }: { name: string }) => Math.max(16, ...videos.get(name)!.events.map(([, end]) => end))
    const labels = await frameLabels(
      path,
      list.map((video) => ({ name: video.name, segments: Math.ceil(last(video) / 16) })),
    )
    const abnormal = [...videos.values()].flatMap((video) => video.events.map(([start, end]) => end - start + 1))
    const sum = (numbers: Iterable<number>) => [...numbers].reduce((total, n) => total + n, 0)
    expect(sum(labels.map(sum))).toBe(sum(abnormal))
    const fixed = /"Abuse028_x264" has an event from frame 165 to 240.*end at frame 32.*averaged to a fixed number/
    await refuses('ERR_SHAPE', fixed, () => frameLabels(path, [{ name: 'Abuse028_x264', segments: 2 }]))
  })
})
