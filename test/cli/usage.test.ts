import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { root, torchvid } from './helpers.ts'

const needed = ['frames', '--mask', 'first.png', '--out', 'out']

test('--version and --help end well', async () => {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  expect(await torchvid(['--version'])).toEqual({ status: 0, stdout: `${version}\n`, stderr: '' })
  const help = await torchvid(['--help'])
  expect(help).toMatchObject({ status: 0, stderr: '' })
  expect(help.stdout).toMatch(/segment.*setup.*doctor/s)
  const segment = await torchvid(['segment', '--help'])
  expect(segment).toMatchObject({ status: 0, stderr: '' })
  expect(segment.stdout).toContain('--learning-rate')
})

test.each([
  ['no command', []],
  ['an unknown command', ['segmnt']],
  ['an unknown option', ['segment', ...needed, '--itertions', '3']],
  ['an unknown option of another command', ['doctor', '--wrong']],
  ['no mask', ['segment', 'frames', '--out', 'out']],
  ['a glob that the shell took apart', ['segment', 'a.jpg', 'b.jpg', '--mask', 'first.png', '--out', 'out']],
])('%s is wrong usage', async (_, args) => {
  const { status, stdout, stderr } = await torchvid(args)
  expect(status).toBe(2)
  expect(stdout).toBe('')
  expect(stderr).not.toBe('')
})

test.each([
  ['--iterations', '0'],
  ['--iterations', '1.5'],
  ['--learning-rate', '-1'],
  ['--learning-rate', 'fast'],
  ['--max-size', '8'],
  ['--objects', '1,,2'],
  ['--objects', '256'],
  ['--threshold', '1.5'],
  ['--seed', '-1'],
  ['--device', 'gpu'],
  ['--backbone', 'resnet'],
  ['--overlay-video', 'film.gif'],
  ['--every', '10'],
])('%s %s is wrong usage', async (option, value) => {
  const { status, stderr } = await torchvid(['segment', ...needed, option, value])
  expect(status).toBe(2)
  expect(stderr).toMatch(/^ERR_INVALID_ARGUMENT: /)
  expect(stderr).toContain(option)
})

test.each([
  ['--model and --pretrained', ['--model', 'a.safetensors', '--pretrained', 'b.safetensors']],
  ['--no-overlay and --overlay-video', ['--no-overlay', '--overlay-video', 'film.mp4']],
])('%s exclude each other', async (_, args) => {
  const { status, stderr } = await torchvid(['segment', ...needed, ...args])
  expect(status).toBe(2)
  expect(stderr).toContain('cannot be used with')
})

test('with --json wrong usage is an event too', async () => {
  const { status, stdout } = await torchvid(['segment', ...needed, '--json', '--iterations', 'x'])
  expect(status).toBe(2)
  expect(JSON.parse(stdout)).toMatchObject({ event: 'error', code: 'ERR_INVALID_ARGUMENT' })
})
