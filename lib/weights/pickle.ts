import { describe, TorchvidError } from '../errors.ts'
import { PickleKeys } from './pickle-keys.ts'
import { opcodes } from './pickle-opcodes.ts'

/**
 * What a pickle holds, as plain JavaScript: None is null; int a number, or a bigint beyond 2^53; bytes a Uint8Array (a view
 * of the input); tuples and lists are arrays; dict is a Map; set a Set. A name the caller allows is a `PickleGlobal`,
 * and what its function returned is that object.
 */
export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PickleValue[]
  | Map<PickleValue, PickleValue>
  | Set<PickleValue>
  | object

/** What stands for an allowed Python callable. It must not do more work than its arguments are long. */
export type PickleFunction = (...args: PickleValue[]) => PickleValue

/** A name from Python's modules as a pickle refers to it; only ever one that the caller allows. */
export class PickleGlobal {
  constructor(
    /** `module.name` */
    readonly name: string,
    /** Undefined for a name that may be mentioned and not called. */
    readonly call: PickleFunction | undefined,
  ) {}
}

/** The method by which a function's result takes the state that a pickle gives it (Python's `__setstate__`). */
export const setState: unique symbol = Symbol('setState')

/** A result that takes state. */
export interface Stateful {
  [setState](state: PickleValue): void
}

/** How to unpickle. */
export interface UnpickleOptions {
  /** The file's name or path, for messages. */
  name: string
  /** What to say after the refusal of a name that is not allowed: what the user can do. */
  advice?: string
  /** Python 2's `str` as text (UTF-8) or as bytes. Default `'text'`. Dictionary keys become text either way. */
  strings?: 'text' | 'bytes'
  /** What a persistent id stands for. Without it they are refused. */
  persistentLoad?: (id: PickleValue) => PickleValue
}

/** The result of `unpickle`. */
export interface Unpickled {
  value: PickleValue
  /** Bytes read, the final STOP included: another pickle may follow. */
  bytes: number
}

/** The input ended inside the pickle. */
export class TruncatedPickle extends TorchvidError {}

/**
 * Reads a pickle of protocol 0 to 5 (Python's `pickletools` documents the opcodes) without executing anything of it: a name
 * from Python's modules must be in `allow`, and stands for the function there. Work and memory are bounded by the
 * input's size; there is no recursion. Values may contain each other and themselves: do not walk them without a bound.
 * @param bytes the pickle, and perhaps more after it
 * @param allow by `'module name'`; null for a name that may be mentioned and not called
 * @throws TorchvidError ERR_CHECKPOINT_FORMAT naming what is refused, and whatever the functions throw
 */
export function unpickle(
  bytes: Uint8Array,
  allow: Record<string, PickleFunction | null>,
  options: UnpickleOptions,
): Unpickled {
  const machine = new PickleMachine(bytes, allow, options)
  return { value: machine.run(), bytes: machine.position }
}

/** Work that calls may cause: names of shapes and the like are shared through the memo, so a little more than the input. */
const workPerByte = 16

/** Bytes of the longest whole number that is read. */
const longestInteger = 1024

/** Arguments of one call. */
const mostArguments = 64

const mark = Symbol('mark')

/** The pickle machine: a stack, marks in it, a memo. `pickle-opcodes.ts` has one row per opcode. */
export class PickleMachine {
  position = 0
  private readonly input: Buffer
  private readonly allow: Record<string, PickleFunction | null>
  private readonly options: UnpickleOptions
  private readonly stack: (PickleValue | typeof mark)[] = []
  private readonly marks: number[] = []
  private readonly memo: PickleValue[] = []
  private remembered = 0
  private readonly globals = new Map<string, PickleGlobal>()
  private work: number
  private readonly keys = new PickleKeys((what) => this.bad(what))

  constructor(bytes: Uint8Array, allow: Record<string, PickleFunction | null>, options: UnpickleOptions) {
    this.input = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.allow = allow
    this.options = options
    this.work = workPerByte * (bytes.byteLength + 64)
  }

