import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { locateLibTorch } from '../../lib/libtorch/locate.ts'
import { libraryNames } from '../../lib/libtorch/platform.ts'
import { runModule } from '../helpers/child.ts'

const { c10Cuda, torchCuda } = libraryNames()
let folder = ''

/** The LibTorch in use by links, beside a CUDA part that cannot be loaded: as where CUDA's own libraries are missing. */
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'torchvid-cuda-'))
  const { root } = locateLibTorch()
  fs.mkdirSync(path.join(folder, 'lib'))
  for (const name of ['include', 'version.py', 'build-version']) {
    if (fs.existsSync(path.join(root, name))) fs.symlinkSync(path.join(root, name), path.join(folder, name))
  }
  for (const name of fs.readdirSync(path.join(root, 'lib'))) {
    if (name !== c10Cuda && name !== torchCuda) {
      fs.symlinkSync(path.join(root, 'lib', name), path.join(folder, 'lib', name))
    }
  }
  for (const name of [c10Cuda, torchCuda]) fs.writeFileSync(path.join(folder, 'lib', name), 'no library')
})

afterAll(() => fs.rmSync(folder, { recursive: true, force: true }))

const program = (body: string) => `
import { runtime } from 'torchvid'
process.env.TORCHVID_LIBTORCH = ${JSON.stringify(folder)}
process.on('warning', ({ code, message }) => console.log('warning', code, message))
const create = (device) => OSVOS.create({ backbone: 'mobilenet', device })
${body}
`

test("'auto' takes the CPU with one warning, a GPU by name is refused with the reason", async () => {
  const { code, output } = await runModule(
    program(`
const made = [await create('auto'), await create('auto')]
const refused = await create('cuda').catch((error) => error)
console.log('refused', refused.code, refused.message)
const { devices, cudaReason } = await runtime.info()
console.log('info', devices.length, cudaReason)
for (const network of made) network.dispose()
`),
  )
  expect(output.match(/^warning TORCHVID_CUDA /gm)).toHaveLength(1)
  expect(output).toMatch(new RegExp(`^refused ERR_DEVICE_UNAVAILABLE .*'cuda'.*${c10Cuda} does not load`, 'm'))
  expect(output).toMatch(new RegExp(`^info 1 .*${c10Cuda} does not load`, 'm'))
  expect(code).toBe(0)
})

test('TORCHVID_CUDA=0 is a choice: no warning', async () => {
  const { code, output } = await runModule(
    program(`
process.env.TORCHVID_CUDA = '0'
const network = await create('auto')
console.log('info', (await runtime.info()).cudaReason)
network.dispose()
`),
  )
  expect(output).not.toMatch(/warning/)
  expect(output).toMatch(/^info TORCHVID_CUDA is 0$/m)
  expect(code).toBe(0)
})
