import type { FileDtype } from '../native.ts'

/** Bytes of one element. */
export const elementSize: Record<FileDtype, number> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
}

/** The element types of PyTorch's storages, by the names of their classes. */
export const storageTypes: Record<string, FileDtype> = {
  DoubleStorage: 'F64',
  FloatStorage: 'F32',
  HalfStorage: 'F16',
  BFloat16Storage: 'BF16',
  LongStorage: 'I64',
  IntStorage: 'I32',
  ShortStorage: 'I16',
  CharStorage: 'I8',
  ByteStorage: 'U8',
  BoolStorage: 'BOOL',
}

/** A run of elements in a checkpoint, by a key that says where; tensors may share one. */
export interface StoredStorage {
  key: string
  dtype: FileDtype
  /** How many elements lie under the key. */
  elements: number
}

/** A tensor of a checkpoint: a view of a storage, checked to lie inside it. */
export class StoredTensor {
  constructor(
    readonly storage: StoredStorage,
    /** Its first element's place in the storage. */
    readonly first: number,
    readonly shape: number[],
    /** In elements. */
    readonly strides: number[],
  ) {}

  /** Elements. */
  get count(): number {
    return this.shape.reduce((product, side) => product * side, 1)
  }

  /** The elements lie in row-major order without gaps. */
  get contiguous(): boolean {
    let step = 1
    for (let i = this.shape.length - 1; i >= 0; i--) {
      const side = this.shape[i] as number
      if (side === 0) return true
      if (side !== 1 && this.strides[i] !== step) return false
      step *= side
    }
    return true
  }
}

/** Dimensions of the tensors that are read. */
const mostDimensions = 32

/** What is wrong with a view of `elements` elements, or undefined. All sizes must be whole and reach no further than 2^53. */
export function viewFault(first: unknown, shape: unknown, strides: unknown, elements: number): string | undefined {
  if (!wholes(shape) || shape.length > mostDimensions) return 'a tensor has no sound shape'
  if (!wholes(strides) || strides.length !== shape.length) return `a tensor of shape [${shape}] has no sound strides`
  if (!whole(first)) return `a tensor of shape [${shape}] has no sound offset`
  const sides = shape.reduce((product, side) => product * Math.max(1, side), 1)
  if (sides > Number.MAX_SAFE_INTEGER) return `a tensor has the impossible shape [${shape}]`
  if (shape.includes(0)) return undefined
  // Rounded beyond 2^53, where any sum is too large anyway.
  const last = shape.reduce((sum, side, i) => sum + (side - 1) * (strides[i] as number), first)
  if (last >= elements) {
    return `a tensor of shape [${shape}], strides [${strides}] and offset ${first} reaches outside its ${elements} elements`
  }
  return undefined
}

function whole(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function wholes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every(whole)
}
