import { describe } from '../errors.ts'
import type { PickleMachine } from './pickle.ts'

type Operation = (m: PickleMachine) => void

/** The escapes of Python's text literals, as protocol 0 uses them. */
const escapes = /\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})|([\\'"abfnrtv0]))/g
const letters: Record<string, string> = { a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v', '0': '\0' }

function unescapeText(text: string): string {
  return text.replace(escapes, (whole, four, eight, two, letter) => {
    if (letter !== undefined) return letters[letter] ?? letter
    const point = Number.parseInt(four ?? eight ?? two, 16)
    return point <= 0x10ffff ? String.fromCodePoint(point) : whole
  })
}

function quoted(m: PickleMachine): Buffer {
  const text = m.line().toString('latin1').trim()
  const quote = text[0]
  if (text.length < 2 || (quote !== "'" && quote !== '"') || text.at(-1) !== quote) throw m.bad('a text without quotes')
  return Buffer.from(unescapeText(text.slice(1, -1)), 'latin1')
}

function integerLine(m: PickleMachine): void {
  const text = m.line().toString('latin1').trim()
  // Protocol 0 writes booleans as 00 and 01.
  if (text === '00' || text === '01') m.push(text === '01')
  else m.push(m.decimal(text.replace(/L$/, '')))
}

function floatLine(m: PickleMachine): void {
  const text = m.line().toString('latin1').trim()
  const special: Record<string, number> = { inf: Infinity, '-inf': -Infinity, nan: NaN, '-nan': NaN }
  const value = Object.hasOwn(special, text) ? special[text] : Number(text)
  if (value === undefined || (Number.isNaN(value) && !text.endsWith('nan')) || text === '') {
    throw m.bad(`the number ${describe(text)}`)
  }
  m.push(value)
}

function index(m: PickleMachine): number | bigint {
  return m.decimal(m.line().toString('latin1').trim())
}

const text = (m: PickleMachine, length: number) => m.push(m.take(length).toString('utf8'))

function refusedOpcode(what: string): Operation {
  return (m) => {
    throw m.bad(`it uses ${what}, which weights files never do`)
  }
}

/** Class and arguments, then the instance. `keywords`: NEWOBJ_EX, which also has a dictionary of named arguments. */
function newObject(m: PickleMachine, keywords: boolean): void {
  const named = keywords ? m.pop() : undefined
  if (named instanceof Map ? named.size > 0 : keywords) throw m.bad('it makes an object with named arguments')
  const args = m.pop()
  m.call(m.pop(), args)
}

const table: Record<string, Operation> = {
  // Frames, protocol
  '\x80': (m) => {
    const protocol = m.uint(1)
    if (protocol > 5) throw m.bad(`protocol ${protocol}; 0 to 5 are read`)
  },
  '\x95': (m) => void m.take(8),
  // Constants and numbers
  N: (m) => m.push(null),
  '\x88': (m) => m.push(true),
  '\x89': (m) => m.push(false),
  I: integerLine,
  L: integerLine,
  J: (m) => m.push(m.take(4).readInt32LE()),
  K: (m) => m.push(m.uint(1)),
  M: (m) => m.push(m.uint(2)),
  '\x8a': (m) => m.push(m.integer(m.take(m.uint(1)))),
  '\x8b': (m) => m.push(m.integer(m.take(m.signedLength()))),
  F: floatLine,
  G: (m) => m.push(m.take(8).readDoubleBE()),
  // Python 2's texts, then texts, then bytes
  S: (m) => m.push(m.eightBit(quoted(m))),
  T: (m) => m.push(m.eightBit(m.take(m.signedLength()))),
  U: (m) => m.push(m.eightBit(m.take(m.uint(1)))),
  V: (m) => m.push(unescapeText(m.line().toString('latin1'))),
  X: (m) => text(m, m.length(4)),
  '\x8c': (m) => text(m, m.length(1)),
  '\x8d': (m) => text(m, m.length(8)),
  B: (m) => m.push(m.take(m.length(4))),
  C: (m) => m.push(m.take(m.length(1))),
  '\x8e': (m) => m.push(m.take(m.length(8))),
  '\x96': (m) => m.push(m.take(m.length(8))),
  '\x97': refusedOpcode('a buffer outside itself'),
  '\x98': refusedOpcode('a buffer outside itself'),
  // Containers
  ']': (m) => m.push([]),
  l: (m) => m.push(m.popMark()),
  a: (m) => m.extend(m.popCount(1)),
  e: (m) => m.extend(m.popMark()),
  ')': (m) => m.push([]),
  t: (m) => m.push(m.popMark()),
  '\x85': (m) => m.push(m.popCount(1)),
  '\x86': (m) => m.push(m.popCount(2)),
  '\x87': (m) => m.push(m.popCount(3)),
  '}': (m) => m.push(new Map()),
  d: (m) => m.push(m.fill(new Map(), m.popMark())),
  s: (m) => m.setItems(m.popCount(2)),
  u: (m) => m.setItems(m.popMark()),
  '\x8f': (m) => m.push(new Set()),
  '\x90': (m) => m.addItems(m.popMark()),
  '\x91': (m) => m.pushSet(m.popMark()),
  // Stack and memo
  '(': (m) => m.pushMark(),
  '0': (m) => m.drop(),
  '1': (m) => void m.popMark(),
  '2': (m) => m.push(m.top()),
  g: (m) => m.recall(index(m)),
  h: (m) => m.recall(m.uint(1)),
  j: (m) => m.recall(m.uint(4)),
  p: (m) => m.remember(index(m)),
  q: (m) => m.remember(m.uint(1)),
  r: (m) => m.remember(m.uint(4)),
  '\x94': (m) => m.remember(),
  // Names, calls, state
  c: (m) => m.push(m.global(m.line().toString('utf8'), m.line().toString('utf8'))),
  '\x93': (m) => {
    const name = m.pop()
    m.push(m.global(m.pop(), name))
  },
  '\x82': refusedOpcode("copyreg's extension codes"),
  '\x83': refusedOpcode("copyreg's extension codes"),
  '\x84': refusedOpcode("copyreg's extension codes"),
  R: (m) => {
    const args = m.pop()
    m.call(m.pop(), args)
  },
  i: (m) => {
    const callable = m.global(m.line().toString('utf8'), m.line().toString('utf8'))
    m.call(callable, m.popMark())
  },
  o: (m) => {
    const [callable = null, ...args] = m.popMark()
    m.call(callable, args)
  },
  '\x81': (m) => newObject(m, false),
  '\x92': (m) => newObject(m, true),
  b: (m) => m.build(m.pop()),
  P: (m) => m.persistent(m.line().toString('utf8')),
  Q: (m) => m.persistent(m.pop()),
}

/** What each opcode does, by its byte; STOP is the machine's own. */
export const opcodes: readonly (Operation | undefined)[] = Array.from(
  { length: 256 },
  (_, code) => table[String.fromCharCode(code)],
)
