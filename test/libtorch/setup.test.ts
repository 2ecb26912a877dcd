import fs from 'node:fs'
import type http from 'node:http'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { forgetLibTorch, locateLibTorch } from '../../lib/libtorch/locate.ts'
import { cachedRoot, libraryNames, officialArchive } from '../../lib/libtorch/platform.ts'
import { type SetupProgress, setupLibTorch } from '../../lib/libtorch/setup.ts'
import { MANIFEST, readManifest } from '../../lib/libtorch/version.ts'
import { makeElf, makePython, makeRoot, makeSandbox, makeZip, officialFiles, serve, wheelFiles } from './fakes.ts'

const hasArchive = officialArchive('2.13.0') !== undefined
const { torchCpu } = libraryNames()

let sandbox: ReturnType<typeof makeSandbox>
let closeServer: (() => Promise<void>) | undefined

beforeEach(() => {
  sandbox = makeSandbox()
  forgetLibTorch()
})

afterEach(async () => {
  await closeServer?.()
  closeServer = undefined
  fs.rmSync(sandbox.folder, { recursive: true, force: true })
})

async function serveBytes(respond: Buffer | http.RequestListener): Promise<NodeJS.ProcessEnv> {
  const listener: http.RequestListener = Buffer.isBuffer(respond) ? (_, response) => response.end(respond) : respond
  const server = await serve(listener)
  closeServer = server.close
  return { ...sandbox.env, TORCHVID_LIBTORCH_URL: server.url }
}

function withWheel(files: Parameters<typeof makeZip>[0]): NodeJS.ProcessEnv {
  const wheel = path.join(sandbox.folder, 'torch.whl')
  fs.writeFileSync(wheel, makeZip(files))
  return { ...sandbox.env, TORCHVID_PYTHON: makePython(sandbox.folder, { wheel }) }
}

async function failure(work: Promise<unknown>): Promise<{ code: string; message: string }> {
  return work.then(
    () => Promise.reject(new Error('nothing was thrown')),
    (error) => error,
  )
}

/** What is in the cache, hidden leftovers included. */
function cacheContents(): string[] {
  return fs.existsSync(sandbox.cache) ? fs.readdirSync(sandbox.cache) : []
}

