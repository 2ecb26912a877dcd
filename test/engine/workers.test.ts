import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { programStart, root, runModule } from '../helpers/child.ts'

/** A worker's module: inside the repository, so that `torchvid` is found. */
const folder = mkdtempSync(join(root, 'test/engine/worker-'))
const file = join(folder, 'worker.mjs')
afterAll(() => rmSync(folder, { recursive: true, force: true }))

beforeAll(() => {
  writeFileSync(
    file,
    `${programStart}
    import { parentPort, workerData } from 'node:worker_threads'
    const osvos = await OSVOS.create({ backbone: 'mobilenet', device: 'cpu' })
    const { iterations = 6, exit } = workerData ?? {}
    const run = osvos.fit(image, mask, { iterations, augment: false, onProgress: ({ step }) => parentPort.postMessage({ step }) })
    const fitted = await run
    const { data } = await fitted.network.tensor('fuse.bias')
    parentPort.postMessage({ bias: data[0] })
    if (exit !== undefined) process.exit(exit)
    `,
  )
})

const start = () => `
import { Worker } from 'node:worker_threads'
const work = (workerData) => {
  const worker = new Worker(${JSON.stringify(file)}, { workerData, execArgv: [] })
  const found = { worker, messages: [] }
  found.underWay = new Promise((resolve) => worker.on('message', (message) => { found.messages.push(message); if (message.step > 2) resolve() }))
  found.ended = new Promise((resolve, reject) => { worker.on('exit', resolve); worker.on('error', reject) })
  found.bias = async () => { const code = await found.ended; return [code, found.messages.at(-1).bias] }
  return found
}
const here = async () => {
  const osvos = await OSVOS.create({ backbone: 'mobilenet', device: 'cpu' })
  const fitted = await osvos.fit(image, mask, { iterations: 6, augment: false })
  return (await fitted.network.tensor('fuse.bias')).data[0]
}
const report = (value) => console.log(JSON.stringify(value))
`

describe('workers', () => {
  test('one, and after its end the process ends by itself', async () => {
    const { output, code, signal } = await runModule(`${start()} report(await work().bias())`)
    expect(JSON.parse(output)[0]).toBe(0)
    expect({ code, signal }).toEqual({ code: 0, signal: null })
  })

  test('two at once, and the main thread beside them: all come to the same numbers', async () => {
    const ending = await runModule(
      `${start()} const workers = [work(), work()]; report([await here(), ...await Promise.all(workers.map((w) => w.bias()))])`,
    )
    const [mine, first, second] = JSON.parse(ending.output)
    expect(first).toEqual([0, mine])
    expect(second).toEqual([0, mine])
    expect(ending).toMatchObject({ code: 0, signal: null })
  })

  test('terminated in the middle of a fit: the parent lives and works on', async () => {
    const ending = await runModule(`${start()}
      const long = work({ iterations: 100000 })
      await long.underWay
      const code = await long.worker.terminate()
      report([code, await here(), await work().bias()])`)
    const [code, mine, other] = JSON.parse(ending.output)
    expect(code).toBe(1)
    expect(other).toEqual([0, mine])
    expect(ending).toMatchObject({ code: 0, signal: null })
  })

  test('terminated while the main thread is fitting: the main run is not touched', async () => {
    const ending = await runModule(`${start()}
      const long = work({ iterations: 100000 })
      await long.underWay
      const mine = here()
      await long.worker.terminate()
      report([await mine, await here()])`)
    const [mine, again] = JSON.parse(ending.output)
    expect(mine).toBe(again)
    expect(ending).toMatchObject({ code: 0, signal: null })
  })

  test('terminated at once, again and again, while the addon loads', async () => {
    const ending = await runModule(`${start()}
      for (let i = 0; i < 6; i++) {
        const { worker } = work({ iterations: 100000 })
        await new Promise((resolve) => setTimeout(resolve, 60 * i))
        await worker.terminate()
      }
      report(await here())`)
    expect(Number(ending.output)).toBeTypeOf('number')
    expect(ending).toMatchObject({ code: 0, signal: null })
  })

  test('process.exit inside a worker, then in the parent', async () => {
    const ending = await runModule(`${start()}
      const code = await work({ exit: 7 }).ended
      console.log(code)
      const long = work({ iterations: 100000 })
      await long.underWay
      process.exit(0)`)
    expect(ending.output).toBe('7\n')
    expect(ending).toMatchObject({ code: 0, signal: null })
  })
})
