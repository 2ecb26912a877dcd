import type { PickleValue } from './pickle.ts'

/** Whole numbers up to here are too few to collide much. */
const smallKey = 2 ** 20

const mostAwkwardKeys = 10_000

/** Characters of a key: comparing long ones again and again takes for ever too. */
const longestKey = 1024

/**
 * Keys of dictionaries and members of sets, as they are kept: bytes become text (Latin-1). V8 hashes numbers, and texts that
 * look like one, without a seed, so that many can be made to collide, and filling a Map with them takes for ever;
 * so their count is limited. Few are enough for any file that is meant well.
 */
export class PickleKeys {
  private awkward = 0

  constructor(private readonly bad: (what: string) => Error) {}

  take(value: PickleValue): PickleValue {
    if ((typeof value === 'string' || value instanceof Uint8Array) && value.length > longestKey) {
      throw this.bad(`it has a key of ${value.length} characters`)
    }
    const key = value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : value
    const number = typeof key === 'number' || typeof key === 'bigint'
    const awkward = number ? !(key >= -smallKey && key <= smallKey) : typeof key === 'string' && /^\d{1,10}$/.test(key)
    if (awkward && ++this.awkward > mostAwkwardKeys) throw this.bad('it has too many numbers as keys')
    return key
  }

  /** A dictionary from another one or from pairs, as Python's `dict()` takes them. */
  dictionary(items: PickleValue): Map<PickleValue, PickleValue> {
    if (items instanceof Map) return new Map(items)
    const map = new Map<PickleValue, PickleValue>()
    for (const pair of this.list(items)) {
      if (!Array.isArray(pair) || pair.length !== 2) throw this.bad('a dictionary is made of what are no pairs')
      map.set(this.take(pair[0] as PickleValue), pair[1] as PickleValue)
    }
    return map
  }

  set(items: PickleValue): Set<PickleValue> {
    return new Set(this.list(items).map((item) => this.take(item)))
  }

  private list(items: PickleValue): PickleValue[] {
    if (!Array.isArray(items)) throw this.bad('a dictionary or set is made of what is no list')
    return items
  }
}
