import { type PickleValue, TruncatedPickle } from './pickle.ts'
import { elementSize, type StoredStorage } from './stored-tensor.ts'
import { bigEndian, type PlacedPickle, type TorchPickle, unpickleTorch } from './torch-pickle.ts'
import type { WeightsFile } from './weights-file.ts'

/** The first object of a legacy checkpoint, and its second. */
const magic = 0x1950a86a20f9469cfc6cn
const protocol = 1001

/** Bytes read at first, and at most, in search of the pickles' end. */
const firstWindow = 256 << 10
const largestWindow = 64 << 20

/**
 * Reads a checkpoint as `torch.save` wrote it before PyTorch 1.6: five pickles (magic number, protocol, system information,
 * the object, the storages' keys), then for every key an int64 count and the elements. Of those only counts are read.
 * @throws TorchvidError ERR_CHECKPOINT_FORMAT
 */
export async function readTorchLegacy(file: WeightsFile): Promise<PlacedPickle> {
  const { pickle, keys, end } = await readHead(file)
  const places = await placesOf(keys, pickle.storages, end, file)
  return {
    pickle,
    place: ({ key }) => {
      const place = places.get(key)
      if (place === undefined) throw file.bad(`its storage ${JSON.stringify(key.slice(0, 100))} has no data`)
      return place
    },
  }
}

interface Head {
  pickle: TorchPickle
  keys: PickleValue
  end: number
}

/** The pickles' length is not written anywhere: more of the file is read as long as they end too early. */
async function readHead(file: WeightsFile): Promise<Head> {
  for (let window = firstWindow; ; window *= 2) {
    const bytes = await file.read(0, Math.min(window, file.size))
    try {
      return parseHead(bytes, file)
    } catch (error) {
      if (!(error instanceof TruncatedPickle) || window >= file.size || window >= largestWindow) throw error
    }
  }
}

function parseHead(bytes: Buffer, file: WeightsFile): Head {
  let position = 0
  const next = () => {
    const pickle = unpickleTorch(bytes.subarray(position), file)
    position += pickle.bytes
    return pickle
  }
  if (next().value !== magic) {
    const advice = 'Give a .safetensors file, or what torch.save(model.state_dict(), path) wrote.'
    throw file.bad('it is a Python pickle and no PyTorch checkpoint', advice)
  }
  if (next().value !== protocol) throw file.bad(`its protocol is not ${protocol}`)
  const system = next().value
  if (system instanceof Map && system.get('little_endian') === false) throw bigEndian(file, 'big')
  const pickle = next()
  const keys = next().value
  return { pickle, keys, end: position }
}

async function placesOf(
  keys: PickleValue,
  storages: Map<string, StoredStorage>,
  start: number,
  file: WeightsFile,
): Promise<Map<string, number>> {
  if (!Array.isArray(keys)) throw file.bad('its list of storages is damaged')
  const places = new Map<string, number>()
  let position = start
  for (const key of keys) {
    const storage = typeof key === 'string' ? storages.get(key) : undefined
    if (storage === undefined || places.has(storage.key)) throw file.bad('its list of storages is damaged')
    const count = (await file.read(position, 8)).readBigInt64LE()
    const bytes = storage.elements * elementSize[storage.dtype]
    if (count !== BigInt(storage.elements) || bytes > file.size - position - 8) {
      throw file.bad(`a storage of ${storage.elements} elements has ${count} in the file, or the file ends before them`)
    }
    places.set(storage.key, position + 8)
    position += 8 + bytes
  }
  return places
}
