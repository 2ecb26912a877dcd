import path from 'node:path'
import { TorchvidError } from '../errors.ts'
import { wantedVersion } from './package.ts'
import { cachedRoot, libraryNames } from './platform.ts'
import { findPythonTorch, type PythonTorch } from './python.ts'
import { isCompatible, type LibTorchFacts, librarySizes, readLibTorch, readManifest } from './version.ts'

/** Where a LibTorch was found. */
export type LibTorchSource = 'environment' | 'cache' | 'python'

/** A LibTorch that fits this package. */
export interface LibTorch {
  /** The folder that holds `lib`. */
  root: string
  /** Such as "2.13.0+cpu". */
  version: string
  /** `'cuda'` when CUDA's part is there too. */
  variant: 'cpu' | 'cuda'
  source: LibTorchSource
}

/** Why a candidate is used or not. */
export type Verdict = 'usable' | 'absent' | 'incomplete' | 'version' | 'cuda'

/** One place that was looked at. */
export interface Candidate {
  source: LibTorchSource
  /** Undefined when there is no folder at all, as with a Python without torch. */
  root: string | undefined
  version: string | undefined
  variant: 'cpu' | 'cuda' | undefined
  verdict: Verdict
  /** The verdict in words. */
  reason: string
}

const NEXT_STEP =
  'Next step: run "npx torchvid setup", which fetches LibTorch into the cache, or set TORCHVID_LIBTORCH to the folder of one.'

let memo: { key: string; found: LibTorch } | undefined

/**
 * The LibTorch to load: `TORCHVID_LIBTORCH`, else the cache, else an installed Python torch of the right version.
 * Nothing is loaded, and the answer is remembered.
 *
 * Throws `ERR_LIBTORCH_NOT_FOUND`, naming every place looked at and the next step, and `ERR_LIBTORCH_VERSION` when
 * `TORCHVID_LIBTORCH` names another version: an explicit path that is wrong is never passed over.
 */
export function locateLibTorch(env: NodeJS.ProcessEnv = process.env): LibTorch {
  const key = JSON.stringify([env.TORCHVID_LIBTORCH, env.TORCHVID_CACHE, env.TORCHVID_PYTHON])
  if (memo?.key === key) return memo.found
  const candidates: Candidate[] = []
  for (const candidate of lookEverywhere(env)) {
    if (candidate.verdict === 'usable') {
      const found = toLibTorch(candidate)
      memo = { key, found }
      return found
    }
    if (candidate.source === 'environment') throw explicitError(candidate)
    candidates.push(candidate)
  }
  throw notFound(candidates)
}

/** Forgets what was located; `torchvid setup` calls it after it has put a new one in place. */
export function forgetLibTorch(): void {
  memo = undefined
}

/** Every place that is looked at, in order, with its verdict; the first usable one is taken. Throws nothing. */
export function inspectLibTorch(env: NodeJS.ProcessEnv = process.env): Candidate[] {
  return [...lookEverywhere(env)]
}

/** The LibTorch in the cache, if it is whole and of the right version. */
export function cachedLibTorch(env: NodeJS.ProcessEnv = process.env): LibTorch | undefined {
  const candidate = lookInCache(env)
  return candidate.verdict === 'usable' ? toLibTorch(candidate) : undefined
}

/** Lazily, so that Python is started only when nothing nearer was found. */
function* lookEverywhere(env: NodeJS.ProcessEnv): Generator<Candidate> {
  if (env.TORCHVID_LIBTORCH) yield judge('environment', path.resolve(env.TORCHVID_LIBTORCH), env)
  yield lookInCache(env)
  for (const answer of findPythonTorch(env)) yield lookInPython(answer, env)
}

function lookInCache(env: NodeJS.ProcessEnv): Candidate {
  const root = cachedRoot(wantedVersion(), env)
  const candidate = judge('cache', root, env)
  if (candidate.verdict !== 'usable' || isWhole(root)) return candidate
  return { ...candidate, verdict: 'incomplete', reason: 'damaged: its files are not those that were put there' }
}

