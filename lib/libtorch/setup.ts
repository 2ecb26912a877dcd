import crypto from 'node:crypto'
import fs from 'node:fs/promises'
import path from 'node:path'
import { TorchvidError } from '../errors.ts'
import { ZipArchive } from './archive.ts'
import { checkDiskSpace, formatBytes } from './disk.ts'
import { downloadFile } from './download.ts'
import { cachedLibTorch, forgetLibTorch, type LibTorch, locateLibTorch, verdictOf } from './locate.ts'
import { wantedVersion } from './package.ts'
import { cachedRoot, cacheFolder, libraryNames, officialArchive } from './platform.ts'
import { absentCudaLibraries, librarySizes, MANIFEST, type Manifest, pythonField, readLibTorch } from './version.ts'
import { hashFile, pipDownload, verifyRecord } from './wheel.ts'

/** How far the set-up is. */
export interface SetupProgress {
  stage: 'download' | 'extract' | 'verify'
  /** Bytes done in this stage. */
  received: number
  /** Bytes in all; undefined where nobody says. */
  total: number | undefined
}

/** How to set up. */
export interface SetupOptions {
  onProgress?: (progress: SetupProgress) => void
  /** One line for people at each turn: what is fetched, how large it is, where it goes. */
  onMessage?: (text: string) => void
  signal?: AbortSignal
  /** Fetches even when a good LibTorch is there. Default false. */
  force?: boolean
  /** Milliseconds until the server of the official archive must have answered. Default 10000. */
  connectTimeout?: number
  /** Default `process.env`. */
  env?: NodeJS.ProcessEnv
}

/** What the set-up ended with. */
export interface SetupResult {
  libtorch: LibTorch
  /** False when a good LibTorch was there already. */
  fetched: boolean
}

interface Origin {
  source: string
  sha256: string
  size: number
}

type Job = SetupOptions & { env: NodeJS.ProcessEnv; version: string }

/** Archive and extracted files of the CPU build together, with some room. */
const EXPECTED_BYTES = 1.2e9
const PARTIAL = '.partial-'
const STALE_MILLISECONDS = 24 * 60 * 60 * 1000

/**
 * Makes sure a LibTorch is there: takes the one that is located, else fetches the official CPU archive into the
 * cache, or torch's wheel with pip where the archive cannot be reached. All work happens in a temporary folder of
 * the cache that is renamed at the end, so a partial download is never taken for a whole one.
 *
 * Throws `ERR_LIBTORCH_NOT_FOUND` when it cannot be fetched (the message says how to do it by hand), `ERR_IO` when
 * what came is damaged or the disk is full, `ERR_LIBTORCH_VERSION` when `TORCHVID_LIBTORCH` names another version,
 * and the signal's reason when aborted.
 */
export async function setupLibTorch(options: SetupOptions = {}): Promise<SetupResult> {
  const job: Job = { ...options, env: options.env ?? process.env, version: wantedVersion() }
  job.signal?.throwIfAborted()
  const present = job.force ? undefined : findPresent(job.env)
  if (present) {
    job.onMessage?.(`LibTorch ${present.version} is in place: ${present.root}`)
    return { libtorch: present, fetched: false }
  }
  const cache = await prepareCache(job.env)
  const partial = path.join(cache, `${PARTIAL}${process.pid}-${crypto.randomBytes(6).toString('hex')}`)
  await fs.mkdir(partial)
  try {
    await fetchInto(partial, job)
    await putInPlace(path.join(partial, 'root'), partial, job)
  } catch (error) {
    job.signal?.throwIfAborted()
    throw coded(error)
  } finally {
    await fs.rm(partial, { recursive: true, force: true, maxRetries: 3 })
  }
  forgetLibTorch()
  const libtorch = cachedLibTorch(job.env)
  if (!libtorch)
    throw new TorchvidError('ERR_IO', `LibTorch vanished from ${cache} while it was being set up. Try again.`)
  job.onMessage?.(`LibTorch ${libtorch.version} is in place: ${libtorch.root}`)
  return { libtorch, fetched: true }
}

/** A full disk or a forbidden folder, met while writing, gets a code; anything else is a fault of ours and stays. */
function coded(error: unknown): unknown {
  const { code, message } = error as NodeJS.ErrnoException
  if (error instanceof TorchvidError || !code) return error
  return new TorchvidError('ERR_IO', `Setting up LibTorch failed: ${message}. Nothing of it was kept.`, {
    cause: error,
  })
}

/** An explicit TORCHVID_LIBTORCH that is wrong stays an error: fetching another would not be used. */
function findPresent(env: NodeJS.ProcessEnv): LibTorch | undefined {
  try {
    return locateLibTorch(env)
  } catch (error) {
    if (env.TORCHVID_LIBTORCH || (error as TorchvidError).code !== 'ERR_LIBTORCH_NOT_FOUND') throw error
    return undefined
  }
}

