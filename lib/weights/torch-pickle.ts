import type { FileDtype } from '../native.ts'
import { type PickleFunction, PickleGlobal, type PickleValue, type Stateful, setState, unpickle } from './pickle.ts'
import { PickleKeys } from './pickle-keys.ts'
import { type StoredStorage, StoredTensor, storageTypes, viewFault } from './stored-tensor.ts'
import type { WeightsFile } from './weights-file.ts'

/** What a pickle of PyTorch's holds: tensors are `StoredTensor`, without their data. */
export interface TorchPickle {
  value: PickleValue
  /** The storages it speaks of, by key. */
  storages: Map<string, StoredStorage>
  /** Bytes read. */
  bytes: number
}

/** A checkpoint's pickle, and where its storages lie. */
export interface PlacedPickle {
  pickle: TorchPickle
  /** Bytes from the start of the file to a storage's first element. */
  place(storage: StoredStorage): number | Promise<number>
}

const advice =
  'Is it a whole model, or are there other objects in it? Save the weights alone, in Python: torch.save(model.state_dict(), path).'

/**
 * Unpickles what `torch.save` wrote, with a fixed list of names: tensors, parameters, dictionaries, numpy's numbers and
 * arrays (only numbers keep their value). Nothing is executed; devices are ignored, so `cuda:0` is as good as the CPU.
 * @throws TorchvidError ERR_CHECKPOINT_FORMAT
 */
export function unpickleTorch(bytes: Uint8Array, file: WeightsFile): TorchPickle {
  const storages = new Map<string, StoredStorage>()
  const { value, bytes: read } = unpickle(bytes, allowed(file), {
    name: file.path,
    advice,
    persistentLoad: (id) => storageOf(id, storages, file),
  })
  return { value, storages, bytes: read }
}

/** The refusal of a file that was written on a big-endian machine. */
export function bigEndian(file: WeightsFile, order: string) {
  return file.bad(
    `its numbers are ${JSON.stringify(order)}-endian, only little-endian ones are read`,
    'Load and save it again in Python on a common (little-endian) machine.',
  )
}

/** A view of a storage, as the legacy format has them. */
interface StorageView {
  storage: StoredStorage
  first: number
  elements: number
}

class StorageReference {
  constructor(readonly view: StorageView) {}
}

/** An object whose contents do not matter here. */
class Ignored implements Stateful {
  [setState](): void {}
}

/** numpy's dtype: its code (`f8`) and, from its state, the byte order. */
class NumpyType implements Stateful {
  private order = '<'

  constructor(private readonly code: PickleValue) {}

  [setState](state: PickleValue): void {
    if (Array.isArray(state) && typeof state[1] === 'string') this.order = state[1]
  }

  number(bytes: PickleValue): PickleValue {
    if (!(bytes instanceof Uint8Array) || this.order === '>') return null
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    if (this.code === 'f8' && buffer.length === 8) return buffer.readDoubleLE()
    if (this.code === 'f4' && buffer.length === 4) return buffer.readFloatLE()
    if (this.code === 'i8' && buffer.length === 8) return Number(buffer.readBigInt64LE())
    if (this.code === 'i4' && buffer.length === 4) return buffer.readInt32LE()
    return null
  }
}

/** `('storage', type, key, location, elements)`, and in the legacy format a view: `(key, first, elements)` or None. */
function storageOf(id: PickleValue, storages: Map<string, StoredStorage>, file: WeightsFile): PickleValue {
  if (!Array.isArray(id)) throw file.bad('it refers to data outside itself in an unknown way')
  const [kind, type, key, , elements, view = null] = id
  if (kind === 'module' && type instanceof PickleGlobal) throw file.bad(`it holds a whole model (${type.name})`, advice)
  const dtype = type instanceof PickleGlobal ? dtypeOf(type.name) : undefined
  const sound = kind === 'storage' && dtype !== undefined && typeof key === 'string' && whole(elements)
  if (!sound) throw file.bad('it refers to data outside itself in an unknown way')
  let storage = storages.get(key)
  if (storage === undefined) {
    storage = { key, dtype, elements }
    storages.set(key, storage)
  }
  if (storage.dtype !== dtype || storage.elements !== elements) throw file.bad('one of its storages is of two kinds')
  if (view === null) return new StorageReference({ storage, first: 0, elements })
  const [, first, count] = Array.isArray(view) ? view : []
  if (!whole(first) || !whole(count) || first + count > elements) throw file.bad('a view reaches outside its storage')
  return new StorageReference({ storage, first, elements: count })
}

