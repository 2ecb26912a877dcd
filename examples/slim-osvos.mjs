// Slims OSVOS on MobileNet to half its multiply-accumulates without a label: the cut network learns what the whole one
// makes of DAVIS's training frames. Then fits both to a validation sequence and compares them.
//   node examples/slim-osvos.mjs DAVIS-2016 mobilenet_v1_imagenet.safetensors [sequence] [steps]
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import sharp from 'sharp'
import { metrics, Network, OSVOS, slim } from 'torchvid'

const [davis, pretrained, sequence = 'car-shadow', steps = '2000'] = process.argv.slice(2)
const folder = mkdtempSync(path.join(tmpdir(), 'slim-osvos-'))

/** Some frames of every training sequence, small, as images of one class: uint8 (N, 3, height, width). */
async function trainingFrames({ perSequence = 12, height = 240, width = 432 } = {}) {
  const sequences = {}
  for (const line of readFileSync(path.join(davis, 'ImageSets/480p/train.txt'), 'utf8').trim().split('\n')) {
    const file = path.join(davis, line.split(' ')[0])
    sequences[path.dirname(file)] ??= []
    sequences[path.dirname(file)].push(file)
  }
  const files = Object.values(sequences).flatMap((all) =>
    all.filter((_, i) => i % Math.ceil(all.length / perSequence) === 0),
  )
  const pixels = height * width
  const images = new Uint8Array(files.length * 3 * pixels)
  for (const [n, file] of files.entries()) {
    const rgb = await sharp(file).resize(width, height, { fit: 'fill' }).removeAlpha().raw().toBuffer()
    for (let i = 0; i < rgb.length; i++) images[(n * 3 + (i % 3)) * pixels + Math.floor(i / 3)] = rgb[i]
  }
  const half = [0.5, 0.5, 0.5] // as MobileNet takes pictures: RGB / 127.5 - 1
  const labels = new Uint8Array(files.length)
  return {
    images,
    shape: [files.length, 3, height, width],
    labels,
    mean: half,
    std: half,
    augment: { pad: 0, flip: 0.5 },
  }
}

/** A network as `network`, weights and all, that gives other outputs. */
async function withOutputs(network, outputs) {
  const file = path.join(folder, 'weights.safetensors')
  await network.save(file)
  const copy = await Network.create({ ...network.graph, outputs })
  await copy.load(file)
  return copy
}

/** Fits a sequence's first frame and segments the rest: mean J without first and last frame, and seconds. */
async function measure(osvos) {
  const [images, masks] = ['JPEGImages', 'Annotations'].map((kind) => path.join(davis, kind, '480p', sequence))
  const names = readdirSync(images).sort()
  const truth = (i) => path.join(masks, names[i].replace(/\.jpg$/, '.png'))
  let start = performance.now()
  const fitted = await osvos.fit(path.join(images, names[0]), truth(0), { seed: 0 })
  const fit = (performance.now() - start) / 1000
  start = performance.now()
  const found = []
  for await (const { mask, width, height } of fitted.segment(images)) found.push({ data: mask, width, height })
  const perFrame = (performance.now() - start) / 1000 / names.length
  let sum = 0
  for (const [i, mask] of found.entries()) {
    if (i === 0 || i === names.length - 1) continue
    const data = new Uint8Array(await sharp(truth(i)).greyscale().raw().toBuffer())
    sum += await metrics.jaccard(mask, { ...mask, data })
  }
  return { J: sum / (names.length - 2), fit, perFrame }
}

const say = (name, { J, fit, perFrame }) =>
  console.log(`${name}: J ${J.toFixed(3)}, fit ${fit.toFixed(0)} s, ${(1000 * perFrame).toFixed(0)} ms a frame`)

// What the head is made from: 16 maps per side. They are the teacher's outputs, and what the student learns.
const whole = await OSVOS.create({ backbone: 'mobilenet', pretrained })
const sides = Object.fromEntries([0, 1, 2, 3, 4].map((i) => [`maps${i}`, `side_prep.${i}`]))
const teacher = await withOutputs(whole.network, { ...whole.network.graph.outputs, ...sides })
const { network: student, report } = await slim.prune(teacher, {
  strategy: 'group',
  target: { macs: 0.5 },
  fold: true,
  roundTo: 8,
  keepShare: 0.4,
  inputs: { image: [1, 3, 480, 854] },
})
console.log(
  `MACs ${report.macs.before} -> ${report.macs.after}, parameters ${report.parameters.before} -> ${report.parameters.after}`,
)

const run = slim.finetune(student, {
  train: trainingFrames(),
  teacher,
  outputs: Object.keys(sides),
  steps: Number(steps),
  batchSize: 4,
  learningRate: 4e-3,
  schedule: 'cosine',
  weightDecay: 1e-5,
  seed: 1,
})
for await (const { step, loss, secondsLeft } of run) {
  if (step % 100 === 0)
    console.error(`step ${step} of ${steps}: loss ${loss.toFixed(3)}, ${secondsLeft.toFixed(0)} s left`)
}
await run
const slimmed = await withOutputs(student, whole.network.graph.outputs)
await slimmed.save('slim-osvos.safetensors')

say('whole ', await measure(whole))
say('slimmed', await measure(await OSVOS.open('slim-osvos.safetensors')))
