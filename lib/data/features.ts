import { checkInteger, describe, invalidArgument, TorchvidError } from '../errors.ts'
import { type NativeFeatures, type NativeTensorRow, native } from '../native.ts'
import type { TensorData } from '../types.ts'
import { damaged, quote } from './binary-file.ts'
import { isText, videoName } from './feature-names.ts'
import { type FeatureSettings, readFeatureSettings } from './feature-settings.ts'
import { checkMemory } from './memory.ts'
import { nativeRow, readNumbers } from './npy.ts'
import { bytesOf, type NpyHeader, readNpyHeader } from './npy-header.ts'
import { checkTensorData, firstNotFinite, toFloat32 } from './tensor-data.ts'
import { readTextFeatures } from './text-features.ts'

/**
 * One video's features, a row of F numbers per segment (clip) and crop: a .npy file of (T, crops, F) or (T, F); a text file
 * of one row a line; a list of files, one per crop, each (T, F) or (T, 1, F), as XD-Violence's `NAME__0.npy` to
 * `NAME__4.npy`; or numbers in memory, (T, crops, F) or (T, F).
 */
export type FeatureInput = string | string[] | TensorData

/** Features that are open: their sizes are known, their rows are read as they are asked for. No file is held open. */
export interface FeatureReader {
  /** The video's: its file's name without ending; of numbers in memory what `openFeatures` was told. */
  name: string
  /** Rows in time (T). */
  segments: number
  crops: number
  /** Numbers per segment and crop (F). */
  size: number
  /**
   * `count` rows from `first` on, float32 (count, crops, size). Of numbers in memory it is a view.
   * @throws TorchvidError ERR_INVALID_ARGUMENT for rows that there are not; ERR_IO, also when a number is not finite
   */
  read(first: number, count: number): Promise<TensorData & { data: Float32Array }>
  /** All of them for the trainer, which reads files itself. */
  source(): Promise<NativeFeatures>
  /** What a file was made with, where `NAME.npy.json` beside it says so. */
  settings?: FeatureSettings
}

const WANTED = 'Wanted (T, crops, F) or (T, F): a row of F numbers for each of T segments.'

/**
 * Opens one video's features: of .npy files the headers are read, text files whole.
 *
 * @param what its name in messages, such as 'normal[3]'
 * @throws TorchvidError ERR_INVALID_ARGUMENT; ERR_SHAPE when an array is none of the layouts, is empty, or crops differ;
 * ERR_IO naming the file when it is missing or damaged; ERR_OUT_OF_MEMORY
 */
export async function openFeatures(input: FeatureInput, what: string): Promise<FeatureReader> {
  if (typeof input === 'string') return await openFile(input, what)
  if (Array.isArray(input)) return await openCrops(input, what)
  const { data, shape } = checkTensorData(what, input)
  return inMemory(what, what, await toFloat32(what, data), sizesOf(what, shape), (place) => {
    const wanted = `finite numbers; the first other is in ${place}`
    return invalidArgument(what, input, wanted)
  })
}

/** How many files are open at once while a set is opened. */
const AT_ONCE = 16

/**
 * Opens the features of many videos, some at a time, and checks that they fit one network.
 *
 * @throws TorchvidError as `openFeatures`; ERR_SHAPE when crops or sizes differ, naming two of them
 */
export async function openFeatureSet(inputs: FeatureInput[], what: string): Promise<FeatureReader[]> {
  if (!Array.isArray(inputs)) throw invalidArgument(what, inputs, 'an array with the features of one video each')
  const readers: FeatureReader[] = []
  for (let at = 0; at < inputs.length; at += AT_ONCE) {
    const some = inputs.slice(at, at + AT_ONCE)
    readers.push(...(await Promise.all(some.map((input, i) => openFeatures(input, `${what}[${at + i}]`)))))
  }
  const first = readers[0]
  const odd = readers.find(({ crops, size }) => crops !== first!.crops || size !== first!.size)
  if (odd === undefined) return readers
  const text = `${what}: ${first!.name} has ${layout(first!)}, and ${odd.name} ${layout(odd)}. One set's features must have as many crops and numbers a row: extract them alike.`
  throw new TorchvidError('ERR_SHAPE', text)
}

