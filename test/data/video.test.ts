import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, readFileSync, renameSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { ffmpegPath } from '../../lib/data/ffmpeg.ts'
import { openFrames } from '../../lib/data/frames.ts'
import { PpmParser } from '../../lib/data/ppm.ts'
import { readVideo, videoInfo } from '../../lib/data/video.ts'
import { createVideoWriter } from '../../lib/data/video-writer.ts'
import type { RawImage } from '../../lib/types.ts'
import { hasFfmpeg, leftovers, makeVideo, picture, refuses, scratch } from './helpers.ts'

const folder = scratch()
afterEach(() => vi.unstubAllEnvs())

describe('PpmParser', () => {
  test('cuts frames wherever the chunks end', () => {
    const frames = [picture(3, 2), picture(5, 4, 1), picture(3, 2, 2)]
    const stream = Buffer.concat(frames.flatMap((f) => [Buffer.from(`P6\n${f.width} ${f.height}\n255\n`), f.data]))
    for (let size = 1; size <= stream.length; size++) {
      const parser = new PpmParser()
      const out: RawImage[] = []
      for (let at = 0; at < stream.length; at += size) out.push(...parser.push(stream.subarray(at, at + size)))
      expect(parser.pending).toBe(false)
      expect(out).toEqual(frames)
    }
  })

  test('knows a frame that is cut short, and refuses another format', async () => {
    const parser = new PpmParser()
    expect([...parser.push(Buffer.from('P6\n3 2\n255\nabc'))]).toEqual([])
    expect(parser.pending).toBe(true)
    await refuses('ERR_IO', /PPM/, () => [...new PpmParser().push(Buffer.from('RIFFxxxx'))])
    await refuses('ERR_IO', /PPM/, () => [...new PpmParser().push(Buffer.from(`P6\n${'1'.repeat(99)}`))])
  })
})

describe('without ffmpeg', () => {
  test('a video is ERR_IO that says how to get it', async () => {
    const path = join(folder, 'any.mp4')
    writeFileSync(path, 'x')
    vi.stubEnv('FFMPEG_PATH', undefined)
    vi.stubEnv('PATH', folder)
    for (const action of [() => ffmpegPath(), () => openFrames(path), () => readVideo(path).next()]) {
      await refuses('ERR_IO', /apt install ffmpeg.*FFMPEG_PATH/, action)
    }
    await refuses('ERR_IO', /apt install/, () => createVideoWriter(join(folder, 'o.mp4'), { width: 2, height: 2 }))
    vi.stubEnv('FFMPEG_PATH', join(folder, 'nothing'))
    await refuses('ERR_IO', /FFMPEG_PATH is ".*nothing"/, () => ffmpegPath())
  })
})

