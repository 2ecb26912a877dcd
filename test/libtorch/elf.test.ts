import fs from 'node:fs'
import path from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { neededLibraries } from '../../lib/libtorch/elf.ts'
import { makeElf, makeSandbox } from './fakes.ts'

const { folder } = makeSandbox()
afterAll(() => fs.rmSync(folder, { recursive: true }))

function write(name: string, bytes: Buffer): string {
  const file = path.join(folder, name)
  fs.writeFileSync(file, bytes)
  return file
}

test('reads the needed libraries in order', () => {
  const file = write('good.so', makeElf(['libc10.so', 'libcudart.so.13']))
  expect(neededLibraries(file)).toEqual(['libc10.so', 'libcudart.so.13'])
})

test('says nothing about what is not an ELF file', () => {
  expect(neededLibraries(write('text.so', Buffer.alloc(100, 'x')))).toBeUndefined()
  expect(neededLibraries(write('empty.so', Buffer.alloc(0)))).toBeUndefined()
})

test('survives every truncation and impossible sizes', () => {
  const whole = makeElf(['libc10.so'])
  for (let length = 0; length < whole.length; length++) {
    expect(neededLibraries(write('cut.so', whole.subarray(0, length)))).toBeUndefined()
  }
  const huge = Buffer.from(whole)
  huge.writeBigUInt64LE(2n ** 60n, 64 + 56 + 32)
  expect(neededLibraries(write('huge.so', huge))).toBeUndefined()
})

test.runIf(process.platform === 'linux' && fs.existsSync('/bin/ls'))('reads a real program', () => {
  expect(neededLibraries(fs.realpathSync('/bin/ls'))?.some((name) => /libc\.(so|musl)/.test(name))).toBe(true)
})
