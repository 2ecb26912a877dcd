import type { LabelledFrame } from '../data/frame-cache.ts'
import { randomFrom } from '../data/random.ts'
import type { NativeClipFrame, NativeClips, NativeMaskDamage, NativeObjectClip } from '../native.ts'

/** Videos to draw clips from. */
export interface ClipSource {
  /** Frames of each video. */
  lengths: number[]
  read(video: number, frame: number): Promise<LabelledFrame>
}

/** How clips are drawn. */
export interface ClipSettings {
  /** Clips of a batch. */
  batchSize: number
  /** Frames of a clip: the reference, the one before the first to be found, and those. */
  frames: number
  /** Of a clip, pixels; multiples of 16. */
  height: number
  width: number
  /** How much frames that follow each other are moved beyond what the video shows: 1 is a little. Default 1. */
  motion?: number
}

/** Objects of fewer pixels teach nothing. */
const LEAST_PIXELS = 60
const LEAST_REFERENCE_PIXELS = 200
/** Draws until a clip with an object is given up. */
const TRIES = 20

type Random = () => number

const between = (random: Random, low: number, high: number) => low + (high - low) * random()
const whole = (random: Random, count: number) => Math.floor(random() * count)

/** The object's middle, in -1..1, and its pixels. */
function centre({ data, width, height }: LabelledFrame['mask']): { x: number; y: number; pixels: number } {
  let pixels = 0
  let x = 0
  let y = 0
  for (let i = 0; i < data.length; i++) {
    if (data[i] === 0) continue
    pixels++
    x += i % width
    y += Math.floor(i / width)
  }
  return { x: ((x / pixels) * 2) / width - 1, y: ((y / pixels) * 2) / height - 1, pixels }
}

/**
 * The batch of a pass, which follows from the seed and the pass alone. A clip is a reference frame from anywhere in a video
 * and some that follow each other at a gap of 1 to 5 frames, forwards or backwards; all are cut out round the object at half
 * to full size, turned, mirrored, shaded; a third is mixed with another video's object or background.
 */
export async function drawClips(
  source: ClipSource,
  settings: ClipSettings,
  seed: number,
  pass: number,
): Promise<NativeClips> {
  const random = randomFrom(Math.floor(randomFrom(seed)() * 2 ** 32) + pass * 0x9e3779b1)
  const clips: NativeObjectClip[] = []
  for (let i = 0; i < settings.batchSize; i++) clips.push(await drawClip(source, settings, random))
  return { kind: 'clips', clips, height: settings.height, width: settings.width }
}

interface Chosen {
  video: number
  frames: LabelledFrame[]
  reference: { x: number; y: number }
  object: { x: number; y: number }
}

/** Frames of one video; the last draw is taken as it is. */
async function chooseFrames(source: ClipSource, count: number, random: Random): Promise<Chosen> {
  for (let attempt = 1; ; attempt++) {
    const video = whole(random, source.lengths.length)
    const length = source.lengths[video] as number
    const gap = Math.min(1 + whole(random, 5), Math.floor((length - 1) / (count - 2)))
    const start = whole(random, length - gap * (count - 2))
    const following = Array.from({ length: count - 1 }, (_, i) => start + gap * i)
    if (random() < 0.5) following.reverse()
    const near = Math.min(length - 1, Math.max(0, (following[0] as number) + whole(random, 11) - 5))
    const reference = random() < 0.7 ? whole(random, length) : near
    const frames = await Promise.all([reference, ...following].map((frame) => source.read(video, frame)))
    const middles = frames.slice(0, 2).map(({ mask }) => centre(mask))
    const [first, second] = middles as [ReturnType<typeof centre>, ReturnType<typeof centre>]
    const seen = first.pixels >= LEAST_REFERENCE_PIXELS && second.pixels >= LEAST_PIXELS
    if (!seen && attempt < TRIES) continue
    const orMiddle = ({ x, y, pixels }: typeof first) => (pixels > 0 ? { x, y } : { x: 0, y: 0 })
    return { video, frames, reference: orMiddle(first), object: orMiddle(second) }
  }
}