async function prepareCache(env: NodeJS.ProcessEnv): Promise<string> {
  const cache = cacheFolder(env)
  try {
    await fs.mkdir(cache, { recursive: true })
    await fs.access(cache, fs.constants.W_OK)
  } catch (error) {
    const reason = (error as Error).message
    throw new TorchvidError(
      'ERR_IO',
      `The cache folder ${cache} cannot be written (${reason}). Set TORCHVID_CACHE to one that can.`,
      { cause: error },
    )
  }
  await removeStale(cache)
  await checkDiskSpace(cache, EXPECTED_BYTES)
  return cache
}

/** What a set-up that was killed left behind. A younger folder may belong to one that is still running. */
async function removeStale(cache: string): Promise<void> {
  for (const name of await fs.readdir(cache)) {
    if (!name.startsWith(PARTIAL)) continue
    const folder = path.join(cache, name)
    const stat = await fs.stat(folder).catch(() => undefined)
    if (stat && Date.now() - stat.mtimeMs > STALE_MILLISECONDS) await fs.rm(folder, { recursive: true, force: true })
  }
}

/** Leaves a whole, checked LibTorch with its manifest in `partial/root`. */
async function fetchInto(partial: string, job: Job): Promise<void> {
  const root = path.join(partial, 'root')
  await fs.mkdir(root)
  const reasons: string[] = []
  const archive = await attempt(reasons, job, () => fetchOfficial(partial, job))
  let origin: Origin
  if (archive) {
    origin = await extractOfficial(archive.file, root, archive.origin, job)
  } else {
    job.onMessage?.(`${reasons[0]} Trying pip instead.`)
    const wheel = await attempt(reasons, job, () => pipDownload(job.version, partial, pipOptions(job)))
    if (!wheel) throw unreachable(reasons, job)
    origin = await extractWheel(wheel, root, job)
  }
  await finish(root, origin, job)
}

/** Undefined, with the reason noted, when a way of fetching did not work; an abort goes through. */
async function attempt<T>(reasons: string[], job: Job, work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work()
  } catch (error) {
    job.signal?.throwIfAborted()
    if (!(error instanceof TorchvidError)) throw error
    reasons.push(error.message)
    return undefined
  }
}

async function fetchOfficial(partial: string, job: Job): Promise<{ file: string; origin: Origin }> {
  const url = officialArchive(job.version, { env: job.env })
  if (!url)
    throw new TorchvidError('ERR_IO', `There is no official LibTorch archive for ${process.platform}-${process.arch}.`)
  const file = path.join(partial, 'archive.zip')
  const download = await downloadFile(url, file, {
    signal: job.signal,
    connectTimeout: job.connectTimeout,
    onSize: (size) => {
      const amount = size === undefined ? 'a size the server does not say' : formatBytes(size)
      job.onMessage?.(
        `Fetching LibTorch ${job.version} (CPU build), ${amount}, from ${url} into ${cacheFolder(job.env)}`,
      )
    },
    onProgress: (received, total) => job.onProgress?.({ stage: 'download', received, total }),
  })
  return { file, origin: { source: url, ...download } }
}

async function extractOfficial(file: string, root: string, origin: Origin, job: Job): Promise<Origin> {
  checkPin(origin, job)
  const archive = await ZipArchive.open(file)
  try {
    await archive.extract(root, { ...extractOptions(job), select: (name) => stripped(name, 'libtorch/') })
  } finally {
    archive.close()
  }
  return origin
}

function pipOptions(job: Job) {
  const onProgress = (received: number) => job.onProgress?.({ stage: 'download', received, total: undefined })
  return { env: job.env, signal: job.signal, onMessage: job.onMessage, onProgress }
}

async function extractWheel(file: string, root: string, job: Job): Promise<Origin> {
  const origin = { source: path.basename(file), ...(await hashFile(file)) }
  job.onProgress?.({ stage: 'download', received: origin.size, total: origin.size })
  job.onMessage?.(`pip brought ${origin.source}, ${formatBytes(origin.size)}`)
  checkPin(origin, job)
  const archive = await ZipArchive.open(file)
  try {
    await refuseCudaWheel(archive, root, origin, job)
    const extracted = await archive.extract(root, {
      ...extractOptions(job),
      select: (name) => stripped(name, 'torch/'),
    })
    await verifyRecord(archive, extracted)
  } finally {
    archive.close()
  }
  return origin
}

