import { isIterable } from '../data/iterable.ts'
import { checkInteger, describe, invalidArgument, TorchvidError } from '../errors.ts'
import type { TensorData } from '../types.ts'
import { asBatch, checkSize, normalised, type Scorer } from './score.ts'

/** Settings of `RTFM.scoreStream`. */
export interface StreamOptions {
  /** A score rests on the last so many segments. Default 32, the length of training. */
  window?: number
  /**
   * A segment is scored when so many more have come: RTFM's convolutions look 5 to each side, and what is not there yet is
   * taken for zeros. Less than `window`. Default 0: at once.
   */
  delay?: number
  signal?: AbortSignal
}

/** The score of a segment of a stream. */
export interface StreamScore {
  /** Of the segment, from 0. */
  index: number
  /** 0 to 1; 1 is abnormal. */
  score: number
}

/** Scores segments as they come; after the last, those that a delay held back. */
export async function* scoreStream(
  scorer: Scorer,
  segments: AsyncIterable<TensorData> | Iterable<TensorData>,
  options: StreamOptions,
): AsyncGenerator<StreamScore, void, undefined> {
  const { window = 32, delay = 0, signal } = options
  checkInteger('window', window, 1)
  checkInteger('delay', delay, 0, window - 1)
  if (!isIterable(segments)) {
    throw invalidArgument('segments', segments, 'features of one segment each, iterable (an array, a generator)')
  }
  const kept: Row[] = []
  let seen = 0
  const score = async (index: number): Promise<StreamScore> => {
    const { scores } = await scorer.network.forward(asBatch(joined(kept)), { outputs: ['scores'] })
    return { index, score: Number(scores?.data[index - (seen - kept.length)]) }
  }
  for await (const segment of segments) {
    signal?.throwIfAborted()
    const row = rowOf(segment, `segment ${seen}`)
    if (kept[0] !== undefined && `${kept[0].shape}` !== `${row.shape}`) {
      const message = `segment ${seen} has shape ${describe(row.shape)}, those before it ${describe(kept[0].shape)}. All segments of a stream must agree.`
      throw new TorchvidError('ERR_SHAPE', message)
    }
    checkSize(scorer, { name: `segment ${seen}`, size: row.shape[1] })
    kept.push(scorer.settings.normalise ? { ...row, data: normalised(row).data as Float32Array } : row)
    if (kept.length > window) kept.shift()
    seen++
    if (seen > delay) yield await score(seen - 1 - delay)
  }
  for (let index = Math.max(seen - delay, 0); index < seen; index++) {
    signal?.throwIfAborted()
    yield await score(index)
  }
}

interface Row {
  data: Float32Array
  shape: [crops: number, size: number]
}

function rowOf(segment: TensorData, what: string): Row {
  const { data, shape } = segment ?? {}
  const sizes = Array.isArray(shape) && shape.length === 1 ? [1, ...shape] : shape
  if (!ArrayBuffer.isView(data) || !Array.isArray(sizes) || sizes.length !== 2) {
    throw invalidArgument(what, segment, 'features { data, shape } of shape [crops, F] or [F]')
  }
  const [crops, size] = sizes as [number, number]
  if (data.length !== crops * size) {
    throw new TorchvidError('ERR_SHAPE', `${what}: ${data.length} numbers are not of shape ${describe(shape)}.`)
  }
  if (data.length === 0) throw new TorchvidError('ERR_SHAPE', `${what}: shape ${describe(shape)} has nothing in it.`)
  const row = Float32Array.from(data as ArrayLike<number>, Number)
  // In the window it would spoil the scores of all segments for as long as it stays there.
  const odd = row.findIndex((value) => !Number.isFinite(value))
  if (odd >= 0) throw invalidArgument(`${what}, number ${odd}`, data[odd], 'a finite number')
  return { data: row, shape: [crops, size] }
}

/** Rows one after another: (T, crops, F). */
function joined(rows: Row[]): TensorData {
  const [crops, size] = (rows[0] as Row).shape
  const data = new Float32Array(rows.length * crops * size)
  for (const [i, row] of rows.entries()) data.set(row.data, i * crops * size)
  return { data, shape: [rows.length, crops, size] }
}
