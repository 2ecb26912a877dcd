// Network slimming on CIFAR shapes: steps of sparse training, and what slimming saves in inference; torchvid and
// PyTorch in turn.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { checkClose, checkSame, interleave } from './osvos.mjs'
import { OthersWatch } from './others.mjs'
import { Side } from './side.mjs'
import { comparePairs, median } from './stats.mjs'

/** Images in memory, and the recipe; the learning rate is one at which rounding does not grow within a unit. */
const recipe = { images: 640, batch: 64, 'learning-rate': 0.01 }

/** The L1 penalty's weight, steps per unit and pairs counted. */
const plans = {
  vgg16: { sparsity: 1e-4, steps: 10, pairs: 5 },
  preresnet56: { sparsity: 1e-5, steps: 10, pairs: 5 },
}

/** Share of channels to cut, multiples to round widths to, forward passes per unit for each batch, pairs counted. */
const cut = { ratio: 0.7, roundings: [1, 16], passes: { 64: 4, 1: 64 }, pairs: 7 }

/** torchvid's time over PyTorch's for a training step; the measured speed-up over that of the MACs at batch 64. */
export const aims = { train: 0.95, speedUp: 0.8 }

/** Starts both sides of a network, checks that they fit, does `work`, and cleans up. */
async function withSides(network, { python, threads }, work) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'torchvid-bench-'))
  const weights = path.join(folder, 'start.safetensors')
  const options = { network, ...recipe, sparsity: plans[network].sparsity, weights, threads }
  const args = Object.entries(options).flatMap(([name, value]) =>
    value === undefined ? [] : [`--${name}`, `${value}`],
  )
  const sides = []
  try {
    sides.push(await Side.start(process.execPath, 'sides/slim.mjs', args)) // first: it writes the weights
    sides.push(await Side.start(python, 'peers/slim.py', args))
    const [ours, theirs] = sides
    checkSame('LibTorch', ours.ready.torch.split('+')[0], theirs.ready.torch.split('+')[0])
    checkSame('thread count', ours.ready.threads, theirs.ready.threads)
    const others = new OthersWatch(sides)
    const results = await work(sides, folder)
    return { ...ours.ready, torchOfPython: theirs.ready.torch, ...results, othersShare: others.share() }
  } finally {
    await Promise.all(sides.map((side) => side.close()))
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

/** Seconds per unit of all pairs but the first, which warms up. */
function counted(all, divisor) {
  return comparePairs(all.slice(1).map((pair) => pair.map(({ seconds }) => seconds / divisor)))
}

/** Steps of sparse training of one network. */
export async function compareSparseTraining(network, options) {
  const { steps, pairs } = options.quick ? { steps: 2, pairs: 2 } : plans[network]
  return withSides(network, options, async (sides) => {
    const units = sides.map((side) => () => side.ask(`train ${steps}`))
    const runs = await interleave(pairs, options.say, `${network} sparse training, ${steps} steps`, units, (a, b) => {
      // Later steps grow the differences of rounding; three tell whether both do the same.
      for (const [i, loss] of a.losses.slice(0, 3).entries()) checkClose(`loss ${i}`, loss, b.losses[i])
    })
    return {
      steps,
      ...recipe,
      train: { ...counted(runs, steps), aim: aims.train },
      /** torchvid's steps by its own clock: without what slim.train does before the first and after the last. */
      inside: median(runs.slice(1).map(([run]) => run.inside)),
      memory: { torchvid: sides[0].peakMemory, pytorch: sides[1].peakMemory },
    }
  })
}

/** Inference of VGG16, whole and slimmed. */
export async function compareSlimmed(options) {
  const { ratio, roundings, passes, pairs } = cut
  return withSides('vgg16', options, async (sides, folder) => {
    const { networks } = await sides[0].ask(`slim ${ratio} ${folder} ${roundings.join(' ')}`)
    for (const [name, { file }] of Object.entries(networks)) await sides[1].ask(`open ${name} ${file}`)
    const rows = []
    for (const batch of [64, 1]) {
      for (const [name, { macs, parameters }] of Object.entries(networks)) {
        const times = options.quick ? Math.ceil(passes[batch] / 4) : passes[batch]
        const units = sides.map((side) => () => side.ask(`infer ${name} ${batch} ${times}`))
        const what = `vgg16 ${name}, batch ${batch}, ${times} forward passes`
        const runs = await interleave(options.quick ? 2 : pairs, options.say, what, units, (a, b) =>
          checkClose('mean size of the logits', a.value, b.value),
        )
        rows.push({ name, batch, macs, parameters, ...counted(runs, times) })
      }
    }
    return { ratio, rows: rows.map((row) => ({ ...row, ...speedUps(row, rows) })), aim: aims.speedUp }
  })
}

/** How much faster a network is than the whole one, by MACs and by each side's clock. */
function speedUps(row, rows) {
  const whole = rows.find(({ name, batch }) => name === 'whole' && batch === row.batch)
  const faster = (side) => whole[side].median / row[side].median
  const byMacs = whole.macs / row.macs
  return { byMacs, speedUp: { torchvid: faster('torchvid'), pytorch: faster('pytorch') } }
}

/** All of it. */
export async function compareSlim(options) {
  return {
    vgg16: await compareSparseTraining('vgg16', options),
    preresnet56: await compareSparseTraining('preresnet56', options),
    slimmed: await compareSlimmed(options),
  }
}
