import fs from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { examine } from '../../lib/cli/doctor.ts'
import { makeRoot, makeSandbox } from './fakes.ts'

let sandbox: ReturnType<typeof makeSandbox>

beforeEach(() => {
  sandbox = makeSandbox()
})

afterEach(() => fs.rmSync(sandbox.folder, { recursive: true }))

test('without LibTorch says so, how to mend it, and does not try to load the addon', async () => {
  const facts = await examine(sandbox.env)
  const find = (name: string) => facts.find((fact) => fact.name === name)
  expect(find('LibTorch')).toMatchObject({ state: 'missing', remedy: expect.stringContaining('npx torchvid setup') })
  expect(find('Loads')).toMatchObject({ state: 'note', value: expect.stringContaining('not tried') })
  expect(find('Node')).toMatchObject({ state: 'ok', value: process.versions.node })
  expect(find('Cache')?.value).toContain(sandbox.cache)
})

test('an explicit path of another version is what is missing', async () => {
  const root = makeRoot(path.join(sandbox.folder, 'old'), '2.9.1')
  const facts = await examine({ ...sandbox.env, TORCHVID_LIBTORCH: root })
  const summary = facts.find((fact) => fact.name === 'LibTorch')
  expect(summary).toMatchObject({ state: 'missing', remedy: expect.stringContaining('TORCHVID_LIBTORCH') })
  expect(facts.some((fact) => fact.value.includes(`${root}: version 2.9.1`))).toBe(true)
})

test('an ffmpeg that does not run is a note, since only videos need it', async () => {
  const facts = await examine({ ...sandbox.env, FFMPEG_PATH: path.join(sandbox.folder, 'no-ffmpeg') })
  expect(facts.find((fact) => fact.name === 'ffmpeg')).toMatchObject({ state: 'note', remedy: expect.any(String) })
})
