// The parts of the GPU benchmark: torchvid and PyTorch in turn, in processes of their own, on one GPU.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { runOnce, Side } from '../side.mjs'
import { spread } from '../stats.mjs'
import { plans } from './plans.mjs'

/** Share by which losses of both sides may differ: float32 beside TF32, and bfloat16 beside TF32. */
const tolerance = { float32: 0.01, auto: 0.05 }

/** Seconds for the passes of one fit. */
export async function compareFit({ tiny, ...options }) {
  const plan = plans('a', tiny)
  return await withSides('a', plan.networks[0], { tiny, ...options }, async (ours, theirs, facts) => {
    const { passes, warm, pairs, budget } = plan
    const units = {
      torchvid: (count) => ours.ask(`fit ${count} auto plain`),
      pytorch: (count) => theirs.ask(`fit ${count}`),
      float32: (count) => ours.ask(`fit ${count} float32 plain`),
      augmented: (count) => ours.ask(`fit ${count} auto augmented`),
    }
    const agreement = await agree(units, warm)
    const seconds = await takeTurns({ units, count: passes, pairs, budget, what: `${passes} passes`, say: options.say })
    return { passes, accumulate: plan.accumulate, agreement, seconds, flops: 6 * facts.macs * passes }
  })
}

/** Frames per second, one at a time and of a video. */
export async function compareFrames({ tiny, ...options }) {
  const plan = plans('b', tiny)
  const results = {}
  for (const network of plan.networks) {
    results[network] = await withSides('b', network, { tiny, ...options }, async (ours, theirs, facts) => {
      const { frames, warm, pairs, budget } = plan
      const units = {
        torchvid: (count) => ours.ask(`frame ${count}`),
        streamed: (count) => ours.ask(`stream ${count}`),
        pytorch: (count) => theirs.ask(`frame ${count}`),
      }
      const values = [await units.torchvid(warm), await units.pytorch(warm)].map(({ value }) => value)
      await units.streamed(warm)
      const agreement = [{ what: 'mean probability', values, good: close(...values, tolerance.auto) }]
      const what = `${network}, ${frames} frames`
      const seconds = await takeTurns({ units, count: frames, pairs, budget, what, say: options.say })
      return { frames, agreement, seconds, flops: 2 * facts.macs * frames }
    })
  }
  return results
}

/** Seconds per step, with data in memory and with all that a step of the reference does. */
export async function compareRtfm({ tiny, ...options }) {
  const plan = plans('c', tiny)
  return await withSides('c', 'rtfm', { tiny, ...options }, async (ours, theirs, facts) => {
    const { steps, float32Steps, peerSteps, loopSteps, recipe, pairs, budget } = plan
    // Without dropout both do the same from the same start.
    const [a, b] = [await ours.ask('train 3 0 float32'), await theirs.ask('resident 1 0')]
    const agreement = lossesAgree(
      'first loss at float32',
      a.losses.slice(0, 1),
      b.losses.slice(0, 1),
      tolerance.float32,
    )
    const units = {
      torchvid: () => twoLengths(ours, steps, 'auto'),
      pytorch: () => theirs.ask(`resident ${peerSteps} 0.7`),
      loop: () => theirs.ask(`loop ${loopSteps} 0.7`),
      float32: () => twoLengths(ours, float32Steps, 'float32'),
    }
    const runs = await takeTurns({ units, pairs, budget, what: 'rtfm', say: options.say })
    const ownSteps = (name) => spread(runs[name].runs.map(({ step }) => step))
    const theirSteps = (name, count) => spread(runs[name].runs.map(({ seconds }) => seconds / count))
    const [torchvid, float32] = [ownSteps('torchvid'), ownSteps('float32')]
    const [pytorch, loop] = [theirSteps('pytorch', peerSteps), theirSteps('loop', loopSteps)]
    /** What is done once: reading and resampling the whole set, getting memory. */
    const begin = spread(runs.torchvid.runs.map((run) => run.begin))
    return {
      batch: plan.batch,
      crops: plan.crops,
      recipe,
      agreement,
      step: { torchvid, float32, pytorch, loop },
      data: spread(runs.loop.runs.map((run) => run.data / loopSteps)),
      begin,
      whole: {
        torchvid: begin.median + recipe * torchvid.median,
        pytorch: recipe * loop.median,
      },
      flops: 6 * facts.macs,
    }
  })
}

/** A short and a long training, told apart by the clock on the wall alone: seconds of a step, and of what is done once. */
async function twoLengths(ours, steps, precision) {
  const short = Math.max(1, Math.round(steps / 6))
  const few = await ours.ask(`train ${short} 0.7 ${precision}`)
  const many = await ours.ask(`train ${steps} 0.7 ${precision}`)
  const step = (many.seconds - few.seconds) / (steps - short)
  const { seconds, inside } = many
  // Reading the set may take longer one time than the other; a rehearsal's steps are lost in that.
  return step > 0
    ? { seconds, inside, step, begin: few.seconds - short * step }
    : { seconds, inside, step: inside, begin: 0 }
}

