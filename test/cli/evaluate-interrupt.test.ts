import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { makeDavis } from './davis-sets.ts'
import { eventsOf, filesBelow, scratch, torchvid } from './helpers.ts'

// Windows has no signals that a program could catch from another.
describe.skipIf(process.platform === 'win32')('an interrupted evaluate', () => {
  const folder = scratch()
  const davis = join(folder, 'davis')
  const names = ['a', 'b', 'c', 'd', 'e']
  const model = ['--backbone', 'mobilenet', '--max-size', '32', '--iterations']
  const call = ['evaluate', '--davis', davis, '--sequences', names.join(','), '--json']

  beforeAll(async () => {
    await makeDavis(davis, Object.fromEntries(names.map((name) => [name, 4])))
  })

  test.each(['1', '2'])('with --jobs %s: exits 130, keeps what is done and goes on from there', async (jobs) => {
    const out = join(folder, `out-${jobs}`)
    const args = [...call, ...model, '4', '--out', out, '--jobs', jobs]
    let sent = false
    const outcome = await torchvid(args, (child, text) => {
      if (sent || !text.includes('"event":"sequence"')) return
      sent = true
      child.kill('SIGINT')
    })
    expect(outcome.status).toBe(130)
    expect(outcome.stderr).toMatch(/Interrupted: [1-4] of 5 sequences are done and kept in .* goes on/)
    expect(eventsOf(outcome).at(-1)).toMatchObject({ event: 'interrupted' })
    const kept = readdirSync(out)
    expect(kept.length).toBeGreaterThanOrEqual(1)
    expect(kept.length).toBeLessThan(5)
    for (const name of kept) {
      expect(names).toContain(name)
      expect(filesBelow(join(out, name)).length).toBe(5)
      expect(JSON.parse(readFileSync(join(out, name, 'scores.json'), 'utf8')).measured).toEqual([1, 2])
    }

    const again = await torchvid(args)
    expect(again.status).toBe(0)
    const resumed = eventsOf(again).filter((event) => event.event === 'sequence' && event.resumed)
    expect(resumed.map(({ name }) => name).sort()).toEqual(kept.sort())
    expect(
      eventsOf(again)
        .at(-1)!
        .sequences.map(({ name }: any) => name),
    ).toEqual(names)
  })

  test('in the middle of a fit: nothing is left of its sequence', async () => {
    const out = join(folder, 'mid-fit')
    let sent = false
    const outcome = await torchvid([...call, ...model, '100000', '--out', out], (child, text) => {
      if (sent || !text.includes('"stage":"fit"')) return
      sent = true
      child.kill('SIGTERM')
    })
    expect(outcome.status).toBe(130)
    expect(outcome.stderr).toContain('0 of 5 sequences')
    expect(filesBelow(out)).toEqual([])
  })
})
