// Builds a stand-in for CUDA beside a CUDA LibTorch: see README.md here.
//
//   node scripts/cuda-standin/build.mjs --libtorch FOLDER --out FOLDER
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'

const here = import.meta.dirname
/** NVIDIA's functions, by how their names begin; all else that LibTorch does not define itself is the system's. */
const foreign = /^(__)?(cuda|cublas|cudnn|cusparse|cusolver|cufft|curand|cupti|cuFile|cu[A-Z]|nccl|nvrtc|nvshmem)/

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values } = parseArgs({ options: { libtorch: { type: 'string' }, out: { type: 'string' } } })
  if (values.libtorch === undefined || values.out === undefined) {
    console.error('usage: build.mjs --libtorch FOLDER --out FOLDER')
    process.exit(2)
  }
  buildStandin(values.libtorch, values.out)
}

/**
 * Writes `libstandin.so`, `libstandin_operations.so` and links by the names of NVIDIA's libraries to `out`, which then goes
 * to `LD_LIBRARY_PATH`.
 * @param {string} libtorch a CUDA LibTorch: the folder of `lib` and `include`
 * @param {string} out
 */
export function buildStandin(libtorch, out) {
  const lib = path.join(libtorch, 'lib')
  const libraries = fs.readdirSync(lib).filter((name) => /^lib(torch|c10|caffe2)\w*\.so$/.test(name))
  fs.mkdirSync(out, { recursive: true })
  const at = (name) => path.join(out, name)
  const compile = (...args) => execFileSync('g++', ['-std=c++20', '-O1', '-fPIC', ...args], { stdio: 'inherit' })
  const cuda = ['-isystem', path.join(cudaHome() ?? '/usr', 'include')]

  compile('-c', path.join(here, 'runtime.cc'), ...cuda, '-o', at('runtime.o'))
  const written = new Set(words('nm', ['--defined-only', '--format=posix', at('runtime.o')]))
  const called = libraries.flatMap((name) =>
    words('nm', ['-D', '--undefined-only', '--format=posix', path.join(lib, name)]),
  )
  const missing = [...new Set(called.map((name) => name.replace(/@.*/, '')))].filter(
    (name) => foreign.test(name) && !written.has(name),
  )
  fs.writeFileSync(at('rest.s'), successes(missing))
  compile('-shared', at('runtime.o'), at('rest.s'), '-o', at('libstandin.so'))
  for (const name of new Set(libraries.flatMap((library) => needed(path.join(lib, library))))) {
    if (!/^lib(cu|nv|nccl)/.test(name)) continue
    fs.rmSync(at(name), { force: true })
    fs.symlinkSync('libstandin.so', at(name))
  }
  const headers = [
    '-isystem',
    path.join(libtorch, 'include'),
    '-isystem',
    path.join(libtorch, 'include/torch/csrc/api/include'),
  ]
  const links = [lib, out].map((folder) => `-L${folder}`)
  const linked = ['torch_cpu', 'torch_cuda', 'c10', 'c10_cuda', 'standin'].map((name) => `-l${name}`)
  compile(
    '-shared',
    path.join(here, 'operations.cc'),
    ...headers,
    ...cuda,
    ...links,
    ...linked,
    '-Wl,--allow-shlib-undefined',
    '-o',
    at('libstandin_operations.so'),
  )
}

/** Functions that return 0, which is success in all of NVIDIA's libraries. */
function successes(names) {
  const functions = names.map((name) => `.globl ${name}\n.type ${name}, @function\n${name}: xor %eax, %eax\nret`)
  return `.text\n${functions.join('\n')}\n.section .note.GNU-stack,"",@progbits\n`
}

/** The names of the libraries that a library needs. */
function needed(library) {
  const text = execFileSync('readelf', ['-d', library], { encoding: 'utf8' })
  return [...text.matchAll(/\(NEEDED\).*\[(.*)\]/g)].map((match) => match[1])
}

/** The first word of each line that a program prints. */
function words(program, args) {
  const text = execFileSync(program, args, { encoding: 'utf8', maxBuffer: 2 ** 30 })
  return text.split('\n').map((line) => line.split(' ')[0])
}

/** The CUDA toolkit, of which the headers are used, or undefined. */
export function cudaHome() {
  const folders = [process.env.CUDA_HOME, process.env.CUDA_PATH, '/usr/local/cuda'].filter(Boolean)
  return folders.find((folder) => fs.existsSync(path.join(folder, 'include/cuda_runtime_api.h')))
}