describe.runIf(hasArchive)('from the official archive', () => {
  test('fetches, checks, signs and renames', async () => {
    const archive = makeZip(officialFiles())
    const env = await serveBytes((_, response) => {
      response.setHeader('content-length', archive.length)
      response.end(archive)
    })
    const stages: SetupProgress[] = []
    const messages: string[] = []
    const onProgress = (progress: SetupProgress) => void stages.push(progress)
    const { libtorch, fetched } = await setupLibTorch({ env, onProgress, onMessage: (text) => messages.push(text) })

    const root = cachedRoot('2.13.0', env)
    expect(fetched).toBe(true)
    expect(libtorch).toEqual({ root, version: '2.13.0+cpu', variant: 'cpu', source: 'cache' })
    expect(locateLibTorch(env)).toEqual(libtorch)
    expect(fs.readFileSync(path.join(root, 'include/ATen/ATen.h'), 'utf8')).toBe('// header')
    expect(fs.existsSync(path.join(root, 'bin'))).toBe(false)
    expect(cacheContents()).toEqual([path.basename(root)])
    expect(readManifest(root)).toMatchObject({ source: officialArchive('2.13.0', { env }), size: archive.length })
    expect(readManifest(root)?.sha256).toMatch(/^[0-9a-f]{64}$/)
    expect([...new Set(stages.map(({ stage }) => stage))]).toEqual(['download', 'extract', 'verify'])
    expect(stages.find(({ stage }) => stage === 'download')).toMatchObject({ total: archive.length })
    expect(messages[0]).toContain('1 kB')
  })

  test('does nothing when a good one is there, and fetches again with force', async () => {
    let requests = 0
    const archive = makeZip(officialFiles())
    const env = await serveBytes((_, response) => {
      requests++
      response.end(archive)
    })
    await setupLibTorch({ env })
    expect((await setupLibTorch({ env })).fetched).toBe(false)
    expect(requests).toBe(1)
    expect((await setupLibTorch({ env, force: true })).fetched).toBe(true)
    expect(requests).toBe(2)
    expect(cacheContents()).toHaveLength(1)
  })

  test('two at once both end with the same whole folder', async () => {
    const env = await serveBytes(makeZip(officialFiles()))
    const [one, two] = await Promise.all([setupLibTorch({ env }), setupLibTorch({ env })])
    expect(one.libtorch).toEqual(two.libtorch)
    expect(cacheContents()).toEqual([path.basename(one.libtorch.root)])
  })

  test('replaces a damaged folder', async () => {
    const env = await serveBytes(makeZip(officialFiles()))
    makeRoot(cachedRoot('2.13.0', env))
    const { libtorch, fetched } = await setupLibTorch({ env })
    expect(fetched).toBe(true)
    expect(fs.existsSync(path.join(libtorch.root, MANIFEST))).toBe(true)
  })

  const damages: [string, () => Buffer, RegExp][] = [
    [
      'a wrong checksum',
      () => makeZip(officialFiles().map((file) => ({ ...file, crc: 1 }))),
      /checksum of .* is wrong/,
    ],
    [
      'a name that leads out',
      () => makeZip([...officialFiles(), { name: 'libtorch/lib/../../../../evil', data: 'x' }]),
      /relative path/,
    ],
    ['an absolute name', () => makeZip([...officialFiles(), { name: '/evil', data: 'x' }]), /absolute path/],
    [
      'a link',
      () => makeZip([...officialFiles(), { name: 'libtorch/lib/x', data: '/etc', mode: 0o120777 }]),
      /is a link/,
    ],
    ['a file twice', () => makeZip([...officialFiles(), ...officialFiles()]), /in it twice/],
    ['no end', () => makeZip(officialFiles()).subarray(0, 300), /damaged/],
    ['no libraries', () => makeZip(officialFiles().slice(0, 1)), /does not hold a usable LibTorch/],
  ]
  test.each(damages)('refuses an archive with %s and keeps nothing', async (_, make, words) => {
    const env = await serveBytes(make())
    const { code, message } = await failure(setupLibTorch({ env }))
    expect(code).toBe('ERR_IO')
    expect(message).toMatch(words)
    expect(cacheContents()).toEqual([])
    expect(fs.readdirSync(sandbox.folder).some((name) => name === 'evil')).toBe(false)
  })

  test('refuses an archive of another version, naming both', async () => {
    const env = await serveBytes(makeZip(officialFiles('2.12.0+cpu')))
    const { code, message } = await failure(setupLibTorch({ env }))
    expect(code).toBe('ERR_LIBTORCH_VERSION')
    expect(message).toContain('2.12.0+cpu')
    expect(message).toContain('2.13.0')
    expect(cacheContents()).toEqual([])
  })

  test('never takes a download that broke off for a whole one', async () => {
    const archive = makeZip(officialFiles())
    const env = await serveBytes((_, response) => {
      response.setHeader('content-length', archive.length)
      response.write(archive.subarray(0, archive.length - 10), () => response.destroy())
    })
    const { code } = await failure(setupLibTorch({ env }))
    expect(code).toBe('ERR_LIBTORCH_NOT_FOUND')
    expect(cacheContents()).toEqual([])
    expect(() => locateLibTorch(env)).toThrow('No LibTorch')
  })

  test('holds the archive against a checksum the user gives', async () => {
    const env = { ...(await serveBytes(makeZip(officialFiles()))), TORCHVID_LIBTORCH_SHA256: 'ab'.repeat(32) }
    const { code, message } = await failure(setupLibTorch({ env }))
    expect(code).toBe('ERR_IO')
    expect(message).toContain('abab')
    expect(cacheContents()).toEqual([])
  })

  test('goes on to pip when the server does not answer in time', async () => {
    const env = { ...withWheel(wheelFiles()), ...{} }
    const server = await serve(() => {})
    closeServer = server.close
    const { libtorch } = await setupLibTorch({ env: { ...env, TORCHVID_LIBTORCH_URL: server.url }, connectTimeout: 50 })
    expect(libtorch.version).toBe('2.13.0')
  })

  test('an abort rejects with its reason and leaves nothing', async () => {
    const abort = new AbortController()
    const reason = new Error('enough')
    const env = await serveBytes((_, response) => {
      response.write('PK')
    })
    const run = setupLibTorch({ env, signal: abort.signal, onProgress: () => abort.abort(reason) })
    expect(await failure(run)).toBe(reason)
    expect(cacheContents()).toEqual([])
  })
})

