// Renders a clip with ground truth: a textured star that moves, turns and changes size over a textured
// background that moves too, with look-alikes that are not the object. The same seed gives the same clip.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'

const TEXTURE = 256

/**
 * Yields `{ image, mask }` for every frame, as raw pixels: `image` RGB with smooth edges, `mask` one
 * channel, 255 where the middle of the pixel is inside the object, else 0.
 *
 * @param {{ width?: number, height?: number, frames?: number, seed?: number }} [options]
 */
export function* renderClip({ width = 320, height = 180, frames = 40, seed = 7 } = {}) {
  const random = generator(seed)
  const scene = {
    background: texture(random, [88, 98, 84], [44, 36, 34], 5),
    object: texture(random, [168, 92, 58], [52, 46, 38], 3),
    lookalike: texture(random, [158, 98, 66], [46, 42, 36], 5),
    shape: shape(random, 0.2),
    roundish: shape(random, 0.06),
    drift: [0.9 + random(), 0.3 + random() * 0.6],
    phase: random() * 6.28,
  }
  for (let t = 0; t < frames; t++) yield renderFrame(scene, t, width, height, generator(seed * 1000003 + t))
}

/**
 * Writes a clip as folders in the layout of DAVIS: `JPEGImages/480p/NAME/00000.jpg` and
 * `Annotations/480p/NAME/00000.png`. Returns both folders.
 *
 * @param {string} root
 * @param {Parameters<typeof renderClip>[0] & { name?: string }} [options]
 */
export async function writeClip(root, { name = 'clip', ...options } = {}) {
  const images = join(root, 'JPEGImages', '480p', name)
  const masks = join(root, 'Annotations', '480p', name)
  await mkdir(images, { recursive: true })
  await mkdir(masks, { recursive: true })
  let index = 0
  for (const { image, mask } of renderClip(options)) {
    const stem = String(index++).padStart(5, '0')
    await sharp(image.data, { raw: raw(image) })
      .jpeg({ quality: 95 })
      .toFile(join(images, `${stem}.jpg`))
    await sharp(mask.data, { raw: raw(mask) })
      .toColourspace('b-w')
      .png()
      .toFile(join(masks, `${stem}.png`))
  }
  return { images, masks }
}

const raw = ({ width, height, channels }) => ({ width, height, channels })

function renderFrame(scene, t, width, height, random) {
  const things = place(scene, t, width, height)
  const object = things.at(-1)
  const data = new Uint8Array(width * height * 3)
  const mask = new Uint8Array(width * height)
  const colour = [0, 0, 0]
  const [driftX, driftY] = scene.drift
  const light = 1 + 0.06 * Math.sin(t * 0.21)
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      sample(scene.background, x * 0.8 + driftX * t, y * 0.8 + driftY * t, colour)
      for (const thing of things) paint(thing, x + 0.5, y + 0.5, colour)
      if (inside(object, x + 0.5, y + 0.5)) mask[i] = 255
      const grain = (random() - 0.5) * 8
      for (let c = 0; c < 3; c++) data[i * 3 + c] = Math.max(0, Math.min(255, Math.round(colour[c] * light + grain)))
    }
  }
  return { image: { data, width, height, channels: 3 }, mask: { data: mask, width, height, channels: 1 } }
}

/** Where everything is at frame t; the object is last, in front of the others. */
function place(scene, t, width, height) {
  const unit = Math.min(width, height)
  const thing = (texture, shape, x, y, radius, angle) => {
    const reach = radius * shape.reach + 1
    return { texture, shape, x: x * width, y: y * height, radius, reach, cos: Math.cos(angle), sin: Math.sin(angle) }
  }
  const swing = scene.phase + t * 0.11
  const { lookalike, roundish, object, shape } = scene
  return [
    thing(lookalike, roundish, 0.18 + 0.004 * t, 0.26 + 0.05 * Math.sin(t * 0.13), unit * 0.1, t * 0.03),
    thing(lookalike, roundish, 0.84 - 0.003 * t, 0.76 + 0.04 * Math.cos(t * 0.17), unit * 0.12, 1 - t * 0.04),
    thing(
      object,
      shape,
      0.5 + 0.24 * Math.sin(swing),
      0.5 + 0.14 * Math.sin(swing * 1.7),
      unit * (0.23 + 0.035 * Math.sin(t * 0.16)),
      t * 0.055,
    ),
  ]
}