function layout({ crops, size }: Sizes): string {
  return `${crops} crop${crops === 1 ? '' : 's'} of ${size} numbers`
}

type Sizes = Pick<FeatureReader, 'segments' | 'crops' | 'size'>
type Rows = TensorData & { data: Float32Array }

async function openFile(path: string, what: string): Promise<FeatureReader> {
  if (path === '') throw invalidArgument(what, path, 'the path of a .npy or .txt file of features')
  if (isText(path)) {
    const { data, shape } = await readTextFeatures(path)
    return inMemory(videoName(path), what, data, sizesOf(quote(path), shape), notFinite(path))
  }
  const header = await readNpyHeader(path)
  if (!header.type.startsWith('f')) {
    const reason = `holds ${header.type === 'b1' ? 'booleans' : 'whole numbers'}, and features are float16, float32 or float64`
    throw damaged(path, reason, 'Give the file of features, or save it as float32.')
  }
  const sizes = sizesOf(quote(path), header.shape)
  const settings = await readFeatureSettings(path)
  const row = nativeRow(header)
  const reader = row === undefined ? foreign(header, what, sizes) : inFile(header, row, what, sizes)
  return settings === undefined ? reader : { ...reader, settings }
}

function sizesOf(name: string, shape: number[]): Sizes {
  const [segments = 0, crops = 0, size = 0] = shape.length === 2 ? [shape[0], 1, shape[1]] : shape
  const is = `${name} has shape (${shape.join(', ')})`
  if (shape.length !== 2 && shape.length !== 3) throw new TorchvidError('ERR_SHAPE', `${is}. ${WANTED}`)
  if (segments * crops * size === 0) {
    throw new TorchvidError('ERR_SHAPE', `${is}: there is nothing in it. ${WANTED} Leave the video out.`)
  }
  return { segments, crops, size }
}

/** What to throw when the number at `place` is not finite. */
type NotFinite = (place: string) => TorchvidError

function notFinite(path: string): NotFinite {
  return (place) => damaged(path, `holds a number that is not finite in ${place}`, 'Extract its features again.')
}

async function checkFinite(data: Float32Array, first: number, sizes: Sizes, wrong: NotFinite): Promise<void> {
  const at = await firstNotFinite(data)
  if (at < 0) return
  const { segments, crops, size } = sizes
  const crop = crops === 1 ? '' : `, crop ${Math.floor(at / size) % crops}`
  throw wrong(`row ${first + Math.floor(at / (size * crops))} of ${segments}${crop} (both from 0)`)
}

function checkRows(what: string, first: number, count: number, { segments }: Sizes): void {
  checkInteger(`${what}: first`, first, 0, segments - 1)
  checkInteger(`${what}: count`, count, 1, segments - first)
}

/** Numbers in memory: what was given so, and what can only be read whole. */
function inMemory(name: string, what: string, data: Float32Array, sizes: Sizes, wrong: NotFinite): FeatureReader {
  const { segments, crops, size } = sizes
  const row = crops * size
  return {
    name,
    ...sizes,
    async read(first, count) {
      checkRows(what, first, count, sizes)
      const rows = data.subarray(first * row, (first + count) * row)
      await checkFinite(rows, first, sizes, wrong)
      return { data: rows, shape: [count, crops, size] }
    },
    source: async () => ({ tensor: { data, shape: [segments, crops, size] } }),
  }
}

/** A file in another order of bytes: read whole at the first use, and kept. */
function foreign(header: NpyHeader, what: string, sizes: Sizes): FeatureReader {
  const whole = once(() => readWhole(header, what, sizes))
  return {
    name: videoName(header.path),
    ...sizes,
    read: async (first, count) => await (await whole()).read(first, count),
    source: async () => await (await whole()).source(),
  }
}

