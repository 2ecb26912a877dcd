import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { runModule } from '../helpers/child.ts'
import { scratch } from '../helpers/expect.ts'

const folder = scratch()
const fit = `
const osvos = await OSVOS.create({ backbone: 'mobilenet', device: 'cpu' })
await osvos.fit(image, mask, { iterations: 2 })
`

test('TORCHVID_PROFILE names a file that gets a trace of the operations', async () => {
  const file = join(folder, 'trace.json')
  const { code } = await runModule(`process.env.TORCHVID_PROFILE = ${JSON.stringify(file)}; ${fit}`)
  expect(code).toBe(0)
  const { traceEvents } = JSON.parse(readFileSync(file, 'utf8')) as { traceEvents: { cat?: string; name: string }[] }
  const names = new Set(traceEvents.filter(({ cat }) => cat === 'cpu_op').map(({ name }) => name))
  for (const name of ['aten::convolution', 'aten::convolution_backward']) expect(names, name).toContain(name)
})

test('a file that cannot be written costs nothing but the profile', async () => {
  const file = join(folder, 'absent', 'trace.json')
  const { code, output } = await runModule(
    `process.env.TORCHVID_PROFILE = ${JSON.stringify(file)}; ${fit}; console.log('works')`,
  )
  expect({ code, written: existsSync(file) }).toEqual({ code: 0, written: false })
  expect(output).toMatch(/works/)
})