/** On Linux pip may bring the CUDA build; its one library that must load is looked at before the rest is unpacked. */
async function refuseCudaWheel(archive: ZipArchive, root: string, origin: Origin, job: Job): Promise<void> {
  const cuda = pythonField((await archive.readText('torch/version.py')) ?? '', 'cuda')
  if (!cuda || process.platform !== 'linux') return
  const library = `lib/${libraryNames().torchCpu}`
  const probe = path.join(root, '..', 'probe')
  await fs.mkdir(probe)
  await archive.extract(probe, {
    signal: job.signal,
    select: (name) => (name === `torch/${library}` ? library : undefined),
  })
  const absent = absentCudaLibraries(probe, job.env)
  await fs.rm(probe, { recursive: true })
  if (absent.length === 0) return
  throw new TorchvidError(
    'ERR_LIBTORCH_NOT_FOUND',
    `pip brought the CUDA ${cuda} build of torch (${origin.source}, ${formatBytes(origin.size)}), which does not load ` +
      `without ${absent.join(', ')}, not found here. It was deleted.\n${byHand(job)}`,
  )
}

/** What of an archive is wanted: libraries, and what building against them takes. */
function stripped(name: string, prefix: string): string | undefined {
  if (!name.startsWith(prefix)) return undefined
  const place = name.slice(prefix.length)
  return /^(lib|include|share)\/|^(build-version|build-hash|version\.py)$/.test(place) ? place : undefined
}

function extractOptions(job: Job) {
  const onProgress = (received: number, total: number) => job.onProgress?.({ stage: 'extract', received, total })
  return { signal: job.signal, onProgress }
}

/** The archives are published without a checksum file; who needs a fixed one names it in `TORCHVID_LIBTORCH_SHA256`. */
function checkPin(origin: Origin, job: Job): void {
  const wanted = job.env.TORCHVID_LIBTORCH_SHA256?.toLowerCase()
  if (!wanted || wanted === origin.sha256) return
  throw new TorchvidError(
    'ERR_IO',
    `${origin.source} has the SHA-256 ${origin.sha256}, but TORCHVID_LIBTORCH_SHA256 wants ${wanted}. Nothing of it was kept.`,
  )
}

/** Looks at what was extracted as a stranger would, then signs it. */
async function finish(root: string, origin: Origin, job: Job): Promise<void> {
  const facts = readLibTorch(root, job.env)
  const { verdict, reason } = verdictOf(facts)
  if (verdict !== 'usable') {
    const code = verdict === 'version' ? 'ERR_LIBTORCH_VERSION' : 'ERR_IO'
    throw new TorchvidError(
      code,
      `${origin.source} does not hold a usable LibTorch: ${reason}. Nothing of it was kept.\n${byHand(job)}`,
    )
  }
  const manifest: Manifest = {
    version: facts.version as string,
    ...origin,
    date: new Date().toISOString(),
    libraries: librarySizes(root),
  }
  await fs.writeFile(path.join(root, MANIFEST), `${JSON.stringify(manifest, null, 2)}\n`)
  job.onProgress?.({ stage: 'verify', received: origin.size, total: origin.size })
}

/** One rename. When another set-up was faster its folder is kept; a damaged or unwanted old one is moved aside. */
async function putInPlace(root: string, partial: string, job: Job): Promise<void> {
  job.signal?.throwIfAborted()
  const target = cachedRoot(job.version, job.env)
  if (job.force) await moveAside(target, path.join(partial, 'unwanted'))
  for (let tries = 0; ; tries++) {
    try {
      return await fs.rename(root, target)
    } catch (error) {
      if (cachedLibTorch(job.env)) return
      const taken = ['ENOTEMPTY', 'EEXIST', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')
      if (!taken || tries === 3) throw cannotPlace(target, error)
      await moveAside(target, path.join(partial, `old-${tries}`))
    }
  }
}

async function moveAside(target: string, place: string): Promise<void> {
  await fs.rename(target, place).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw cannotPlace(target, error)
  })
}

function cannotPlace(target: string, error: unknown): TorchvidError {
  const reason = (error as Error).message
  return new TorchvidError(
    'ERR_IO',
    `LibTorch could not be put at ${target} (${reason}). Close programs that use it and try again.`,
    { cause: error },
  )
}

function unreachable(reasons: string[], job: Job): TorchvidError {
  const lines = reasons.map((reason) => `  ${reason}`)
  return new TorchvidError(
    'ERR_LIBTORCH_NOT_FOUND',
    [`LibTorch ${job.version} could not be fetched:`, ...lines, byHand(job)].join('\n'),
  )
}

/** Both ways to do it by hand. */
function byHand(job: Job): string {
  const url = officialArchive(job.version, { env: job.env })
  const archive = url
    ? `fetch ${url} (on any machine), unzip it, and set TORCHVID_LIBTORCH to the folder in it that holds "lib"`
    : 'set TORCHVID_LIBTORCH to the folder of a LibTorch you have'
  return (
    `Next step, one of: (1) ${archive}; (2) python3 -m pip install torch==${job.version} ` +
    '--index-url https://download.pytorch.org/whl/cpu, which torchvid then finds by itself.'
  )
}