/** Blends a thing over the colour of one pixel, by how much of the pixel it covers. */
function paint(thing, x, y, colour) {
  const dx = x - thing.x
  const dy = y - thing.y
  if (dx * dx + dy * dy > thing.reach * thing.reach) return
  const cover = coverage(thing, x, y)
  if (cover === 0) return
  const zoom = 90 / thing.radius
  const under = [...colour]
  sample(thing.texture, (dx * thing.cos + dy * thing.sin) * zoom, (dy * thing.cos - dx * thing.sin) * zoom, colour)
  for (let c = 0; c < 3; c++) colour[c] = under[c] + cover * (colour[c] - under[c])
}

/** The part of the pixel around (x, y) that is inside, from 4 x 4 points. */
function coverage(thing, x, y) {
  const corners =
    inside(thing, x - 0.5, y - 0.5) +
    inside(thing, x + 0.5, y - 0.5) +
    inside(thing, x - 0.5, y + 0.5) +
    inside(thing, x + 0.5, y + 0.5)
  if (corners === 0 || corners === 4) return corners / 4
  let hits = 0
  for (let j = 0; j < 4; j++) for (let i = 0; i < 4; i++) hits += inside(thing, x + i / 4 - 0.375, y + j / 4 - 0.375)
  return hits / 16
}

/** 1 when the point is inside the thing's outline, which is a radius for every angle, else 0. */
function inside({ shape, radius, reach, cos, sin, x: cx, y: cy }, x, y) {
  const dx = x - cx
  const dy = y - cy
  const distance = dx * dx + dy * dy
  if (distance > reach * reach) return 0
  const angle = Math.atan2(dy * cos - dx * sin, dx * cos + dy * sin)
  let outline = 1
  for (const { times, height, phase } of shape.waves) outline += height * Math.cos(times * angle + phase)
  return distance < (radius * outline) ** 2 ? 1 : 0
}

/** An outline of five points with bumps; `depth` is how far the points stand out. */
function shape(random, depth) {
  const waves = [5, 2, 3].map((times, i) => ({ times, height: depth / (i + 1), phase: random() * 6.28 }))
  return { waves, reach: 1 + waves.reduce((sum, wave) => sum + wave.height, 0) }
}

/** A colour picture that can be laid edge to edge: smooth noise of several sizes, a mean and a spread a channel. */
function texture(random, mean, spread, coarse) {
  const data = new Float32Array(TEXTURE * TEXTURE * 3)
  for (let c = 0; c < 3; c++) {
    let weight = 1
    for (let cells = coarse * 2; cells <= 64; cells *= 2, weight *= 0.62) {
      const grid = Float32Array.from({ length: cells * cells }, () => random() * 2 - 1)
      for (let i = 0; i < TEXTURE * TEXTURE; i++) {
        const u = ((i % TEXTURE) / TEXTURE) * cells
        const v = (Math.floor(i / TEXTURE) / TEXTURE) * cells
        data[i * 3 + c] += weight * smooth(grid, cells, u, v)
      }
    }
    for (let i = c; i < data.length; i += 3) data[i] = mean[c] + spread[c] * data[i]
  }
  return data
}

function smooth(grid, cells, u, v) {
  const x = Math.floor(u)
  const y = Math.floor(v)
  const ease = (a) => a * a * (3 - 2 * a)
  const [fx, fy] = [ease(u - x), ease(v - y)]
  const at = (i, j) => grid[((y + j) % cells) * cells + ((x + i) % cells)]
  return (1 - fy) * ((1 - fx) * at(0, 0) + fx * at(1, 0)) + fy * ((1 - fx) * at(0, 1) + fx * at(1, 1))
}

/** The texture's colour at a point, between its pixels, into `out`. */
function sample(data, u, v, out) {
  const x = Math.floor(u)
  const y = Math.floor(v)
  const fx = u - x
  const fy = v - y
  const x0 = x & (TEXTURE - 1)
  const x1 = (x + 1) & (TEXTURE - 1)
  const y0 = (y & (TEXTURE - 1)) * TEXTURE
  const y1 = ((y + 1) & (TEXTURE - 1)) * TEXTURE
  for (let c = 0; c < 3; c++) {
    const top = data[(y0 + x0) * 3 + c] * (1 - fx) + data[(y0 + x1) * 3 + c] * fx
    const bottom = data[(y1 + x0) * 3 + c] * (1 - fx) + data[(y1 + x1) * 3 + c] * fx
    out[c] = top * (1 - fy) + bottom * fy
  }
}

/** A seeded generator of numbers from 0 to 1 (mulberry32). */
function generator(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}
