import { readFileSync, writeFileSync } from 'node:fs'
import { join as joinPath } from 'node:path'
import { graph, Network, TorchvidError, weights } from 'torchvid'
import { afterAll, afterEach, beforeEach, expect, test } from 'vitest'
import { scratch } from '../helpers/expect.ts'
import { encode } from '../helpers/safetensors.ts'
import { randomFrom, sizeOf } from '../helpers/tensors.ts'
import { dict, floats, int, join, legacyCheckpoint, pickle, tensor, text, zip, zipCheckpoint } from './torch-files.ts'

// At least 10,000 damaged files in all. Each either loads or fails with a coded error, and nothing asks for more memory
// than its size justifies.

const rounds = 3500
const allowed = ['ERR_CHECKPOINT_FORMAT', 'ERR_CHECKPOINT_MISMATCH', 'ERR_IO']
const folder = scratch()
const file = joinPath(folder, 'fuzzed.pth')
const fixture = (name: string) => readFileSync(joinPath(import.meta.dirname, 'fixtures', name))
const network = Network.create(graph.build({ y: graph.linear(graph.input('x', [null, 2]), { out: 2, name: 'fc' }) }), {
  device: 'cpu',
})
afterAll(async () => (await network).dispose())

/** The largest memory that the readers ask for at once, while a test runs. */
const allocators = ['alloc', 'allocUnsafe', 'allocUnsafeSlow'] as const
const originals = new Map(allocators.map((name) => [name, Buffer[name]]))
let largest = 0
beforeEach(() => {
  for (const name of allocators) {
    const original = originals.get(name) as typeof Buffer.alloc
    Buffer[name] = (size: number, ...rest: []) => {
      largest = Math.max(largest, size)
      return original.call(Buffer, size, ...rest)
    }
  }
})
afterEach(() => {
  for (const [name, original] of originals) Buffer[name] = original
})

const random = randomFrom(4)
const whole = (below: number) => Math.floor(random() * below)
const pick = <T>(values: ArrayLike<T>): T => values[whole(values.length)] as T

const state = dict(
  text('fc.weight'),
  tensor({ shape: [2, 2], strides: [1, 2] }),
  text('fc.bias'),
  tensor({ key: '1', type: 'HalfStorage', elements: 2, shape: [2] }),
)
const body = pickle(dict(text('epoch'), int(300), text('state_dict'), state))
const storages = { 0: floats(1, 2, 3, 4), 1: Buffer.alloc(4, 0x3c) }
const legacyStorages = { 0: { count: 4, data: storages[0] }, 1: { count: 2, data: storages[1] } }
const safetensors = encode({
  'fc.weight': { dtype: 'F32', shape: [2, 2], bytes: storages[0] },
  'fc.bias': { dtype: 'F16', shape: [2], bytes: storages[1] },
})
const donors = [body, fixture('zip.pth'), fixture('legacy.pth'), fixture('checkpoint.pth.tar'), safetensors]
const opcodes = Buffer.from(
  '.()]}0123abcdeghijlopqrstuBCFGIJKLMNPQRSTUVX\x80\x81\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8e\x93\x94\x95',
  'latin1',
)
const lengths = [0n, 1n, 2n, 127n, 255n, 256n, 65_535n, (1n << 31n) - 1n, 1n << 31n, (1n << 32n) - 1n, 1n << 53n, -1n]

