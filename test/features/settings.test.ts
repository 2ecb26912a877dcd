import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
// Tested inside: `rtfm` and `data` show it only through warnings. The error class is the source's, not the package's.
import {
  type FeatureSettings,
  readFeatureSettings,
  settingsWarnings,
  writeFeatureSettings,
} from '../../lib/data/feature-settings.ts'
import { scratch } from '../helpers/expect.ts'

const settings: FeatureSettings = {
  backbone: 'i3dResnet50',
  size: 2048,
  crops: 10,
  every: 16,
  frameStep: 1,
  resize: 256,
  crop: 224,
  order: 'RGB',
  mean: [114.75, 114.75, 114.75],
  std: [57.375, 57.375, 57.375],
  tail: 'loop',
  frames: 320,
  meanNorm: 20,
}

describe('the file beside the features', () => {
  const path = join(scratch(), 'a.npy')
  const beside = `${path}.json`

  test('gives back what was written', async () => {
    const all = {
      ...settings,
      resize: [340, 256] as [number, number],
      fps: 29.97,
      video: 'a.mp4',
      normalise: true,
      output: 'fc6',
    }
    for (const given of [settings, all, { ...settings, resize: null }]) {
      await writeFeatureSettings(path, given)
      expect(await readFeatureSettings(path)).toEqual(given)
    }
  })

  test('is none of ours: absent, or of another program', async () => {
    expect(await readFeatureSettings(join(path, '..', 'b.npy'))).toBeUndefined()
    for (const text of ['', '{', '[1]', '{ "every": 16 }']) {
      writeFileSync(beside, text)
      expect(await readFeatureSettings(path)).toBeUndefined()
    }
  })

  test('is damaged', async () => {
    await writeFeatureSettings(path, settings)
    const text = readFileSync(beside, 'utf8')
    const wrong: [string, RegExp][] = [
      [text.slice(0, 60), /damaged/],
      [text.replace('"crops": 10', '"crops": 7'), /its crops is 7/],
      [text.replace('"every": 16,', ''), /its every is undefined/],
      [text.replace('114.75', '"x"'), /its mean is/],
      [text.replace('"version": 1', '"version": 2'), /version is 2.*knows version 1/],
      ['["torchvid-features"]', /its format/],
    ]
    for (const [damaged, message] of wrong) {
      writeFileSync(beside, damaged)
      await expect(readFeatureSettings(path)).rejects.toMatchObject({
        code: 'ERR_IO',
        message: expect.stringMatching(message),
      })
    }
  })

  test('cannot be read or written', async () => {
    const folder = join(path, '..', 'c.npy.json')
    mkdirSync(folder)
    const other = join(path, '..', 'c.npy')
    await expect(readFeatureSettings(other)).rejects.toMatchObject({ code: 'ERR_IO' })
    await expect(writeFeatureSettings(other, settings)).rejects.toMatchObject({ code: 'ERR_IO' })
    expect(existsSync(folder)).toBe(true)
  })
})

describe('warnings', () => {
  const file = (name: string, changes: Partial<FeatureSettings> = {}) => ({
    name,
    settings: { ...settings, ...changes },
  })

  test('none for one setting, whatever the videos', () => {
    const same = [file('a', { frames: 9, fps: 30, video: 'x' }), file('b', { meanNorm: 39 }), { name: 'c' }]
    expect(settingsWarnings(same)).toEqual([])
    expect(settingsWarnings([])).toEqual([])
    expect(settingsWarnings([file('a', { normalise: false, output: 'features' }), file('b')])).toEqual([])
  })

  test('settings that differ, the most frequent first', () => {
    const half = { mean: [127.5, 127.5, 127.5], std: [127.5, 127.5, 127.5] }
    const warnings = settingsWarnings([file('a', half), file('b'), file('c')])
    expect(warnings).toHaveLength(2)
    expect(warnings[0]).toMatch(/'mean': 114.75 \(b and 1 more\); 127.5 \(a\)/)
    expect(warnings[1]).toMatch(/'std'/)
    for (const [key, value] of Object.entries({
      crops: 1,
      tail: 'drop',
      resize: [340, 256],
      order: 'BGR',
      backbone: 'i3d',
      normalise: true,
    })) {
      expect(settingsWarnings([file('a'), file('b', { [key]: value })])).toEqual([expect.stringContaining(`'${key}'`)])
    }
  })

  test('mean norms more than twice apart', () => {
    expect(settingsWarnings([file('a'), file('b', { meanNorm: 41 })])).toEqual([
      expect.stringMatching(/a has 20\.0, b has 41\.0, 2\.\d times/),
    ])
    expect(
      settingsWarnings([
        { name: 'a', meanNorm: 3 },
        { name: 'b', meanNorm: 31 },
      ]),
    ).toHaveLength(1)
    expect(
      settingsWarnings([
        { name: 'a', meanNorm: 3 },
        { name: 'b', meanNorm: 5.9 },
      ]),
    ).toEqual([])
    expect(settingsWarnings([file('a', { meanNorm: 0 }), file('b')])).toEqual([expect.stringMatching(/a has 0/)])
    // What was measured counts for more than what is stored.
    expect(settingsWarnings([{ ...file('a'), meanNorm: 50 }, file('b')])).toHaveLength(1)
  })
})
