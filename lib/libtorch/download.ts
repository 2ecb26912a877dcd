import crypto from 'node:crypto'
import fs from 'node:fs/promises'
import { TorchvidError } from '../errors.ts'

/** A file that was fetched. */
export interface Download {
  /** In bytes. */
  size: number
  /** SHA-256 in hexadecimal. */
  sha256: string
}

/** How to fetch. */
export interface DownloadOptions {
  /** Called once, when the server has said the size (undefined if it does not say). */
  onSize?: (size: number | undefined) => void
  onProgress?: (received: number, total: number | undefined) => void
  signal?: AbortSignal
  /** Milliseconds until the server must have answered. Default 10000. */
  connectTimeout?: number
  /** Milliseconds without a byte after which the download is given up. Default 60000. */
  stallTimeout?: number
}

/**
 * Fetches `url` into a new file. Throws `ERR_IO` when the server does not answer, refuses, stalls or sends another
 * number of bytes than it said, and the signal's reason when aborted. The file is then incomplete: remove it.
 */
export async function downloadFile(url: string, file: string, options: DownloadOptions = {}): Promise<Download> {
  const watchdog = new Watchdog(options.connectTimeout ?? 10_000)
  const signal = options.signal ? AbortSignal.any([options.signal, watchdog.signal]) : watchdog.signal
  try {
    const response = await fetch(url, { signal })
    if (!response.ok || !response.body) throw new Error(`the server answered ${response.status}`)
    watchdog.restart(options.stallTimeout ?? 60_000)
    return await save(response, file, options, () => watchdog.restart(options.stallTimeout ?? 60_000))
  } catch (error) {
    options.signal?.throwIfAborted()
    throw new TorchvidError('ERR_IO', `${url} could not be fetched: ${reasonOf(error)}.`, { cause: error })
  } finally {
    watchdog.stop()
  }
}

async function save(
  response: Response,
  file: string,
  options: DownloadOptions,
  onBytes: () => void,
): Promise<Download> {
  const total = Number(response.headers.get('content-length')) || undefined
  options.onSize?.(total)
  const hash = crypto.createHash('sha256')
  const output = await fs.open(file, 'wx')
  let size = 0
  try {
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      onBytes()
      hash.update(chunk)
      await output.writeFile(chunk)
      size += chunk.length
      options.onProgress?.(size, total)
    }
  } finally {
    await output.close()
  }
  if (total !== undefined && size !== total) throw new Error(`${size} bytes came where the server said ${total}`)
  return { size, sha256: hash.digest('hex') }
}

/** Aborts when it is not restarted in time. */
class Watchdog {
  readonly #controller = new AbortController()
  #timer: NodeJS.Timeout | undefined

  constructor(milliseconds: number) {
    this.restart(milliseconds)
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  restart(milliseconds: number): void {
    clearTimeout(this.#timer)
    const error = new Error(`no answer for ${milliseconds / 1000} s`)
    this.#timer = setTimeout(() => this.#controller.abort(error), milliseconds)
  }

  stop(): void {
    clearTimeout(this.#timer)
  }
}

/** fetch says "fetch failed" and hides the reason in `cause`. */
function reasonOf(error: unknown): string {
  const cause = (error as Error).cause as NodeJS.ErrnoException | undefined
  return cause?.code ?? cause?.message ?? (error as Error).message
}
