// Where the time of a profile (TORCHVID_PROFILE) went, as JSON: node bench/gpu/trace.mjs TRACE
//
// Looked at is the second half of the time, when everything has been warmed up and recorded. With kernels of a GPU in the
// trace: what share of the time the GPU worked, and on what. Without: the outermost operations on the CPU.
import fs from 'node:fs'

/** Kinds of kernels by their names, first match. */
const kinds = [
  ['layout', /nchwToNhwc|nhwcToNchw|transpose|permute|convertTensor/i],
  [
    'convolutions and matrix products',
    /gemm|conv|xmma|cutlass|fprop|dgrad|wgrad|winograd|implicit|splitK|cudnn.*engine/i,
  ],
  ['normalisation', /batch_?norm|bn_|layer_?norm|welford/i],
  ['optimiser', /multi_tensor|fused_(sgd|adam|adagrad)|foreach/i],
  ['pooling and resizing', /pool|upsample|grid_sampl|interpolat/i],
  ['copies', /^mem(cpy|set)|copy_kernel|direct_copy|CatArray|fill/i],
  ['sums', /reduce|softmax|sum|scan/i],
  ['elementwise', /elementwise|pointwise|where|dropout|distribution|relu/i],
]
const gpuCategories = new Set(['kernel', 'gpu_memcpy', 'gpu_memset'])

const events = JSON.parse(fs.readFileSync(process.argv[2], 'utf8')).traceEvents.filter(({ ph }) => ph === 'X')
const onGpu = events.filter(({ cat }) => gpuCategories.has(cat))
const all = onGpu.length > 0 ? onGpu : outermost(events.filter(({ cat }) => cat === 'cpu_op'))
console.log(JSON.stringify({ device: onGpu.length > 0 ? 'gpu' : 'cpu', ...summary(secondHalf(all)) }, null, 2))

function summary(events) {
  const [begin, end] = span(events)
  const wall = end - begin
  return {
    milliseconds: round(wall / 1000),
    events: events.length,
    busy: round(covered(events) / wall),
    kinds: shares(events, ({ name }) => kinds.find(([, pattern]) => pattern.test(name))?.[0] ?? 'other', wall),
    names: shares(events, ({ name }) => name.slice(0, 120), wall).slice(0, 25),
  }
}

/** Time by a key, largest first: its share of the whole time, how often, and microseconds each. */
function shares(events, keyOf, wall) {
  const groups = new Map()
  for (const event of events) {
    const { time = 0, count = 0 } = groups.get(keyOf(event)) ?? {}
    groups.set(keyOf(event), { time: time + event.dur, count: count + 1 })
  }
  return [...groups]
    .map(([name, group]) => ({ name, ...group }))
    .sort((a, b) => b.time - a.time)
    .map(({ name, time, count }) => ({ name, share: round(time / wall), count, microseconds: round(time / count) }))
}

/** How long at least one of them ran: streams run side by side. */
function covered(events) {
  let [total, until] = [0, Number.NEGATIVE_INFINITY]
  for (const event of [...events].sort((a, b) => a.ts - b.ts)) {
    total += Math.max(0, endOf(event) - Math.max(event.ts, until))
    until = Math.max(until, endOf(event))
  }
  return total
}

function secondHalf(events) {
  const [begin, end] = span(events)
  return events.filter(({ ts }) => ts >= (begin + end) / 2)
}

function span(events) {
  const begin = events.reduce((least, { ts }) => Math.min(least, ts), Number.POSITIVE_INFINITY)
  return [begin, events.reduce((most, event) => Math.max(most, endOf(event)), begin)]
}

/** Of each thread's operations, those that are not inside another. */
function outermost(events) {
  const until = new Map()
  return [...events]
    .sort((a, b) => a.ts - b.ts || b.dur - a.dur)
    .filter((event) => {
      if (event.ts < (until.get(event.tid) ?? Number.NEGATIVE_INFINITY)) return false
      until.set(event.tid, endOf(event))
      return true
    })
}

function endOf({ ts, dur }) {
  return ts + dur
}

function round(value) {
  return Number(value.toPrecision(4))
}
