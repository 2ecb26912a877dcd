import type { PickleValue } from './pickle.ts'
import { StoredTensor } from './stored-tensor.ts'
import type { WeightsFile } from './weights-file.ts'

/** Under which names checkpoints usually keep a network's tensors; these go before any other. */
const usualKeys = [
  'state_dict',
  'model_state_dict',
  'model_state',
  'model',
  'net',
  'network',
  'net_state_dict',
  'weights',
  'params',
]

/** A network's tensors by name, and what lay beside them. */
export interface StateDict {
  tensors: Map<string, StoredTensor>
  /** The other entries of the checkpoint's top level: `epoch`, `cfg`... */
  extras: Map<string, PickleValue>
}

/**
 * Finds the tensors of a network in a checkpoint: under a usual name (`state_dict`, `model`...), at the top, or in the one
 * dictionary of tensors there is. The prefix `module.` (of DataParallel) is cut off when all have it.
 * @throws TorchvidError ERR_CHECKPOINT_FORMAT when there is none, or several
 */
export function findStateDict(value: PickleValue, file: WeightsFile): StateDict {
  if (!(value instanceof Map)) {
    const advice = 'Save the state_dict, in Python: torch.save(model.state_dict(), path).'
    throw file.bad(`it holds ${kindOf(value)}, no dictionary of tensors`, advice)
  }
  const key = chooseNested(value, file)
  const found = key === undefined ? value : value.get(key)
  const extras = new Map<string, PickleValue>()
  for (const [name, item] of value) {
    if (typeof name === 'string' && name !== key && !(item instanceof StoredTensor)) extras.set(name, item)
  }
  return { tensors: withoutModule(tensorsOf(found as Map<PickleValue, PickleValue>, file)), extras }
}

/** The key of the nested dictionary to take, or undefined for the top level itself. */
function chooseNested(top: Map<PickleValue, PickleValue>, file: WeightsFile): PickleValue | undefined {
  const candidates = [...top].filter(([, item]) => item instanceof Map && holdsTensors(item)).map(([key]) => key)
  const usual = candidates.filter((key) => usualKeys.includes(key as string))
  if (usual.length === 1) return usual[0]
  if (usual.length === 0 && holdsTensors(top)) return undefined
  if (candidates.length === 1) return candidates[0]
  const names = (keys: Iterable<PickleValue>) => [...keys].slice(0, 8).map(shortName).join(', ')
  const advice = 'In Python, save the one you want alone: torch.save(torch.load(path)[KEY], out).'
  if (candidates.length > 1) throw file.bad(`it holds several dictionaries of tensors: ${names(candidates)}`, advice)
  throw file.bad(
    top.size === 0
      ? 'it holds an empty dictionary'
      : `it holds no dictionary of tensors at its top level or one below; it has ${names(top.keys())}`,
    'Save the state_dict, in Python: torch.save(model.state_dict(), path).',
  )
}

function holdsTensors(map: Map<PickleValue, PickleValue>): boolean {
  for (const value of map.values()) if (value instanceof StoredTensor) return true
  return false
}

function tensorsOf(map: Map<PickleValue, PickleValue>, file: WeightsFile): Map<string, StoredTensor> {
  const tensors = new Map<string, StoredTensor>()
  for (const [name, value] of map) {
    if (!(value instanceof StoredTensor)) continue
    if (typeof name !== 'string' || name === '') throw file.bad('one of its tensors has no name')
    tensors.set(name, value)
  }
  return tensors
}

function withoutModule(tensors: Map<string, StoredTensor>): Map<string, StoredTensor> {
  const prefix = 'module.'
  for (const name of tensors.keys()) if (!name.startsWith(prefix) || name === prefix) return tensors
  return new Map([...tensors].map(([name, tensor]) => [name.slice(prefix.length), tensor]))
}

function shortName(key: PickleValue): string {
  return typeof key === 'string' ? JSON.stringify(key.slice(0, 60)) : kindOf(key)
}

function kindOf(value: PickleValue): string {
  if (value instanceof StoredTensor) return 'a single tensor'
  if (Array.isArray(value)) return 'a list'
  return value === null ? 'nothing' : typeof value === 'object' ? 'an object' : `a ${typeof value}`
}
