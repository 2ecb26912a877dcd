// Backbones of video features at full size: seconds per clip, torchvid and PyTorch in turn.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { checkClose, checkSame, interleave } from './osvos.mjs'
import { OthersWatch } from './others.mjs'
import { Side } from './side.mjs'
import { comparePairs } from './stats.mjs'

/** Clips per unit and pairs counted. */
const plans = {
  i3dResnet50: { clips: 6, pairs: 7 },
  i3dResnet50NonLocal: { clips: 6, pairs: 7 },
  i3d: { clips: 4, pairs: 7 },
  c3d: { clips: 4, pairs: 7 },
}

/** torchvid's time over PyTorch's. */
export const aim = 0.95

export async function compareFeatures(options) {
  const results = {}
  for (const network of Object.keys(plans)) results[network] = await compareBackbone(network, options)
  return results
}

async function compareBackbone(network, { python, threads, quick, say }) {
  const { clips, pairs } = quick ? { clips: 1, pairs: 2 } : plans[network]
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'torchvid-bench-'))
  const options = { network, weights: path.join(folder, 'start.safetensors'), threads }
  const args = Object.entries(options).flatMap(([name, value]) =>
    value === undefined ? [] : [`--${name}`, `${value}`],
  )
  const sides = []
  try {
    sides.push(await Side.start(process.execPath, 'sides/features.mjs', args)) // first: it writes the weights
    sides.push(await Side.start(python, 'peers/features.py', args))
    const [ours, theirs] = sides
    checkSame('LibTorch', ours.ready.torch.split('+')[0], theirs.ready.torch.split('+')[0])
    checkSame('thread count', ours.ready.threads, theirs.ready.threads)
    const others = new OthersWatch(sides)
    const units = sides.map((side) => () => side.ask(`clips ${clips}`))
    const runs = await interleave(pairs, say, `${network}, ${clips} clips`, units, (a, b) =>
      checkClose('mean of the features', a.value, b.value),
    )
    return {
      ...ours.ready,
      torchOfPython: theirs.ready.torch,
      ...comparePairs(runs.slice(1).map((pair) => pair.map(({ seconds }) => seconds / clips))),
      aim,
      memory: { torchvid: ours.peakMemory, pytorch: theirs.peakMemory },
      othersShare: others.share(),
    }
  } finally {
    await Promise.all(sides.map((side) => side.close()))
    fs.rmSync(folder, { recursive: true, force: true })
  }
}