/** Damages a copy of `bytes` once, anywhere in [from, to). */
function damage(bytes: Buffer, from = 0, to = bytes.length): Buffer {
  const at = from + whole(Math.max(1, to - from))
  const changed = Buffer.from(bytes)
  const donor = pick(donors)
  const start = whole(donor.length)
  const chunk = donor.subarray(start, start + 1 + whole(40))
  switch (pick([0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6, 7])) {
    case 0: // a bit
      changed[at] = changed[at]! ^ (1 << whole(8))
      return changed
    case 1: // a byte
      changed[at] = whole(256)
      return changed
    case 2: // an opcode
      changed[at] = pick(opcodes)
      return changed
    case 3: {
      // a length, of 4 or 8 bytes
      const value = Buffer.alloc(8)
      value.writeBigInt64LE(pick([...lengths, BigInt(bytes.length)]))
      value.copy(changed, at, 0, pick([4, 8]))
      return changed
    }
    case 4: // cut off
      return changed.subarray(0, at)
    case 5: // a chunk of another file
      return join(changed.subarray(0, at), chunk, changed.subarray(at + pick([0, chunk.length])))
    case 6: // a chunk of its own, again
      return join(changed.subarray(0, at), changed.subarray(from, at), changed.subarray(at))
    default: // a hole
      return join(changed.subarray(0, at), changed.subarray(at + 1 + whole(20)))
  }
}

function damaged(bytes: Buffer): Buffer {
  let result = damage(bytes)
  while (random() < 0.3) result = damage(result)
  return result
}

/** What became of the file; anything but a coded error fails the test. */
async function outcomeOf(bytes: Buffer): Promise<string> {
  writeFileSync(file, bytes)
  try {
    const rows = await weights.list(file)
    for (const { name, shape } of [...rows.slice(0, 1), ...rows.slice(-1)]) {
      const { data } = await weights.read(file, name)
      expect(data.length).toBe(sizeOf(shape))
      // Half and small whole numbers grow on the way.
      expect(data.byteLength).toBeLessThan(4 * (bytes.length + 100_000))
    }
    await (await network).load(file, { strict: false })
    return 'loaded'
  } catch (error) {
    if (!(error instanceof TorchvidError)) throw new Error(`not coded: ${bytes.toString('latin1')}`, { cause: error })
    return error.code
  }
}

async function fuzz(next: (round: number) => Buffer, most: { loaded: number; refused: number }) {
  const outcomes = new Map<string, number>()
  const memory = process.memoryUsage().rss
  for (let round = 0; round < rounds; round++) {
    const bytes = next(round)
    largest = 0
    const outcome = await outcomeOf(bytes)
    // And what an entry of a zip's directory may claim: a name, extra fields and a comment of 64 KiB each.
    expect(largest, bytes.toString('latin1')).toBeLessThan(bytes.length + 3 * 65_536)
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
  }
  expect([...outcomes.keys()].filter((code) => code !== 'loaded' && !allowed.includes(code))).toEqual([])
  expect(outcomes.get('loaded')).toBeGreaterThan(most.loaded)
  expect(outcomes.get('ERR_CHECKPOINT_FORMAT')).toBeGreaterThan(most.refused)
  expect(process.memoryUsage().rss - memory).toBeLessThan(500e6)
}

test('damaged zip checkpoints', async () => {
  const parts = [
    { name: 'a/data.pkl', data: body },
    { name: 'a/data/0', data: storages[0] },
    { name: 'a/data/1', data: storages[1] },
  ]
  const seeds = [zipCheckpoint(body, storages), fixture('cuda.pth'), fixture('slimmed.pth.tar'), fixture('zip.pth')]
  await fuzz(
    (round) => {
      if (round % 2 === 0) return damaged(pick(seeds))
      // A damaged part in a sound archive, which gets further.
      const victim = round % 8 === 1 ? pick(parts) : parts[0]
      return zip(parts.map((part) => (part === victim ? { ...part, data: damaged(part.data) } : part)))
    },
    { loaded: 200, refused: 1000 },
  )
})

test('damaged legacy checkpoints', async () => {
  const seeds = [
    legacyCheckpoint(body, legacyStorages),
    fixture('cuda-legacy.pth'),
    fixture('legacy.pth'),
    fixture('legacy-protocol5.pkl'),
    fixture('checkpoint-legacy.pth.tar'),
  ]
  await fuzz((round) => (round % 2 === 0 ? damaged(pick(seeds)) : legacyCheckpoint(damaged(body), legacyStorages)), {
    loaded: 200,
    refused: 1000,
  })
})

test('damaged safetensors files', async () => {
  await fuzz(() => damaged(safetensors), { loaded: 100, refused: 1000 })
})
