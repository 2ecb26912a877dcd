// Sets up whatever is missing, and nothing else: npm packages, the built library, LibTorch, the addon.
// Works straight after `git clone`, and takes a moment when nothing is to be done.
//
//   node scripts/bootstrap.mjs              all of it
//   node scripts/bootstrap.mjs --only-lib   packages and library: enough for checks
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { contentHash, filesBelow, isStamped, root, run, tool, writeStamp } from './tools.mjs'

const tuple = `${process.platform}-${process.arch}`

main()

function main() {
  installPackages()
  buildLibrary()
  if (process.argv.includes('--only-lib')) return
  const libtorch = setUpLibTorch()
  buildAddon(libtorch)
}

function installPackages() {
  if (packagesMatchLock()) return
  say('installing npm packages (npm ci)')
  // npm names its own script when it runs this one; by name it needs a shell on Windows.
  const npm = process.env.npm_execpath?.endsWith('.js') ? [process.execPath, process.env.npm_execpath] : ['npm']
  const status = run([...npm, 'ci', '--include=dev', '--no-audit', '--no-fund'], {
    shell: npm.length === 1 && tuple.startsWith('win32'),
  })
  if (status !== 0)
    fail('npm ci failed: see above. It needs the npm registry, or a mirror set in your npm configuration.')
}

/** npm keeps a lockfile of what it installed; packages for other platforms are absent from it. */
function packagesMatchLock() {
  const wanted = readJson('package-lock.json')?.packages
  const installed = readJson('node_modules/.package-lock.json')?.packages
  if (!wanted || !installed) return false
  return Object.entries(wanted).every(([name, entry]) => {
    if (name === '') return true
    return installed[name] ? installed[name].version === entry.version : Boolean(entry.optional || entry.peer)
  })
}

function buildLibrary() {
  const hash = contentHash(
    filesBelow('lib', 'tsdown.config.ts', 'tsconfig.json', 'package.json'),
    toolVersion('tsdown'),
  )
  const built = ['dist/index.mjs', 'dist/index.cjs', 'dist/cli.mjs'].every((file) =>
    fs.existsSync(path.join(root, file)),
  )
  if (built && isStamped('dist/.stamp', hash)) return
  say('building the library (tsdown)')
  if (run([...tool('tsdown'), '--log-level', 'warn']) !== 0) fail('tsdown failed: see above.')
  writeStamp('dist/.stamp', hash)
}

/** Returns what `torchvid setup --json` says of the LibTorch in place; its progress is shown. */
function setUpLibTorch() {
  const command = ['dist/cli.mjs', 'setup', '--json']
  const result = spawnSync(process.execPath, command, {
    cwd: root,
    encoding: 'utf8',
    stdio: ['inherit', 'pipe', 'inherit'],
  })
  if (result.status !== 0) fail('LibTorch could not be set up: see above.', result.status ?? 1)
  return JSON.parse(result.stdout)
}

function buildAddon(libtorch) {
  const hash = addonHash(libtorch)
  const stamp = `prebuilds/${tuple}/.stamp`
  const built = fs.existsSync(path.join(root, 'prebuilds', tuple, 'torchvid.node'))
  if (built && isStamped(stamp, hash)) return
  checkCompiler()
  say(`building the addon against LibTorch ${libtorch.version} (a few minutes the first time)`)
  const env = { ...process.env, TORCHVID_LIBTORCH: libtorch.root }
  if (run([process.execPath, 'scripts/build-native.mjs'], { env }) !== 0)
    fail('the addon could not be built: see above.')
  writeStamp(stamp, hash)
}

/** Everything the binary depends on. */
function addonHash(libtorch) {
  const { binary, torchvid } = readJson('package.json')
  const sources = filesBelow(
    'native',
    'CMakeLists.txt',
    'binding.gyp',
    'scripts/build-native.mjs',
    'scripts/node-gyp-cmake.mjs',
  )
  const tools = ['cmake-js', 'node-addon-api', 'node-api-headers', 'prebuildify'].map(toolVersion)
  return contentHash(sources, binary, torchvid, tools, libtorch.version, libtorch.variant, tuple)
}

function checkCompiler() {
  const missing = []
  if (!runs('cmake')) missing.push('CMake 3.18 or newer')
  const compilers = process.env.CXX ? [process.env.CXX] : ['c++', 'g++', 'clang++']
  // On Windows CMake finds Visual Studio by itself.
  if (process.platform !== 'win32' && !compilers.some(runs)) missing.push('a C++20 compiler')
  if (missing.length === 0) return
  const remedies = {
    linux: 'Debian and Ubuntu: apt install cmake ninja-build g++. Fedora: dnf install cmake ninja-build gcc-c++.',
    darwin: 'Run: xcode-select --install && brew install cmake ninja',
    win32: 'Install Visual Studio Build Tools with "Desktop development with C++", and CMake.',
  }
  fail(`Building the addon needs ${missing.join(' and ')}, not found here. ${remedies[process.platform] ?? ''}`)
}

function runs(program) {
  const [name, ...flags] = program.split(' ')
  return spawnSync(name, [...flags, '--version'], { stdio: 'ignore' }).status === 0
}

function toolVersion(name) {
  return readJson(`node_modules/${name}/package.json`)?.version
}

function readJson(file) {
  try {
    return JSON.parse(fs.readFileSync(path.join(root, file), 'utf8'))
  } catch {
    return undefined
  }
}

function say(text) {
  console.error(`torchvid: ${text}`)
}

function fail(text, status = 1) {
  say(text)
  process.exit(status)
}
