// Builds the addon into prebuilds/<platform>-<arch>/: the loader (torchvid.node) and the engine beside it; with a CUDA
// LibTorch also torchvid_cuda (native/cuda/README.md).
// Wants TORCHVID_LIBTORCH, the folder of a LibTorch with headers (`node scripts/bootstrap.mjs` sets it).
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
if (!process.env.TORCHVID_LIBTORCH) {
  console.error(
    'TORCHVID_LIBTORCH is not set: the folder of a LibTorch with lib/ and include/. `node scripts/bootstrap.mjs` finds or fetches one.',
  )
  process.exit(2)
}
// Written over in place, a binary would change under the processes that have it loaded.
fs.rmSync(path.join(root, 'prebuilds', `${process.platform}-${process.arch}`), { recursive: true, force: true })
// What is in the build folder is copied: one of an earlier build may belong to another LibTorch.
for (const name of ['torchvid_cuda.so', 'torchvid_cuda.dll']) {
  fs.rmSync(path.join(root, 'build/Release', name), { force: true })
}

const prebuildify = path.join(root, 'node_modules/prebuildify/bin.js')
const shim = path.join(root, 'scripts/node-gyp-cmake.mjs')
const args = [prebuildify, '--napi', '--strip', '--target', `node@${process.versions.node}`, '--node-gyp', shim]
const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' })
process.exit(status ?? 1)
