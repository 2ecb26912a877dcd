import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { expect, test } from 'vitest'
import { filesBelow, makeFrames, makeMask, root, scratch } from '../cli/helpers.ts'

const folder = scratch()
const env = { ...process.env, PREBUILDS_ONLY: '1', OMP_NUM_THREADS: '1', TORCHVID_SHARED: join(folder, 'none') }

function node(...args: string[]) {
  return spawnSync(process.execPath, args, { cwd: root, env, encoding: 'utf8' })
}

const demo = join(root, 'examples', 'demo.mjs')

test('the demo renders a clip, segments it and prints its scores beside those of a copied mask', () => {
  const out = join(folder, 'demo')
  const { status, stdout } = node(demo, '--frames', '4', '--iterations', '2', '--out', out)
  expect(status).toBe(0)
  expect(stdout).toMatch(/mean of 2 frames +J +F/)
  expect(stdout).toMatch(/torchvid +[01]\.\d{3} +[01]\.\d{3}/)
  // The object hardly moves from one frame to the next.
  expect(Number(/copying the first mask +(\S+)/.exec(stdout)?.[1])).toBeGreaterThan(0.5)
  expect(filesBelow(join(out, 'result'))).toEqual(
    expect.arrayContaining(['00000.png', '00003.png', 'report.html', 'strip.png']),
  )
  expect(existsSync(join(out, 'clip', 'JPEGImages', '480p', 'clip', '00003.jpg'))).toBe(true)
})

test('a sequence that is not there: says where it was looked for and what to do', () => {
  const { status, stderr } = node(demo, '--davis', 'blackswan', '--out', join(folder, 'no-davis'))
  expect(status).toBe(1)
  expect(stderr).toContain(join(folder, 'none', 'data', 'davis-2016'))
  expect(stderr).toContain('TORCHVID_SHARED')
})

test.each([
  ['--davies', 'blackswan'],
  ['--frames', '2'],
  ['--frames', 'x'],
])('%s %s is wrong usage', (...args) => {
  const { status, stderr } = node(demo, ...args)
  expect(status).toBe(2)
  expect(stderr).toContain('--max-size')
})

test('examples/segment.ts runs as it is', async () => {
  const frames = join(folder, 'frames')
  await makeFrames(frames, ['a', 'b'])
  await makeMask(join(folder, 'mask.png'))
  const source = readFileSync(join(root, 'examples', 'segment.ts'), 'utf8')
  const options = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 }
  const script = ts.transpileModule(source, { compilerOptions: options }).outputText
  const out = join(folder, 'example')
  // A script given with -e has no name of its own among its arguments.
  const result = node('--input-type=module', '-e', script, 'segment.ts', frames, join(folder, 'mask.png'), out, '2')
  expect(result.stderr).toBe('')
  expect(result.stdout).toContain('step 2 of 2')
  expect(filesBelow(out)).toEqual(['a.png', 'b.png'])
})