/** The manifest is written last and knows the libraries' sizes, so a folder cut short or damaged is noticed. */
function isWhole(root: string): boolean {
  const expected = readManifest(root)?.libraries ?? {}
  const sizes = librarySizes(root)
  return Object.keys(expected).length > 0 && Object.entries(expected).every(([name, size]) => sizes[name] === size)
}

function lookInPython(answer: PythonTorch, env: NodeJS.ProcessEnv): Candidate {
  if (answer.root) return judge('python', answer.root, env)
  const reason = `${answer.program}: ${answer.reason}`
  return { source: 'python', root: undefined, version: undefined, variant: undefined, verdict: 'absent', reason }
}

function judge(source: LibTorchSource, root: string, env: NodeJS.ProcessEnv): Candidate {
  const facts = readLibTorch(root, env)
  const { verdict, reason } = verdictOf(facts)
  const absent = verdict === 'absent'
  return { source, root, version: facts.version, variant: absent ? undefined : facts.variant, verdict, reason }
}

/** Whether a LibTorch with these facts can be used here, and why not. */
export function verdictOf(facts: LibTorchFacts): { verdict: Verdict; reason: string } {
  const wanted = wantedVersion()
  const { torchCpu } = libraryNames()
  if (facts.missing.includes(torchCpu)) return { verdict: 'absent', reason: `no lib/${torchCpu} there` }
  if (facts.missing.length > 0) return { verdict: 'incomplete', reason: `lib/${facts.missing.join(', lib/')} missing` }
  if (!facts.version) {
    return {
      verdict: 'version',
      reason: `no version file there, so it cannot be told whether it is the ${wanted} wanted`,
    }
  }
  if (!isCompatible(facts.version, wanted)) {
    return { verdict: 'version', reason: `version ${facts.version}, but this package needs ${minorOf(wanted)}` }
  }
  if (facts.absentCuda.length > 0) {
    const absent = facts.absentCuda.join(', ')
    return { verdict: 'cuda', reason: `it is the CUDA build, which does not load without ${absent}, not found here` }
  }
  return { verdict: 'usable', reason: `version ${facts.version}, ${facts.variant === 'cuda' ? 'CUDA' : 'CPU'} build` }
}

function minorOf(version: string): string {
  return `${version.split('.').slice(0, 2).join('.')}.x (built for ${version})`
}

function toLibTorch(candidate: Candidate): LibTorch {
  const { root, version, variant, source } = candidate
  return { root: root as string, version: version as string, variant: variant ?? 'cpu', source }
}

function explicitError(candidate: Candidate): TorchvidError {
  const wanted = wantedVersion()
  const given = `TORCHVID_LIBTORCH is ${candidate.root}`
  const remedy = `Point it at a LibTorch ${wanted} (the folder that holds "lib"), or unset it and run "npx torchvid setup".`
  const code = candidate.verdict === 'version' ? 'ERR_LIBTORCH_VERSION' : 'ERR_LIBTORCH_NOT_FOUND'
  return new TorchvidError(code, `${given}: ${candidate.reason}. ${remedy}`)
}

function notFound(candidates: Candidate[]): TorchvidError {
  const lines = candidates.map((candidate) => `  ${describeCandidate(candidate)}`)
  const message = [
    `No LibTorch ${wantedVersion()} was found. Looked at:`,
    '  TORCHVID_LIBTORCH: not set',
    ...lines,
    NEXT_STEP,
  ]
  return new TorchvidError('ERR_LIBTORCH_NOT_FOUND', message.join('\n'))
}

/** One line about a candidate: where, and the verdict in words. */
export function describeCandidate(candidate: Candidate): string {
  const names: Record<LibTorchSource, string> = {
    environment: 'TORCHVID_LIBTORCH',
    cache: 'cache',
    python: 'Python torch',
  }
  const where = candidate.root ? ` ${candidate.root}` : ''
  return `${names[candidate.source]}${where}: ${candidate.reason}`
}
