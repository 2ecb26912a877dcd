import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { programStart, root, runModule } from '../helpers/child.ts'

/** A worker's module: inside the repository, so that `torchvid` is found. */
const folder = mkdtempSync(join(root, 'test/engine/worker-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** `train` begins a training, whose samples are made from memory; with `stuck`, from files that are never read to the end. */
const training = `
import fs from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
const osvos = await OSVOS.create({ backbone: 'mobilenet', device: 'cpu' })
const train = (options = {}) => osvos.trainParent({ sequences: [{ frames: [image, image], masks: [mask, mask] }] }, { steps: 100_000, ...options })
const underWay = (options = {}) => new Promise((resolve) => {
  const run = train({ ...options, onProgress: ({ step }) => step > 2 && resolve({ run }) })
})
const stuck = async () => {
  let asked
  const waiting = new Promise((resolve) => { asked = resolve })
  fs.readFile = () => { asked(); return new Promise(() => {}) }
  syncBuiltinESMExports()
  const run = osvos.trainParent({ sequences: [{ frames: ['a.png'], masks: [mask] }] })
  run.result.catch(() => {})
  await waiting
  await new Promise((resolve) => setTimeout(resolve, 40))
  return { run }
}
`

describe('how a process ends that feeds a training', () => {
  test.each([
    ['after it, by itself', `await train({ steps: 3 }); console.log('over')`, 0, /^over\n$/],
    ['process.exit(3) in the middle', `await underWay(); process.exit(3)`, 3, /^$/],
    ['process.exit(4) while a sample is waited for', `await stuck(); process.exit(4)`, 4, /^$/],
    ['process.exit(5) while the samples are asked for', `train(); setImmediate(() => process.exit(5))`, 5, /^$/],
    [
      'an uncaught exception while a sample is waited for',
      `await stuck(); setTimeout(() => { throw new Error('on purpose') })`,
      1,
      /on purpose/,
    ],
    [
      'aborted while a sample is waited for',
      `const { run } = await stuck(); run.abort('enough'); await run.then(undefined, (reason) => console.log(reason))`,
      0,
      /^enough\n$/,
    ],
    [
      'a sample that fails, and nobody awaits the run',
      `osvos.trainParent({ sequences: [{ frames: ['/nowhere.png'], masks: [mask] }] }); console.log('started')`,
      0,
      /^started\n$/,
    ],
    [
      'disposed of in the middle',
      `const { run } = await underWay({ steps: 10 }); osvos.dispose(); await run.then(undefined, (error) => console.log(error.code))`,
      0,
      /^ERR_DISPOSED\n$/,
    ],
  ])('%s', async (_, program, wanted, output) => {
    const ending = await runModule(training + program)
    expect(ending.output).toMatch(output)
    expect(ending).toMatchObject({ code: wanted, signal: null })
  })

  test('SIGTERM while a sample is waited for ends it by that signal', async () => {
    const ending = await runModule(`${training} await stuck(); process.kill(process.pid, 'SIGTERM')`)
    expect(ending).toMatchObject({ code: null, signal: 'SIGTERM' })
  })

  test.each(['stuck', 'underWay'])('a worker terminated (%s): the parent lives and trains on', async (state) => {
    const file = join(folder, `${state}.mjs`)
    const message = `import { parentPort } from 'node:worker_threads'\n`
    writeFileSync(file, `${message}${programStart}${training} await ${state}(); parentPort.postMessage('under way')`)
    const ending = await runModule(`${training}
      import { Worker } from 'node:worker_threads'
      const worker = new Worker(${JSON.stringify(file)}, { execArgv: [] })
      await new Promise((resolve, reject) => { worker.on('message', resolve); worker.on('error', reject) })
      console.log(await worker.terminate())
      await train({ steps: 3 })
      console.log('over')`)
    expect(ending).toEqual({ code: 0, signal: null, output: '1\nover\n' })
  })
})
