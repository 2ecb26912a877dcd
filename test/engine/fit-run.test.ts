import { OSVOS, type TrainingProgress } from 'torchvid'
import { afterAll, describe, expect, test } from 'vitest'
import { failureOf, refuses } from '../helpers/expect.ts'
import { disk } from '../helpers/pictures.ts'

const { image, mask } = disk()
const parent = OSVOS.create({ backbone: 'mobilenet', device: 'cpu' })
afterAll(async () => (await parent).dispose())

describe('a real fit as a Run', () => {
  test('one record per pass, in order; onProgress ends with the last', async () => {
    const seen: TrainingProgress[] = []
    const run = (await parent).fit(image, mask, { iterations: 25, onProgress: (p) => seen.push(p) })
    const records: TrainingProgress[] = []
    for await (const record of run) records.push(record)
    expect(records.map(({ step }) => step)).toEqual(Array.from({ length: 25 }, (_, i) => i + 1))
    for (const record of records) {
      expect(record.steps).toBe(25)
      expect(record.loss).toBeGreaterThan(0)
      expect(record.losses).toEqual({ fuse: record.loss })
      expect(record.secondsPerStep).toBeGreaterThan(0)
    }
    expect(records.at(-1)?.secondsLeft).toBe(0)
    const steps = seen.map(({ step }) => step)
    expect(steps).toEqual([...new Set(steps)].sort((a, b) => a - b))
    expect(seen.at(-1)).toEqual(records.at(-1))
    ;(await run).dispose()
  })

  test('aborted before it starts, mid-way, and after its end', async () => {
    const early = (await parent).fit(image, mask, { signal: AbortSignal.abort('early') })
    expect(await failureOf(() => early)).toBe('early')
    const started = (await parent).fit(image, mask, { iterations: 100_000 })
    started.abort('at once')
    expect(await failureOf(() => started)).toBe('at once')
    const controller = new AbortController()
    const midway = (await parent).fit(image, mask, { iterations: 100_000, signal: controller.signal })
    const steps: number[] = []
    const reading = (async () => {
      for await (const { step } of midway) {
        steps.push(step)
        if (step === 3) controller.abort('midway')
      }
    })()
    expect(await failureOf(() => reading)).toBe('midway')
    expect(await failureOf(() => midway)).toBe('midway')
    expect(steps).toEqual(steps.map((_, i) => i + 1))
    const over = (await parent).fit(image, mask, { iterations: 1 })
    const fitted = await over
    over.abort('late')
    expect(await over).toBe(fitted)
    fitted.dispose()
  })

  test('aborting one of three that wait for their turn leaves the others alone', async () => {
    const osvos = await parent
    const runs = [1, 2, 3].map(() => osvos.fit(image, mask, { iterations: 12 }))
    runs[1]!.abort('not this one')
    const ends = await Promise.allSettled(runs.map(({ result }) => result))
    expect(ends.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    for (const end of ends) if (end.status === 'fulfilled') end.value.dispose()
  })

  test('what onProgress throws ends it', async () => {
    const error = new Error('in my callback')
    const run = (await parent).fit(image, mask, {
      iterations: 100_000,
      onProgress: () => {
        throw error
      },
    })
    expect(await failureOf(() => run)).toBe(error)
  })

  test('leaving the loop lets it run on', async () => {
    const run = (await parent).fit(image, mask, { iterations: 8 })
    for await (const { step } of run) if (step === 2) break
    const fitted = await run
    expect(fitted).toBeInstanceOf(OSVOS)
    fitted.dispose()
  })

  test('a signal that is no signal is refused', async () => {
    await refuses(
      'ERR_INVALID_ARGUMENT',
      /signal/,
      async () => await (await parent).fit(image, mask, { signal: 'stop' as any, iterations: 1 }),
    )
  })

  test('short calls get their turn beside a long run', async () => {
    const run = (await parent).fit(image, mask, { iterations: 100_000 })
    for (let i = 0; i < 3; i++) expect((await (await parent).network.tensor('fuse.bias')).shape).toEqual([1])
    run.abort('enough')
    expect(await failureOf(() => run)).toBe('enough')
  })
})