async function drawClip(
  source: ClipSource,
  { frames: count, motion = 1 }: ClipSettings,
  random: Random,
): Promise<NativeObjectClip> {
  const { video, frames, reference, object } = await chooseFrames(source, count, random)
  const zoom = between(random, 0.5, 1)
  const mirror = random() < 0.5 ? -1 : 1
  const turn = random() < 0.5 ? between(random, -10, 10) : 0
  const jitter = () => ({ x: between(random, -0.3, 0.3), y: between(random, -0.3, 0.3) })
  const jitters = [jitter(), jitter()]
  const gain = drawGain(random)
  const around = (middle: number, reach: number) => between(random, middle - reach * motion, middle + reach * motion)
  const offset = between(random, -20, 20)
  const placed = frames.map((frame, t): NativeClipFrame => {
    const scale = t === 0 ? between(random, 0.8, 1.25) : 1
    const size = Math.min(1.05, zoom * around(1, 0.05) * scale)
    const middle = t === 0 ? reference : object
    const { x, y } = jitters[Math.min(t, 1)] as { x: number; y: number }
    const limit = Math.max(0, 1 - size)
    const inside = (place: number) => Math.min(limit, Math.max(-limit, place)) + around(0, 0.03)
    const place = placement({
      size,
      x: inside(middle.x + x * size),
      y: inside(middle.y + y * size),
      degrees: turn + around(0, 3),
      mirror,
      aspect: frame.image.height / frame.image.width,
    })
    const shade = between(random, 0.95, 1.05)
    return { ...frame, place, gain: gain.map((factor) => factor * shade), offset }
  })
  const clip: NativeObjectClip = { frames: placed }
  const mixture = await drawMixture(source, video, count, random)
  if (mixture !== undefined) clip.mixture = mixture
  if (random() < 0.8) clip.damage = drawDamage(random)
  return clip
}

function drawGain(random: Random): number[] {
  if (random() < 0.5) return [0, 0, 0].map(() => between(random, 0.75, 1.25))
  return new Array<number>(3).fill(between(random, 0.8, 1.2))
}

/** Cut out at `size` of the frame round (x, y), turned and perhaps mirrored. */
function placement(of: { size: number; x: number; y: number; degrees: number; mirror: number; aspect: number }) {
  const angle = (of.degrees * Math.PI) / 180
  const [c, s] = [of.size * Math.cos(angle), of.size * Math.sin(angle)]
  return [c * of.mirror, -s * of.aspect, of.x, (s * of.mirror) / of.aspect, c, of.y]
}

async function drawMixture(
  source: ClipSource,
  video: number,
  count: number,
  random: Random,
): Promise<NativeObjectClip['mixture']> {
  const chance = random()
  const other = whole(random, source.lengths.length)
  const length = source.lengths[other] as number
  const [start, gap] = [whole(random, length), 1 + whole(random, 3)]
  const mirror = random() < 0.5 ? -1 : 1
  const scale = between(random, 0.8, 1.8)
  const [x, y] = [between(random, -0.5, 0.5), between(random, -0.4, 0.4)]
  const before = random() < 0.3
  if (chance >= 0.35 || other === video) return undefined
  const background = chance >= 0.2
  const size = background ? Math.min(scale, 1) : scale
  const place = [size * mirror, 0, background ? 0 : x, 0, size, background ? 0 : y]
  const frames = await Promise.all(
    Array.from({ length: count }, (_, t) => source.read(other, (start + gap * t) % length)),
  )
  return {
    role: background ? 'background' : before ? 'front' : 'behind',
    frames: frames.map((frame) => ({ ...frame, place, gain: [1, 1, 1], offset: 0 })),
  }
}

function drawDamage(random: Random): NativeMaskDamage {
  const off = () => between(random, -0.05, 0.05)
  const moved = random() < 0.7
  const place = moved
    ? [between(random, 0.9, 1.1), off(), 0.8 * off(), off(), between(random, 0.9, 1.1), 0.8 * off()]
    : [1, 0, 0, 0, 1, 0]
  const reach = [0, 0, 1, 2, 4][whole(random, 5)] as number
  const grow = random() < 0.5 ? reach : -reach
  if (random() >= 0.3) return { place, grow }
  const [height, width] = [between(random, 0.02, 0.5), between(random, 0.02, 0.5)]
  const box = [random() - height / 2, random() - width / 2, height, width]
  return { place, grow, patch: { box, value: random() < 0.3 ? 1 : 0 } }
}
