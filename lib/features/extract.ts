import { removeFeatureSettings, writeFeatureSettings } from '../data/feature-settings.ts'
import { openFrames } from '../data/frames.ts'
import { NpyWriter } from '../data/npy-writer.ts'
import { prefetch } from '../data/prefetch.ts'
import { type Run, startRun } from '../engine/run.ts'
import { invalidArgument, TorchvidError } from '../errors.ts'
import { native } from '../native.ts'
import type { FrameSource } from '../types.ts'
import { type Clip, ClipReader } from './clips.ts'
import { cropWindows } from './crops.ts'
import type { ExtractedFeatures, ExtractOptions, ExtractProgress } from './options.ts'
import { describeSettings, type ExtractSettings, settingsOf } from './settings.ts'
import { ClipTracker, l2Norm } from './tracker.ts'

/** What `extract` gives with `keep: false`. */
export type ExtractedFile = Omit<ExtractedFeatures, 'features'> & { features?: undefined }

/**
 * Features of a video: cut into clips, one row of numbers per clip and crop, from a network that was trained for something
 * else. It streams: one clip is in the network while the next is decoded and resized, and no more frames are held. Frames
 * are taken as they come, none repeated or left out. Method and order of crops: Sultani et al. (CVPR 2018), Tian et al.
 * (RTFM, ICCV 2021) and torchvision's `TenCrop`.
 *
 * ```ts
 * const net = await Network.create(networks.i3dResnet50())
 * await net.load('i3d_r50_kinetics.pth')
 * await features.extract('video.mp4', { backbone: net, crops: 10, mean: 114.75, std: 57.375, out: 'video.npy' })
 * ```
 * @param video a video file, a folder of images, a glob, or anything that yields images, such as a live camera
 * @returns a Run: its result is the features and what they were made with, its records one per clip with its features
 * @throws (rejects) TorchvidError ERR_INVALID_ARGUMENT: an option is wrong, or there is nothing to extract from; ERR_SHAPE: a
 *   frame is smaller than the crop, frames differ in size, or the network does not take them; ERR_NOT_FINITE; ERR_IO;
 *   ERR_OUT_OF_MEMORY; ERR_DISPOSED
 */
export function extract(
  video: FrameSource,
  options: ExtractOptions & { keep: false },
): Run<ExtractedFile, ExtractProgress>
export function extract(video: FrameSource, options: ExtractOptions): Run<ExtractedFeatures, ExtractProgress>
export function extract(
  video: FrameSource,
  options: ExtractOptions,
): Run<ExtractedFeatures | ExtractedFile, ExtractProgress> {
  if (typeof options !== 'object' || options === null) throw invalidArgument('options', options, 'an object')
  const { signal, onProgress } = options
  let readers = 0
  let latest: ExtractProgress
  const run = startRun<ExtractedFeatures | ExtractedFile, ExtractProgress>(
    { signal, onProgress: typeof onProgress === 'function' ? () => onProgress(latest) : onProgress },
    (context) =>
      extractClips(video, settingsOf(options), context.signal, (progress) => {
        latest = progress
        const isStored = options.keep !== false || readers > 0
        context.report([isStored ? progress : { ...progress, features: new Float32Array(0) }])
      }),
  )
  const iterate = async function* () {
    readers++
    try {
      yield* run
    } finally {
      readers--
    }
  }
  return { ...run, [Symbol.asyncIterator]: iterate }
}

async function extractClips(
  video: FrameSource,
  settings: ExtractSettings,
  signal: AbortSignal,
  report: (progress: ExtractProgress) => void,
): Promise<ExtractedFeatures | ExtractedFile> {
  const { crops, keep, out } = settings
  // Whatever ends the extraction also ends the reading, even of a camera that has no frame just now.
  const reading = new AbortController()
  const source = await openFrames(video, { signal: AbortSignal.any([signal, reading.signal]) })
  const reader = new ClipReader(source, settings)
  const tracker = new ClipTracker(settings, source.count)
  const rows: Float32Array[] = []
  let writer: NpyWriter | undefined
  try {
    for await (const clip of prefetch(reader.clips(), (each) => each, { ahead: 1, signal })) {
      const row = await clipRow(clip, reader, settings, signal)
      if (out !== undefined) {
        writer ??= await NpyWriter.create(out, [crops, row.length / crops])
        await writer.append(row)
      }
      if (keep) rows.push(row)
      report(tracker.add(row, clip.end))
    }
    if (reader.first === undefined || tracker.clips === 0) throw nothingLeft(reader.frames, settings)
    const { clips, norms, meanNorm, size } = tracker
    const { fps, name } = source
    const { frames } = reader
    const made = describeSettings(settings, { size, frames, fps, video: name, meanNorm })
    if (out !== undefined) {
      // At no moment are there features beside another's settings.
      await removeFeatureSettings(out)
      await writer?.finish()
      await writeFeatureSettings(out, made)
    }
    return {
      ...(keep && { features: { data: joined(rows), shape: [clips, crops, size] } }),
      frames,
      clips,
      ...reader.first,
      ...(fps !== undefined && { fps }),
      seconds: tracker.seconds(),
      meanNorm,
      norms,
      settings: made,
      ...(out !== undefined && { out }),
    }
  } finally {
    reading.abort()
    await writer?.abort()
  }
}

/** A clip's features, crop after crop; each crop is one turn of the engine. */
async function clipRow(
  clip: Clip,
  reader: ClipReader,
  settings: ExtractSettings,
  signal: AbortSignal,
): Promise<Float32Array> {
  const { network, crops, crop, pixels, output, normalise, device } = settings
  const windows = cropWindows(crops, crop, reader.resized as { width: number; height: number })
  let row = new Float32Array(0)
  for (const [place, window] of windows.entries()) {
    const features = await native().clipFeatures(network.handle, clip.frames, { pixels, window, output, device })
    signal.throwIfAborted()
    if (normalise) scaleToOne(features)
    if (place === 0) row = new Float32Array(crops * features.length)
    row.set(features, place * features.length)
  }
  return row
}

function scaleToOne(features: Float32Array): void {
  const norm = l2Norm(features)
  if (norm > 0) for (let i = 0; i < features.length; i++) features[i] = (features[i] as number) / norm
}

function joined(rows: Float32Array[]): Float32Array {
  const size = rows[0]?.length ?? 0
  const data = new Float32Array(rows.length * size)
  for (const [i, row] of rows.entries()) data.set(row, i * size)
  return data
}

function nothingLeft(frames: number, { every }: ExtractSettings): TorchvidError {
  const text =
    frames === 0
      ? 'video: it has no frames; wanted at least one.'
      : `video: it has ${frames} frames, fewer than one clip of ${every}, and tail: 'drop' leaves nothing. Use tail: 'loop' or 'repeat', or a smaller every.`
  return new TorchvidError('ERR_INVALID_ARGUMENT', text)
}
