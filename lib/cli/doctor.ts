import { execFile } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { Command } from 'commander'
import { formatBytes, freeBytes } from '../libtorch/disk.ts'
import { type Candidate, describeCandidate, inspectLibTorch } from '../libtorch/locate.ts'
import { packageRoot, packageVersion, wantedVersion } from '../libtorch/package.ts'
import { cacheFolder } from '../libtorch/platform.ts'
import type { RuntimeInfo } from '../runtime.ts'

const run = promisify(execFile)

/** One thing doctor looked at. */
export interface Fact {
  name: string
  /** `'missing'` is essential and makes doctor fail; `'note'` is not. */
  state: 'ok' | 'missing' | 'note'
  /** What was found. */
  value: string
  /** How to mend it. */
  remedy?: string
}

/**
 * `torchvid doctor`: what was found, what is missing and how to mend it. Exits with 1 when something essential is
 * missing. `--json` prints `{ ok, facts }`.
 */
export function doctorCommand(): Command {
  return new Command('doctor')
    .description('show what was found, what is missing and how to mend it')
    .option('--json', 'print the facts as JSON')
    .action(async (flags: { json?: boolean }) => {
      const facts = await examine()
      const ok = facts.every((fact) => fact.state !== 'missing')
      if (flags.json) console.log(JSON.stringify({ ok, facts }, null, 2))
      else printFacts(facts, ok)
      if (!ok) process.exitCode = 1
    })
}

/** All facts, in the order in which they should be mended. Throws nothing. */
export async function examine(env: NodeJS.ProcessEnv = process.env): Promise<Fact[]> {
  const libtorch = libTorchFacts(inspectLibTorch(env))
  const addon = addonFact()
  const ready = [...libtorch, addon].every((fact) => fact.state !== 'missing')
  const loads = ready ? await loadFacts(env) : [skippedLoad()]
  return [
    nodeFact(),
    platformFact(),
    packageFact(),
    ...libtorch,
    addon,
    ...loads,
    await ffmpegFact(env),
    await cacheFact(env),
  ]
}

function nodeFact(): Fact {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const ok = major > 20 || (major === 20 && minor >= 17)
  const remedy = 'Install Node 20.17 or newer.'
  return { name: 'Node', state: ok ? 'ok' : 'missing', value: process.versions.node, ...(ok ? {} : { remedy }) }
}

function platformFact(): Fact {
  return { name: 'Platform', state: 'ok', value: `${process.platform}-${process.arch}` }
}

function packageFact(): Fact {
  return {
    name: 'torchvid',
    state: 'ok',
    value: `${packageVersion()} in ${packageRoot()}, built for LibTorch ${wantedVersion()}`,
  }
}

/** One summary that counts, then a note for each place that was looked at. */
function libTorchFacts(candidates: Candidate[]): Fact[] {
  const first = candidates[0]
  const explicitlyWrong = first?.source === 'environment' && first.verdict !== 'usable'
  const chosen = explicitlyWrong ? undefined : candidates.find((candidate) => candidate.verdict === 'usable')
  const remedy = explicitlyWrong
    ? `Point TORCHVID_LIBTORCH at a LibTorch ${wantedVersion()}, or unset it and run: npx torchvid setup`
    : 'Run: npx torchvid setup'
  const summary: Fact = chosen
    ? { name: 'LibTorch', state: 'ok', value: `${chosen.version} (${chosen.variant}) in ${chosen.root}` }
    : { name: 'LibTorch', state: 'missing', value: `no usable LibTorch ${wantedVersion()}`, remedy }
  const places = candidates.map(
    (candidate): Fact => ({ name: '  looked at', state: 'note', value: describeCandidate(candidate) }),
  )
  return [summary, ...places]
}

function addonFact(): Fact {
  const folder = path.join(packageRoot(), 'prebuilds', `${process.platform}-${process.arch}`)
  const file = path.join(folder, 'torchvid.node')
  if (fs.existsSync(file)) return { name: 'Addon', state: 'ok', value: file }
  const remedy =
    'In a clone run: npm run build. From npm: this platform has no prebuilt addon; clone the repository and build it.'
  return { name: 'Addon', state: 'missing', value: `not found: ${file}`, remedy }
}

function skippedLoad(): Fact {
  return { name: 'Loads', state: 'note', value: 'not tried, because something above is missing' }
}

