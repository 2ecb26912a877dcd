#!/usr/bin/env node
// Stands in for node-gyp where prebuildify (or binding.gyp) calls it: CMake builds the addon, through cmake-js.
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const cmakeJs = path.join(root, 'node_modules/cmake-js/bin/cmake-js')
const config = process.argv.includes('--debug') ? 'Debug' : 'Release'
const args = [cmakeJs, 'compile', '--config', config, `--CDTORCHVID_LIBTORCH=${process.env.TORCHVID_LIBTORCH ?? ''}`]
const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' })
process.exit(status ?? 1)
