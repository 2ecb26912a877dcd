import { ByteReader, damaged, inflatedBound, openFile, readAt } from './binary-file.ts'
import { allocate } from './memory.ts'

/** Third byte of the magic number: unsigned bytes, the only kind that MNIST and its kin use. */
const UNSIGNED_BYTES = 0x08
const GZIP = 0x8b1f

/**
 * An IDX file of unsigned bytes with `rank` dimensions, gzip or not (http://yann.lecun.com/exdb/mnist: a magic number
 * whose last byte is the rank, one big-endian size per dimension, the values in row-major order).
 *
 * @throws `ERR_IO` when it is no such file, or its length is not what its sizes make; `ERR_OUT_OF_MEMORY`.
 */
export async function readIdx(
  path: string,
  rank: number,
  signal?: AbortSignal,
): Promise<{ data: Uint8Array; sizes: number[] }> {
  const { length, isGzip } = await lookAt(path)
  const reader = new ByteReader({ path, compression: isGzip ? 'gzip' : undefined, signal })
  try {
    const header = await reader.take(4 + 4 * rank)
    checkMagic(path, header.getUint32(0), rank)
    const sizes = Array.from({ length: rank }, (_, i) => header.getUint32(4 + 4 * i))
    const bytes = sizes.reduce((product, size) => product * size, 1)
    const most = isGzip ? inflatedBound(length) : length - header.byteLength
    if (bytes < 1 || bytes > most) {
      throw damaged(path, `announces ${sizes.join(' x ')} values, which its ${length} bytes cannot hold`)
    }
    const data = allocate(`Reading ${path}`, bytes, 'Free some memory.')
    await reader.read(data)
    await reader.expectEnd()
    return { data, sizes }
  } finally {
    await reader.close()
  }
}

async function lookAt(path: string): Promise<{ length: number; isGzip: boolean }> {
  const { file, size } = await openFile(path)
  try {
    if (size < 8) throw damaged(path, `has ${size} bytes, too few for an IDX file`)
    const start = Buffer.alloc(2)
    await readAt(path, file, start, 0)
    return { length: size, isGzip: start.readUInt16LE() === GZIP }
  } finally {
    await file.close()
  }
}

function checkMagic(path: string, magic: number, rank: number): void {
  const wanted = (UNSIGNED_BYTES << 8) | rank
  if (magic === wanted) return
  const given = magic.toString(16).padStart(8, '0')
  const reason = `is not an IDX file of unsigned bytes with ${rank} dimension${rank === 1 ? '' : 's'} (it starts with ${given}, wanted ${wanted.toString(16).padStart(8, '0')})`
  const remedy = 'Give the images file of MNIST (idx3-ubyte, gzip or not) with its labels file (idx1-ubyte) beside it.'
  throw damaged(path, reason, remedy)
}