async function readWhole(header: NpyHeader, what: string, sizes: Sizes): Promise<FeatureReader> {
  const { data } = await readNumbers(header)
  return inMemory(videoName(header.path), what, await toFloat32(what, data), sizes, notFinite(header.path))
}

/** A .npy file that the addon reads; in row-major order only the rows that are asked for. */
function inFile(header: NpyHeader, all: NativeTensorRow, what: string, sizes: Sizes): FeatureReader {
  const { path, fortran, offset, type } = header
  const { crops, size } = sizes
  // Rows of a column-major file are spread over all of it: it is read whole once, and kept.
  const whole = once(() => readWhole(header, what, sizes))
  return {
    name: videoName(path),
    ...sizes,
    async read(first, count) {
      checkRows(what, first, count, sizes)
      if (fortran) return await (await whole()).read(first, count)
      const shape = [count, crops, size]
      checkMemory(`Reading ${count} rows of ${path}`, count * crops * size * 4, 'Read fewer rows at a time.')
      const from = offset + first * crops * size * bytesOf(type)
      const rows = await native().readTensor(path, { dtype: all.dtype, shape, offset: from })
      const data = await toFloat32(what, rows.data)
      await checkFinite(data, first, sizes, notFinite(path))
      return { data, shape }
    },
    source: async () => ({ files: [{ path, tensor: all }] }),
  }
}

/** The same promise for every call; a failure is not kept. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined
  return () => {
    made ??= make().catch((error) => {
      made = undefined
      throw error
    })
    return made
  }
}

async function openCrops(paths: string[], what: string): Promise<FeatureReader> {
  if (paths.length === 0 || !paths.every((path) => typeof path === 'string')) {
    throw invalidArgument(what, paths, "the paths of one video's files, one for each crop")
  }
  const files = await Promise.all(paths.map((path, i) => openFile(path, paths.length === 1 ? what : `${what}[${i}]`)))
  const [first] = files as [FeatureReader, ...FeatureReader[]]
  if (files.length === 1) return first
  files.forEach((file, i) => {
    checkCrop(what, paths, i, file, first)
  })
  const sizes = { segments: first.segments, crops: files.length, size: first.size }
  const read = async (from: number, count: number): Promise<Rows> => {
    checkRows(what, from, count, sizes)
    const parts: Float32Array[] = []
    for (const file of files) parts.push((await file.read(from, count)).data)
    return { data: interleaved(parts, count, sizes.size), shape: [count, sizes.crops, sizes.size] }
  }
  const source = async (): Promise<NativeFeatures> => {
    const sources = await Promise.all(files.map((file) => file.source()))
    const inFiles = sources.flatMap((one) => ('files' in one ? one.files : []))
    return inFiles.length === files.length ? { files: inFiles } : { tensor: await read(0, sizes.segments) }
  }
  return { ...first, ...sizes, read, source }
}

function checkCrop(what: string, paths: string[], i: number, file: FeatureReader, first: FeatureReader): void {
  const path = quote(paths[i]!)
  if (file.crops !== 1) {
    const text = `${what}: ${path} holds ${file.crops} crops, and a list of files is one crop each. Give a file of several crops by itself, not in a list; features of several videos are a list of such lists.`
    throw new TorchvidError('ERR_SHAPE', text)
  }
  if (file.segments === first.segments && file.size === first.size) return
  const text = `${what}: ${path} is (${file.segments}, ${file.size}), and ${quote(paths[0]!)} (${first.segments}, ${first.size}). The crops of one video must be of one shape: give files of one video, got ${describe(paths.map(videoName))}.`
  throw new TorchvidError('ERR_SHAPE', text)
}

/** From one array (count, size) per crop to (count, crops, size). */
function interleaved(parts: Float32Array[], count: number, size: number): Float32Array {
  const data = new Float32Array(count * parts.length * size)
  for (let row = 0; row < count; row++) {
    for (let crop = 0; crop < parts.length; crop++) {
      data.set(parts[crop]!.subarray(row * size, (row + 1) * size), (row * parts.length + crop) * size)
    }
  }
  return data
}
