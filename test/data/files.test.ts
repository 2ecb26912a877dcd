import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { decode } from 'fast-png'
import sharp from 'sharp'
import { describe, expect, test, vi } from 'vitest'
import { pathIn, writeWhole } from '../../lib/data/files.ts'
import { readMask } from '../../lib/data/mask.ts'
import { writeMask, writeProbability } from '../../lib/data/mask-files.ts'
import { overlay, writeStrip } from '../../lib/data/overlay.ts'
import { davisPalette } from '../../lib/data/png.ts'
import { grey, leftovers, picture, refuses, scratch } from './helpers.ts'

// Spied on, so that a test can fill the disk.
vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>()
  return { ...real, writeFile: vi.fn(real.writeFile) }
})

const folder = scratch()
const { data: ids } = grey(20, 10, (x) => Math.floor(x / 5))
const pixels = { mask: ids, width: 20, height: 10 }

describe('writeMask', () => {
  test('writes one object as grey 0 and 255, in a folder it makes', async () => {
    const out = join(folder, 'new', 'folder')
    const path = await writeMask(out, '00007', pixels, [4])
    expect(path).toBe(join(out, '00007.png'))
    const png = decode(readFileSync(path))
    expect(png).toMatchObject({ width: 20, height: 10, depth: 8, channels: 1 })
    expect([...png.data]).toEqual(Array.from(ids, (id) => (id ? 255 : 0)))
    expect(readdirSync(out)).toEqual(['00007.png'])
  })

  test('writes several as indices, which readMask gives back', async () => {
    const path = await writeMask(folder, 'several', pixels, [1, 2, 3])
    const mask = await readMask(path, { width: 20, height: 10 })
    expect(mask).toMatchObject({ ids: [1, 2, 3], warnings: [] })
    expect([...mask.data]).toEqual([...ids])
    expect((await sharp(path).metadata()).isPalette).toBe(true)
  })

  test('uses the last part of a name only', async () => {
    const out = join(folder, 'inside')
    for (const name of ['../outside', '/tmp/outside', 'a/../../outside', '..\\outside']) {
      expect(await writeMask(out, name, pixels, [1])).toBe(join(out, 'outside.png'))
    }
    expect(readdirSync(folder)).not.toContain('outside.png')
    for (const name of ['..', '', 'a/', '.', 'a\0b']) {
      await refuses('ERR_INVALID_ARGUMENT', /name/, () => writeMask(out, name, pixels, [1]))
    }
    expect(pathIn('out', 'frame.0001', '.png')).toBe(join('out', 'frame.0001.png'))
  })

  test('refuses a mask of another size', async () => {
    await refuses('ERR_SHAPE', /200 values, wanted 20 x 11/, () =>
      writeMask(folder, 'x', { ...pixels, height: 11 }, [1]),
    )
  })
})

describe('writeProbability', () => {
  test('writes 16 bits, clipped, with NaN as 0', async () => {
    const path = await writeProbability(folder, 'p', Float32Array.of(0, 0.5, 1, 2, -1, Number.NaN), 3, 2)
    const png = decode(readFileSync(path))
    expect(png).toMatchObject({ width: 3, height: 2, depth: 16, channels: 1 })
    expect([...png.data]).toEqual([0, 32768, 65535, 65535, 0, 0])
  })
})

describe('a file that cannot be written', () => {
  test('below a regular file is ERR_IO', async () => {
    const file = join(folder, 'file')
    writeFileSync(file, '')
    await refuses('ERR_IO', /could not be written/, () => writeMask(join(file, 'out'), '0', pixels, [1]))
  })

  test('on a full disk is ERR_IO, and neither the old file nor the folder changes', async () => {
    const path = join(folder, 'full.bin')
    writeFileSync(path, 'old')
    vi.mocked(writeFile).mockImplementationOnce(async (target) => {
      writeFileSync(target as string, 'half')
      throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
    })
    await refuses('ERR_IO', /disk is full.*full\.bin/, () => writeWhole(path, Buffer.from('new')))
    expect(readFileSync(path, 'utf8')).toBe('old')
    expect(leftovers(folder)).toEqual([])
    await writeWhole(path, Buffer.from('new'))
    expect(readFileSync(path, 'utf8')).toBe('new')
  })

  test('in the place of a folder is ERR_IO, and leaves nothing', async () => {
    mkdirSync(join(folder, 'taken.png'))
    await refuses('ERR_IO', /taken\.png/, () => writeMask(folder, 'taken', pixels, [1]))
    expect(leftovers(folder)).toEqual([])
  })
})

describe('overlay', () => {
  test('tints the object, outlines it, and leaves the rest alone', () => {
    const image = picture(20, 10)
    const { data: mask } = grey(20, 10, (x, y) => (x >= 4 && x < 14 && y >= 1 && y < 9 ? 2 : 0))
    const at = (rgb: Uint8Array, x: number, y: number) => [...rgb.subarray((y * 20 + x) * 3, (y * 20 + x) * 3 + 3)]
    const rgb = overlay(image, mask)
    const colour = [...davisPalette().subarray(6, 9)]
    expect(at(rgb, 0, 0)).toEqual(at(image.data, 0, 0))
    expect(at(rgb, 4, 5)).toEqual(colour)
    expect(at(rgb, 5, 5)).toEqual(colour)
    expect(at(rgb, 8, 5)).toEqual(at(image.data, 8, 5).map((v, c) => Math.round((v + colour[c]!) / 2)))
    const plain = overlay(image, mask, {
      opacity: 1,
      outline: false,
      colours: Uint8Array.of(0, 0, 0, 0, 0, 0, 9, 8, 7),
    })
    expect(at(plain, 4, 5)).toEqual([9, 8, 7])
    expect(Buffer.compare(overlay(image, new Uint8Array(200)), image.data)).toBe(0)
  })

  test('refuses a mask of another size and an opacity above 1', async () => {
    await refuses('ERR_SHAPE', /199 values/, () => overlay(picture(20, 10), new Uint8Array(199)))
    await refuses('ERR_INVALID_ARGUMENT', /opacity/, () => overlay(picture(20, 10), ids, { opacity: 2 }))
  })
})

describe('writeStrip', () => {
  test('lays tiles in rows', async () => {
    const path = join(folder, 'strip.png')
    const tiles = [0, 1, 2].map((shift) => picture(40, 20, shift))
    await writeStrip(path, tiles, { columns: 2, tileWidth: 80, labels: ['first <&>', 'second'] })
    expect(await sharp(path).metadata()).toMatchObject({ width: 4 + 2 * 84, height: 4 + 2 * 44, format: 'png' })
    const jpeg = join(folder, 'strip.jpg')
    await writeStrip(jpeg, tiles)
    expect((await sharp(jpeg).metadata()).format).toBe('jpeg')
    expect(existsSync(path) && leftovers(folder).length === 0).toBe(true)
    await refuses('ERR_INVALID_ARGUMENT', /tiles/, () => writeStrip(path, []))
  })
})
