// RTFM at full size: training steps with and without their data, and scoring of very long videos.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { checkClose, checkSame } from './osvos.mjs'
import { OthersWatch } from './others.mjs'
import { runOnce, Side } from './side.mjs'
import { comparePairs, median } from './stats.mjs'

/** Of a made feature file: numbers per segment, crops, and the fewest and most segments. */
const layout = { size: 2048, crops: 10, segments: [40, 300] }
/** Of each kind: videos; steps compared, which warm up; steps per unit and rounds counted. */
const plans = {
  4: { videos: 32, checked: 3, steps: 4, rounds: 3 },
  32: { videos: 32, checked: 2, steps: 1, rounds: 2 },
}
const quickPlan = { videos: 4, checked: 2, steps: 1, rounds: 1 }
/** Of the reference's recipe: what reading the set once is spread over. */
const recipeSteps = 15000
const long = [13500, 135000]

/** torchvid's time over PyTorch's: a step whose data is in memory; a step and its data. */
export const aims = { step: 0.95, loop: 0.5 }

export async function compareRtfm(options) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'torchvid-bench-'))
  try {
    const batches = {}
    for (const batch of options.quick ? [4] : [4, 32]) {
      batches[batch] = await compareSteps(batch, options.quick ? quickPlan : plans[batch], folder, options)
    }
    return { ...layout, batches, scoring: scoreLong(options.quick ? long.map((n) => n / 10) : long, folder, options) }
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

async function compareSteps(batch, plan, folder, { python, threads, say }) {
  const set = makeSet(folder, plan.videos)
  const shared = { set, weights: path.join(folder, 'start.safetensors'), batch, threads }
  const args = Object.entries(shared).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, `${value}`]))
  const sides = []
  try {
    sides.push(await Side.start(process.execPath, 'sides/rtfm.mjs', args)) // first: it writes the weights
    sides.push(await Side.start(python, 'peers/rtfm.py', [...args, '--resident', `${plan.checked}`]))
    const [ours, theirs] = sides
    checkSame('LibTorch', ours.ready.torch.split('+')[0], theirs.ready.torch.split('+')[0])
    checkSame('thread count', ours.ready.threads, theirs.ready.threads)
    const others = new OthersWatch(sides)

    // Without dropout both do the same: their losses must agree, step by step, from the same start.
    say(`rtfm, batch ${batch}+${batch}, ${plan.checked} steps to compare losses`)
    const compared = [await ours.ask(`train ${plan.checked} 0`), await theirs.ask(`resident ${plan.checked} 0`)]
    for (const [i, loss] of compared[0].losses.entries()) checkClose(`loss ${i}`, loss, compared[1].losses[i])

    const units = {
      // One step more here: in fit's first it gets its memory, which the peer has already.
      torchvid: () => ours.ask(`train ${plan.steps + 1} 0.7`),
      resident: () => theirs.ask(`resident ${plan.steps} 0.7`),
      warm: () => theirs.ask(`loop ${plan.steps} 0.7`),
      cold: () => theirs.ask(`cold ${plan.steps} 0.7`),
    }
    const rounds = await takeTurns(plan.rounds, say, `rtfm, batch ${batch}+${batch}, ${plan.steps} steps`, units)
    const once = median(rounds.map(({ torchvid }) => torchvid.seconds - sum(torchvid.steps)))
    const compare = (kind, extra) =>
      comparePairs(rounds.map((round) => [round.torchvid.inside + extra, round[kind].seconds / plan.steps]))
    const loop = (kind) => ({
      ...compare(kind, once / recipeSteps),
      data: median(rounds.map((round) => round[kind].data / plan.steps)),
    })
    return {
      ...ours.ready,
      torchOfPython: theirs.ready.torch,
      losses: compared.map(({ losses }) => losses),
      step: { ...compare('resident', 0), aim: aims.step },
      warm: { ...loop('warm'), aim: aims.loop },
      cold: loop('cold'),
      once,
      memory: { torchvid: ours.peakMemory, pytorch: theirs.peakMemory },
      othersShare: others.share(),
    }
  } finally {
    await Promise.all(sides.map((side) => side.close()))
  }
}

/** All units one after another, again and again. */
async function takeTurns(rounds, say, what, units) {
  const done = []
  for (let i = 1; i <= rounds; i++) {
    const round = {}
    for (const [name, work] of Object.entries(units)) round[name] = await work()
    done.push(round)
    const times = Object.entries(round).map(([name, { seconds }]) => `${name} ${seconds.toFixed(2)} s`)
    say(`${what}, round ${i} of ${rounds}: ${times.join(', ')}`)
  }
  return done
}

const sum = (values) => values.reduce((a, b) => a + b, 0)

/** `videos` normal and as many abnormal feature files, and a JSON file that names them. Made once. */
function makeSet(folder, videos) {
  const set = path.join(folder, `set-${videos}.json`)
  if (fs.existsSync(set)) return set
  const [least, most] = layout.segments
  const make = (kind, scale) =>
    Array.from({ length: videos }, (_, i) => {
      const file = path.join(folder, `${kind}-${i}.npy`)
      const segments = least + ((i * 97 + (kind === 'normal' ? 0 : 41)) % (most - least + 1))
      writeFeatures(file, [segments, layout.crops, layout.size], scale, i + scale)
      return file
    })
  fs.writeFileSync(set, JSON.stringify({ normal: make('normal', 2), abnormal: make('abnormal', 3) }))
  return set
}

/** A .npy file of float32, sparse as features are (2 u^4 for uniform u), a stretch of random numbers over and over. */
export function writeFeatures(file, shape, scale, seed) {
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape.join(', ')}), }`
  const header = Buffer.alloc(128, ' ')
  header.write('\x93NUMPY\x01\x00', 'latin1')
  header.writeUInt16LE(118, 8)
  header.write(text, 10)
  header[127] = 10
  // As long as no multiple of a row: rows differ.
  const stretch = randomNumbers(1_000_003, scale, seed)
  const out = fs.openSync(file, 'w')
  fs.writeSync(out, header)
  for (let left = shape.reduce((a, b) => a * b, 1); left > 0; left -= stretch.length) {
    fs.writeSync(out, stretch.subarray(0, Math.min(left, stretch.length)))
  }
  fs.closeSync(out)
}

function randomNumbers(count, scale, seed) {
  let state = seed * 2654435761 + 1
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return scale * (state / 2 ** 32) ** 4
  })
}

/** A fresh process each: a whole video of so many segments, and the process's peak memory. */
function scoreLong(lengths, folder, { threads, say }) {
  return lengths.map((segments) => {
    const file = path.join(folder, `long-${segments}.npy`)
    writeFeatures(file, [segments, 1, layout.size], 2, 1)
    say(`rtfm, scoring ${segments} segments`)
    const result = runOnce(process.execPath, 'sides/rtfm.mjs', [
      '--score',
      file,
      ...(threads ? ['--threads', threads] : []),
    ])
    fs.rmSync(file)
    if (result.segments !== segments) throw new Error(`${segments} segments got ${result.segments} scores.`)
    return result
  })
}
