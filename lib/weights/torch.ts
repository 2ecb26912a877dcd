import type { FileDtype } from '../native.ts'
import { findStateDict } from './state-dict.ts'
import { elementSize, type StoredStorage, type StoredTensor } from './stored-tensor.ts'
import { readTorchLegacy } from './torch-legacy.ts'
import type { PlacedPickle } from './torch-pickle.ts'
import { readTorchZip } from './torch-zip.ts'
import type { WeightsTable, WeightsTensor } from './types.ts'
import type { WeightsFile } from './weights-file.ts'

/** A tensor may be this many bytes larger than the file: views that repeat elements are as large as they like otherwise. */
const slack = 64 << 10

/**
 * The table of a PyTorch checkpoint of either kind. No tensor data is read, and nothing is executed.
 * @throws TorchvidError ERR_CHECKPOINT_FORMAT
 */
export async function readTorchTable(file: WeightsFile, kind: 'zip' | 'legacy'): Promise<WeightsTable> {
  const placed = kind === 'zip' ? await readTorchZip(file) : await readTorchLegacy(file)
  const { tensors, extras } = findStateDict(placed.pickle.value, file)
  const places = new Places(placed)
  const rows: WeightsTensor[] = []
  for (const [name, tensor] of tensors) rows.push(rowOf(name, tensor, await places.of(tensor.storage), file))
  return { tensors: rows, metadata: {}, extras }
}

/** Each storage is looked up once: many tensors may share one. */
class Places {
  private readonly known = new Map<StoredStorage, number>()

  constructor(private readonly placed: PlacedPickle) {}

  async of(storage: StoredStorage): Promise<number> {
    let place = this.known.get(storage)
    if (place === undefined) {
      place = await this.placed.place(storage)
      this.known.set(storage, place)
    }
    return place
  }
}

function rowOf(name: string, tensor: StoredTensor, place: number, file: WeightsFile): WeightsTensor {
  const dtype: FileDtype = tensor.storage.dtype
  const { shape, strides, count } = tensor
  const bytes = count * elementSize[dtype]
  if (bytes > file.size + slack) {
    throw file.bad(
      `tensor ${JSON.stringify(name.slice(0, 100))} of shape [${shape}] repeats too few elements too often`,
    )
  }
  const offset = count === 0 ? place : place + tensor.first * elementSize[dtype]
  return { name, dtype, shape: [...shape], ...(tensor.contiguous ? {} : { strides: [...strides] }), offset, bytes }
}