/** Images per second of sparse training. */
export async function compareSlim({ tiny, ...options }) {
  const plan = plans('d', tiny)
  const results = {}
  for (const network of plan.networks) {
    results[network] = await withSides('d', network, { tiny, ...options }, async (ours, theirs, facts) => {
      const { batch, warm, pairs, budget } = plan
      const steps = plan.steps[network]
      const units = {
        torchvid: (count) => ours.ask(`train ${count} auto plain`),
        pytorch: (count) => theirs.ask(`train ${count}`),
        float32: (count) => ours.ask(`train ${count} float32 plain`),
        augmented: (count) => ours.ask(`train ${count} auto augmented`),
      }
      const agreement = await agree(units, warm)
      const what = `${network}, ${steps} steps`
      const seconds = await takeTurns({ units, count: steps, pairs, budget, what, say: options.say })
      return { steps, batch, agreement, seconds, flops: 6 * facts.macs * steps }
    })
  }
  return results
}

/** The chip's matrix products, as PyTorch does them. */
export function measurePeak({ tiny, python, device, say }) {
  const { side, repeats } = plans('peak', tiny)
  say(`matrix products of ${side} x ${side}`)
  return runOnce(python, 'peers/gpu.py', ['--peak', '--device', device, '--side', `${side}`, '--repeats', `${repeats}`])
}

/** Starts both sides of a part, does `work`, and cleans up. */
async function withSides(part, network, { tiny, python, device, say }, work) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'torchvid-bench-'))
  const plan = plans(part, tiny)
  const args = ['--part', part, '--network', network, '--device', device]
  const sides = []
  try {
    say(`${part}: ${network}`)
    const own = [...args, '--folder', folder, ...(tiny ? ['--tiny'] : [])]
    sides.push(await Side.start(process.execPath, 'gpu/side.mjs', own)) // first: it writes the weights
    const facts = sides[0].ready
    const weights = path.join(folder, `start-${network}.safetensors`)
    const sizes = { weights, height: plan.height, width: plan.width, accumulate: plan.accumulate }
    const given = { ...sizes, set: facts.set, size: plan.size, batch: plan.batch, images: plan.images }
    const flags = Object.entries(given).flatMap(([name, value]) =>
      value === undefined ? [] : [`--${name}`, `${value}`],
    )
    sides.push(await Side.start(python, 'peers/gpu.py', [...args, ...flags]))
    const results = await work(...sides, facts)
    const { gpuMemory } = await sides[1].ask('memory')
    return {
      torch: facts.torch,
      torchOfPython: sides[1].ready.torch,
      device: sides[1].ready.device,
      gpuMemory,
      ...results,
    }
  } finally {
    await Promise.all(sides.map((side) => side.close()))
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

/**
 * All units one after another, again and again: at most `pairs` rounds, and no new one once `budget` seconds are over.
 * Gives each unit's spread of seconds, and its answers.
 */
async function takeTurns({ units, count, pairs, budget, what, say }) {
  const begin = performance.now()
  const runs = Object.fromEntries(Object.keys(units).map((name) => [name, []]))
  for (let i = 1; i <= pairs; i++) {
    const round = performance.now()
    for (const [name, work] of Object.entries(units)) runs[name].push(await work(count))
    const times = Object.entries(runs).map(([name, all]) => `${name} ${all.at(-1).seconds.toFixed(2)} s`)
    say(`${what}, round ${i} of ${pairs}: ${times.join(', ')}`)
    const now = performance.now()
    if ((now - begin + (now - round)) / 1000 > budget) break
  }
  return Object.fromEntries(
    Object.entries(runs).map(([name, all]) => [name, { ...spread(all.map((run) => run.seconds)), runs: all }]),
  )
}

/** Both sides from one start: at float32 closely, at 'auto' nearly. It warms them up, too. */
async function agree(units, count) {
  const [precise, auto, theirs] = [await units.float32(count), await units.torchvid(count), await units.pytorch(count)]
  await units.augmented(count)
  const first = ({ losses }) => losses.slice(0, 3)
  return [
    ...lossesAgree('losses at float32', first(precise), first(theirs), tolerance.float32),
    ...lossesAgree('losses at auto', first(auto), first(theirs), tolerance.auto),
  ]
}

function lossesAgree(what, ours, theirs, bound) {
  return ours.map((loss, i) => ({
    what: `${what} ${i}`,
    values: [loss, theirs[i]],
    good: close(loss, theirs[i], bound),
  }))
}

function close(ours, theirs, bound) {
  return Math.abs(ours - theirs) <= bound * Math.abs(theirs)
}