function dtypeOf(name: string): FileDtype | undefined {
  const type = name.slice(name.lastIndexOf('.') + 1)
  return Object.hasOwn(storageTypes, type) ? storageTypes[type] : undefined
}

function whole(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

/** The allow-list of one pickle. No function here does more than its arguments are long. */
function allowed(file: WeightsFile): Record<string, PickleFunction | null> {
  const keys = new PickleKeys((what) => file.bad(what))
  const ignored = () => new Ignored()
  const tensor: PickleFunction = (storage, first, shape, strides) => {
    if (!(storage instanceof StorageReference)) throw file.bad('a tensor has no storage')
    const fault = viewFault(first, shape, strides, storage.view.elements)
    if (fault !== undefined) throw file.bad(fault)
    return new StoredTensor(
      storage.view.storage,
      storage.view.first + (first as number),
      shape as number[],
      strides as number[],
    )
  }
  const dictionary: PickleFunction = (items = []) => keys.dictionary(items)
  const numpy: Record<string, PickleFunction | null> = {
    'numpy dtype': (code = null) => new NumpyType(code),
    'numpy ndarray': null,
  }
  for (const module of ['numpy.core', 'numpy._core']) {
    numpy[`${module}.multiarray scalar`] = (type, bytes) =>
      type instanceof NumpyType ? type.number(bytes ?? null) : null
    numpy[`${module}.multiarray _reconstruct`] = ignored
    numpy[`${module}.numeric _frombuffer`] = ignored
  }
  const builtins: Record<string, PickleFunction | null> = {}
  for (const module of ['builtins', '__builtin__']) {
    builtins[`${module} set`] = (items = []) => keys.set(items)
    builtins[`${module} frozenset`] = (items = []) => keys.set(items)
    for (const type of ['dict', 'list', 'int', 'float', 'str', 'object']) builtins[`${module} ${type}`] = null
  }
  return {
    ...storages(),
    ...dtypes(),
    ...numpy,
    ...builtins,
    'torch._utils _rebuild_tensor': tensor,
    'torch._utils _rebuild_tensor_v2': tensor,
    'torch._utils _rebuild_parameter': (data = null) => data,
    'torch._utils _rebuild_parameter_with_state': (data = null) => data,
    'torch._tensor _rebuild_from_type_v2': (call, _type, args) => {
      if (!(call instanceof PickleGlobal) || call.call !== tensor || !Array.isArray(args) || args.length > 16) {
        throw file.bad('a tensor is made in an unknown way')
      }
      return tensor(...args)
    },
    'torch Tensor': null,
    'torch.nn.parameter Parameter': null,
    'torch Size': (sizes = []) => sizes,
    'torch device': (type = null) => type,
    'collections OrderedDict': dictionary,
    'collections Counter': dictionary,
    'collections defaultdict': () => new Map(),
    'argparse Namespace': ignored,
    // How Python 3 writes bytes for Python 2.
    '_codecs encode': (text, encoding) => {
      if (typeof text !== 'string' || encoding !== 'latin1') throw file.bad('bytes are written in an unknown way')
      return Buffer.from(text, 'latin1')
    },
  }
}

function storages(): Record<string, null> {
  const names = Object.keys(storageTypes).flatMap((type) => [`torch ${type}`, `torch.cuda ${type}`])
  return Object.fromEntries(names.map((name) => [name, null]))
}

function dtypes(): Record<string, null> {
  const names =
    'float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool double float half long int short'.split(' ')
  return Object.fromEntries(names.map((name) => [`torch ${name}`, null]))
}
