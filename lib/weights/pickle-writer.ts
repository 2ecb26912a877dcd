/** Writes a pickle of protocol 2, piece by piece: what PyTorch's restricted unpickler reads, and no more. */
export class PickleWriter {
  private readonly pieces: Buffer[] = [Buffer.from([0x80, 2])]

  /** The pickle; nothing may be written after it. */
  finish(): Buffer {
    this.code('.')
    return Buffer.concat(this.pieces)
  }

  text(value: string): this {
    const bytes = Buffer.from(value, 'utf8')
    return this.code('X', uint32(bytes.length), bytes)
  }

  /** A whole number in [0, 2^53]. */
  whole(value: number): this {
    if (value < 0x100) return this.code('K', Buffer.of(value))
    if (value < 0x80000000) return this.code('J', uint32(value))
    const bytes = Buffer.alloc(8)
    bytes.writeBigInt64LE(BigInt(value))
    return this.code('\x8a', Buffer.of(8), bytes)
  }

  no(): this {
    return this.code('\x89')
  }

  global(module: string, name: string): this {
    return this.code('c', Buffer.from(`${module}\n${name}\n`))
  }

  /** What `items` writes, as a tuple. */
  tuple(items: () => void): this {
    this.code('(')
    items()
    return this.code('t')
  }

  list(items: () => void): this {
    this.code('](')
    items()
    return this.code('e')
  }

  /** Keys and values by turns. */
  dictionary(items: () => void): this {
    this.code('}(')
    items()
    return this.code('u')
  }

  orderedDictionary(items: () => void): this {
    this.global('collections', 'OrderedDict').code(')R(')
    items()
    return this.code('u')
  }

  /** Calls the global written before with the arguments that `items` writes. */
  call(items: () => void): this {
    return this.tuple(items).code('R')
  }

  /** What `items` writes, as the tuple that stands for data outside the pickle. */
  persistent(items: () => void): this {
    return this.tuple(items).code('Q')
  }

  private code(opcodes: string, ...operands: Buffer[]): this {
    this.pieces.push(Buffer.from(opcodes, 'latin1'), ...operands)
    return this
  }
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}
