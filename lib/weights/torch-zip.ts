import { type Entry, fromRandomAccessReaderPromise, type ZipFile } from 'yauzl'
import type { StoredStorage } from './stored-tensor.ts'
import { elementSize } from './stored-tensor.ts'
import { bigEndian, type PlacedPickle, unpickleTorch } from './torch-pickle.ts'
import type { WeightsFile } from './weights-file.ts'
import { ZipReader } from './zip-reader.ts'

/** Bytes of the longest `data.pkl` that is read. */
const longestPickle = 64 << 20

const settings = { autoClose: false, lazyEntries: true }

/** Files in one archive. */
const mostEntries = 100_000

/**
 * Reads a checkpoint as `torch.save` writes it since PyTorch 1.6: a zip whose files, all stored uncompressed in one folder,
 * are `data.pkl`, `data/KEY` for every storage, `version` and (since 2.0) `byteorder`. Only the archive's directory, the
 * pickle and local headers are read.
 * @throws TorchvidError ERR_CHECKPOINT_FORMAT
 */
export async function readTorchZip(file: WeightsFile): Promise<PlacedPickle> {
  const archive = await StoredArchive.open(file)
  archive.refuseTorchScript()
  if (archive.has('byteorder')) {
    const order = (await archive.read('byteorder', 16)).toString('latin1').trim()
    if (order !== 'little') throw bigEndian(file, order)
  }
  const pickle = unpickleTorch(await archive.read('data.pkl', longestPickle), file)
  return { pickle, place: (storage) => archive.place(storage) }
}

/** A zip of stored files in one folder, by their names in that folder. */
class StoredArchive {
  private constructor(
    private readonly file: WeightsFile,
    private readonly reader: ZipReader,
    private readonly zip: ZipFile,
    private readonly entries: Map<string, Entry>,
    /** Where local headers begin, in order. */
    private readonly starts: number[],
  ) {}

  static async open(file: WeightsFile): Promise<StoredArchive> {
    const entries = new Map<string, Entry>()
    const starts: number[] = []
    let root: string | undefined
    const reader = new ZipReader(file)
    const zip = await reader.guard(fromRandomAccessReaderPromise(reader, file.size, settings))
    const all = zip.eachEntry()
    while (true) {
      const { done, value: entry } = await reader.guard(all.next())
      if (done) break
      if (starts.push(entry.relativeOffsetOfLocalHeader) > mostEntries) {
        throw file.bad(`it holds more than ${mostEntries} files`)
      }
      const slash = entry.fileName.indexOf('/')
      const folder = entry.fileName.slice(0, Math.max(0, slash))
      root ??= folder
      if (slash < 1 || folder !== root) throw otherZip(file)
      const name = entry.fileName.slice(slash + 1)
      if (entries.has(name)) throw file.bad(`${JSON.stringify(name.slice(0, 100))} is in it twice`)
      entries.set(name, entry)
    }
    if (!entries.has('data.pkl')) throw otherZip(file)
    return new StoredArchive(
      file,
      reader,
      zip,
      entries,
      starts.sort((a, b) => a - b),
    )
  }

  has(name: string): boolean {
    return this.entries.has(name)
  }

  refuseTorchScript(): void {
    const script = this.has('constants.pkl') || [...this.entries.keys()].some((name) => name.startsWith('code/'))
    if (!script) return
    const advice = 'Save its weights, in Python: torch.save(torch.jit.load(path).state_dict(), out).'
    throw this.file.bad('it is a TorchScript archive: a program with its weights', advice)
  }

  async read(name: string, longest: number): Promise<Buffer> {
    const entry = this.entry(name)
    const { uncompressedSize: length } = entry
    if (length > longest) throw this.file.bad(`${name} is ${length} bytes long, more than the ${longest} that are read`)
    return await this.file.read(await this.start(name, entry), length)
  }

  /** Where a storage's elements lie in the file. */
  async place({ key, dtype, elements }: StoredStorage): Promise<number> {
    const name = `data/${key}`
    const entry = this.entry(name)
    const wanted = elements * elementSize[dtype]
    if (entry.uncompressedSize !== wanted) {
      throw this.file.bad(`${shown(name)} holds ${entry.uncompressedSize} bytes instead of ${wanted}`)
    }
    return await this.start(name, entry)
  }

  private entry(name: string): Entry {
    const entry = this.entries.get(name)
    if (entry === undefined) throw this.file.bad(`it has no ${shown(name)}`)
    const advice = 'PyTorch writes such archives without either: save it again in Python with torch.save.'
    if (entry.isEncrypted()) throw this.file.bad(`${shown(name)} is encrypted`, advice)
    if (entry.compressionMethod !== 0) throw this.file.bad(`${shown(name)} is compressed`, advice)
    return entry
  }

  /** Where an entry's bytes begin; they must end before the next entry. */
  private async start(name: string, entry: Entry): Promise<number> {
    const header = this.zip.readLocalFileHeaderPromise(entry, { minimal: true })
    const { fileDataStart } = await this.reader.guard(header)
    const end = fileDataStart + entry.uncompressedSize
    if (end > this.next(entry.relativeOffsetOfLocalHeader) || end > this.file.size) {
      throw this.file.bad(`${shown(name)} overlaps another file of the archive`)
    }
    return fileDataStart
  }

  /** Where the next local header begins after this one; two at one place leave no room. */
  private next(start: number): number {
    let [low, high] = [0, this.starts.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.starts[middle] as number) < start) low = middle + 1
      else high = middle
    }
    return this.starts[low + 1] ?? this.file.size
  }
}

const shown = (name: string) => JSON.stringify(name.slice(0, 100))

function otherZip(file: WeightsFile) {
  const advice = 'Give a .safetensors file, or what torch.save(model.state_dict(), path) wrote.'
  return file.bad('it is a zip archive and no PyTorch checkpoint (those hold one folder with data.pkl)', advice)
}
