import { describe, expect, test } from 'vitest'
import { runModule } from '../helpers/child.ts'

/** Each program fits a network; `go` resolves when the fit is well under way. */
const fitting = `
const osvos = await OSVOS.create({ backbone: 'mobilenet', device: 'cpu' })
const begin = (options = {}) => {
  let go
  const underWay = new Promise((resolve) => { go = resolve })
  const run = osvos.fit(image, mask, { iterations: 100_000, onProgress: ({ step }) => step > 3 && go(), ...options })
  return { run, underWay }
}
`

describe('how a process ends', () => {
  test.each([
    [
      'after work, by itself',
      `const fitted = await osvos.fit(image, mask, { iterations: 2 }); console.log('fitted', fitted.heads.length)`,
      0,
      /fitted 1/,
    ],
    [
      'after work, everything disposed',
      `const fitted = await osvos.fit(image, mask, { iterations: 2 }); fitted.dispose(); osvos.dispose(); console.log('over')`,
      0,
      /over/,
    ],
    ['only imported, never used', `console.log('idle')`, 0, /idle/],
    [
      'process.exit(3) in the middle of a fit',
      `const { underWay } = begin(); await underWay; console.log('under way'); process.exit(3)`,
      3,
      /under way/,
    ],
    [
      'process.exit(0) with calls queued',
      `for (let i = 0; i < 50; i++) osvos.network.tensor('conv1.weight'); process.exit(0)`,
      0,
      /^$/,
    ],
    [
      'process.exit(4) from onProgress',
      `await osvos.fit(image, mask, { iterations: 100000, onProgress: () => process.exit(4) })`,
      4,
      /^$/,
    ],
    [
      'an uncaught exception in the middle of a fit',
      `const { underWay } = begin(); await underWay; setTimeout(() => { throw new Error('on purpose') })`,
      1,
      /on purpose/,
    ],
    [
      'an unhandled rejection of another promise',
      `const { underWay } = begin(); await underWay; Promise.reject(new Error('on purpose'))`,
      1,
      /on purpose/,
    ],
    [
      'a run that fails and is never awaited',
      `osvos.fit(image, mask, { iterations: 50, learningRate: 1e30 }); console.log('started')`,
      0,
      /^started\n$/,
    ],
    [
      'an aborted run',
      `const { run, underWay } = begin(); await underWay; run.abort('enough'); await run.then(undefined, (reason) => console.log(reason))`,
      0,
      /^enough\n$/,
    ],
    [
      'in the middle of segmenting',
      `for await (const { index } of osvos.segment(Array(100).fill(image))) if (index === 3) process.exit(5)`,
      5,
      /^$/,
    ],
    [
      'leaving a segmentation',
      `for await (const { index } of osvos.segment(Array(100).fill(image))) if (index === 3) break; console.log('left')`,
      0,
      /left/,
    ],
    [
      'a network that nobody disposes of, collected or not',
      `let kept = []; for (let i = 0; i < 5; i++) kept.push(await Network.create(osvos.network.graph)); kept = undefined; globalThis.gc?.()`,
      0,
      /^$/,
    ],
    [
      'disposed of in the middle of a fit',
      `const { run, underWay } = begin({ iterations: 20 }); await underWay; osvos.dispose(); await run.then((fitted) => console.log('fitted'), (e) => console.log(e.code))`,
      0,
      /fitted|ERR_DISPOSED/,
    ],
  ])('%s', async (_, program, wanted, output) => {
    const ending = await runModule(fitting + program)
    expect(ending.output).toMatch(output)
    expect(ending).toMatchObject({ code: wanted, signal: null })
  })

  test.each(['SIGTERM', 'SIGINT'] as const)('%s in the middle of a fit ends it by that signal', async (signal) => {
    const ending = await runModule(
      `${fitting} const { underWay } = begin(); await underWay; process.kill(process.pid, '${signal}')`,
    )
    expect(ending).toMatchObject({ code: null, signal })
  })

  // LibTorch's stream is not Node's: see native/bindings/standard_streams.h. The setting is one it warns of.
  test('a warning of LibTorch is written, and ends nothing', async () => {
    const { output, code } = await runModule(
      `process.env.ATEN_CPU_CAPABILITY = 'unheard-of'; ${fitting} console.log('works')`,
    )
    expect(output).toMatch(/Warning.*unheard-of/)
    expect({ last: output.trim().split('\n').at(-1), code }).toEqual({ last: 'works', code: 0 })
  })

  test('importing loads no LibTorch', async () => {
    const { output, code } = await runModule(
      `import fs from 'node:fs'; console.log(/libtorch|libc10/.test(fs.readFileSync('/proc/self/maps', 'utf8')))`,
    )
    expect({ output, code }).toEqual({ output: 'false\n', code: 0 })
  })
})
