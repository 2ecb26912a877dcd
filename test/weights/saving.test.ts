import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { graph, Network } from 'torchvid'
import { afterAll, expect, test } from 'vitest'
import { root, runProgram } from '../helpers/child.ts'
import { leftovers, refuses, scratch } from '../helpers/expect.ts'

const folder = scratch()
const network = Network.create(graph.build({ y: graph.linear(graph.input('x', [null, 8]), { out: 8 }) }), {
  device: 'cpu',
})
afterAll(async () => (await network).dispose())
const save = async (file: string) => (await network).save(file)

test('a path that is a folder: refused, and nothing is left beside it', async () => {
  const place = join(folder, 'taken')
  mkdirSync(join(place, 'model.safetensors', 'inside'), { recursive: true })
  await refuses('ERR_IO', /model\.safetensors/, () => save(join(place, 'model.safetensors')))
  expect(readdirSync(place)).toEqual(['model.safetensors'])
})

test('a missing folder, and a file where a folder should be', async () => {
  await refuses('ERR_IO', /No such file/, () => save(join(folder, 'missing', 'model.safetensors')))
  writeFileSync(join(folder, 'file'), '')
  await refuses('ERR_IO', /Not a directory/, () => save(join(folder, 'file', 'model.safetensors')))
})

const isRoot = process.getuid?.() === 0
test.skipIf(isRoot)(`an unwritable folder${isRoot ? ' (skipped: root may write anywhere)' : ''}`, async () => {
  const place = join(folder, 'locked')
  mkdirSync(place)
  chmodSync(place, 0o500)
  await refuses('ERR_IO', /denied/, () => save(join(place, 'model.safetensors')))
  chmodSync(place, 0o700)
  expect(readdirSync(place)).toEqual([])
})

test('a file system that takes no files', async () => {
  await refuses('ERR_IO', /model\.safetensors/, () => save('/proc/model.safetensors'))
})

/** Saves over a file in `place` as a process of its own; prints the error's code. */
const saveOver = (place: string) => `
  import { Network, networks } from 'torchvid'
  const network = await Network.create(networks.vgg({ cfg: [64, 'M', 64, 'M', 64, 'M', 256, 'M', 256] }), { device: 'cpu' })
  await network.save(${JSON.stringify(join(place, 'model.safetensors'))}).then(() => console.log('saved'), (e) => console.log(e.code, e.message))
`

test('a save that the system cuts short leaves the file that was there', async () => {
  const place = join(folder, 'limited')
  mkdirSync(place)
  writeFileSync(join(place, 'model.safetensors'), 'as it was')
  // The largest file this process may write: 100 blocks.
  const script = 'ulimit -f 100; exec "$0" --input-type=module -e "$1"'
  const { code, output } = await runProgram('bash', ['-c', script, process.execPath, saveOver(place)])
  expect(output).toMatch(/^ERR_IO .*could not be written whole/m)
  expect(code).toBe(0)
  expect(readFileSync(join(place, 'model.safetensors'), 'utf8')).toBe('as it was')
  expect(leftovers(place)).toEqual([])
})

/** Runs a shell script in a mount namespace of its own, where a disk of one megabyte can be mounted. */
const onSmallDisk = ['unshare', ['--mount', ...(isRoot ? [] : ['--user', '--map-root-user'])]] as const
const small = spawnSync(onSmallDisk[0], [...onSmallDisk[1], 'mount', '-t', 'tmpfs', '-o', 'size=1m', 'none', folder])
const mountable = small.status === 0

test.skipIf(!mountable)(
  `a full disk leaves the file that was there${mountable ? '' : ' (skipped: no disk can be mounted here)'}`,
  async () => {
    const place = join(folder, 'disk')
    mkdirSync(place)
    const script = `
    mount -t tmpfs -o size=1m none "$2" && cd "${root}" && echo -n 'as it was' > "$2/model.safetensors"
    "$0" --input-type=module -e "$1"; echo "ended $?"; ls "$2"; cat "$2/model.safetensors"`
    const args = [...onSmallDisk[1], 'bash', '-c', script, process.execPath, saveOver(place), place]
    const { output } = await runProgram(onSmallDisk[0], args)
    expect(output).toMatch(/^ERR_IO .*could not be written whole.*No space left/m)
    expect(output).toMatch(/ended 0\nmodel\.safetensors\nas it was$/)
  },
)
