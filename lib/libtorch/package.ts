import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { TorchvidError } from '../errors.ts'

interface PackageJson {
  name: string
  version: string
  torchvid: { libtorch: string }
}

let found: { root: string; json: PackageJson } | undefined

/** Walks up from this module: it is lib/libtorch/package.ts in the sources and dist/*.mjs in the package. */
function findPackage(): { root: string; json: PackageJson } {
  if (found) return found
  const start = path.dirname(fileURLToPath(import.meta.url))
  for (let folder = start; ; folder = path.dirname(folder)) {
    const json = readPackageJson(path.join(folder, 'package.json'))
    if (json) {
      found = { root: folder, json }
      return found
    }
    if (folder === path.dirname(folder)) break
  }
  throw new TorchvidError(
    'ERR_IO',
    `No package.json of torchvid above ${start}. If the package was bundled, keep "torchvid" external to the bundle.`,
  )
}

function readPackageJson(file: string): PackageJson | undefined {
  try {
    const json = JSON.parse(fs.readFileSync(file, 'utf8')) as PackageJson
    return json.name === 'torchvid' ? json : undefined
  } catch {
    return undefined
  }
}

/** The folder of the installed torchvid package. Throws `ERR_IO` when the code was bundled away from it. */
export function packageRoot(): string {
  return findPackage().root
}

/** torchvid's own version, such as "0.1.0". */
export function packageVersion(): string {
  return findPackage().json.version
}

/** The LibTorch version the addon is built for, such as "2.13.0". Any patch release of the same minor fits. */
export function wantedVersion(): string {
  return findPackage().json.torchvid.libtorch
}
