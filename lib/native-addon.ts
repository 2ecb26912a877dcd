import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import nodeGypBuild from 'node-gyp-build'
import { TorchvidError } from './errors.ts'
import { openCuda } from './libtorch/cuda.ts'
import { type LibTorch, locateLibTorch } from './libtorch/locate.ts'
import { packageRoot } from './libtorch/package.ts'
import { libraryNames } from './libtorch/platform.ts'
import type { Native } from './native.ts'

let loaded: { native: Native; libtorch: LibTorch } | undefined

/**
 * The addon, loaded at first use.
 * @throws TorchvidError ERR_LIBTORCH_NOT_FOUND, ERR_LIBTORCH_VERSION
 */
export function native(): Native {
  return load().native
}

/** The LibTorch in use. Loads the addon. */
export function libtorchInUse(): LibTorch {
  return load().libtorch
}

function load(): { native: Native; libtorch: LibTorch } {
  if (loaded !== undefined) return loaded
  const libtorch = locateLibTorch()
  const loaderPath = findLoader()
  const loader = createRequire(import.meta.url)(loaderPath) as { open(path: string): string }
  const names = libraryNames()
  for (const name of [names.c10, names.torchCpu]) open(loader, path.join(libtorch.root, 'lib', name))
  const cuda = openCuda(libtorch, (library) => loader.open(library))
  const addon = openAddon(path.join(path.dirname(loaderPath), engineName()))
  addon.setErrorFactory((code, message) => new TorchvidError(code, message))
  addon.setCuda(cuda, warnOfCuda)
  // exit() destroys LibTorch's statics, and Node runs no clean-up hooks before it on process.exit() or an uncaught
  // exception: the engine must be done with them by then. It waits for one operation at most.
  process.once('exit', () => addon.cancelAll())
  loaded = { native: addon, libtorch }
  return loaded
}

/** The one warning where a CUDA build of LibTorch has no device to work on. */
function warnOfCuda(reason: string): void {
  const detail =
    'Set TORCHVID_CUDA=0 or name device "cpu" if that is meant; "npx torchvid doctor" shows what was found.'
  process.emitWarning(`device "auto" takes the CPU, because CUDA does not work here: ${reason}`, {
    type: 'TorchvidWarning',
    code: 'TORCHVID_CUDA',
    detail,
  })
}

/** The loader's path: from `prebuilds/`, or from a build folder during development. */
function findLoader(): string {
  try {
    return nodeGypBuild.path(packageRoot())
  } catch (cause) {
    const target = `${process.platform}-${process.arch}`
    const message = `torchvid has no addon for ${target}. Supported systems come with one; from a clone, run: npm run build`
    throw new TorchvidError('ERR_LIBTORCH_NOT_FOUND', message, { cause })
  }
}

function engineName(): string {
  const suffix = { win32: 'dll', darwin: 'dylib' }[process.platform as string] ?? 'so'
  return `torchvid_engine.${suffix}`
}

function open(loader: { open(path: string): string }, library: string): void {
  const failure = loader.open(library)
  if (failure === '') return
  const message = `LibTorch's ${path.basename(library)} does not load: ${failure}. Run \`npx torchvid doctor\` to see what is wrong.`
  throw new TorchvidError('ERR_LIBTORCH_NOT_FOUND', message)
}

function openAddon(file: string): Native {
  const module = { exports: {} as Native }
  // RTLD_DEEPBIND: Node exports its own zlib, OpenSSL and libuv, which LibTorch's side must not see.
  const { RTLD_NOW, RTLD_DEEPBIND = 0 } = os.constants.dlopen as Record<string, number>
  try {
    process.dlopen(module, file, (RTLD_NOW ?? 2) | RTLD_DEEPBIND)
  } catch (cause) {
    const message = `torchvid's engine does not load: ${(cause as Error).message}. Run \`npx torchvid doctor\` to see what is wrong.`
    throw new TorchvidError('ERR_LIBTORCH_NOT_FOUND', message, { cause })
  }
  return module.exports
}
