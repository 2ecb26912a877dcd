// torchvid's side of bench/engine.mjs: networks so small that what is left is the engine's own cost.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { graph, Network, OSVOS } from 'torchvid'
import { pictureAndMask, seconds, serve } from './serve.mjs'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'torchvid-bench-'))
const point = await Network.create(pointGraph())
const tiny = await openTiny()
const { image, mask } = pictureAndMask(16, 16)

await serve({}, { forward, train })
fs.rmSync(folder, { recursive: true, force: true })

/** One multiplication. */
function pointGraph() {
  const x = graph.input('x', [null, 1, null, null])
  return graph.build({ y: graph.conv(x, { out: 1, kernel: 1 }) })
}

/** Two layers that `fit` takes for an OSVOS network. */
async function openTiny() {
  const file = path.join(folder, 'tiny.safetensors')
  const pixels = { order: 'RGB', mean: [127.5, 127.5, 127.5], std: [127.5, 127.5, 127.5] }
  const picture = graph.input('image', [null, 3, null, null], pixels)
  const hidden = graph.relu(graph.conv(picture, { out: 4, kernel: 3, padding: 1 }))
  const network = await Network.create(graph.build({ fuse: graph.conv(hidden, { out: 1, kernel: 1 }) }))
  await network.save(file)
  return await OSVOS.open(file)
}

async function forward(count) {
  const x = { data: new Float32Array([1]), shape: [1, 1, 1, 1] }
  const total = await seconds(async () => {
    for (let i = 0; i < count; i++) await point.forward({ x })
  })
  return { seconds: total / count }
}

async function train(count) {
  let fitted
  const total = await seconds(async () => {
    fitted = await tiny.fit(image, mask, { iterations: Number(count), augment: false })
  })
  fitted.dispose()
  return { seconds: total / count }
}