// Everything below makes its videos with ffmpeg, and is skipped without one.
describe.skipIf(!hasFfmpeg)('with ffmpeg', () => {
  const whole = join(folder, 'whole.mp4')

  test('every frame comes, in order, with its size', async () => {
    makeVideo(whole, 30, { extra: ['-vf', 'geq=lum=40+N*5:cb=128:cr=128'] })
    expect(await videoInfo(whole)).toEqual({ width: 64, height: 48, fps: 25, frames: 30 })
    const reader = await openFrames(whole)
    expect(reader).toMatchObject({ name: 'whole.mp4', count: 30, fps: 25 })
    const frames = []
    for await (const frame of reader) frames.push(frame)
    expect(frames).toHaveLength(30)
    expect(frames.map((f) => f.name).slice(0, 2)).toEqual(['00000', '00001'])
    expect(new Set(frames.map((f) => `${f.image.width}x${f.image.height}x${f.image.channels}`))).toEqual(
      new Set(['64x48x3']),
    )
    // The picture brightens from frame to frame.
    const brightness = frames.map((f) => f.image.data.reduce((sum, v) => sum + v, 0))
    for (let i = 1; i < 30; i++) expect(brightness[i]).toBeGreaterThan(brightness[i - 1]!)
  })

  test('frames of uneven times are neither repeated nor dropped', async () => {
    const path = join(folder, 'uneven.mkv')
    makeVideo(path, 50, { extra: ['-vf', "select='not(mod(n,7))+not(mod(n,5))'", '-vsync', 'vfr'] })
    let count = 0
    for await (const _ of readVideo(path)) count++
    expect(count).toBe(16)
  })

  test('a rotated and a 10-bit video come upright and as 8 bits', async () => {
    const path = join(folder, 'rotated.mp4')
    const deep = join(folder, 'deep.mkv')
    makeVideo(whole, 30)
    execFileSync('ffmpeg', ['-y', '-v', 'error', '-i', whole, '-c', 'copy', '-metadata:s:v:0', 'rotate=90', path])
    const info = await videoInfo(path)
    for await (const frame of readVideo(path)) {
      expect([frame.width, frame.height]).toEqual([info.width, info.height])
      break
    }
    execFileSync('ffmpeg', ['-y', '-v', 'error', '-i', whole, '-c:v', 'ffv1', '-pix_fmt', 'yuv420p10le', deep])
    for await (const frame of readVideo(deep)) expect(frame.data).toHaveLength(64 * 48 * 3)
  })

  test.each(['mkv', 'mp4'])('a truncated %s gives the frames it has, then ERR_IO', async (ending) => {
    const path = join(folder, `cut.${ending}`)
    makeVideo(path, 50, { extra: ending === 'mp4' ? ['-movflags', '+faststart'] : [] })
    truncateSync(path, Math.floor(statSync(path).size * 0.7))
    let count = 0
    const error = await refuses('ERR_IO', /cut\.\w+.*cut short or damaged: \d+ frames/, async () => {
      for await (const _ of await openFrames(path)) count++
    })
    expect(error.message).toContain(`: ${count} frames were decoded`)
    expect(count).toBeGreaterThan(0)
    expect(count).toBeLessThan(50)
  })

  test('an mp4 without its index, a text and a missing file are ERR_IO at once', async () => {
    const path = join(folder, 'no-index.mp4')
    makeVideo(path, 50)
    truncateSync(path, Math.floor(statSync(path).size * 0.7))
    await refuses('ERR_IO', /no-index\.mp4.*not a video/, () => openFrames(path))
    await refuses('ERR_IO', /no-index\.mp4.*not a video/, () => readVideo(path).next())
    const text = join(folder, 'text.mp4')
    writeFileSync(text, 'hello')
    await refuses('ERR_IO', /text\.mp4.*not a video/, () => openFrames(text))
    await refuses('ERR_IO', /no video file ".*none\.mp4"/, () => readVideo(join(folder, 'none.mp4')).next())
    await refuses('ERR_IO', /is a folder/, () => readVideo(folder).next())
  })

  test('odd names are files, not options or addresses', async () => {
    const cwd = process.cwd()
    process.chdir(folder)
    try {
      for (const name of ['-y.mp4', 'concat:a|b.mp4', "it's; $(x) %d.mp4"]) {
        makeVideo(join(folder, 'plain.mp4'), 3)
        renameSync(join(folder, 'plain.mp4'), join(folder, name))
        let count = 0
        for await (const _ of readVideo(name)) count++
        expect(count).toBe(3)
      }
    } finally {
      process.chdir(cwd)
    }
  })

  test('leaving early and aborting end ffmpeg', async () => {
    const pids = join(folder, 'pids')
    const program = join(folder, 'ffmpeg-with-pid')
    writeFileSync(program, `#!/bin/sh\necho $$ >> '${pids}'\nexec '${ffmpegPath()}' "$@"\n`)
    chmodSync(program, 0o755)
    const long = join(folder, 'long.mp4')
    makeVideo(long, 100, { size: '320x180' })
    vi.stubEnv('FFMPEG_PATH', program)
    const running = () => readFileSync(pids, 'utf8').trim().split('\n').map(Number).filter(isRunning)

    for await (const _ of await openFrames(long)) {
      expect(running()).toHaveLength(1)
      break
    }
    await vi.waitFor(() => expect(running()).toEqual([]))

    const controller = new AbortController()
    const reason = new Error('enough')
    const read = async () => {
      for await (const frame of await openFrames(long, { signal: controller.signal })) {
        if (frame.index === 2) controller.abort(reason)
      }
    }
    await expect(read()).rejects.toBe(reason)
    await vi.waitFor(() => expect(running()).toEqual([]))
    await expect(readVideo(long, { signal: controller.signal }).next()).rejects.toBe(reason)
  })

  test('a reader that is dropped does not keep the process from ending', async () => {
    const long = join(folder, 'dropped.mp4')
    makeVideo(long, 100, { size: '320x180' })
    const alive = () => process.getActiveResourcesInfo().filter((name) => /Process|Pipe/.test(name)).length
    const before = alive()
    const frames = readVideo(long)
    const next = frames.next()
    await vi.waitFor(() => expect(alive()).toBeGreaterThan(before))
    await next
    expect(alive()).toBe(before)
    await frames.return(undefined)
  })
})

