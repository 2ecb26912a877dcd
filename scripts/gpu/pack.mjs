// Packs what a GPU server without network, Node or npm needs to build, test and measure torchvid: see README.md here.
//
//   node scripts/gpu/pack.mjs [--out FOLDER] [--shared FOLDER] [--node FILE] [--level 0..9] [--limit MIB]
import { spawnSync } from 'node:child_process'
import crypto from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { filesBelow, root, run } from '../tools.mjs'
import { copyPackages } from './packages.mjs'
import { copyShared } from './shared-data.mjs'

const archiveName = 'torchvid-gpu.tar.xz'
const target = `${process.platform}-${process.arch}`

/** Of the repository: what is built, run or read there. */
const sources = ['native', 'dist', 'lib', 'test', 'bench', 'models/default.safetensors']
const singleFiles = [
  'package.json',
  'CMakeLists.txt',
  'tsconfig.json',
  'vitest.config.ts',
  'scripts/tools.mjs',
  'scripts/test.mjs',
]
/** npm packages, each with all that it depends on: what runs, what tests, and the headers that the addon is built with. */
const packageRoots = () => [
  ...Object.keys(readJson(path.join(root, 'package.json')).dependencies),
  'vitest',
  'node-addon-api',
  'node-api-headers',
]

main()

function main() {
  const options = readArguments()
  if (process.platform !== 'linux') fail('GPU servers are Linux machines: pack on one of the same architecture.')
  for (const program of ['tar', 'xz', 'strip']) need(program)
  buildLibrary()
  const staging = fs.mkdtempSync(path.join(os.tmpdir(), 'torchvid-gpu-'))
  try {
    const tree = path.join(staging, 'torchvid')
    copyRepository(tree)
    const packages = copyPackages(packageRoots(), path.join(tree, 'node_modules'))
    const data = copyShared(options.shared, path.join(staging, 'shared'))
    const node = putNode(options.node, path.join(staging, 'node'))
    fs.rmSync(options.out, { recursive: true, force: true })
    fs.mkdirSync(options.out, { recursive: true })
    const archive = path.join(options.out, archiveName)
    compress(staging, archive, options.level)
    fs.copyFileSync(path.join(root, 'scripts/gpu/run.sh'), path.join(options.out, 'run.sh'))
    fs.chmodSync(path.join(options.out, 'run.sh'), 0o755)
    fs.copyFileSync(path.join(root, 'scripts/gpu/README.md'), path.join(options.out, 'README.md'))
    const facts = { target, node, packages, data, sha256: hashOf(archive), bytes: fs.statSync(archive).size }
    fs.writeFileSync(path.join(options.out, 'manifest.json'), `${JSON.stringify(facts, null, 2)}\n`)
    report(options, facts)
  } finally {
    fs.rmSync(staging, { recursive: true, force: true })
  }
}

function readArguments() {
  try {
    const { values } = parseArgs({
      options: {
        out: { type: 'string', default: path.join(root, 'build/gpu-pack') },
        shared: { type: 'string', default: process.env.TORCHVID_SHARED ?? path.join(root, '../shared') },
        node: { type: 'string' },
        level: { type: 'string', default: '9' },
        limit: { type: 'string', default: '60' },
      },
    })
    if (!/^\d$/.test(values.level)) fail(`--level ${values.level}: wanted 0 (fast) to 9 (small)`, 2)
    if (!(Number(values.limit) > 0)) fail(`--limit ${values.limit}: wanted a number of MiB`, 2)
    return { ...values, out: path.resolve(values.out), limit: Number(values.limit) }
  } catch (error) {
    return fail(
      `${error.message}
node scripts/gpu/pack.mjs [--out FOLDER] [--shared FOLDER] [--node FILE] [--level 0..9] [--limit MIB]`,
      2,
    )
  }
}

/** The library of the sources as they are now; what is built already is left alone. */
function buildLibrary() {
  if (run([process.execPath, 'scripts/bootstrap.mjs', '--only-lib']) !== 0) fail('The library could not be built.')
}

function copyRepository(tree) {
  const files = [...filesBelow(...sources), ...singleFiles].filter((file) => !/\.map$|(^|\/)out\//.test(file))
  for (const file of files) {
    const to = path.join(tree, file)
    fs.mkdirSync(path.dirname(to), { recursive: true })
    fs.copyFileSync(path.join(root, file), to)
  }
}

/** A Node for the other machine, stripped: a given one, or that of the npm registry of this Node's major version. */
function putNode(given, to) {
  const from = given ?? fetchNode()
  fs.copyFileSync(from, to)
  fs.chmodSync(to, 0o755)
  if (run(['strip', to]) !== 0) fail(`${from} could not be stripped: is it a Node for ${target}?`)
  const { stdout, status } = spawnSync(to, ['--version'], { encoding: 'utf8' })
  if (status !== 0) fail(`${from} does not run here.`)
  if (given === undefined) fs.rmSync(path.dirname(from), { recursive: true, force: true })
  return stdout.trim()
}

/** npm carries Node's own binaries, a package per platform. */
function fetchNode() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'torchvid-node-'))
  const name = `node-${target}@${process.versions.node.split('.')[0]}`
  console.error(`Fetching ${name} from the npm registry`)
  const { status, stdout } = spawnSync('npm', ['pack', name, '--silent', '--pack-destination', folder], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  if (status !== 0) fail(`npm pack ${name} failed: see above. --node FILE takes a Node binary that is here already.`)
  const archive = path.join(folder, stdout.trim().split('\n').at(-1))
  if (run(['tar', '-xzf', archive, '-C', folder, 'package/bin/node']) !== 0) fail(`${archive} holds no bin/node.`)
  const binary = path.join(folder, 'node')
  fs.renameSync(path.join(folder, 'package/bin/node'), binary)
  return binary
}

function compress(folder, archive, level) {
  console.error(`Compressing (xz, level ${level}; a minute or two)`)
  const flags = ['--sort=name', '--owner=0', '--group=0', '--numeric-owner', '-C', folder, '-cf', archive]
  const env = { ...process.env, XZ_OPT: `-${level} -T1` }
  if (run(['tar', '--xz', ...flags, 'torchvid', 'shared', 'node'], { env }) !== 0) fail('tar failed: see above.')
}

function report({ out, limit }, { bytes, node, packages, data }) {
  const total = fs.readdirSync(out).reduce((sum, name) => sum + fs.statSync(path.join(out, name)).size, 0)
  const size = (total / 2 ** 20).toFixed(1)
  console.log(`${out}: ${size} MiB (archive ${(bytes / 2 ** 20).toFixed(1)} MiB)`)
  console.log(`Node ${node}, ${packages} npm packages, data: ${data.length > 0 ? data.join(', ') : 'none'}`)
  console.log(`There: ./run.sh all --out FOLDER`)
  if (total > limit * 2 ** 20) fail(`That is more than ${limit} MiB. --shared with fewer data makes it smaller.`)
}

function hashOf(file) {
  return crypto.createHash('sha256').update(fs.readFileSync(file)).digest('hex')
}

function need(program) {
  if (spawnSync(program, ['--version'], { stdio: 'ignore' }).status === 0) return
  fail(`${program} is needed and not here. Debian and Ubuntu: apt install tar xz-utils binutils`)
}

function readJson(file) {
  return JSON.parse(fs.readFileSync(file, 'utf8'))
}

function fail(text, status = 1) {
  console.error(text)
  process.exit(status)
}
