/** The codes of every error torchvid raises on purpose. */
export type ErrorCode =
  /** No LibTorch was found: run `torchvid setup`. */
  | 'ERR_LIBTORCH_NOT_FOUND'
  /** The LibTorch that was found is not the version the addon was built for. */
  | 'ERR_LIBTORCH_VERSION'
  /** The device asked for does not exist or does not work here. */
  | 'ERR_DEVICE_UNAVAILABLE'
  /** The device, or the host, ran out of memory. */
  | 'ERR_OUT_OF_MEMORY'
  /** An argument is missing, of the wrong type or out of range. */
  | 'ERR_INVALID_ARGUMENT'
  /** Tensors, images or masks do not fit together, or do not fit the network. */
  | 'ERR_SHAPE'
  /** A weights file is damaged, hostile or of a kind that is not read. */
  | 'ERR_CHECKPOINT_FORMAT'
  /** A weights file is sound but belongs to another network. */
  | 'ERR_CHECKPOINT_MISMATCH'
  /** The network was disposed before or during the call. */
  | 'ERR_DISPOSED'
  /** A file, folder or program could not be read, written or run. */
  | 'ERR_IO'
  /** Training diverged: the loss is no longer a number. */
  | 'ERR_NOT_FINITE'

/**
 * Every error torchvid raises on purpose. `code` is stable and meant for programs; `message` says
 * what was given, what was wanted and what to do. `cause` holds the error underneath, if any.
 */
export class TorchvidError extends Error {
  override readonly name = 'TorchvidError'
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** `ERR_INVALID_ARGUMENT` for one named argument: what was given, what was wanted. */
export function invalidArgument(name: string, given: unknown, wanted: string): TorchvidError {
  return new TorchvidError('ERR_INVALID_ARGUMENT', `${name}: got ${describe(given)}, wanted ${wanted}.`)
}

/** A short text for a value in an error message: never longer than a line. */
export function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 80 ? `${value.slice(0, 77)}...` : value)
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'function') return 'a function'
  if (value === null || typeof value !== 'object') return String(value)
  if (ArrayBuffer.isView(value)) return `a ${value.constructor.name} of ${value.byteLength} bytes`
  if (Array.isArray(value))
    return value.length > 8 ? `an array of ${value.length}` : `[${value.map(describe).join(', ')}]`
  return `an object { ${Object.keys(value).slice(0, 6).join(', ')} }`
}

/** A finite number in [minimum, maximum], or `ERR_INVALID_ARGUMENT`. */
export function checkNumber(name: string, value: unknown, minimum: number, maximum = Number.MAX_VALUE): number {
  if (typeof value !== 'number' || !Number.isFinite(value) || value < minimum || value > maximum) {
    const upper = maximum === Number.MAX_VALUE ? `of at least ${minimum}` : `from ${minimum} to ${maximum}`
    throw invalidArgument(name, value, `a finite number ${upper}`)
  }
  return value
}

/** A whole number in [minimum, maximum], or `ERR_INVALID_ARGUMENT`. */
export function checkInteger(name: string, value: unknown, minimum: number, maximum = Number.MAX_SAFE_INTEGER): number {
  if (!Number.isSafeInteger(value) || (value as number) < minimum || (value as number) > maximum) {
    const upper = maximum === Number.MAX_SAFE_INTEGER ? `of at least ${minimum}` : `from ${minimum} to ${maximum}`
    throw invalidArgument(name, value, `a whole number ${upper}`)
  }
  return value as number
}
