// Segments a clip and says how well: renders one with ground truth, or takes a sequence of DAVIS 2016, learns its first
// mask with `torchvid segment`, and compares the masks with the ground truth.
//
//   npm run demo
//   npm run demo -- --davis blackswan --frames 20 --preset balanced
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import sharp from 'sharp'
import { metrics } from 'torchvid'
import { writeClip } from './clip.mjs'

const root = path.resolve(import.meta.dirname, '..')
const shared = path.resolve(process.env.TORCHVID_SHARED ?? path.join(root, '..', 'shared'))

const USAGE = `npm run demo -- [options]
  --davis NAME        a sequence of DAVIS 2016 instead of the rendered clip
  --frames N          only the first N frames
  --preset NAME       fast (default), balanced or best
  --iterations N      training steps on the first frame (default: the preset's)
  --max-size N        longer side for the network, in pixels (default: as it is)
  --out FOLDER        default: demo-out
`

const options = readOptions()
if (options.help) console.log(USAGE)
else await main()

async function main() {
  const out = path.resolve(options.out)
  // The masks of a longer demo that ran before must not be taken for this one's.
  for (const part of ['clip', 'result']) fs.rmSync(path.join(out, part), { recursive: true, force: true })
  const clip = await prepareClip(path.join(out, 'clip'))
  const result = await runSegment(clip, path.join(out, 'result'))
  printScores(await score(clip, result.masks))
  console.log(
    `\nLearned in ${seconds(result.fit.seconds)}, then ${seconds(result.secondsPerFrame)} a frame; at most ${Math.round(result.peakMemory / 1e6)} MB of memory.`,
  )
  console.log(`Masks:         ${show(result.masks)}`)
  console.log(`Image strip:   ${show(result.strip)}`)
  console.log(`Overlay video: ${result.overlay ? show(result.overlay) : 'none, as there is no ffmpeg here'}`)
  console.log(`Report:        ${show(result.report)}`)
}

function readOptions() {
  const text = { type: 'string' }
  const known = {
    ...{ davis: text, frames: text, preset: text, iterations: text, 'max-size': text },
    out: { type: 'string', default: path.join(root, 'demo-out') },
    help: { type: 'boolean', short: 'h' },
  }
  try {
    const { values } = parseArgs({ options: known })
    const frames = values.frames === undefined ? undefined : Number(values.frames)
    if (frames !== undefined && !(Number.isInteger(frames) && frames >= 3)) {
      throw new Error(`--frames: got ${values.frames}, wanted a whole number of at least 3.`)
    }
    return { ...values, frames }
  } catch (error) {
    fail(`${error.message}\n\n${USAGE}`, 2)
  }
}

/** Folders of frames and of their masks, of the same names. */
async function prepareClip(folder) {
  if (options.davis === undefined) {
    console.log(`Rendering a clip into ${show(folder)}`)
    const { images, masks } = await writeClip(folder, { frames: options.frames ?? 40 })
    return { images, masks }
  }
  const davis = path.join(shared, 'data', 'davis-2016')
  const images = path.join(davis, 'JPEGImages', '480p', options.davis)
  const masks = path.join(davis, 'Annotations', '480p', options.davis)
  if (!fs.existsSync(images) || !fs.existsSync(masks)) {
    fail(`There is no sequence ${options.davis} in ${davis}. Put DAVIS 2016 there, or set TORCHVID_SHARED to the folder
that holds data/davis-2016. Without --davis the demo renders a clip of its own.`)
  }
  if (options.frames === undefined) return { images, masks }
  fs.mkdirSync(folder, { recursive: true })
  for (const file of fs.readdirSync(images).sort().slice(0, options.frames)) {
    fs.copyFileSync(path.join(images, file), path.join(folder, file))
  }
  return { images: folder, masks }
}

/** Runs `torchvid segment` as any program would, and returns its last event. Progress shows on stderr. */
async function runSegment({ images, masks }, out) {
  const first = `${path.parse(fs.readdirSync(images).sort()[0]).name}.png`
  const args = [images, '--mask', path.join(masks, first), '--out', out, '--report', '--json']
  for (const name of ['preset', 'iterations', 'max-size']) {
    if (options[name]) args.push(`--${name}`, options[name])
  }
  const cli = path.join(root, 'dist', 'cli.mjs')
  const child = spawn(process.execPath, [cli, 'segment', ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  // Ctrl-C reaches the child too, which cleans up; the demo waits for it.
  const wait = () => {}
  process.on('SIGINT', wait)
  const ended = new Promise((resolve, reject) => child.on('error', reject).on('close', (...end) => resolve(end)))
  let last
  for await (const line of createInterface({ input: child.stdout })) last = JSON.parse(line)
  const [status, signal] = await ended
  process.removeListener('SIGINT', wait)
  if (signal !== null) fail(`torchvid segment was ended by ${signal}.`)
  // Else it has said on stderr what was wrong.
  if (status !== 0) process.exit(status)
  return last
}

/** Mean J and F of the masks, and of the first mask taken for every frame. */
async function score({ images, masks }, found) {
  const names = fs
    .readdirSync(images)
    .sort()
    .map((file) => path.parse(file).name)
  const first = await readMask(path.join(masks, `${names[0]}.png`))
  const sums = { torchvid: [0, 0], copy: [0, 0] }
  // As DAVIS does: the first frame is given and the last is left out.
  const scored = names.slice(1, -1)
  for (const name of scored) {
    const truth = await readMask(path.join(masks, `${name}.png`))
    const mask = await readMask(path.join(found, `${name}.png`))
    for (const [key, candidate] of [
      ['torchvid', mask],
      ['copy', first],
    ]) {
      sums[key][0] += (await metrics.jaccard(candidate, truth)) / scored.length
      sums[key][1] += (await metrics.contour(candidate, truth)) / scored.length
    }
  }
  return { ...sums, frames: scored.length }
}

async function readMask(file) {
  const image = sharp(file).removeAlpha().toColourspace('b-w').raw()
  const { data, info } = await image.toBuffer({ resolveWithObject: true })
  const mask = Uint8Array.from({ length: info.width * info.height }, (_, i) => (data[i * info.channels] > 127 ? 1 : 0))
  return { data: mask, width: info.width, height: info.height }
}

function printScores({ torchvid, copy, frames }) {
  const row = (name, [j, f]) => `  ${name.padEnd(24)} ${j.toFixed(3)}   ${f.toFixed(3)}`
  console.log(`\n  ${`mean of ${frames} frames`.padEnd(24)} J       F`)
  console.log(row('torchvid', torchvid))
  console.log(row('copying the first mask', copy))
}

function seconds(value) {
  return `${value.toFixed(value < 10 ? 2 : 0)} s`
}

/** A path as short as it can be said from here. */
function show(file) {
  const relative = path.relative(process.cwd(), file)
  if (!relative.startsWith('..')) return relative || '.'
  return file.startsWith(os.homedir()) ? path.join('~', path.relative(os.homedir(), file)) : file
}

function fail(message, status = 1) {
  console.error(message)
  process.exit(status)
}