describe.skipIf(!hasFfmpeg)('createVideoWriter', () => {
  test('writes a video that readVideo reads, and its name only at the end', async () => {
    const path = join(folder, 'made', 'out.mp4')
    const flat = new Uint8Array(33 * 17 * 3).map((_, i) => [200, 60, 30][i % 3]!)
    const writer = await createVideoWriter(path, { width: 33, height: 17, fps: 10 })
    for (let i = 0; i < 12; i++) await writer.write(flat)
    expect(existsSync(path)).toBe(false)
    await writer.close()
    await writer.close()
    expect(leftovers(join(folder, 'made'))).toEqual([])
    expect(await videoInfo(path)).toEqual({ width: 34, height: 18, fps: 10, frames: 12 })
    const { value } = await readVideo(path).next()
    const middle = (9 * 34 + 16) * 3
    const colour = [...(value as RawImage).data.subarray(middle, middle + 3)]
    for (const [c, v] of colour.entries()) expect(Math.abs(v - [200, 60, 30][c]!)).toBeLessThan(8)
    await refuses('ERR_DISPOSED', /closed/, () => writer.write(flat))
  })

  test('aborting leaves nothing', async () => {
    const writer = await createVideoWriter(join(folder, 'given-up.mp4'), { width: 32, height: 16 })
    await writer.write(new Uint8Array(32 * 16 * 3))
    await writer.abort()
    expect(existsSync(join(folder, 'given-up.mp4'))).toBe(false)
    expect(leftovers(folder)).toEqual([])
  })

  test('refuses pictures of another size, no pictures, and other kinds of file', async () => {
    const path = join(folder, 'refused.mp4')
    const writer = await createVideoWriter(path, { width: 32, height: 16 })
    await refuses('ERR_SHAPE', /5 bytes, wanted 1536/, () => writer.write(new Uint8Array(5)))
    await refuses('ERR_INVALID_ARGUMENT', /no picture/, () => writer.close())
    await refuses('ERR_INVALID_ARGUMENT', /\.mp4/, () => createVideoWriter('out.gif', { width: 2, height: 2 }))
    expect(leftovers(folder)).toEqual([])
  })

  test('an ffmpeg that dies, and a place that cannot be written, are ERR_IO', async () => {
    const file = join(folder, 'a-file')
    writeFileSync(file, '')
    const size = { width: 32, height: 16 }
    await refuses('ERR_IO', /could not be written/, () => createVideoWriter(join(file, 'x', 'out.mp4'), size))
    const program = join(folder, 'ffmpeg-that-dies')
    writeFileSync(program, '#!/bin/sh\necho "No space left on device" >&2\nexit 1\n')
    chmodSync(program, 0o755)
    vi.stubEnv('FFMPEG_PATH', program)
    await refuses('ERR_IO', /disk is full.*No space left/, async () => {
      const writer = await createVideoWriter(join(folder, 'dies.mp4'), size)
      for (let i = 0; i < 1000; i++) await writer.write(new Uint8Array(32 * 16 * 3))
      await writer.close()
    })
    expect(leftovers(folder)).toEqual([])
  })
})

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
