// Runs what a GPU server runs (scripts/gpu/run.sh) on this machine, with a stand-in for CUDA: see README.md here.
//
//   node scripts/cuda-standin/run.mjs [STAGE...] [--libtorch FOLDER] [--tests PATH]
//
// Stages are run.sh's; by default: build info test. --libtorch: a CUDA LibTorch; by default it is fetched with pip. The exit
// code is 77 where something it needs is missing.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { root, run } from '../tools.mjs'
import { buildStandin, cudaHome } from './build.mjs'

/** The exit code where something is missing. */
const absent = 77
/** The oldest LibTorch the sources build with, and one whose build for CUDA pip has. */
const libtorchVersion = '2.11.0'
const cache = process.env.TORCHVID_CACHE ?? path.join(os.homedir(), '.cache/torchvid')
const work = path.join(root, 'build/cuda-standin')
const log = path.join(work, 'standin.log')

main()

function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { libtorch: { type: 'string' }, tests: { type: 'string' } },
  })
  const stages = positionals.length > 0 ? positionals : ['build', 'info', 'test']
  if (cudaHome() === undefined) {
    console.error("No CUDA toolkit: CUDA_HOME should name a folder with 'include/cuda_runtime_api.h'.")
    process.exit(absent)
  }
  const libtorch = values.libtorch ?? fetchLibTorch()
  fs.mkdirSync(work, { recursive: true })
  fs.rmSync(log, { force: true })
  buildStandin(libtorch, path.join(work, 'lib'))
  const pack = ['--out', path.join(work, 'pack'), '--level', '0', '--limit', '1000', '--node', process.execPath]
  need(run([process.execPath, 'scripts/gpu/pack.mjs', ...pack]), 'pack.mjs')

  const flags = ['--tiny', '--out', path.join(work, 'results'), '--work', path.join(work, 'server')]
  if (values.tests !== undefined) flags.push('--tests', values.tests)
  const env = {
    // Of the stand-in, so that tests that fill the device do not fill this machine.
    STANDIN_CUDA_MEMORY: `${4 * 2 ** 30}`,
    STANDIN_CUDA_LOG: log,
    ...process.env,
    TORCHVID_LIBTORCH: libtorch,
    LD_LIBRARY_PATH: [path.join(work, 'lib'), process.env.LD_LIBRARY_PATH].filter(Boolean).join(':'),
  }
  const code = run(['bash', path.join(work, 'pack/run.sh'), ...stages, ...flags], { env })
  process.exitCode = code !== 0 || !logIsGood() ? 1 : 0
}

/** What the stand-in saw: recordings, and nothing that it cannot compute or that CUDA forbids. */
function logIsGood() {
  const lines = fs.existsSync(log) ? fs.readFileSync(log, 'utf8').split('\n') : []
  const recordings = lines.filter((line) => line.startsWith('recorded'))
  const bad = [...new Set(lines.filter((line) => line !== '' && !line.startsWith('recorded')))]
  console.log(`The stand-in recorded ${recordings.length} graphs.`)
  for (const line of bad) console.error(`The stand-in: ${line}`)
  return bad.length === 0
}

/** The build for CUDA from the package index, 530 MB, once; of it the libraries and headers. */
function fetchLibTorch() {
  const folder = path.join(cache, `libtorch-${libtorchVersion}-cuda`)
  if (fs.existsSync(path.join(folder, 'torch/version.py'))) return path.join(folder, 'torch')
  const python = process.env.TORCHVID_PYTHON ?? 'python3'
  fs.mkdirSync(cache, { recursive: true })
  const part = fs.mkdtempSync(path.join(cache, 'libtorch-part-'))
  try {
    const pip = ['-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary=:all:', '--dest', part]
    need(run([python, ...pip, `torch==${libtorchVersion}`]), 'pip', absent)
    const wheel = path.join(part, fs.readdirSync(part).find((name) => name.endsWith('.whl')) ?? '')
    const unpack = `import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    wanted = ('torch/lib/', 'torch/include/', 'torch/version.py')
    wheel.extractall(sys.argv[2], [name for name in wheel.namelist() if name.startswith(wanted)])`
    need(run([python, '-c', unpack, wheel, path.join(part, 'whole')]), 'unpacking')
    fs.renameSync(path.join(part, 'whole'), folder)
  } finally {
    fs.rmSync(part, { recursive: true, force: true })
  }
  return path.join(folder, 'torch')
}

function need(code, what, otherwise = 1) {
  if (code === 0) return
  console.error(`${what} failed.`)
  process.exit(otherwise)
}
