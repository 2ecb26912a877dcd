// What bfloat16 costs in quality: the same training in both precisions, from the same start, seed by seed.
import fs from 'node:fs'
import path from 'node:path'
import { data, metrics, Network, networks, OSVOS, slim } from 'torchvid'

/** @returns rows of figures per seed: J of DAVIS frames, accuracy on CIFAR-10; none where their data are absent */
export async function measureQuality({ device, tiny, shared, say }) {
  const seeds = tiny ? [0] : [0, 1, 2]
  const rows = []
  for (const measure of [followObject, classify]) rows.push(...(await measure({ device, tiny, shared, say, seeds })))
  if (rows.length === 0) say('quality: no data to measure on (--shared FOLDER)')
  return rows
}

/** The default model learns the object of a sequence's first frame; mean J of the others. */
async function followObject({ device, tiny, shared, say, seeds }) {
  const folder = path.join(shared ?? '', 'data/davis-2016')
  if (!fs.existsSync(folder)) return []
  const [sequence] = fs.readdirSync(path.join(folder, 'JPEGImages/480p')).sort()
  const listed = (kind) => {
    const place = path.join(folder, kind, '480p', sequence)
    const names = fs
      .readdirSync(place)
      .sort()
      .slice(0, tiny ? 3 : undefined)
    return names.map((name) => path.join(place, name))
  }
  const [frames, masks] = [listed('JPEGImages'), listed('Annotations')]
  const truths = await Promise.all(masks.map(readMask))
  return await inBoth(`J of DAVIS ${sequence}`, 'points', { seeds, say }, async (precision, seed) => {
    const model = await OSVOS.open('default', { device })
    const settings = { preset: 'balanced', precision, seed, device, ...(tiny && { iterations: 1 }) }
    const fitted = await model.fit(frames[0], masks[0], settings)
    let sum = 0
    for await (const { index, mask, width, height } of fitted.segment(frames, tiny ? { maxSize: 96 } : {})) {
      if (index > 0) sum += await metrics.jaccard({ data: mask, width, height }, truths[index])
    }
    for (const each of [model, fitted]) each.dispose()
    return (100 * sum) / (frames.length - 1)
  })
}

/** A mask's pixels: object where they are not black. */
async function readMask(file) {
  const { default: sharp } = await import('sharp')
  const { data: bytes, info } = await sharp(file).greyscale().raw().toBuffer({ resolveWithObject: true })
  return { data: bytes.map((value) => (value > 0 ? 1 : 0)), width: info.width, height: info.height, channels: 1 }
}

/** Sparse training of a small VGG on four fifths of the images; accuracy on the rest. */
async function classify({ device, tiny, shared, say, seeds }) {
  const folder = path.join(shared ?? '', 'data/cifar10')
  if (!fs.existsSync(folder)) return []
  const file = path.join(
    folder,
    fs.readdirSync(folder).find((name) => name.endsWith('.bin')),
  )
  const all = await data.cifar10(file)
  const [count] = all.shape
  const cut = tiny ? 32 : Math.floor(0.8 * count)
  const train = data.subset(all, 0, cut)
  const test = data.subset(all, cut, tiny ? 2 * cut : count)
  return await inBoth('accuracy on CIFAR-10, VGG11, few images', '%', { seeds, say }, async (precision, seed) => {
    const network = await Network.create(networks.vgg({ depth: 11, classes: 10 }), { device, seed })
    const length = tiny ? { steps: 1 } : { epochs: 40 }
    await slim.train(network, { train, ...length, batchSize: 32, learningRate: 0.02, precision, seed, device })
    const { accuracy } = await slim.evaluate(network, test)
    network.dispose()
    return 100 * accuracy
  })
}

async function inBoth(what, unit, { seeds, say }, measure) {
  const row = { what, unit, float32: [], bfloat16: [] }
  for (const seed of seeds) {
    for (const precision of ['float32', 'bfloat16']) {
      row[precision].push(await measure(precision, seed))
      say(`${what}, seed ${seed}, ${precision}: ${row[precision].at(-1).toFixed(2)} ${unit}`)
    }
  }
  return [row]
}
