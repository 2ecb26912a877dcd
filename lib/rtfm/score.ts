import type { FeatureReader } from '../data/features.ts'
import { TorchvidError } from '../errors.ts'
import type { Network } from '../network.ts'
import { rtfmContext, rtfmReach, rtfmWithContext } from '../networks/rtfm.ts'
import type { TensorData } from '../types.ts'
import { formOf, type RtfmSettings } from './settings.ts'

/** Scores of a video. */
export interface RtfmScores {
  /** One per segment, 0 to 1; 1 is abnormal. */
  scores: Float32Array
  /** One per segment: the L2 norm of the features that RTFM's network makes, meaned over crops. Absent with `'deepMil'`. */
  magnitudes?: Float32Array
  /** What speaks against these features: made with other settings than those the detector was trained on. */
  warnings: string[]
}

type Scores = Pick<RtfmScores, 'scores' | 'magnitudes'>

/** Rows (a segment of a crop each) that are run at a time: bounds memory whatever the video's length. */
const ROWS = 8192
/** The least segments in a piece, so that its margins do not outweigh it. */
const LEAST = 64

/** A detector as far as scoring goes. */
export interface Scorer {
  network: Network
  settings: RtfmSettings
}

/** `ERR_SHAPE` unless the features are of the size that the network takes. */
export function checkSize({ settings }: Scorer, { name, size }: { name: string; size: number }): void {
  if (size === settings.featureSize) return
  const message = `${name}: its features have ${size} numbers a segment, the network takes ${settings.featureSize}. Extract them with the network that the detector was trained with, or create it with featureSize: ${size}.`
  throw new TorchvidError('ERR_SHAPE', message)
}

/** Scores a whole video, of any length; a long one in pieces, with the same result. */
export async function scoreFeatures(scorer: Scorer, reader: FeatureReader, signal?: AbortSignal): Promise<Scores> {
  signal?.throwIfAborted()
  checkSize(scorer, reader)
  const { segments, crops } = reader
  if (segments * crops <= ROWS) return await run(scorer.network, asBatch(await read(scorer, reader, 0, segments)))
  if (scorer.settings.network === 'rtfm') return await scoreLong(scorer, reader, signal)
  return await inPieces(scorer, reader, { reach: 0, score: (features) => run(scorer.network, { features }), signal })
}

/**
 * RTFM on a long video. Its convolutions see a few segments to each side, so a piece with those beside it is exact; its
 * attention sees the whole video, but only through a matrix that is a sum over segments, which is gathered first.
 */
async function scoreLong(scorer: Scorer, reader: FeatureReader, signal?: AbortSignal): Promise<Scores> {
  const options = { featureSize: scorer.settings.featureSize, form: formOf(scorer.settings) }
  const gathering = await scorer.network.view(rtfmContext(options))
  const scoring = await scorer.network.view(rtfmWithContext(options))
  try {
    const sum = await gather({ ...scorer, network: gathering }, reader, signal)
    const context = { data: Float32Array.from(sum.data, (value) => value / reader.segments), shape: sum.shape }
    const score = (features: TensorData) => run(scoring, { features, context })
    return await inPieces(scorer, reader, { reach: rtfmReach, score, signal })
  } finally {
    gathering.dispose()
    scoring.dispose()
  }
}

/** The sum of output `context` over a video. */
async function gather(scorer: Scorer, reader: FeatureReader, signal?: AbortSignal) {
  let sum: { data: Float64Array; shape: number[] } | undefined
  for (const { first, count } of pieces(reader)) {
    signal?.throwIfAborted()
    const { context } = await scorer.network.forward(asBatch(await read(scorer, reader, first, count)))
    const { data, shape } = context as TensorData
    sum ??= { data: new Float64Array(data.length), shape }
    for (let i = 0; i < data.length; i++) sum.data[i] = (sum.data[i] as number) + Number(data[i])
  }
  return sum as NonNullable<typeof sum>
}

/** Runs a video piece by piece, each with `reach` segments more on both sides where there are any. */
async function inPieces(
  scorer: Scorer,
  reader: FeatureReader,
  how: { reach: number; score: (features: TensorData) => Promise<Scores>; signal: AbortSignal | undefined },
): Promise<Scores> {
  const scores = new Float32Array(reader.segments)
  let magnitudes: Float32Array | undefined
  for (const { first, count } of pieces(reader)) {
    how.signal?.throwIfAborted()
    const start = Math.max(first - how.reach, 0)
    const end = Math.min(first + count + how.reach, reader.segments)
    const { features } = asBatch(await read(scorer, reader, start, end - start))
    const piece = await how.score(features)
    const own = [first - start, first - start + count] as const
    scores.set(piece.scores.subarray(...own), first)
    if (piece.magnitudes === undefined) continue
    magnitudes ??= new Float32Array(reader.segments)
    magnitudes.set(piece.magnitudes.subarray(...own), first)
  }
  return { scores, ...(magnitudes !== undefined && { magnitudes }) }
}

function* pieces({ segments, crops }: FeatureReader): Generator<{ first: number; count: number }> {
  const size = Math.max(Math.floor(ROWS / crops), LEAST)
  for (let first = 0; first < segments; first += size) yield { first, count: Math.min(size, segments - first) }
}

async function read({ settings }: Scorer, reader: FeatureReader, first: number, count: number): Promise<TensorData> {
  const rows = await reader.read(first, count)
  return settings.normalise ? normalised(rows) : rows
}

/** Every row of the last dimension divided by its L2 norm; rows of zeros stay. */
export function normalised({ data, shape }: TensorData): TensorData {
  const size = shape.at(-1) as number
  const out = new Float32Array(data.length)
  for (let row = 0; row < data.length; row += size) {
    let squares = 0
    for (let i = row; i < row + size; i++) squares += Number(data[i]) ** 2
    const norm = Math.max(Math.sqrt(squares), 1e-12)
    for (let i = row; i < row + size; i++) out[i] = Number(data[i]) / norm
  }
  return { data: out, shape }
}

/** (T, crops, F) -> { features: (1, crops, T, F) }. */
export function asBatch({ data, shape }: TensorData): { features: TensorData } {
  const [segments, crops, size] = shape as [number, number, number]
  if (crops === 1) return { features: { data, shape: [1, 1, segments, size] } }
  const out = new Float32Array(data.length)
  for (let t = 0; t < segments; t++) {
    for (let crop = 0; crop < crops; crop++) {
      const from = (t * crops + crop) * size
      out.set((data as Float32Array).subarray(from, from + size), (crop * segments + t) * size)
    }
  }
  return { features: { data: out, shape: [1, crops, segments, size] } }
}

/** Scores and, of a network that has them, magnitudes of one video. */
async function run(network: Network, inputs: Record<string, TensorData>): Promise<Scores> {
  const outputs = ['scores', 'magnitudes'].filter((name) => network.graph.outputs[name] !== undefined)
  const { scores, magnitudes } = await network.forward(inputs, { outputs })
  return {
    scores: scores?.data as Float32Array,
    ...(magnitudes !== undefined && { magnitudes: magnitudes.data as Float32Array }),
  }
}
