// Learns the object of a video's first frame and writes a mask for every frame.
//
//   node examples/segment.ts video.mp4 first-mask.png masks      (Node 22.18 or newer runs TypeScript as it is)
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import { data, OSVOS } from 'torchvid'

const [video = 'video.mp4', firstMask = 'first.png', folder = 'masks', steps] = process.argv.slice(2)

// The picture to learn from: the first frame. Any image of it will do; here it is taken from the video.
const frames = (await data.frames(video))[Symbol.asyncIterator]()
const first = await frames.next()
await frames.return(undefined)
if (first.done) throw new Error(`${video} has no frames`)

const osvos = await OSVOS.open('default')
const run = osvos.fit(first.value.image, firstMask, { iterations: steps === undefined ? undefined : Number(steps) })
for await (const { step, steps, loss } of run) console.log(`step ${step} of ${steps}: loss ${loss.toFixed(4)}`)
const fitted = await run

await mkdir(folder, { recursive: true })
for await (const { name, width, height, mask } of fitted.segment(video)) {
  const grey = Buffer.from(mask.map((id) => (id > 0 ? 255 : 0)))
  await sharp(grey, { raw: { width, height, channels: 1 } }).toFile(join(folder, `${name}.png`))
}
fitted.dispose()
osvos.dispose()
