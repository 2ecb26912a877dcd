import { spawn } from 'node:child_process'
import crypto from 'node:crypto'
import { createReadStream } from 'node:fs'
import fs from 'node:fs/promises'
import path from 'node:path'
import { TorchvidError } from '../errors.ts'
import type { Extracted, ZipArchive } from './archive.ts'
import { pythonPrograms } from './python.ts'

/** How to run pip. */
export interface PipOptions {
  env: NodeJS.ProcessEnv
  onMessage?: (text: string) => void
  /** Bytes on disk so far; pip does not say the total. */
  onProgress?: (received: number) => void
  signal?: AbortSignal
}

/**
 * Has pip download the torch wheel, and nothing else, into `folder`. pip's own settings (index, proxy) apply; its
 * temporary files stay in `folder` too, and its cache is not used, so nothing is left behind. Resolves to the wheel's
 * path; throws `ERR_IO` with what pip said, or the signal's reason.
 */
export async function pipDownload(version: string, folder: string, options: PipOptions): Promise<string> {
  const wheels = path.join(folder, 'wheel')
  const temporary = path.join(folder, 'tmp')
  await fs.mkdir(temporary, { recursive: true })
  const env = {
    ...options.env,
    TMPDIR: temporary,
    TEMP: temporary,
    TMP: temporary,
    PIP_DISABLE_PIP_VERSION_CHECK: '1',
    PIP_NO_INPUT: '1',
  }
  const failures: string[] = []
  for (const program of pythonPrograms(options.env)) {
    const flags = ['--no-deps', '--only-binary', ':all:', '--no-cache-dir', '--progress-bar', 'off', '--dest', wheels]
    const command = ['-m', 'pip', 'download', ...flags, `torch==${version}`]
    options.onMessage?.(
      `Running ${program} -m pip download --no-deps torch==${version} (the CPU build is about 190 MB)`,
    )
    const failure = await watchFolder(folder, options, () => runProgram(program, command, env, options.signal))
    const wheel = failure === undefined ? await findWheel(wheels) : undefined
    if (wheel) return wheel
    failures.push(`${program}: ${failure ?? 'pip ended well but left no wheel'}`)
  }
  throw new TorchvidError('ERR_IO', `pip could not download torch ${version} (${failures.join('; ')}).`)
}

async function findWheel(folder: string): Promise<string | undefined> {
  const names = await fs.readdir(folder).catch(() => [] as string[])
  const name = names.find((each) => /^torch-.*\.whl$/.test(each))
  return name && path.join(folder, name)
}

/** Undefined when the program succeeded, else why not. Rejects only with the signal's reason. */
async function runProgram(
  program: string,
  args: string[],
  env: NodeJS.ProcessEnv,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const failure = await new Promise<string | undefined>((resolve) => {
    const child = spawn(program, args, { env, signal, stdio: ['ignore', 'ignore', 'pipe'], windowsHide: true })
    let said = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-4000)
    })
    // After an abort 'close' still comes, and only then has the program let go of its files.
    child.on('error', (error: NodeJS.ErrnoException) => {
      if (child.pid === undefined) resolve(error.code === 'ENOENT' ? 'no such program' : error.message)
    })
    child.on('close', (status) => resolve(status === 0 ? undefined : lastLine(said) || `exit code ${status}`))
  })
  signal?.throwIfAborted()
  return failure
}

function lastLine(text: string): string {
  const lines = text.split('\n').map((line) => line.trim())
  return lines.findLast((line) => line.startsWith('ERROR')) ?? lines.findLast((line) => line.length > 0) ?? ''
}

/** Reports the bytes in `folder` twice a second while `work` runs: pip itself has no progress for programs. */
async function watchFolder<T>(folder: string, options: PipOptions, work: () => Promise<T>): Promise<T> {
  const timer = setInterval(() => {
    folderSize(folder).then(options.onProgress, () => {})
  }, 500)
  try {
    return await work()
  } finally {
    clearInterval(timer)
  }
}

async function folderSize(folder: string): Promise<number> {
  const entries = await fs.readdir(folder, { recursive: true, withFileTypes: true })
  const files = entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath ?? entry.path, entry.name))
  const sizes = await Promise.all(
    files.map((file) =>
      fs
        .stat(file)
        .then((stat) => stat.size)
        .catch(() => 0),
    ),
  )
  return sizes.reduce((sum, size) => sum + size, 0)
}

/** Compares what was extracted from a wheel with the SHA-256 of each file in its RECORD. Throws `ERR_IO`. */
export async function verifyRecord(archive: ZipArchive, extracted: Extracted[]): Promise<void> {
  const name = archive.names.find((each) => /^[^/]+\.dist-info\/RECORD$/.test(each))
  const record = name && (await archive.readText(name))
  if (!record)
    throw new TorchvidError('ERR_IO', 'The wheel that pip brought has no RECORD of checksums, so it cannot be trusted.')
  const expected = parseRecord(record)
  const wrong = extracted.find((file) => expected.get(file.name) !== file.sha256)
  if (!wrong) return
  throw new TorchvidError(
    'ERR_IO',
    `${wrong.name} in the wheel that pip brought is not what the wheel's RECORD says. Nothing of it was kept; fetch it again.`,
  )
}

/** Lines are `path,sha256=<base64url>,<size>`; a path with a comma is quoted. */
function parseRecord(text: string): Map<string, string> {
  const digests = new Map<string, string>()
  for (const line of text.split(/\r?\n/)) {
    const match = /^(.*),sha256=([\w-]+)=*,\d*$/.exec(line)
    if (match) digests.set((match[1] as string).replace(/^"(.*)"$/, '$1'), match[2] as string)
  }
  return digests
}

/** SHA-256 of a file in hexadecimal, and its size in bytes. */
export async function hashFile(file: string): Promise<{ sha256: string; size: number }> {
  const hash = crypto.createHash('sha256')
  let size = 0
  for await (const chunk of createReadStream(file) as AsyncIterable<Buffer>) {
    hash.update(chunk)
    size += chunk.length
  }
  return { sha256: hash.digest('hex'), size }
}
