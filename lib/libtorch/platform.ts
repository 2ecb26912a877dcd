import os from 'node:os'
import path from 'node:path'

/** File names of the libraries the addon links, and of CUDA's part, which it opens, by platform. */
export interface LibraryNames {
  torchCpu: string
  c10: string
  c10Cuda: string
  torchCuda: string
}

/** The file names of LibTorch's libraries in its `lib` folder. */
export function libraryNames(platform: NodeJS.Platform = process.platform): LibraryNames {
  const name = (base: string) => {
    if (platform === 'win32') return `${base}.dll`
    return platform === 'darwin' ? `lib${base}.dylib` : `lib${base}.so`
  }
  return { torchCpu: name('torch_cpu'), c10: name('c10'), c10Cuda: name('c10_cuda'), torchCuda: name('torch_cuda') }
}

/** The host of the official archives; `TORCHVID_LIBTORCH_URL` names a mirror of its folder. */
const OFFICIAL_URL = 'https://download.pytorch.org/libtorch/cpu'

/**
 * The address of the official CPU archive of `version`, or undefined where none is published.
 * `TORCHVID_LIBTORCH_URL` replaces the folder, the file name stays.
 */
export function officialArchive(
  version: string,
  { env = process.env, platform = process.platform, arch = process.arch as string } = {},
): string | undefined {
  const names: Record<string, string> = {
    'linux-x64': `libtorch-shared-with-deps-${version}%2Bcpu.zip`,
    'darwin-arm64': `libtorch-macos-arm64-${version}.zip`,
    'win32-x64': `libtorch-win-shared-with-deps-${version}%2Bcpu.zip`,
  }
  const name = names[`${platform}-${arch}`]
  const folder = (env.TORCHVID_LIBTORCH_URL || OFFICIAL_URL).replace(/\/+$/, '')
  return name && `${folder}/${name}`
}

/** Where torchvid keeps what it fetched: `TORCHVID_CACHE`, else `torchvid` in the user's cache folder. */
export function cacheFolder(
  env: NodeJS.ProcessEnv = process.env,
  platform: NodeJS.Platform = process.platform,
): string {
  if (env.TORCHVID_CACHE) return path.resolve(env.TORCHVID_CACHE)
  const home = os.homedir()
  if (platform === 'win32') return path.join(env.LOCALAPPDATA || path.join(home, 'AppData', 'Local'), 'torchvid')
  if (platform === 'darwin') return path.join(home, 'Library', 'Caches', 'torchvid')
  return path.join(env.XDG_CACHE_HOME || path.join(home, '.cache'), 'torchvid')
}

/** The finished folder of one LibTorch version in the cache. */
export function cachedRoot(version: string, env: NodeJS.ProcessEnv = process.env): string {
  return path.join(cacheFolder(env), `libtorch-${version}-cpu`)
}

/** The folders in which the system's loader looks without being configured (Linux). */
export function loaderFolders(env: NodeJS.ProcessEnv = process.env): string[] {
  const given = (env.LD_LIBRARY_PATH ?? '').split(':').filter(Boolean)
  const usual = ['/lib', '/lib64', '/usr/lib', '/usr/lib64']
  const multiarch = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu'
  return [...given, ...usual, `/lib/${multiarch}`, `/usr/lib/${multiarch}`]
}
