import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { data, graph, Network } from 'torchvid'
import { beforeAll, describe, expect, test } from 'vitest'
import { hasFfmpeg, makeVideo } from '../data/helpers.ts'
import { browser, browserNote, look } from './browser.ts'
import { eventsOf, filesBelow, makeFrames, scratch, torchvid } from './helpers.ts'
import { type Scored, SIZE, scoreWith, trainModel, writeFeatureSet } from './rtfm-sets.ts'

const folder = scratch()
const model = join(folder, 'model.safetensors')

async function score(inputs: string[], name: string, more: string[] = []): Promise<Scored> {
  return await scoreWith(model, inputs, join(folder, name), more)
}

/** Saves a network that makes SIZE numbers of a picture. */
async function writeBackbone(file: string): Promise<void> {
  const pixels = { order: 'RGB' as const, mean: [127.5, 127.5, 127.5] as const, std: [64, 64, 64] as const }
  const image = graph.input('image', [null, 3, null, null], pixels as never)
  const maps = graph.relu(graph.conv(image, { out: SIZE, kernel: 3, stride: 4, name: 'conv' }))
  const network = await Network.create(graph.build({ features: graph.globalAveragePool(maps) }), { seed: 5 })
  await network.save(file)
  network.dispose()
}

describe('videos', () => {
  const backbone = join(folder, 'backbone.safetensors')
  const small = ['--backbone', backbone, '--resize', 'none', '--crop', '32']
  const frames = join(folder, 'camera')

  beforeAll(async () => {
    await trainModel(await writeFeatureSet(join(folder, 'set'), { train: 3, test: 0 }), model)
    await writeBackbone(backbone)
    await makeFrames(
      frames,
      Array.from({ length: 40 }, (_, i) => `f${i}`),
    )
  })

  test('extract: features and their settings, in a folder or under a name', async () => {
    const out = join(folder, 'extracted')
    const outcome = await torchvid(['rtfm', 'extract', frames, '--out', out, ...small, '--crops', '5', '--json'])
    expect(outcome, outcome.stderr).toMatchObject({ status: 0 })
    expect(filesBelow(out)).toEqual(['camera.npy', 'camera.npy.json'])
    expect((await data.readNpy(join(out, 'camera.npy'))).shape).toEqual([3, 5, SIZE])
    const events = eventsOf(outcome)
    expect(events.find(({ event }) => event === 'video')).toMatchObject({ video: frames, frames: 40, clips: 3 })
    expect(events.at(-1)).toMatchObject({ event: 'done', files: [join(out, 'camera.npy')], warnings: [] })
    const named = join(folder, 'named.npy')
    const more = ['--every', '8', '--tail', 'drop', '--frame-step', '2', '--mean', '100', '--std', '50,60,70']
    const second = await torchvid(['rtfm', 'extract', join(frames, '*.jpg'), '--out', named, ...small, ...more])
    expect(second).toMatchObject({ status: 0 })
    expect(second.stdout).toMatch(/named\.npy: 40 frames, \(5, 1, 24\), mean L2 norm \S+, /)
    expect(JSON.parse(readFileSync(`${named}.json`, 'utf8'))).toMatchObject({
      ...{ every: 8, frameStep: 2, tail: 'drop', resize: null, crop: 32, crops: 1 },
      ...{ mean: [100, 100, 100], std: [50, 60, 70] },
    })
  })

  test('extract: what cannot work is said before the first video', async () => {
    const attempt = (inputs: string[], more: string[]) => torchvid(['rtfm', 'extract', ...inputs, ...more])
    const twice = await attempt([frames, join(folder, 'other', 'camera')], ['--out', join(folder, 'x'), ...small])
    expect(twice).toMatchObject({ status: 2, stderr: expect.stringContaining('Two inputs are called "camera"') })
    const one = await attempt([frames, join(frames, 'f1.jpg')], ['--out', join(folder, 'x.npy'), ...small])
    expect(one).toMatchObject({ status: 2, stderr: expect.stringContaining('a folder for the features of 2 videos') })
    const missing = await attempt([frames, join(folder, 'none.mp4')], ['--out', join(folder, 'x'), ...small])
    expect(missing).toMatchObject({ status: 1, stderr: expect.stringMatching(/^ERR_IO: .*none\.mp4/) })
    const unknown = await attempt([frames], ['--out', join(folder, 'x'), '--backbone', 'vgg'])
    expect(unknown).toMatchObject({ status: 2, stderr: expect.stringContaining('mobilenet, i3d, i3d-r50') })
    expect(existsSync(join(folder, 'x'))).toBe(false)
  })

  test.skipIf(process.platform === 'win32')('extract, interrupted: 130, and no half of a file', async () => {
    const many = join(folder, 'many')
    await makeFrames(
      many,
      Array.from({ length: 300 }, (_, i) => `f${i}`),
    )
    const out = join(folder, 'interrupted')
    const args = ['rtfm', 'extract', many, '--out', out, ...small, '--every', '1', '--json']
    let sent = false
    const outcome = await torchvid(args, (child, text) => {
      if (sent || !text.includes('"event":"clip"')) return
      sent = true
      child.kill('SIGINT')
    })
    expect(outcome.status).toBe(130)
    expect(outcome.stderr).toMatch(/Interrupted in many.*; nothing was written\.$/m)
    expect(eventsOf(outcome).at(-1)).toMatchObject({ event: 'interrupted' })
    expect(filesBelow(out)).toEqual([])
  })

  test('score: from video to features to scores in one command', async () => {
    const result = await score([frames], 'from-video', small)
    expect(result).toMatchObject({ status: 0 })
    expect(filesBelow(result.out)).toEqual(['camera.csv', 'camera.json', 'camera.npy', 'camera.npy.json'])
    expect(result.json('camera.json')).toMatchObject({ frames: 40, features: { crop: 32, frames: 40 } })
    expect(result.json('camera.json').segments).toHaveLength(3)
    expect(result.json('camera.json').segments.at(-1)).toMatchObject({ firstFrame: 32, lastFrame: 39 })
  })

  test('score: a video is treated as those were that the model learned from', async () => {
    const [features, detector] = [join(folder, 'unusual'), join(folder, 'unusual.safetensors')]
    const unusual = [
      '--resize',
      'none',
      '--crop',
      '24',
      '--every',
      '8',
      '--mean',
      '90',
      '--std',
      '30',
      '--tail',
      'repeat',
    ]
    for (const name of ['normal', 'abnormal']) {
      const out = join(features, name, 'camera.npy')
      await torchvid(['rtfm', 'extract', frames, '--backbone', backbone, '--out', out, ...unusual])
    }
    const [normal, abnormal] = [join(features, 'normal'), join(features, 'abnormal')]
    const args = ['--normal', normal, '--abnormal', abnormal, '--out', detector, '--steps', '2']
    expect(await torchvid(['rtfm', 'train', ...args])).toMatchObject({ status: 0 })
    const out = join(folder, 'as-trained')
    const result = await scoreWith(detector, [frames], out, ['--backbone', backbone, '--tail', 'loop'])
    expect(result, result.stderr).toMatchObject({ status: 0 })
    const found = result.json('camera.json')
    expect(found.features).toMatchObject({ resize: null, crop: 24, every: 8, mean: [90, 90, 90], tail: 'loop' })
    expect(found.segments).toHaveLength(5)
    // What was said otherwise is done otherwise, and warned of.
    expect(found.warnings).toEqual([expect.stringMatching(/different settings of 'tail': repeat .*loop/)])
    expect(result.stderr).toContain(found.warnings[0])
  })

  test('score: a named backbone of another size is refused before its work', async () => {
    const result = await score([frames], 'other-size', ['--backbone', 'mobilenet'])
    expect(result).toMatchObject({ status: 1 })
    expect(result.stderr).toMatch(
      /ERR_SHAPE: --backbone: mobilenet makes 1024 numbers of a segment, and the model takes 24/,
    )
    expect(filesBelow(result.out)).toEqual([])
  })

  test.runIf(hasFfmpeg)(`score --report: the page of a video shows it${browserNote}`, async () => {
    const video = join(folder, 'shots', 'film.mp4')
    mkdirSync(join(folder, 'shots'))
    makeVideo(video, 60)
    const labels = new Uint8Array(64).fill(1, 16, 48)
    const truth = join(folder, 'film-truth.npy')
    await data.writeNpy(truth, { data: labels, shape: [64] })
    const result = await score([video], 'filmed', [...small, '--report', '--ground-truth', truth, '--threshold', '0'])
    expect(result).toMatchObject({ status: 0 })
    const page = join(result.out, 'film.html')
    expect(readFileSync(page, 'utf8').match(/<img alt="frame \d+"/g)).toHaveLength(12)
    // Its features tell which video they are of, and it is found where it lies beside them.
    for (const name of ['film.npy', 'film.npy.json']) renameSync(join(result.out, name), join(folder, 'shots', name))
    const again = await score([join(folder, 'shots', 'film.npy')], 'filmed-again', ['--report'])
    expect(readFileSync(join(again.out, 'film.html'), 'utf8').match(/<img/g)).toHaveLength(12)
    if (browser === undefined) return
    const seen = await look(page, { width: 1200, height: 1500, count: '.band .above, .band .truth' })
    expect(seen.complaints).toEqual([])
    expect(seen.requests).toEqual([])
    expect(seen.elements).toBe(2)
    expect(seen.canvases.every(({ drawn, colours }) => drawn && colours > 3)).toBe(true)
    expect(seen.text).toContain('60 frames, 0:02.4 at 25 frames a second')
  })
})
