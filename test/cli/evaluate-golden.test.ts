import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { shared, sharedNote } from '../helpers/expect.ts'
import { eventsOf, scratch, torchvid } from './helpers.ts'

const folder = scratch()

test.skipIf(shared === undefined)(
  `the OSVOS authors' masks: every frame's J and F as the official code says, and their means${sharedNote}`,
  async () => {
    const golden = join(shared!, 'golden', 'davis-metrics')
    const out = join(folder, 'golden')
    const masks = ['--masks', join(golden, 'osvos-masks')]
    const set = join(shared!, 'data', 'davis-2016')
    const outcome = await torchvid(['evaluate', '--davis', set, ...masks, '--out', out, '--jobs', '2', '--json'])
    expect(outcome.status).toBe(0)
    const { jaccard, contour, jf, frames } = eventsOf(outcome).at(-1)!
    expect([jaccard.mean.toFixed(3), contour.mean.toFixed(3), jf.toFixed(3), frames]).toEqual([
      ...['0.753', '0.820', '0.786'],
      449,
    ])
    const wanted: Record<string, { J: number[]; F: number[] }> = JSON.parse(
      readFileSync(join(golden, 'expected.json'), 'utf8'),
    )
    for (const [name, { J, F }] of Object.entries(wanted)) {
      const { measured, objects } = JSON.parse(readFileSync(join(out, name, 'scores.json'), 'utf8'))
      expect(measured).toEqual(Array.from({ length: J.length - 2 }, (_, i) => i + 1))
      for (const [i, frame] of measured.entries()) {
        expect(Math.abs(objects[0].jaccard[i] - J[frame]!), `${name} ${frame}`).toBeLessThan(1e-6)
        expect(Math.abs(objects[0].contour[i] - F[frame]!), `${name} ${frame}`).toBeLessThan(1e-6)
      }
    }
  },
)
