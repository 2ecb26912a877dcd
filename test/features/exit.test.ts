import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { root, runModule } from '../helpers/child.ts'

/** A worker's module: inside the repository, so that `torchvid` is found. */
const folder = mkdtempSync(join(root, 'test/features/worker-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Large frames without end: at any moment one is being resized. */
const start = `
import { features, graph } from 'torchvid'
const clip = graph.input('clip', [null, 3, null, null, null])
const maps = graph.conv(clip, { out: 4, kernel: [3, 3, 3] })
const net = await Network.create(graph.build({ features: graph.globalAveragePool(maps) }), { device: 'cpu' })
const frame = { data: new Uint8Array(1280 * 720 * 3), width: 1280, height: 720, channels: 3 }
const endless = function* () { for (;;) yield frame }
const run = features.extract(endless(), { backbone: net, crop: 32, resize: 40, every: 4, mean: 0, std: 1 })
const begun = run[Symbol.asyncIterator]().next()
`

describe('a process that ends while frames are resized', () => {
  test('by process.exit', async () => {
    expect(await runModule(`${start} await begun; process.exit(7)`)).toMatchObject({ code: 7, output: '' })
  })

  test('by an error', async () => {
    const { code, output } = await runModule(`${start} await begun; throw new Error('mine')`)
    expect([code, output]).toEqual([1, expect.stringContaining('mine')])
  })

  test('by itself, once the run is aborted', async () => {
    const end = 'await begun; run.abort(); await run.then(() => {}, (error) => console.log(error.name))'
    expect(await runModule(`${start} ${end}`)).toMatchObject({ code: 0, output: 'AbortError\n' })
  })

  test('with its Worker', async () => {
    const file = join(folder, 'worker.mjs')
    const tell = "import { parentPort } from 'node:worker_threads'; await begun; parentPort.postMessage('begun')"
    writeFileSync(file, `import { Network } from 'torchvid'\n${start}\n${tell}`)
    const ending = await runModule(`
import { Worker } from 'node:worker_threads'
for (let i = 0; i < 3; i++) {
  const worker = new Worker(${JSON.stringify(file)}, { execArgv: [] })
  await new Promise((resolve, reject) => worker.on('message', resolve).on('error', reject))
  await worker.terminate()
}
console.log('terminated')`)
    expect(ending).toMatchObject({ code: 0, signal: null, output: 'terminated\n' })
  })
})
