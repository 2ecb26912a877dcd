import fs from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { forgetLibTorch, inspectLibTorch, locateLibTorch } from '../../lib/libtorch/locate.ts'
import { cachedRoot, libraryNames } from '../../lib/libtorch/platform.ts'
import { isCompatible, librarySizes, MANIFEST } from '../../lib/libtorch/version.ts'
import { makeElf, makePython, makeRoot, makeSandbox } from './fakes.ts'

let sandbox: ReturnType<typeof makeSandbox>

beforeEach(() => {
  sandbox = makeSandbox()
  forgetLibTorch()
})

afterEach(() => fs.rmSync(sandbox.folder, { recursive: true }))

/** A finished folder in the cache, as setup leaves it. */
function makeCached(version = '2.13.0+cpu'): string {
  const root = makeRoot(cachedRoot('2.13.0', sandbox.env), version)
  fs.writeFileSync(path.join(root, MANIFEST), JSON.stringify({ version, libraries: librarySizes(root) }))
  return root
}

function failure(work: () => unknown): { code: string; message: string } {
  try {
    work()
  } catch (error) {
    return error as { code: string; message: string }
  }
  throw new Error('nothing was thrown')
}

describe('locateLibTorch', () => {
  test('with no LibTorch at all names every place and the next step', () => {
    const { code, message } = failure(() => locateLibTorch(sandbox.env))
    expect(code).toBe('ERR_LIBTORCH_NOT_FOUND')
    expect(message).toContain('TORCHVID_LIBTORCH: not set')
    expect(message).toContain(cachedRoot('2.13.0', sandbox.env))
    expect(message).toContain(`${sandbox.env.TORCHVID_PYTHON}: has no torch package`)
    expect(message).toContain('npx torchvid setup')
  })

  test('takes TORCHVID_LIBTORCH before the cache, and the cache before Python', () => {
    const given = makeRoot(path.join(sandbox.folder, 'given'))
    const torch = makeRoot(path.join(sandbox.folder, 'site-packages', 'torch'))
    const env = { ...sandbox.env, TORCHVID_PYTHON: makePython(sandbox.folder, { torch }) }
    expect(locateLibTorch(env)).toEqual({ root: torch, version: '2.13.0+cpu', variant: 'cpu', source: 'python' })
    forgetLibTorch()
    const cached = makeCached()
    expect(locateLibTorch(env)).toMatchObject({ root: cached, source: 'cache' })
    expect(locateLibTorch({ ...env, TORCHVID_LIBTORCH: given })).toMatchObject({ root: given, source: 'environment' })
  })

  test('refuses an explicit path without a library, even when the cache has one', () => {
    makeCached()
    const env = { ...sandbox.env, TORCHVID_LIBTORCH: path.join(sandbox.folder, 'nowhere') }
    const { code, message } = failure(() => locateLibTorch(env))
    expect(code).toBe('ERR_LIBTORCH_NOT_FOUND')
    expect(message).toContain(`TORCHVID_LIBTORCH is ${env.TORCHVID_LIBTORCH}`)
    expect(message).toContain(`no lib/${libraryNames().torchCpu} there`)
  })

  test('refuses an explicit path of another version, naming both', () => {
    makeCached()
    const env = { ...sandbox.env, TORCHVID_LIBTORCH: makeRoot(path.join(sandbox.folder, 'old'), '2.11.0+cpu') }
    const { code, message } = failure(() => locateLibTorch(env))
    expect(code).toBe('ERR_LIBTORCH_VERSION')
    expect(message).toContain('2.11.0+cpu')
    expect(message).toContain('2.13.0')
  })

  test('refuses an explicit path whose version cannot be told', () => {
    const root = makeRoot(path.join(sandbox.folder, 'nameless'))
    fs.rmSync(path.join(root, 'build-version'))
    const { code } = failure(() => locateLibTorch({ ...sandbox.env, TORCHVID_LIBTORCH: root }))
    expect(code).toBe('ERR_LIBTORCH_VERSION')
  })

  test('takes another patch of the same minor version', () => {
    const root = makeRoot(path.join(sandbox.folder, 'patch'), '2.13.4')
    expect(locateLibTorch({ ...sandbox.env, TORCHVID_LIBTORCH: root }).version).toBe('2.13.4')
  })

  test('passes over a Python torch of another version, and says so', () => {
    const torch = makeRoot(path.join(sandbox.folder, 'torch'), '2.11.0+cu130')
    const { code, message } = failure(() =>
      locateLibTorch({ ...sandbox.env, TORCHVID_PYTHON: makePython(sandbox.folder, { torch }) }),
    )
    expect(code).toBe('ERR_LIBTORCH_NOT_FOUND')
    expect(message).toContain(`Python torch ${torch}: version 2.11.0+cu130, but this package needs 2.13.x`)
  })

  test('reads version and build from a Python torch', () => {
    const torch = makeRoot(path.join(sandbox.folder, 'torch'))
    fs.rmSync(path.join(torch, 'build-version'))
    fs.writeFileSync(path.join(torch, 'version.py'), "__version__ = '2.13.0'\ncuda: Optional[str] = '13.0'\n")
    const found = locateLibTorch({ ...sandbox.env, TORCHVID_PYTHON: makePython(sandbox.folder, { torch }) })
    expect(found).toMatchObject({ version: '2.13.0', variant: 'cuda' })
  })

  test('does not trust a cached folder that was cut short', () => {
    const root = makeCached()
    fs.truncateSync(path.join(root, 'lib', libraryNames().torchCpu), 3)
    const { code, message } = failure(() => locateLibTorch(sandbox.env))
    expect(code).toBe('ERR_LIBTORCH_NOT_FOUND')
    expect(message).toContain('damaged')
  })

  test('does not trust a cached folder without a manifest', () => {
    fs.rmSync(path.join(makeCached(), MANIFEST))
    expect(failure(() => locateLibTorch(sandbox.env)).code).toBe('ERR_LIBTORCH_NOT_FOUND')
  })

  test.runIf(process.platform === 'linux')('refuses a CUDA build whose CUDA is absent', () => {
    const library = makeElf(['libc10.so', 'libcudart.so.9913', 'libcupti.so.9913'])
    const root = makeRoot(path.join(sandbox.folder, 'site', 'torch'), '2.13.0+cu130', library)
    const env = { ...sandbox.env, TORCHVID_LIBTORCH: root }
    const { code, message } = failure(() => locateLibTorch(env))
    expect(code).toBe('ERR_LIBTORCH_NOT_FOUND')
    expect(message).toContain('CUDA build, which does not load without libcudart.so.9913, libcupti.so.9913')

    const nvidia = path.join(sandbox.folder, 'site', 'nvidia', 'cu13', 'lib')
    fs.mkdirSync(nvidia, { recursive: true })
    for (const name of ['libcudart.so.9913', 'libcupti.so.9913']) fs.writeFileSync(path.join(nvidia, name), '')
    expect(locateLibTorch(env)).toMatchObject({ root, variant: 'cuda' })
  })
})

