import { invalidArgument, TorchvidError } from '../errors.ts'
import { native } from '../native.ts'
import type { TensorData } from '../types.ts'

export {
  type DavisObject,
  type DavisScores,
  type DavisStatistics,
  type DavisTable,
  davisTable,
} from './davis-table.ts'

/** A mask of one object: non-zero inside it. Row-major, one byte a pixel. */
export interface BinaryMask {
  data: Uint8Array
  width: number
  height: number
}

/**
 * DAVIS's region similarity J: |mask and truth| / |mask or truth|, 0 to 1; 1 when both are empty.
 * @throws TorchvidError ERR_SHAPE when the sizes differ
 */
export async function jaccard(mask: BinaryMask, truth: BinaryMask): Promise<number> {
  return await native().jaccard(mask, truth)
}

/**
 * DAVIS's contour accuracy F, 0 to 1: the F-measure of boundary pixels that lie within 0.8 % of the diagonal of the other
 * boundary (Perazzi et al., CVPR 2016; the official evaluation code's boundary map and disk).
 * @throws TorchvidError ERR_SHAPE when the sizes differ
 */
export async function contour(mask: BinaryMask, truth: BinaryMask): Promise<number> {
  return await native().contour(mask, truth)
}

/**
 * Area under the ROC curve, 0 to 1: the chance that a positive scores higher than a negative; a tie counts half.
 * @param scores one per frame (or whatever is ranked)
 * @param labels as many; positive where not 0
 * @throws TorchvidError ERR_SHAPE when there are not as many labels as scores; ERR_INVALID_ARGUMENT when all labels are of
 *   one kind, or a score or label is no number, or a score not finite
 */
export async function rocAuc(scores: ArrayLike<number>, labels: ArrayLike<number>): Promise<number> {
  return await native().rocAuc(numbers('scores', scores), marks(labels))
}

/**
 * Area under the precision-recall curve by trapezoids, from (recall 0, precision 1) on: what RTFM's reference prints. It
 * overrates; `averagePrecision` does not.
 * @param scores as `rocAuc`
 * @param labels as `rocAuc`
 * @throws TorchvidError as `rocAuc`
 */
export async function prAuc(scores: ArrayLike<number>, labels: ArrayLike<number>): Promise<number> {
  return await native().prAuc(numbers('scores', scores), marks(labels))
}

/**
 * Average precision: the sum over thresholds, from the highest score down, of the step in recall times the precision there;
 * what XD-Violence reports.
 * @param scores as `rocAuc`
 * @param labels as `rocAuc`
 * @throws TorchvidError as `rocAuc`
 */
export async function averagePrecision(scores: ArrayLike<number>, labels: ArrayLike<number>): Promise<number> {
  return await native().averagePrecision(numbers('scores', scores), marks(labels))
}

/**
 * Area under a curve given by its points, by trapezoids: of a ROC curve x is the false positive rate and y the true one.
 * @param x in one direction, rising or falling
 * @param y as many
 * @throws TorchvidError ERR_SHAPE when they differ in number or are fewer than two; ERR_INVALID_ARGUMENT when x turns back,
 *   or a point is no number
 */
export function areaUnderCurve(x: ArrayLike<number>, y: ArrayLike<number>): number {
  for (const [name, values] of Object.entries({ x, y })) {
    if (!isList(values)) throw invalidArgument(name, values, 'an array of numbers')
  }
  if (x.length !== y.length || x.length < 2) {
    const message = `x has ${x.length} points and y ${y.length}; wanted as many of both, and at least two.`
    throw new TorchvidError('ERR_SHAPE', message)
  }
  let direction = 0
  let area = 0
  for (let i = 0; i < x.length; i++) {
    if (!Number.isFinite(x[i])) throw invalidArgument(`x[${i}]`, x[i], 'a finite number')
    if (!Number.isFinite(y[i])) throw invalidArgument(`y[${i}]`, y[i], 'a finite number')
    if (i === 0) continue
    const step = (x[i] as number) - (x[i - 1] as number)
    direction ||= Math.sign(step)
    if (step * direction < 0) {
      throw invalidArgument(`x[${i}]`, x[i], 'points in one direction, all rising or all falling')
    }
    area += (Math.abs(step) * ((y[i] as number) + (y[i - 1] as number))) / 2
  }
  return area
}

function numbers(name: string, values: ArrayLike<number>): TensorData {
  if (!isList(values)) throw invalidArgument(name, values, 'an array of numbers')
  // The addon copies what it is given: millions of frames are not copied here as well.
  const isFloat = values instanceof Float32Array || values instanceof Float64Array
  return { data: isFloat ? values : Float64Array.from(values, Number), shape: [values.length] }
}

function marks(labels: ArrayLike<number>): TensorData {
  if (!isList(labels)) throw invalidArgument('labels', labels, 'an array of numbers, 0 or not')
  if (labels instanceof Uint8Array) return { data: labels, shape: [labels.length] }
  // By value: files of 64-bit labels give bigints, and masks booleans.
  const data = Uint8Array.from(labels, (label, i) => {
    const value = Number(label)
    if (Number.isNaN(value)) throw invalidArgument(`labels[${i}]`, label, 'a number, 0 or not')
    return value === 0 ? 0 : 1
  })
  return { data, shape: [labels.length] }
}

function isList(values: unknown): values is ArrayLike<number> {
  return Array.isArray(values) || (ArrayBuffer.isView(values) && 'length' in values)
}