  run(): PickleValue {
    while (true) {
      const code = this.uint(1)
      if (code === 0x2e) return this.pop()
      const operation = opcodes[code]
      if (operation === undefined)
        throw this.bad(`opcode 0x${code.toString(16)} at byte ${this.position - 1} is unknown`)
      operation(this)
    }
  }

  bad(what: string): TorchvidError {
    const message = `${this.options.name}: its pickle is not sound: ${what}. The file is damaged or of another kind; fetch or save it again.`
    return new TorchvidError('ERR_CHECKPOINT_FORMAT', message)
  }

  // Input

  take(length: number): Buffer {
    if (length > this.input.length - this.position) {
      const message = `${this.options.name}: its pickle ends too early, at byte ${this.input.length}. The file was cut short or is damaged; fetch it again.`
      throw new TruncatedPickle('ERR_CHECKPOINT_FORMAT', message)
    }
    this.position += length
    return this.input.subarray(this.position - length, this.position)
  }

  /** Little-endian, 1 to 4 bytes. */
  uint(bytes: 1 | 2 | 4): number {
    return this.take(bytes).readUIntLE(0, bytes)
  }

  /** A length of 1, 4 or 8 bytes. */
  length(bytes: 1 | 4 | 8): number {
    if (bytes < 8) return this.uint(bytes as 1 | 4)
    const length = this.take(8).readBigUInt64LE()
    return length > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(length)
  }

  /** A length as Python writes it with a sign. */
  signedLength(): number {
    const length = this.take(4).readInt32LE()
    if (length < 0) throw this.bad(`a length of ${length}`)
    return length
  }

  /** Up to the next newline, which is dropped. */
  line(): Buffer {
    const end = this.input.indexOf(0x0a, this.position)
    const text = this.take((end < 0 ? this.input.length : end) - this.position)
    this.take(1)
    return text
  }

