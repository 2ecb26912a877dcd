import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { data } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { refuses, scratch, shared, sharedNote } from '../helpers/expect.ts'

const folder = scratch()
const real = join(shared ?? '', 'data', 'davis-2016')

/** A folder of DAVIS: files are empty, since none is read. */
function makeDavis(name: string, sequences: Record<string, string[]>, lists: Record<string, string> = {}) {
  const root = join(folder, name)
  for (const [kind, ending] of [
    ['JPEGImages', 'jpg'],
    ['Annotations', 'png'],
  ] as const) {
    mkdirSync(join(root, kind, '480p'), { recursive: true })
    for (const [sequence, frames] of Object.entries(sequences)) {
      mkdirSync(join(root, kind, '480p', sequence), { recursive: true })
      for (const frame of frames) writeFileSync(join(root, kind, '480p', sequence, `${frame}.${ending}`), '')
    }
  }
  for (const [file, text] of Object.entries(lists)) {
    mkdirSync(join(root, 'ImageSets', file, '..'), { recursive: true })
    writeFileSync(join(root, 'ImageSets', file), text)
  }
  return root
}

const frames = ['00000', '00001', '00002']
const line = (sequence: string, frame: string) =>
  `/JPEGImages/480p/${sequence}/${frame}.jpg /Annotations/480p/${sequence}/${frame}.png \n`

test('all sequences, sorted, when none are named; frames in natural order, hidden files left out', async () => {
  const root = makeDavis('all', { dog: ['10', '9', '._9'], bear: frames })
  const found = await data.davis(root)
  expect(found.map(({ name }) => name)).toEqual(['bear', 'dog'])
  const [images, masks] = ['JPEGImages', 'Annotations'].map((kind) => join(root, kind, '480p', 'dog'))
  expect(found[1]).toEqual({
    name: 'dog',
    frames: ['9', '10'].map((frame) => join(images!, `${frame}.jpg`)),
    masks: ['9', '10'].map((frame) => join(masks!, `${frame}.png`)),
  })
})

test('a list of frames gives just those; a list of names gives all of each', async () => {
  const lists = {
    '480p/val.txt': line('dog', '00000') + line('dog', '00001') + line('bear', '00002'),
    '2016/val.txt': 'nothing\n',
    '2017/train.txt': '\ufeffbear\r\ndog\r\n',
  }
  const root = makeDavis('lists', { dog: frames, bear: frames, cat: frames }, lists)
  const val = await data.davis(root, { sequences: 'val' })
  expect(val.map(({ name, frames, masks }) => [name, frames.length, masks.length])).toEqual([
    ['dog', 2, 2],
    ['bear', 1, 1],
  ])
  const train = await data.davis(root, { sequences: 'train', year: 2017 })
  expect(train.map(({ name, frames }) => [name, frames.length])).toEqual([
    ['bear', 3],
    ['dog', 3],
  ])
  await refuses('ERR_IO', /no list train\.txt.*2016/s, () => data.davis(root, { sequences: 'train' }))
})

test('names are taken in their order, each once; one that is not there is named', async () => {
  const root = makeDavis('names', { train: frames, dog: frames })
  const found = await data.davis(root, { sequences: ['train', 'dog', 'train'] })
  expect(found.map(({ name }) => name)).toEqual(['train', 'dog'])
  await refuses('ERR_INVALID_ARGUMENT', /"cat".*dog, train/, () => data.davis(root, { sequences: ['dog', 'cat'] }))
  await refuses('ERR_INVALID_ARGUMENT', /\.\./, () => data.davis(root, { sequences: ['../../dog'] }))
})

describe('what is missing is named', () => {
  test.each<[string, () => string, RegExp, object?]>([
    ['no folder at all', () => join(folder, 'nowhere'), /nowhere" is no folder.*JPEGImages/s],
    ['a folder of something else', () => folder, /JPEGImages.480p" is no folder/],
    ['another resolution', () => makeDavis('small', { dog: frames }), /1080p" is no folder/, { resolution: '1080p' }],
  ])('%s', async (_, root, message, options: object = {}) => {
    await refuses('ERR_IO', message, () => data.davis(root(), options))
  })

  test('a frame, a mask, all pictures of a sequence', async () => {
    const root = makeDavis('lacking', { dog: frames, empty: [] }, { '480p/val.txt': line('dog', '00007') })
    await refuses('ERR_IO', /JPEGImages.480p.dog" lacks 00007\.jpg \(1 of 1\)/, () =>
      data.davis(root, { sequences: 'val' }),
    )
    await refuses('ERR_IO', /480p.empty" has no pictures/, () => data.davis(root, { sequences: ['empty'] }))
    writeFileSync(join(root, 'JPEGImages', '480p', 'dog', '00003.jpg'), '')
    await refuses('ERR_IO', /Annotations.480p.dog" lacks 00003\.png \(1 of 4\)/, () =>
      data.davis(root, { sequences: ['dog'] }),
    )
  })

  test.each([
    ['names a path out of the folder', '/JPEGImages/480p/../x.jpg /Annotations/480p/../x.png\n', /line 1/],
    ['is a list of something else', 'dog\n/a/b/c.mp4 /a/b/c.png\n', /line 2/],
    ['is empty', '\n', /names no sequence/],
  ])('a list that %s', async (_, text, message) => {
    const root = makeDavis('bad-list', { dog: frames }, { '480p/val.txt': text })
    await refuses('ERR_IO', message, () => data.davis(root, { sequences: 'val' }))
  })
})

test.each([
  [[5], /root/],
  [['x', null], /options/],
  [['x', { year: 2018 }], /year/],
  [['x', { resolution: '..' }], /resolution/],
])('%j is refused', async (args, message) => {
  await refuses('ERR_INVALID_ARGUMENT', message, () => (data.davis as any)(...args))
})

test.each([['test'], [[]], [[5]]])('sequences: %j is refused', async (sequences) => {
  const root = makeDavis('refused', { dog: frames })
  await refuses('ERR_INVALID_ARGUMENT', /sequences/, () => data.davis(root, { sequences } as any))
})

test.skipIf(!existsSync(real))(`the real one: both lists, every file there${sharedNote}`, async () => {
  const [train, val] = await Promise.all([
    data.davis(real, { sequences: 'train' }),
    data.davis(real, { sequences: 'val' }),
  ])
  const count = (sequences: typeof val) => sequences.reduce((sum, { frames }) => sum + frames.length, 0)
  expect([train.length, count(train), val.length, count(val)]).toEqual([30, 2079, 8, 465])
  expect(val[0]!.name).toBe('blackswan')
  for (const path of val.flatMap(({ frames, masks }) => [frames[0]!, masks.at(-1)!]))
    expect(existsSync(path)).toBe(true)
  const whole = await data.davis(real, { sequences: val.map(({ name }) => name) })
  expect(whole).toEqual(val)
})
