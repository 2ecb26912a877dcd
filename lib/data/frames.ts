import { readdir, stat } from 'node:fs/promises'
import { basename, join, parse } from 'node:path'
import { glob, isDynamicPattern } from 'tinyglobby'
import { describe, invalidArgument, TorchvidError } from '../errors.ts'
import type { FrameSource, ImageInput, RawImage } from '../types.ts'
import { readImage } from './image.ts'
import { isIterable } from './iterable.ts'
import { prefetch } from './prefetch.ts'
import { readVideo, videoInfo } from './video.ts'

/** One frame of a source. */
export interface Frame {
  /** Place in the source, from 0. */
  index: number
  /** Name for what is made of it: the file's name without extension for image files, else the index in 5 digits. */
  name: string
  /** RGB, 3 channels. */
  image: RawImage
}

/**
 * Frames, read as they are asked for. Iterating again reads the source again, if the source allows it.
 * Leaving the loop closes the source.
 */
export interface FrameReader extends AsyncIterable<Frame> {
  /** Name of the folder, glob or file; absent for frames from memory. */
  name?: string
  /** How many frames there are: exact for image files and arrays, about right for a video, absent when it is not known. */
  count?: number
  /** Frames a second, for a video that says so. */
  fps?: number
  /** Reads the source from its start. */
  [Symbol.asyncIterator](): AsyncGenerator<Frame>
}

/** Endings of the files that are read as images; any other file is taken for a video. */
const IMAGE = /\.(jpe?g|png|webp|bmp|tiff?|avif)$/i
const DESCRIBED = 'jpg, png, webp, bmp, tiff or avif'

/** How many frames are decoded while the reader works on one. */
const AHEAD = 2

/**
 * Opens a video file, a folder of images (in natural order: 2 before 10), a glob, a single image, or
 * anything that yields images. At most two frames are decoded ahead of the reader.
 *
 * @param options.signal stops the reading; the loop then throws its reason
 * @throws `ERR_IO` when there is nothing to read; `ERR_INVALID_ARGUMENT` for something that is no source.
 * While reading: what `readImage` and `readVideo` throw.
 */
export async function openFrames(source: FrameSource, options: { signal?: AbortSignal } = {}): Promise<FrameReader> {
  const { signal } = options
  signal?.throwIfAborted()
  if (typeof source === 'string') return await openPath(source, signal)
  // A Buffer is iterable too, over its bytes: a slip, not a source.
  if (!isIterable<ImageInput>(source) || ArrayBuffer.isView(source)) {
    throw invalidArgument('frames', source, 'a video file, a folder, a glob, or images in an array or (async) iterable')
  }
  return {
    count: Array.isArray(source) ? source.length : undefined,
    [Symbol.asyncIterator]: () => prefetch(iterate(source), fromImage, { ahead: AHEAD, signal }),
  }
}

type Images = Iterable<ImageInput> | AsyncIterable<ImageInput>

function iterate(source: Images): Iterator<ImageInput> | AsyncIterator<ImageInput> {
  return Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
}

async function fromImage(input: ImageInput, index: number): Promise<Frame> {
  return { index, name: numbered(index), image: await readImage(input, `frame ${index}`) }
}

async function openPath(path: string, signal?: AbortSignal): Promise<FrameReader> {
  const found = await stat(path).catch(() => undefined)
  if (found?.isDirectory()) return openFiles(path, await listFolder(path), signal)
  if (found && IMAGE.test(path)) return openFiles(path, [path], signal)
  if (found) return await openVideo(path, signal)
  if (isDynamicPattern(path)) return openFiles(path, await listGlob(path), signal)
  throw new TorchvidError('ERR_IO', `frames: there is no file or folder ${describe(path)}. Check the path.`)
}

async function openVideo(path: string, signal?: AbortSignal): Promise<FrameReader> {
  const { frames, fps } = await videoInfo(path)
  const decode = (image: RawImage, index: number): Frame => ({ index, name: numbered(index), image })
  return {
    name: basename(path),
    count: frames,
    fps,
    [Symbol.asyncIterator]: () => prefetch(readUntilLeft(path, signal), decode, { ahead: AHEAD, signal }),
  }
}

/** `readVideo` whose `return` takes effect at once, even while the next frame is being waited for. */
function readUntilLeft(path: string, signal?: AbortSignal): AsyncIterator<RawImage> {
  const left = new AbortController()
  const frames = readVideo(path, { signal: signal ? AbortSignal.any([signal, left.signal]) : left.signal })
  return {
    next: () => frames.next(),
    return: async () => {
      left.abort()
      return await frames.return(undefined)
    },
  }
}

function openFiles(source: string, paths: string[], signal?: AbortSignal): FrameReader {
  const names = uniqueNames(paths)
  const decode = async (path: string, index: number): Promise<Frame> => {
    return { index, name: names[index]!, image: await readImage(path, `frame ${index}`) }
  }
  return {
    name: basename(source),
    count: paths.length,
    [Symbol.asyncIterator]: () => prefetch(paths[Symbol.iterator](), decode, { ahead: AHEAD, signal }),
  }
}

async function listFolder(folder: string): Promise<string[]> {
  const entries = await readdir(folder).catch((error) => {
    throw new TorchvidError('ERR_IO', `frames: the folder ${describe(folder)} cannot be read (${error.message}).`, {
      cause: error,
    })
  })
  const images = entries.filter((name) => IMAGE.test(name) && !name.startsWith('.'))
  if (images.length === 0) {
    const text = `frames: the folder ${describe(folder)} has no images. Looked for names that end in ${DESCRIBED}.`
    throw new TorchvidError('ERR_IO', text)
  }
  return inNaturalOrder(images).map((name) => join(folder, name))
}

async function listGlob(pattern: string): Promise<string[]> {
  const portable = process.platform === 'win32' ? pattern.replaceAll('\\', '/') : pattern
  const files = await glob(portable, { absolute: true, onlyFiles: true, expandDirectories: false })
  const images = files.filter((file) => IMAGE.test(file))
  if (images.length === 0) {
    const text = `frames: no image matches ${describe(pattern)}. Looked for names that end in ${DESCRIBED}.`
    throw new TorchvidError('ERR_IO', text)
  }
  return inNaturalOrder(images)
}

function inNaturalOrder(names: string[]): string[] {
  const { compare } = new Intl.Collator('en', { numeric: true })
  return names.sort((a, b) => compare(a, b) || (a < b ? -1 : 1))
}

/** The files' names without extension; where two would be the same, numbers for all. */
function uniqueNames(paths: string[]): string[] {
  const names = paths.map((path) => parse(path).name)
  // Compared as a file system that ignores case would.
  return new Set(names.map((name) => name.toLowerCase())).size === names.length
    ? names
    : paths.map((_, index) => numbered(index))
}

function numbered(index: number): string {
  return String(index).padStart(5, '0')
}