  /** Two's complement, little-endian. */
  integer(bytes: Buffer): number | bigint {
    if (bytes.length > longestInteger) throw this.bad(`a whole number of ${bytes.length} bytes`)
    if (bytes.length === 0) return 0
    const value = BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`)
    return plain(BigInt.asIntN(8 * bytes.length, value))
  }

  /** A whole number in decimal digits. */
  decimal(text: string): number | bigint {
    if (!/^-?\d+$/.test(text) || text.length > longestInteger) throw this.bad(`the whole number ${describe(text)}`)
    return plain(BigInt(text))
  }

  /** Python 2's `str`. */
  eightBit(bytes: Buffer): PickleValue {
    return this.options.strings === 'bytes' ? bytes : bytes.toString('utf8')
  }

  // Stack and memo

  push(value: PickleValue): void {
    this.stack.push(value)
  }

  pop(): PickleValue {
    const value = this.stack.pop()
    if (value === undefined || value === mark)
      throw this.bad(`it takes from an empty stack at byte ${this.position - 1}`)
    return value
  }

  top(): PickleValue {
    const value = this.pop()
    this.stack.push(value)
    return value
  }

  /** Pickle's POP, which may drop a mark. */
  drop(): void {
    if (this.marks.at(-1) === this.stack.length - 1 && this.marks.length > 0) this.marks.pop()
    if (this.stack.pop() === undefined) throw this.bad('it drops from an empty stack')
  }

  pushMark(): void {
    this.marks.push(this.stack.length)
    this.stack.push(mark)
  }

  /** All above the last mark, which goes too. */
  popMark(): PickleValue[] {
    const at = this.marks.pop()
    if (at === undefined) throw this.bad(`it asks for a mark that is not there, at byte ${this.position - 1}`)
    const values = this.stack.splice(at).slice(1)
    return values as PickleValue[]
  }

  popCount(count: number): PickleValue[] {
    const values: PickleValue[] = []
    for (let i = 0; i < count; i++) values.push(this.pop())
    return values.reverse()
  }

  remember(index: number | bigint = this.remembered): void {
    // Python counts from 0 or 1; an index beyond the input's length is no count.
    if (index < 0 || index > this.input.length) throw this.bad(`it uses memo ${index}`)
    this.memo[Number(index)] = this.top()
    this.remembered++
  }

  recall(index: number | bigint): void {
    const value = this.memo[Number(index)]
    if (value === undefined) throw this.bad(`it asks for memo ${index}, which is not there`)
    this.push(value)
  }

  // Containers

  topList(): PickleValue[] {
    const list = this.top()
    if (!Array.isArray(list)) throw this.bad('it appends to what is no list')
    return list
  }

  extend(values: PickleValue[]): void {
    const list = this.topList()
    for (const value of values) list.push(value)
  }

  setItems(values: PickleValue[]): void {
    const map = this.top()
    if (!(map instanceof Map)) throw this.bad('it sets items of what is no dictionary')
    this.fill(map, values)
  }

  pushSet(values: PickleValue[]): void {
    this.push(new Set())
    this.addItems(values)
  }

  addItems(values: PickleValue[]): void {
    const set = this.top()
    if (!(set instanceof Set)) throw this.bad('it adds items to what is no set')
    for (const value of values) set.add(this.keys.take(value))
  }

  fill(map: Map<PickleValue, PickleValue>, values: PickleValue[]): Map<PickleValue, PickleValue> {
    if (values.length % 2 !== 0) throw this.bad('a dictionary has a key without a value')
    for (let i = 0; i < values.length; i += 2) {
      map.set(this.keys.take(values[i] as PickleValue), values[i + 1] as PickleValue)
    }
    return map
  }

  // Names, calls, state

  global(module: PickleValue, name: PickleValue): PickleGlobal {
    if (typeof module !== 'string' || typeof name !== 'string') throw this.bad('a name that is no text')
    const key = `${module} ${name}`
    if (!Object.hasOwn(this.allow, key)) throw this.refuse(`${module}.${name}`)
    let found = this.globals.get(key)
    if (found === undefined) {
      found = new PickleGlobal(`${module}.${name}`, this.allow[key] ?? undefined)
      this.globals.set(key, found)
    }
    return found
  }

  call(callable: PickleValue, args: PickleValue): void {
    if (!(callable instanceof PickleGlobal)) throw this.bad('it calls what is no name')
    if (!Array.isArray(args)) throw this.bad(`it calls ${callable.name} without a list of arguments`)
    if (callable.call === undefined) throw this.refuse(`a call of ${callable.name}`)
    this.spend(callable.name, args)
    this.push(callable.call(...args))
  }

  build(state: PickleValue): void {
    const target = this.top()
    // A dictionary's attributes (state_dict's `_metadata`) say nothing about tensors.
    if (target instanceof Map) return
    if (!isStateful(target)) throw this.bad('it gives a state to what has none')
    this.spend('a state', Array.isArray(state) ? state : [state])
    target[setState](state)
  }

  persistent(id: PickleValue): void {
    if (this.options.persistentLoad === undefined) throw this.bad('it refers to data outside itself')
    this.spend('a persistent id', Array.isArray(id) ? id : [id])
    this.push(this.options.persistentLoad(id))
  }

  /** Long arguments can be used again and again for two bytes each; what that may cost is bounded here. */
  private spend(what: string, args: PickleValue[]): void {
    if (args.length > mostArguments) throw this.bad(`${args.length} arguments for ${what}`)
    this.work -= args.length + 1
    for (const value of args) this.work -= sizeOf(value)
    if (this.work < 0) throw this.bad(`it asks for more work than its ${this.input.length} bytes justify, with ${what}`)
  }

  private refuse(what: string): TorchvidError {
    const { name, advice } = this.options
    const message = `${name} asks for ${what.slice(0, 200)}, which is not among the names that are read; nothing of it was executed.`
    return new TorchvidError('ERR_CHECKPOINT_FORMAT', advice === undefined ? message : `${message} ${advice}`)
  }
}

function plain(value: bigint): number | bigint {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value
}

function sizeOf(value: PickleValue): number {
  if (typeof value === 'string' || Array.isArray(value)) return value.length
  if (value instanceof Map || value instanceof Set) return value.size
  return value instanceof Uint8Array ? value.length : 0
}

function isStateful(value: PickleValue): value is Stateful {
  return typeof value === 'object' && value !== null && setState in value
}
