import { TorchvidError } from '../errors.ts'
import type { FileDtype } from '../native.ts'
import { elementSize } from './stored-tensor.ts'
import type { WeightsTable, WeightsTensor } from './types.ts'
import type { WeightsFile } from './weights-file.ts'

/** As the format's own implementation: a longer header is refused. */
const longestHeader = 100_000_000

/**
 * Reads and checks the header of a safetensors file; no tensor data is read.
 * The format: 8 bytes little-endian header length, a JSON object, then the data; each tensor's offsets count from there,
 * and together they cover it without hole or overlap (github.com/huggingface/safetensors, "Format").
 * @throws TorchvidError ERR_CHECKPOINT_FORMAT
 */
export async function readSafetensorsTable(file: WeightsFile): Promise<WeightsTable> {
  const { path, size } = file
  const bad = (what: string) =>
    new TorchvidError(
      'ERR_CHECKPOINT_FORMAT',
      `${path}: ${what} It is neither a sound safetensors file nor a PyTorch checkpoint; fetch or save it again.`,
    )
  if (size < 8) throw bad(`it has ${size} bytes, fewer than a header's length takes.`)
  const length = (await file.read(0, 8)).readBigUInt64LE()
  if (length > BigInt(Math.min(size - 8, longestHeader))) {
    throw bad(`its header claims ${length} bytes, the file has ${size}.`)
  }
  const start = 8 + Number(length)
  const header = parseHeader(await file.read(8, Number(length)), bad)
  const tensors: WeightsTensor[] = []
  let metadata: Record<string, string> = {}
  for (const [name, row] of Object.entries(header)) {
    if (name === '__metadata__') metadata = checkMetadata(row, bad)
    else tensors.push(checkRow(name, row, start, size, bad))
  }
  checkCover(tensors, start, size, bad)
  return { tensors, metadata }
}

type Bad = (what: string) => TorchvidError

function parseHeader(bytes: Buffer, bad: Bad): Record<string, unknown> {
  let header: unknown
  try {
    header = JSON.parse(bytes.toString('utf8'))
  } catch {
    throw bad('its header is no JSON.')
  }
  if (typeof header !== 'object' || header === null || Array.isArray(header)) throw bad('its header is no JSON object.')
  return header as Record<string, unknown>
}

function checkMetadata(row: unknown, bad: Bad): Record<string, string> {
  const sound =
    typeof row === 'object' && row !== null && Object.values(row).every((value) => typeof value === 'string')
  if (!sound) throw bad('its __metadata__ is no map of texts.')
  return row as Record<string, string>
}

function checkRow(name: string, row: unknown, start: number, size: number, bad: Bad): WeightsTensor {
  const { dtype, shape, data_offsets: offsets } = (row ?? {}) as Record<string, unknown>
  const label = JSON.stringify(name.slice(0, 100))
  if (typeof dtype !== 'string' || !Object.hasOwn(elementSize, dtype)) {
    throw bad(
      `tensor ${label} has type ${JSON.stringify(dtype)}; wanted one of ${Object.keys(elementSize).join(', ')}.`,
    )
  }
  const whole = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0
  if (!Array.isArray(shape) || !shape.every(whole)) throw bad(`tensor ${label} has no sound shape.`)
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(whole) || offsets[0] > offsets[1]) {
    throw bad(`tensor ${label} has no sound offsets.`)
  }
  const [from, to] = offsets as [number, number]
  const bytes = (shape as number[]).reduce((product, side) => product * side, 1) * elementSize[dtype as FileDtype]
  if (bytes !== to - from) throw bad(`tensor ${label} of shape [${shape}] does not fill its ${to - from} bytes.`)
  if (to > size - start) throw bad(`tensor ${label} ends ${to - (size - start)} bytes after the end of the file.`)
  return { name, dtype: dtype as FileDtype, shape: shape as number[], offset: start + from, bytes }
}

function checkCover(tensors: WeightsTensor[], start: number, size: number, bad: Bad): void {
  const inOrder = [...tensors].sort((a, b) => a.offset - b.offset || a.bytes - b.bytes)
  let end = start
  for (const tensor of inOrder) {
    if (tensor.offset < end) throw bad(`tensor ${JSON.stringify(tensor.name)} overlaps another.`)
    if (tensor.offset > end)
      throw bad(`${tensor.offset - end} bytes before tensor ${JSON.stringify(tensor.name)} belong to none.`)
    end = tensor.offset + tensor.bytes
  }
  if (end !== size) throw bad(`its last ${size - end} bytes belong to no tensor.`)
}