describe('with pip', () => {
  test('unpacks what is needed of the wheel', async () => {
    const env = withWheel(wheelFiles())
    const messages: string[] = []
    const { libtorch } = await setupLibTorch({ env, onMessage: (text) => messages.push(text) })
    expect(libtorch).toMatchObject({ version: '2.13.0', variant: 'cpu', source: 'cache' })
    expect(fs.readdirSync(libtorch.root).sort()).toEqual(['lib', MANIFEST, 'version.py'])
    expect(readManifest(libtorch.root)?.source).toBe('torch-2.13.0-py3-none-any.whl')
    expect(messages.join('\n')).toContain('pip download --no-deps torch==2.13.0')
    expect(cacheContents()).toHaveLength(1)
  })

  test('refuses a wheel that is not what its RECORD says', async () => {
    const env = withWheel(wheelFiles({ tamper: `torch/lib/${torchCpu}` }))
    const { code, message } = await failure(setupLibTorch({ env }))
    expect(code).toBe('ERR_IO')
    expect(message).toContain('RECORD')
    expect(cacheContents()).toEqual([])
  })

  test.runIf(process.platform === 'linux')('deletes the CUDA build and says what to do', async () => {
    const env = withWheel(wheelFiles({ cuda: "'13.0'", library: makeElf(['libcudart.so.9913']) }))
    const { code, message } = await failure(setupLibTorch({ env }))
    expect(code).toBe('ERR_LIBTORCH_NOT_FOUND')
    expect(message).toContain('CUDA 13.0 build')
    expect(message).toContain('libcudart.so.9913')
    expect(message).toContain('It was deleted')
    expect(message).toContain('--index-url')
    expect(cacheContents()).toEqual([])
  })

  test('offline, names both ways to do it by hand', async () => {
    const { code, message } = await failure(setupLibTorch({ env: sandbox.env }))
    expect(code).toBe('ERR_LIBTORCH_NOT_FOUND')
    expect(message).toContain('No matching distribution found')
    expect(message).toContain('TORCHVID_LIBTORCH')
    expect(message).toContain('pip install torch==2.13.0')
    expect(cacheContents()).toEqual([])
  })
})

describe('the cache folder', () => {
  test('loses leftovers older than a day, and keeps younger ones', async () => {
    const [old, young] = ['.partial-1-old', '.partial-2-young'].map((name) => path.join(sandbox.cache, name))
    for (const folder of [old!, young!]) fs.mkdirSync(folder, { recursive: true })
    const twoDaysAgo = new Date(Date.now() - 2 * 24 * 60 * 60 * 1000)
    fs.utimesSync(old!, twoDaysAgo, twoDaysAgo)
    await failure(setupLibTorch({ env: sandbox.env }))
    expect(cacheContents()).toEqual(['.partial-2-young'])
  })

  test('that cannot be made is a coded error', async () => {
    const file = path.join(sandbox.folder, 'file')
    fs.writeFileSync(file, '')
    const env = { ...sandbox.env, TORCHVID_CACHE: path.join(file, 'cache') }
    const { code, message } = await failure(setupLibTorch({ env }))
    expect(code).toBe('ERR_IO')
    expect(message).toContain('TORCHVID_CACHE')
  })
})

test('an explicit path that is wrong is not papered over by fetching', async () => {
  const env = { ...sandbox.env, TORCHVID_LIBTORCH: makeRoot(path.join(sandbox.folder, 'old'), '2.12.1') }
  expect((await failure(setupLibTorch({ env }))).code).toBe('ERR_LIBTORCH_VERSION')
  expect(cacheContents()).toEqual([])
})
