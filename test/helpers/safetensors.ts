import { readFileSync, writeFileSync } from 'node:fs'
import type { TensorData } from 'torchvid'

/** A tensor as it is written: element type by the format's name, and raw bytes. */
export interface RawTensor {
  dtype: string
  shape: number[]
  bytes: Buffer
}

/** A safetensors file from any header text and data, sound or not. */
export function craft(header: string | Buffer | object, data: Buffer = Buffer.alloc(0)): Buffer {
  const text = Buffer.isBuffer(header)
    ? header
    : Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  return Buffer.concat([length, text, data])
}

/** A sound safetensors file. */
export function encode(tensors: Record<string, RawTensor>, metadata?: Record<string, string>): Buffer {
  const header: Record<string, unknown> = metadata ? { __metadata__: metadata } : {}
  let offset = 0
  for (const [name, { dtype, shape, bytes }] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + bytes.length] }
    offset += bytes.length
  }
  return craft(header, Buffer.concat(Object.values(tensors).map(({ bytes }) => bytes)))
}

/** Float tensors as a safetensors file. */
export function encodeFloats(tensors: Iterable<[string, TensorData]>): Buffer {
  const rows = [...tensors].map(([name, { data, shape }]): [string, RawTensor] => {
    return [name, { dtype: 'F32', shape, bytes: Buffer.from(data.buffer, data.byteOffset, data.byteLength) }]
  })
  return encode(Object.fromEntries(rows))
}

export function writeFloats(file: string, tensors: Iterable<[string, TensorData]>): void {
  writeFileSync(file, encodeFloats(tensors))
}

/** The float tensors of a file, read by other code than the library's. */
export function readFloats(file: string): Record<string, TensorData & { data: Float32Array }> {
  const bytes = readFileSync(file)
  const length = Number(bytes.readBigUInt64LE())
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString()) as Record<string, any>
  const rows = Object.entries(header).filter(([name]) => name !== '__metadata__')
  return Object.fromEntries(
    rows.map(
      ([
        name,
        {
          shape,
          data_offsets: [from, to],
        },
      ]) => {
        const copy = Uint8Array.from(bytes.subarray(8 + length + from, 8 + length + to))
        return [name, { shape, data: new Float32Array(copy.buffer) }]
      },
    ),
  )
}
