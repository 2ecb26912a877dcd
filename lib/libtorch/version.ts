import fs from 'node:fs'
import path from 'node:path'
import { neededLibraries } from './elf.ts'
import { libraryNames, loaderFolders } from './platform.ts'

/** What lies in a LibTorch folder, read without loading it. */
export interface LibTorchFacts {
  root: string
  /** Such as "2.13.0+cpu"; undefined when no file says it. */
  version: string | undefined
  variant: 'cpu' | 'cuda'
  /** Libraries that should be in `lib` and are not. */
  missing: string[]
  /** CUDA libraries that libtorch_cpu itself asks for and that are nowhere to be found (Linux). */
  absentCuda: string[]
}

/** The file torchvid leaves in the folders it made itself; it is written last. */
export const MANIFEST = 'torchvid.json'

/** Where a LibTorch in the cache came from. */
export interface Manifest {
  version: string
  /** Address or file name of the archive. */
  source: string
  /** SHA-256 of the archive, in hexadecimal. */
  sha256: string
  /** Size of the archive in bytes. */
  size: number
  date: string
  /** Sizes of the main libraries in bytes, to notice a damaged folder without reading it. */
  libraries: Record<string, number>
}

/** Looks at a LibTorch folder (or the `torch` folder of a Python torch). Throws nothing: what is absent is said. */
export function readLibTorch(root: string, env: NodeJS.ProcessEnv = process.env): LibTorchFacts {
  const names = libraryNames()
  const lib = path.join(root, 'lib')
  const missing = [names.torchCpu, names.c10].filter((name) => !isFile(path.join(lib, name)))
  return {
    root,
    version: readVersion(root),
    variant: readVariant(root),
    missing,
    absentCuda: missing.length > 0 ? [] : absentCudaLibraries(root, env),
  }
}

/** The version of the LibTorch in `root`, from the first file that says it. */
function readVersion(root: string): string | undefined {
  const archive = readText(path.join(root, 'build-version'))?.trim()
  if (archive) return archive
  const python = readText(path.join(root, 'version.py'))
  if (python !== undefined) return pythonField(python, '__version__')
  return readVersionHeader(root)
}

function readVersionHeader(root: string): string | undefined {
  const text = readText(path.join(root, 'include', 'torch', 'headeronly', 'version.h')) ?? ''
  const parts = ['MAJOR', 'MINOR', 'PATCH'].map((part) => new RegExp(`TORCH_VERSION_${part} (\\d+)`).exec(text)?.[1])
  return parts.every(Boolean) ? parts.join('.') : undefined
}

function readVariant(root: string): 'cpu' | 'cuda' {
  const python = readText(path.join(root, 'version.py'))
  if (python !== undefined && pythonField(python, 'cuda')) return 'cuda'
  if (/\+cu\d+/.test(readVersion(root) ?? '')) return 'cuda'
  return isFile(path.join(root, 'lib', libraryNames().torchCuda)) ? 'cuda' : 'cpu'
}

/** A string assigned in a Python `version.py`, such as `cuda: Optional[str] = '13.0'`. */
export function pythonField(text: string, name: string): string | undefined {
  return new RegExp(`^${name}\\b[^=\\n]*=\\s*['"]([^'"\\n]*)['"]`, 'm').exec(text)?.[1]
}

/**
 * The CUDA libraries that libtorch_cpu.so of `root` asks for and that the loader will not find. The CUDA build's
 * libtorch_cpu.so needs libcudart and libcupti even where no GPU is used, so without them it does not load at all.
 */
export function absentCudaLibraries(root: string, env: NodeJS.ProcessEnv = process.env): string[] {
  if (process.platform !== 'linux') return []
  const lib = path.join(root, 'lib')
  const needed = neededLibraries(path.join(lib, libraryNames().torchCpu)) ?? []
  const cuda = needed.filter((name) => /^lib(cu|nv|nccl)/.test(name))
  if (cuda.length === 0) return []
  const folders = [lib, ...nvidiaFolders(root), ...loaderFolders(env), ...configuredFolders()]
  return cuda.filter((name) => !folders.some((folder) => fs.existsSync(path.join(folder, name))))
}

/** `site-packages/nvidia/<library>/lib`, where pip puts CUDA beside a Python torch. */
function nvidiaFolders(root: string): string[] {
  const nvidia = path.join(root, '..', 'nvidia')
  return listFolder(nvidia).map((name) => path.join(nvidia, name, 'lib'))
}

/** The folders named in the loader's configuration, where a system-wide CUDA announces itself. */
function configuredFolders(): string[] {
  const folder = '/etc/ld.so.conf.d'
  const files = ['/etc/ld.so.conf', ...listFolder(folder).map((name) => path.join(folder, name))]
  return files.flatMap((file) => (readText(file) ?? '').split('\n').filter((line) => line.startsWith('/')))
}

/** Whether `version` may stand in for `wanted`: the same major and minor, since only patches keep the binary interface. */
export function isCompatible(version: string, wanted: string): boolean {
  const minor = (text: string) => /^(\d+)\.(\d+)\./.exec(`${text}.`)?.slice(1, 3).join('.')
  return minor(version) !== undefined && minor(version) === minor(wanted)
}

/** The manifest of a folder torchvid made, or undefined when there is none or it is damaged. */
export function readManifest(root: string): Manifest | undefined {
  try {
    return JSON.parse(fs.readFileSync(path.join(root, MANIFEST), 'utf8')) as Manifest
  } catch {
    return undefined
  }
}

/** Sizes of the main libraries of `root`, in bytes. */
export function librarySizes(root: string): Record<string, number> {
  const names = libraryNames()
  const sizes: Record<string, number> = {}
  for (const name of [names.torchCpu, names.c10]) {
    const size = stat(path.join(root, 'lib', name))?.size
    if (size !== undefined) sizes[name] = size
  }
  return sizes
}

/** Whether a path is a file (links are followed). */
export function isFile(file: string): boolean {
  return stat(file)?.isFile() ?? false
}

/** Undefined for whatever cannot be looked at: absent, forbidden, or below a file. */
function stat(file: string): fs.Stats | undefined {
  try {
    return fs.statSync(file)
  } catch {
    return undefined
  }
}

function listFolder(folder: string): string[] {
  try {
    return fs.readdirSync(folder)
  } catch {
    return []
  }
}

function readText(file: string): string | undefined {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}
