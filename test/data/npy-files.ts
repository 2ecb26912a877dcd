/** What a made .npy file is like; version 1 and little-endian float32 in row-major order unless told. */
export interface MadeNpy {
  descr?: string
  shape: number[]
  fortran?: boolean
  version?: 1 | 2 | 3
  /** The header's text instead of the one that the rest makes. */
  header?: string
}

/** A .npy file of any header, sound or not, and these bytes of numbers. */
export function makeNpy({ descr = '<f4', shape, fortran = false, version = 1, header }: MadeNpy, bytes: Uint8Array) {
  const tuple = `(${shape.join(', ')}${shape.length === 1 ? ',' : ''})`
  const order = fortran ? 'True' : 'False'
  const text = `${header ?? `{'descr': '${descr}', 'fortran_order': ${order}, 'shape': ${tuple}, }`}\n`
  const length = Buffer.alloc(version === 1 ? 2 : 4)
  if (version === 1) length.writeUInt16LE(text.length)
  else length.writeUInt32LE(text.length)
  const magic = Buffer.from([0x93, ...Buffer.from('NUMPY'), version, 0])
  return Buffer.concat([magic, length, Buffer.from(text, 'latin1'), bytes])
}

/** Numbers as NumPy's type `kind` ('f4', 'u2'...) stores them. */
export function numbersAs(kind: string, values: number[], littleEndian = true): Buffer {
  const size = Number(kind[1])
  const bytes = new DataView(new ArrayBuffer(values.length * size))
  for (const [i, value] of values.entries()) {
    const at = i * size
    if (kind === 'f4') bytes.setFloat32(at, value, littleEndian)
    else if (kind === 'f8') bytes.setFloat64(at, value, littleEndian)
    else if (kind === 'f2') bytes.setUint16(at, halfOf(value), littleEndian)
    else if (size === 8) bytes.setBigInt64(at, BigInt(value), littleEndian)
    else if (size === 4) bytes.setInt32(at, value, littleEndian)
    else if (size === 2) bytes.setInt16(at, value, littleEndian)
    else bytes.setInt8(at, value)
  }
  return Buffer.from(bytes.buffer)
}

/** binary16 of numbers that it holds exactly. */
function halfOf(value: number): number {
  const [sign, size] = [Object.is(value, -0) || value < 0 ? 0x8000 : 0, Math.abs(value)]
  if (Number.isNaN(value)) return 0x7e00
  if (size === Number.POSITIVE_INFINITY) return sign | 0x7c00
  if (size < 2 ** -14) return sign | Math.round(size * 2 ** 24)
  const exponent = Math.floor(Math.log2(size))
  return sign | ((exponent + 15) << 10) | Math.round((size / 2 ** exponent - 1) * 1024)
}

/** Row-major values in the column-major order of this shape. */
export function columnMajor<T>(values: T[], shape: number[]): T[] {
  const strides = shape.map((_, axis) => shape.slice(0, axis).reduce((product, side) => product * side, 1))
  const result: T[] = []
  for (const [i, value] of values.entries()) {
    let rest = i
    let place = 0
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      place += (rest % shape[axis]!) * strides[axis]!
      rest = Math.floor(rest / shape[axis]!)
    }
    result[place] = value
  }
  return result
}

/** float32 features (T, crops, F), or (T, F) without crops, as a file. */
export function featureFile(shape: number[], value: (index: number) => number): Buffer {
  const count = shape.reduce((product, side) => product * side, 1)
  return makeNpy(
    { shape },
    numbersAs(
      'f4',
      Array.from({ length: count }, (_, i) => value(i)),
    ),
  )
}
