// torchvid's side of bench/rtfm.mjs, through the public API. `train N DROPOUT`: one rtfm.fit of N steps on the feature files
// of `--set`; `score FILE`: one whole video. As `rtfm.mjs --score FILE` it does that alone and prints one line.
import fs from 'node:fs'
import { parseArgs } from 'node:util'
import { Network, networks, RTFM, runtime } from 'torchvid'
import { follow, peakMemory, seconds, serve } from './serve.mjs'

const { values } = parseArgs({
  options: {
    set: { type: 'string' },
    weights: { type: 'string' },
    batch: { type: 'string' },
    score: { type: 'string' },
    threads: { type: 'string' },
  },
})
const size = 2048

if (values.threads) await runtime.setThreads(Number(values.threads))
if (values.score) {
  const rtfm = await RTFM.create({ featureSize: size, device: 'cpu', seed: 1 })
  console.log(JSON.stringify(await score(rtfm, values.score)))
} else {
  const videos = JSON.parse(fs.readFileSync(values.set, 'utf8'))
  await writeStartingWeights()
  const { libtorch, threads } = await runtime.info()
  await serve({ torch: libtorch.version, threads }, { train: (steps, dropout) => train(videos, steps, dropout) })
}

/** The network that both sides start from. The peer reads this file. */
async function writeStartingWeights() {
  const network = await Network.create(networks.rtfm({ featureSize: size }), { device: 'cpu', seed: 1 })
  await network.save(values.weights)
  network.dispose()
}

/**
 * Always from the same start. `seconds`: all of fit, which reads and resamples the whole set once; `inside`: a step by fit's
 * own clock, all but the first, in which memory is got.
 */
async function train({ normal, abnormal }, steps, dropout) {
  const rtfm = await RTFM.create({ featureSize: size, dropout: Number(dropout), device: 'cpu' })
  await rtfm.network.load(values.weights)
  let trained
  const total = await seconds(async () => {
    const run = rtfm.fit(
      { normal, abnormal },
      { steps: Number(steps), batchSize: Number(values.batch), shuffle: false, device: 'cpu', precision: 'float32' },
    )
    trained = await follow(run)
  })
  rtfm.dispose()
  const { losses, means } = trained
  // Of at most 20 steps the mean is over all so far, so the single steps follow from it.
  const single = means.map((mean, i) => mean * (i + 1) - (means[i - 1] ?? 0) * i)
  const later = single.length > 1 ? single.slice(1) : single
  return { seconds: total, inside: later.reduce((sum, s) => sum + s, 0) / later.length, steps: single, losses }
}

async function score(rtfm, file) {
  const before = peakMemory()
  let scores
  const total = await seconds(async () => {
    ;({ scores } = await rtfm.score(file))
  })
  return { seconds: total, segments: scores.length, before, peakMemory: peakMemory() }
}
