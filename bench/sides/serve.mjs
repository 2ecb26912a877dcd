// What torchvid's sides share: the protocol of bench/side.mjs, and the formula that both sides fill pictures by.
import fs from 'node:fs'
import { createInterface } from 'node:readline'

export function answer(record) {
  const { user, system } = process.cpuUsage()
  console.log(JSON.stringify({ ...record, cpu: (user + system) / 1e6, peakMemory: peakMemory() }))
}

/** Does one of `units` (name -> async function of the line's further words, returning what to answer) per line. */
export async function serve(ready, units) {
  answer({ unit: 'ready', ...ready })
  for await (const line of createInterface({ input: process.stdin })) {
    const [unit, ...words] = line.trim().split(' ')
    if (unit === 'quit') break
    try {
      answer({ unit, ...(await units[unit](...words)) })
    } catch (error) {
      answer({ error: error.message })
    }
  }
}

/** Bytes. On Linux without what the process inherited from the one that started it. */
export function peakMemory() {
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]) * 1024
  } catch {
    return process.resourceUsage().maxRSS * 1024
  }
}

export async function seconds(work) {
  const begin = performance.now()
  await work()
  return (performance.now() - begin) / 1000
}

/** A training's losses, the mean seconds of a step as its own clock had it at each, and what it gives. */
export async function follow(run) {
  const losses = []
  const means = []
  for await (const { loss, secondsPerStep } of run) {
    losses.push(loss)
    means.push(secondsPerStep)
  }
  return { losses, means, result: await run }
}

/** `count` bytes that depend on nothing but the name and the seed; `formula` of peers/common.py, times 256. */
export function formulaBytes(name, count, seed) {
  let h = 0x811c9dc5
  for (const byte of Buffer.from(name)) h = Math.imul(h ^ byte, 0x01000193)
  h ^= Math.imul(seed, 0x9e3779b9)
  return Uint8Array.from({ length: count }, (_, i) => {
    let x = (Math.imul(i, 2654435761) + h) | 0
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b)
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35)
    return (x ^ (x >>> 16)) >>> 24
  })
}

/** A random picture and a box as its object's mask, as peers/osvos.py makes them. */
export function pictureAndMask(width, height, seed = 1) {
  const image = { data: formulaBytes('image', width * height * 3, seed), width, height, channels: 3 }
  const mask = { data: new Uint8Array(width * height), width, height, channels: 1 }
  for (let y = height >> 2; y < height >> 1; y++) {
    mask.data.fill(1, y * width + Math.floor(width / 3), y * width + Math.floor((2 * width) / 3))
  }
  return { image, mask }
}
