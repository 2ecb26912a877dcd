import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { decode } from 'fast-png'
import { beforeAll, describe, expect, test } from 'vitest'
import { eventsOf, filesBelow, HEIGHT, makeFrames, makeMask, scratch, torchvid, WIDTH } from './helpers.ts'

// Windows has no signals that a program could catch from another.
describe.skipIf(process.platform === 'win32')('an interrupted segment', () => {
  const folder = scratch()
  const frames = join(folder, 'frames')
  const mask = join(folder, 'mask.png')

  beforeAll(async () => {
    await makeFrames(
      frames,
      Array.from({ length: 400 }, (_, i) => `f${i}`),
    )
    await makeMask(mask)
  })

  test.each(['SIGINT', 'SIGTERM'] as const)(
    'by %s mid-fit: exits 130, keeps the checkpoint, which goes on',
    async (signal) => {
      const out = join(folder, `fit-${signal}`)
      const checkpoint = join(folder, `state-${signal}.safetensors`)
      const args = [
        'segment',
        frames,
        '--mask',
        mask,
        '--out',
        out,
        '--json',
        '--checkpoint',
        checkpoint,
        '--every',
        '1',
      ]
      let sent = false
      const outcome = await torchvid([...args, '--iterations', '100000'], (child, text) => {
        const step = Number(/.*"step":(\d+)/s.exec(text)?.[1] ?? 0)
        if (sent || step < 5) return
        sent = true
        child.kill(signal)
      })
      expect(outcome.status).toBe(130)
      expect(outcome.stderr).toContain(`--resume ${checkpoint}`)
      expect(eventsOf(outcome).at(-1)).toMatchObject({ event: 'interrupted' })
      expect(filesBelow(out)).toEqual([])
      expect(filesBelow(folder).filter((file) => file.endsWith('.tmp'))).toEqual([])

      const single = join(folder, `single-${signal}`)
      await makeFrames(single, ['one'])
      const step = Number(/at step (\d+) of/.exec(outcome.stderr)?.[1])
      expect(step).toBeGreaterThanOrEqual(5)
      const steps = String(step + 30)
      const rest = [
        '--mask',
        mask,
        '--out',
        out,
        '--json',
        '--no-overlay',
        '--resume',
        checkpoint,
        '--iterations',
        steps,
      ]
      const resumed = await torchvid(['segment', single, ...rest])
      expect(resumed.status).toBe(0)
      expect(eventsOf(resumed)[0]!.step).toBeGreaterThanOrEqual(step)
    },
  )

  test('by SIGINT mid-segment: exits 130, the masks that were told of are whole and nothing else is left', async () => {
    const out = join(folder, 'segment')
    let sent = false
    const args = ['segment', frames, '--mask', mask, '--out', out, '--json', '--iterations', '1']
    const outcome = await torchvid(args, (child, text) => {
      if (sent || !text.includes('"event":"frame","index":5')) return
      sent = true
      child.kill('SIGINT')
    })
    expect(outcome.status).toBe(130)
    const events = eventsOf(outcome)
    expect(events.at(-1)).toMatchObject({ event: 'interrupted' })
    const said = events.filter(({ event }) => event === 'frame').map(({ name }) => `${name}.png`)
    expect(said.length).toBeLessThan(400)
    expect(filesBelow(out)).toEqual(said.sort())
    for (const name of said) {
      expect(decode(readFileSync(join(out, name)))).toMatchObject({ width: WIDTH, height: HEIGHT })
    }
  })

  test('by a reader that leaves: stops, and says nothing of a broken pipe', async () => {
    const out = join(folder, 'left')
    const outcome = await torchvid(
      ['segment', frames, '--mask', mask, '--out', out, '--json', '--iterations', '1'],
      (child, text) => {
        if (text.includes('"event":"fit"')) child.stdout?.destroy()
      },
    )
    expect(outcome.status).toBe(130)
    expect(outcome.stderr).not.toMatch(/EPIPE|at .*\.mjs/)
    expect(filesBelow(out).length).toBeLessThan(400)
    expect(filesBelow(out).filter((file) => !/^f\d+\.png$/.test(file))).toEqual([])
  })
})
