// OSVOS at full size: training passes and inference frames, torchvid and PyTorch in turn.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { OthersWatch } from './others.mjs'
import { Side } from './side.mjs'
import { comparePairs, median } from './stats.mjs'

/** Size, and for each trunk: passes per unit of training, passes per update, learning rate, pairs counted of each kind. */
const size = { width: 854, height: 480 }
const plans = {
  vgg16: { passes: 5, accumulate: 5, learningRate: 1e-8, trainPairs: 5, inferPairs: 9 },
  mobilenet: { passes: 5, accumulate: 1, learningRate: 1e-4, trainPairs: 7, inferPairs: 11 },
}

/** What they aim at: torchvid's time over PyTorch's. */
export const aims = { vgg16: { train: 0.95, infer: 0.9 }, mobilenet: {} }

/** Times one trunk. Memory: the peak after inference alone, then after training. */
export async function compareOsvos(backbone, { python, threads, quick, say }) {
  const plan = quick ? { ...plans[backbone], passes: 2, trainPairs: 2, inferPairs: 2 } : plans[backbone]
  const { passes, accumulate, learningRate, trainPairs, inferPairs } = plan
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'torchvid-bench-'))
  const weights = path.join(folder, 'start.safetensors')
  const options = { ...size, backbone, accumulate, 'learning-rate': learningRate, weights, threads }
  const args = Object.entries(options).flatMap(([name, value]) =>
    value === undefined ? [] : [`--${name}`, `${value}`],
  )
  const sides = []
  try {
    sides.push(await Side.start(process.execPath, 'sides/osvos.mjs', args)) // first: it writes the weights
    // The schedule of torchvid's recipe for MobileNet; with it the losses of all passes can be compared.
    const schedule = backbone === 'mobilenet' ? ['--cosine', `${passes}`] : []
    sides.push(await Side.start(python, 'peers/osvos.py', [...args, ...schedule]))
    const [ours, theirs] = sides
    checkSame('LibTorch', ours.ready.torch.split('+')[0], theirs.ready.torch.split('+')[0])
    checkSame('thread count', ours.ready.threads, theirs.ready.threads)
    const others = new OthersWatch(sides)
    const memory = () => ({ torchvid: ours.peakMemory, pytorch: theirs.peakMemory })

    const frames = await interleave(
      inferPairs,
      say,
      `${backbone} inference`,
      [() => ours.ask('infer'), () => theirs.ask('infer')],
      (a, b) => checkClose('mean probability', a.value, b.value),
    )
    const inferMemory = memory()

    const runs = await interleave(
      trainPairs,
      say,
      `${backbone} training, ${passes} passes`,
      [() => ours.ask(`train ${passes}`), () => repeat(passes, () => theirs.ask('train'))],
      (a, b) => {
        for (const [i, loss] of a.losses.entries()) checkClose(`loss ${i}`, loss, b.losses[i])
      },
    )
    const trainMemory = memory()

    if (!quick) say(`${backbone} training without turns, 20 passes`)
    const steady = quick ? undefined : (await ours.ask('train 20')).steps
    const counted = (all, divisor) =>
      comparePairs(all.slice(1).map((pair) => pair.map(({ seconds }) => seconds / divisor)))
    return {
      ...ours.ready,
      torchOfPython: theirs.ready.torch,
      passes,
      accumulate,
      ...size,
      infer: { ...counted(frames, 1), memory: inferMemory, aim: aims[backbone].infer },
      train: { ...counted(runs, passes), memory: trainMemory, aim: aims[backbone].train },
      /** torchvid's passes by its own clock: without fit's reading, copying and packing. */
      insideFit: median(runs.slice(1).flatMap(([run]) => run.steps)),
      steady: steady && median(steady),
      steadySteps: steady,
      othersShare: others.share(),
    }
  } finally {
    await Promise.all(sides.map((side) => side.close()))
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

/** A B A B ...: `pairs` pairs after one for warming up, which comes first in the result; `check` compares its answers. */
export async function interleave(pairs, say, what, [a, b], check) {
  const done = []
  for (let i = 0; i <= pairs; i++) {
    const pair = [await a(), await b()]
    if (i === 0) check(...pair)
    done.push(pair)
    const times = pair.map(({ seconds }) => `${seconds.toFixed(2)} s`).join(' : ')
    say(`${what}, ${i === 0 ? 'warm-up' : `pair ${i} of ${pairs}`}: ${times}`)
  }
  return done
}

async function repeat(count, work) {
  const all = []
  for (let i = 0; i < count; i++) all.push(await work())
  return { seconds: all.reduce((sum, { seconds }) => sum + seconds, 0), losses: all.map(({ value }) => value) }
}

export function checkSame(what, ours, theirs) {
  if (ours !== theirs) throw new Error(`Not the same ${what}: torchvid has ${ours}, Python ${theirs}.`)
}

/** Both sides must compute the same thing, or their times say nothing. */
export function checkClose(what, ours, theirs) {
  if (Math.abs(ours - theirs) > 1e-2 * Math.abs(theirs)) {
    throw new Error(`The two sides disagree on the ${what}: torchvid ${ours}, PyTorch ${theirs}.`)
  }
}
