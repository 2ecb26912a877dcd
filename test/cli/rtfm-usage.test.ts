import { expect, test } from 'vitest'
import { torchvid } from './helpers.ts'

const train = ['train', '--normal', 'a', '--abnormal', 'b', '--out', 'model.safetensors']
const score = ['score', 'x.npy', '--model', 'm.safetensors', '--out', 'out']
const extract = ['extract', 'film.mp4', '--out', 'out']

test('--help names the four commands, and each has its own', async () => {
  const help = await torchvid(['rtfm', '--help'])
  expect(help).toMatchObject({ status: 0, stderr: '' })
  expect(help.stdout).toMatch(/extract.*train.*score.*evaluate/s)
  const own = await torchvid(['rtfm', 'score', '--help'])
  expect(own).toMatchObject({ status: 0, stderr: '' })
  expect(own.stdout).toContain('--threshold')
})

test.each([
  ['no command', [], /extract/],
  ['an unknown command', ['scor'], /Did you mean score/],
  ['nothing to learn from', ['train', '--out', 'm'], /--normal and --abnormal, or --list/],
  ['one kind alone', ['train', '--normal', 'a', '--out', 'm'], /--abnormal is missing/],
  ['a list beside both kinds', [...train, '--list', 'c'], /cannot be used with/],
  ['test videos without their truth', [...train, '--test', 't'], /--test and --ground-truth belong together/],
  [
    'a share held out beside test videos',
    [...train, '--test', 't', '--ground-truth', 'g', '--held-out', '0.1'],
    /--held-out/,
  ],
  ['frames per segment of no test', [...train, '--frames-per-segment', '8'], /is for --test/],
  ['the best model without a checkpoint', [...train, '--best', 'b'], /--best is for --checkpoint/],
  ['steps between no checkpoints', [...train, '--every', '5'], /--every is for --checkpoint/],
  ['no model', ['score', 'x.npy', '--out', 'out'], /--model/],
  ['no ground truth', ['evaluate', '--model', 'm', '--list', 'l'], /--ground-truth/],
])('%s is wrong usage', async (_, args, text) => {
  const { status, stdout, stderr } = await torchvid(['rtfm', ...args])
  expect(stderr).toMatch(text)
  expect({ status, stdout }).toEqual({ status: 2, stdout: '' })
})

test.each([
  [train, '--held-out', '1'],
  [train, '--metric', 'accuracy'],
  [score, '--threshold', '1.5'],
  [extract, '--crops', '3'],
  [extract, '--resize', '256x'],
  [extract, '--tail', 'pad'],
])('%s: %s %s is wrong usage', async (command, option, value) => {
  const { status, stderr } = await torchvid(['rtfm', ...command, option, value])
  expect(status).toBe(2)
  expect(stderr).toMatch(/^ERR_INVALID_ARGUMENT: /)
  expect(stderr).toContain(option)
})