/** Loads the addon in a process of its own, so that a crash there is a finding and not the end of doctor. */
async function loadFacts(env: NodeJS.ProcessEnv): Promise<Fact[]> {
  const entry = path.join(packageRoot(), 'dist', 'index.mjs')
  const script = `
    const { runtime } = await import(${JSON.stringify(pathToFileURL(entry).href)})
    console.log(JSON.stringify(await runtime.info()))
  `
  try {
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], { env, timeout: 120_000 })
    return [{ name: 'Loads', state: 'ok', value: stdout.trim() }, ...gpuFacts(JSON.parse(stdout) as RuntimeInfo)]
  } catch (error) {
    const remedy = 'Run: npx torchvid setup --force. In a clone also: npm run build:native'
    return [{ name: 'Loads', state: 'missing', value: failureOf(error), remedy }]
  }
}

/** The GPUs that work, and why others, or all, do not: none is essential. */
export function gpuFacts({ devices, cudaReason }: Pick<RuntimeInfo, 'devices' | 'cudaReason'>): Fact[] {
  const facts = devices
    .filter(({ name }) => name !== 'cpu')
    .map(({ name, model, memory, free }): Fact => {
      const value = `${name}: ${model ?? 'CUDA device'}, ${formatBytes(memory)}, ${formatBytes(free)} of it free`
      return { name: 'GPU', state: 'ok', value }
    })
  if (cudaReason !== undefined) {
    const value = facts.length === 0 ? `none: ${cudaReason}` : cudaReason
    facts.push({ name: 'GPU', state: 'note', value, ...remedyOfGpu(cudaReason) })
  }
  return facts
}

function remedyOfGpu(reason: string): { remedy?: string } {
  if (/TORCHVID_CUDA is 0/.test(reason)) return {}
  if (/CPU build/.test(reason)) return { remedy: 'To use a GPU, set TORCHVID_LIBTORCH to a LibTorch built with CUDA.' }
  return {
    remedy: 'Check the driver with nvidia-smi, and that it is new enough for the CUDA that LibTorch was built with.',
  }
}

function failureOf(error: unknown): string {
  const { stderr = '', signal, code } = error as { stderr?: string; signal?: string; code?: number | string }
  const line = stderr.split('\n').find((each) => /Error\b|error:/.test(each)) ?? stderr.trim().split('\n').at(-1)
  if (signal) return `the process died from ${signal}. ${line ?? ''}`
  return line || `the process ended with ${code}`
}

async function ffmpegFact(env: NodeJS.ProcessEnv): Promise<Fact> {
  const program = env.FFMPEG_PATH || 'ffmpeg'
  try {
    const { stdout } = await run(program, ['-version'], { env, timeout: 20_000 })
    return {
      name: 'ffmpeg',
      state: 'ok',
      value: `${/^ffmpeg version (\S+)/.exec(stdout)?.[1] ?? 'unknown version'} (${program})`,
    }
  } catch {
    const remedy =
      'Only video files need it. Install ffmpeg (Debian: apt install ffmpeg; macOS: brew install ffmpeg) or set FFMPEG_PATH.'
    return { name: 'ffmpeg', state: 'note', value: `${program} does not run`, remedy }
  }
}

async function cacheFact(env: NodeJS.ProcessEnv): Promise<Fact> {
  const folder = cacheFolder(env)
  let existing = folder
  while (!fs.existsSync(existing) && existing !== path.dirname(existing)) existing = path.dirname(existing)
  const free = await freeBytes(existing).then(formatBytes, () => 'an unknown amount')
  return {
    name: 'Cache',
    state: 'ok',
    value: `${folder}${existing === folder ? '' : ' (not made yet)'}, ${free} free on its disk`,
  }
}

function printFacts(facts: Fact[], ok: boolean): void {
  const marks: Record<Fact['state'], string> = { ok: 'ok     ', missing: 'MISSING', note: '-      ' }
  for (const fact of facts) {
    console.log(`${marks[fact.state]}  ${fact.name.padEnd(12)} ${fact.value}`)
    if (fact.remedy) console.log(`${' '.repeat(22)} ${fact.remedy}`)
  }
  console.log(ok ? '\nAll that is essential is in place.' : '\nSomething essential is missing: see above.')
}
