import crypto from 'node:crypto'
import fs from 'node:fs/promises'
import path from 'node:path'
import zlib from 'node:zlib'
import { type Entry, openPromise, type ZipFile } from 'yauzl'
import { TorchvidError } from '../errors.ts'
import { checkDiskSpace } from './disk.ts'

const LARGEST_TEXT = 16 << 20

/** One file of an archive, extracted. */
export interface Extracted {
  /** Its name in the archive. */
  name: string
  /** SHA-256 of its contents, as RECORD files of wheels write it (base64url without padding). */
  sha256: string
}

/** How to extract. */
export interface ExtractOptions {
  /** Where an entry goes, relative to the folder; undefined leaves it out. */
  select: (name: string) => string | undefined
  /** Bytes written so far, of all that will be. */
  onProgress?: (received: number, total: number) => void
  signal?: AbortSignal
}

/** A zip archive (a wheel is one), read with every check that zip allows: sizes, CRC-32, names that stay inside. */
export class ZipArchive {
  readonly #file: string
  readonly #zip: ZipFile
  readonly #entries: Map<string, Entry>

  private constructor(file: string, zip: ZipFile, entries: Map<string, Entry>) {
    this.#file = file
    this.#zip = zip
    this.#entries = entries
  }

  /** Opens an archive and reads its whole directory. Throws `ERR_IO` when it is cut short, damaged or hostile. */
  static async open(file: string): Promise<ZipArchive> {
    let zip: ZipFile | undefined
    try {
      zip = await openPromise(file, { autoClose: false, lazyEntries: true })
      const entries = new Map<string, Entry>()
      for await (const entry of zip.eachEntry()) {
        if (entries.has(entry.fileName)) throw new Error(`${entry.fileName} is in it twice`)
        entries.set(entry.fileName, entry)
      }
      return new ZipArchive(file, zip, entries)
    } catch (error) {
      zip?.close()
      throw damaged(file, error)
    }
  }

  /** The names of its files and folders. */
  get names(): string[] {
    return [...this.#entries.keys()]
  }

  /** A small text file of the archive, or undefined when it has none of that name. */
  async readText(name: string): Promise<string | undefined> {
    const entry = this.#entries.get(name)
    if (!entry) return undefined
    if (entry.uncompressedSize > LARGEST_TEXT) throw damaged(this.#file, new Error(`${name} is impossibly large`))
    const chunks: Buffer[] = []
    await this.#contents(entry, (chunk) => void chunks.push(chunk))
    return Buffer.concat(chunks).toString('utf8')
  }

  /** Extracts the selected files into `folder`, which must exist. Throws `ERR_IO`, or the signal's reason. */
  async extract(folder: string, options: ExtractOptions): Promise<Extracted[]> {
    const files = this.#plan(folder, options.select)
    const total = files.reduce((sum, { entry }) => sum + entry.uncompressedSize, 0)
    await checkDiskSpace(folder, total)
    let received = 0
    const extracted: Extracted[] = []
    for (const { entry, target } of files) {
      await fs.mkdir(path.dirname(target), { recursive: true })
      const sha256 = await this.#extractFile(entry, target, (bytes) => {
        options.signal?.throwIfAborted()
        received += bytes
        options.onProgress?.(received, total)
      })
      extracted.push({ name: entry.fileName, sha256 })
    }
    return extracted
  }

  /** Closes the file. */
  close(): void {
    this.#zip.close()
  }

  /** What goes where; decided for all before the first byte is written. */
  #plan(folder: string, select: ExtractOptions['select']): { entry: Entry; target: string }[] {
    const files: { entry: Entry; target: string }[] = []
    for (const entry of this.#entries.values()) {
      if (entry.fileName.endsWith('/')) continue
      const place = select(entry.fileName)
      if (place === undefined) continue
      if (isLink(entry)) throw damaged(this.#file, new Error(`${entry.fileName} is a link, which could lead anywhere`))
      files.push({ entry, target: insideOf(folder, place, this.#file) })
    }
    return files
  }

  async #extractFile(entry: Entry, target: string, onBytes: (bytes: number) => void): Promise<string> {
    const hash = crypto.createHash('sha256')
    const output = await fs.open(target, 'wx')
    try {
      await this.#contents(entry, async (chunk) => {
        hash.update(chunk)
        await output.writeFile(chunk)
        onBytes(chunk.length)
      })
    } finally {
      await output.close()
    }
    return hash.digest('base64url')
  }

  /** Streams one entry, decompressed, and checks its CRC-32 at the end (yauzl checks its size). */
  async #contents(entry: Entry, use: (chunk: Buffer) => Promise<void> | void): Promise<void> {
    let crc = 0
    const stream = await this.#zip.openReadStreamPromise(entry).catch((error: unknown) => {
      throw damaged(this.#file, error)
    })
    for await (const chunk of guarded(stream, this.#file)) {
      crc = zlib.crc32(chunk, crc)
      await use(chunk)
    }
    if (crc !== entry.crc32) throw damaged(this.#file, new Error(`the checksum of ${entry.fileName} is wrong`))
  }
}

/** Turns the stream's own errors (bad deflate data, wrong sizes) into coded ones, and leaves the consumer's alone. */
async function* guarded(stream: AsyncIterable<Buffer>, file: string): AsyncGenerator<Buffer> {
  const iterator = stream[Symbol.asyncIterator]()
  try {
    while (true) {
      const next = await iterator.next().catch((error: unknown) => {
        throw damaged(file, error)
      })
      if (next.done) return
      yield next.value
    }
  } finally {
    await iterator.return?.()
  }
}

/** The upper half of the attributes is the Unix mode when the archive was made on Unix. */
function isLink(entry: Entry): boolean {
  return ((entry.externalFileAttributes >>> 16) & 0xf000) === 0xa000
}

/** yauzl refuses such names by itself; this keeps the promise whatever `select` makes of a name. */
function insideOf(folder: string, place: string, file: string): string {
  const target = path.resolve(folder, place)
  const relative = path.relative(folder, target)
  if (relative === '' || relative.startsWith('..') || path.isAbsolute(relative)) {
    throw damaged(file, new Error(`${place} leads out of the folder`))
  }
  return target
}

function damaged(file: string, error: unknown): TorchvidError {
  if (error instanceof TorchvidError) return error
  const reason = error instanceof Error ? error.message : String(error)
  return new TorchvidError(
    'ERR_IO',
    `The archive ${path.basename(file)} is damaged: ${reason}. Nothing of it was kept; fetch it again.`,
    {
      cause: error,
    },
  )
}
