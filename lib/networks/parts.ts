import { checkInteger, invalidArgument } from '../errors.ts'
import { batchNorm, conv, input, type Value } from '../graph/index.ts'

/** Sizes of a picture: channels, height and width in pixels. */
export type PictureShape = [channels: number, height: number, width: number]

/** The input `image` of a network for pictures of one size. */
export function pictureInput(shape: PictureShape): Value {
  if (!Array.isArray(shape) || shape.length !== 3) throw invalidArgument('input', shape, '[channels, height, width]')
  for (const [i, size] of shape.entries()) checkInteger(`input[${i}]`, size, 1)
  return input('image', [null, ...shape])
}

/** Convolution without bias that starts from N(0, sqrt(2 / (kernel * kernel * out))), as network slimming's do. */
export function slimConv(
  x: Value,
  settings: { out: number; kernel: number; stride?: number; padding?: number; name: string },
): Value {
  return conv(x, { ...settings, bias: false, init: { weight: { distribution: 'kaimingNormalFanOut' } } })
}

/** Batch-norm whose scales start from 0.5, the slimming paper's choice. */
export function slimBatchNorm(x: Value, name: string): Value {
  return batchNorm(x, { init: { weight: { distribution: 'constant', value: 0.5 } }, name })
}

/** Throws ERR_INVALID_ARGUMENT unless this is a share that `dropout` takes. */
export function checkProbability(dropout: unknown): void {
  if (typeof dropout !== 'number' || !(dropout >= 0 && dropout < 1))
    throw invalidArgument('dropout', dropout, 'a number from 0 to below 1')
}

/** The n of a depth a * n + b, or ERR_INVALID_ARGUMENT. */
export function repetitions(depth: unknown, a: number, b: number): number {
  const n = (checkInteger('depth', depth, a + b) - b) / a
  if (!Number.isInteger(n)) {
    throw invalidArgument('depth', depth, `${a}n + ${b}: ${a + b}, ${2 * a + b}, ${3 * a + b} and so on`)
  }
  return n
}

/**
 * The n of a network with or without `cfg`: from the depth, from the cfg's length or, both given, from both, which must
 * agree. The depth is a * n + b, the cfg has a * n + c numbers.
 */
export function repetitionsOf(
  options: { depth?: number; cfg?: readonly number[] },
  fallback: number,
  [a, b, c]: [a: number, b: number, c: number],
): number {
  const { depth, cfg } = options
  if (cfg === undefined) return repetitions(depth ?? fallback, a, b)
  if (!Array.isArray(cfg)) throw invalidArgument('cfg', cfg, 'a list of widths')
  const n = (cfg.length - c) / a
  if (!Number.isInteger(n) || n < 1) {
    throw invalidArgument('cfg', `${cfg.length} numbers`, `${a}n + ${c} numbers for a depth of ${a}n + ${b}`)
  }
  if (depth !== undefined && repetitions(depth, a, b) !== n) {
    throw invalidArgument('depth', depth, `${a * n + b}, which is the depth of this cfg, or no depth`)
  }
  return n
}

/** Takes a cfg's numbers one by one, each of at most the channels that there are to choose from. */
export function widthReader(cfg: readonly number[]): (most?: number) => number {
  let index = 0
  return (most) => {
    const name = `cfg[${index}]`
    return checkInteger(name, cfg[index++], 1, most)
  }
}