describe('inspectLibTorch', () => {
  test('gives every candidate its verdict and throws nothing', () => {
    const env = { ...sandbox.env, TORCHVID_LIBTORCH: makeRoot(path.join(sandbox.folder, 'old'), '1.9.0') }
    const cached = makeCached()
    const verdicts = inspectLibTorch(env).map(({ source, verdict }) => [source, verdict])
    expect(verdicts).toEqual([
      ['environment', 'version'],
      ['cache', 'usable'],
      ['python', 'absent'],
    ])
    expect(inspectLibTorch(env)[1]).toMatchObject({ root: cached, version: '2.13.0+cpu' })
  })

  test('names a Python that does not exist', () => {
    const env = { ...sandbox.env, TORCHVID_PYTHON: path.join(sandbox.folder, 'no-python') }
    expect(inspectLibTorch(env).at(-1)?.reason).toContain('no such program')
  })
})

test('only patches of the same minor version are compatible', () => {
  expect(isCompatible('2.13.1+cu130', '2.13.0')).toBe(true)
  expect(isCompatible('2.1.3', '2.13.0')).toBe(false)
  expect(isCompatible('2.130.0', '2.13.0')).toBe(false)
  expect(isCompatible('3.13.0', '2.13.0')).toBe(false)
  expect(isCompatible('nonsense', '2.13.0')).toBe(false)
})
