// All checks of the code that are not tests, each run whatever the others said, with a list at the end.
//
//   node scripts/check.mjs                   all of them
//   node scripts/check.mjs types biome       only those
//   node scripts/check.mjs --format-native   formats the C++ sources in place
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { filesBelow, root, run, tool } from './tools.mjs'

const require = createRequire(import.meta.url)

/** Each returns an exit code; the names are what the list at the end shows. */
const checks = {
  biome: () => run([...tool('@biomejs/biome'), 'check', '.']),
  types: () => run([...tool('typescript', 'tsc'), '--noEmit', '-p', '.']),
  'clang-format': () => clangFormat('--dry-run', '--Werror'),
  cppcheck,
  docs: () => run(documented()),
  publint: () => run([...tool('publint'), '--strict']),
  attw: () => run([...tool('@arethetypeswrong/cli', 'attw'), '--pack', '.', '--profile', 'node16']),
}

main(process.argv.slice(2))

function main(args) {
  if (args.includes('--format-native')) {
    process.exitCode = clangFormat('-i')
    return
  }
  const unknown = args.filter((name) => !(name in checks))
  if (unknown.length > 0) {
    console.error(`No check is called ${unknown.join(', ')}. There are: ${Object.keys(checks).join(', ')}.`)
    process.exitCode = 2
    return
  }
  const names = args.length > 0 ? args : Object.keys(checks)
  const failed = runChecks(names)
  console.log(
    failed.length === 0 ? `\nAll checks passed: ${names.join(', ')}` : `\nFailed checks: ${failed.join(', ')}`,
  )
  process.exitCode = failed.length === 0 ? 0 : 1
}

function runChecks(names) {
  // Packages first, and the built library: the packaging checks look at the package as it would be published.
  if (run([process.execPath, 'scripts/bootstrap.mjs', '--only-lib']) !== 0) return ['build']
  return names.filter((name) => {
    console.log(`\n> ${name}`)
    return checks[name]() !== 0
  })
}

function cppSources() {
  return filesBelow('native', 'scripts/cuda-standin').filter((file) => /\.(cc|h)$/.test(file))
}

function clangFormat(...flags) {
  const sources = cppSources()
  if (sources.length === 0) return 0
  return run([require('clang-format-node').clangFormatPath, ...flags, ...sources])
}

/** Only where it is installed: the compiler's own warnings, which are errors in the build, are the main check. */
function cppcheck() {
  if (spawnSync('cppcheck', ['--version'], { cwd: root, stdio: 'ignore' }).status !== 0) {
    console.log('cppcheck is not installed: skipped')
    return 0
  }
  const flags = ['--enable=warning,performance', '--std=c++20', '--inline-suppr', '--error-exitcode=1', '--quiet']
  return run(['cppcheck', ...flags, '--suppress=missingIncludeSystem', 'native'])
}

/** typedoc writes nothing here; a public symbol without a comment is an error. Names of plain fields may speak for themselves. */
function documented() {
  const kinds = ['Enum', 'Variable', 'Function', 'Class', 'Interface', 'TypeAlias', 'Method', 'Accessor']
  const required = kinds.flatMap((kind) => ['--requiredToBeDocumented', kind])
  const flags = [
    '--excludeInternal',
    '--disableSources',
    '--emit',
    'none',
    '--validation.notDocumented',
    '--treatValidationWarningsAsErrors',
    '--logLevel',
    'Warn',
  ]
  return [...tool('typedoc'), '--entryPoints', 'lib/index.ts', '--tsconfig', 'tsconfig.json', ...required, ...flags]
}
