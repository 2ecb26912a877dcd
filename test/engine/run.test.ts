import { describe, expect, test, vi } from 'vitest'
import { type RunContext, startRun } from '../../lib/engine/run.ts'
import { collect } from '../helpers/collect.ts'

/** A run driven by hand: `context` is what its body got; `end` and `fail` end the body. */
function manual<P = number>(options: { signal?: AbortSignal; onProgress?: (p: P) => void } = {}) {
  let end: (value: string) => void = () => {}
  let fail: (reason: unknown) => void = () => {}
  let context: RunContext<P> | undefined
  const body = vi.fn((given: RunContext<P>) => {
    context = given
    return new Promise<string>((resolve, reject) => {
      end = resolve
      fail = reject
      given.signal.addEventListener('abort', () => reject(new Error('stopped by the signal')))
    })
  })
  const run = startRun<string, P>(options, body)
  return {
    run,
    body,
    context: () => context as RunContext<P>,
    end: (value: string) => end(value),
    fail: (reason: unknown) => fail(reason),
  }
}

const tick = () => new Promise((resolve) => setImmediate(resolve))

describe('records', () => {
  test('come in order, none lost, however they are batched and whenever they are read', async () => {
    const { run, context, end } = manual()
    context().report([1, 2, 3])
    const reading = collect(run)
    await tick()
    context().report([])
    context().report([4])
    context().report([5, 6])
    await tick()
    context().report([7])
    end('done')
    expect(await reading).toEqual([1, 2, 3, 4, 5, 6, 7])
    expect(await run).toBe('done')
  })

  test('are all there for a reader who comes after the end', async () => {
    const { run, context, end } = manual()
    context().report([1, 2])
    end('done')
    await run
    expect(await collect(run)).toEqual([1, 2])
    expect(await collect(run)).toEqual([])
  })

  test('before a failure are read first, then the failure is thrown', async () => {
    const { run, context, fail } = manual()
    const records: number[] = []
    context().report([1, 2])
    fail(new Error('broken'))
    const reading = (async () => {
      for await (const record of run) records.push(record)
    })()
    await expect(reading).rejects.toThrow('broken')
    expect(records).toEqual([1, 2])
    await expect(run).rejects.toThrow('broken')
  })

  test('leaving the loop does not stop the run, and another loop goes on where it was left', async () => {
    const { run, context, end } = manual()
    context().report([1, 2, 3])
    for await (const record of run) if (record === 1) break
    expect(context().signal.aborted).toBe(false)
    context().report([4])
    end('done')
    expect(await run).toBe('done')
    expect(await collect(run)).toEqual([2, 3, 4])
  })
})

describe('onProgress', () => {
  test('gets the latest of each batch, and always the last', async () => {
    const seen: number[] = []
    const { run, context, end } = manual<number>({ onProgress: (p) => seen.push(p) })
    context().report([1, 2, 3])
    context().report([4, 5])
    end('done')
    await run
    expect(seen).toEqual([3, 5])
  })

  test('what it throws aborts the run with that error, and loses no record', async () => {
    const error = new Error('my own mistake')
    const { run, context } = manual<number>({
      onProgress: () => {
        throw error
      },
    })
    context().report([1, 2])
    expect(context().signal.reason).toBe(error)
    await expect(run).rejects.toBe(error)
    const records: number[] = []
    await expect(
      (async () => {
        for await (const record of run) records.push(record)
      })(),
    ).rejects.toBe(error)
    expect(records).toEqual([1, 2])
  })

  test('thrown at the very last record, it still fails the run', async () => {
    const { run, context, end } = manual<number>({
      onProgress: () => {
        throw new Error('late')
      },
    })
    end('done')
    context().report([1])
    await expect(run).rejects.toThrow('late')
  })

  test('something that is no function is refused at once', () => {
    expect(() => startRun({ onProgress: 5 as any }, async () => 1)).toThrow(/onProgress.*a function/)
  })
})

describe('abort', () => {
  test('mid-way: rejects with the reason given, whatever the body says', async () => {
    const { run } = manual()
    const reason = { mine: true }
    run.abort(reason)
    await expect(run.result).rejects.toBe(reason)
    await expect(run).rejects.toBe(reason)
    await expect(collect(run)).rejects.toBe(reason)
  })

  test('without a reason: an AbortError', async () => {
    const { run } = manual()
    run.abort()
    await expect(run).rejects.toMatchObject({ name: 'AbortError' })
  })

  test('the first reason counts', async () => {
    const { run } = manual()
    run.abort('one')
    run.abort('two')
    await expect(run).rejects.toBe('one')
  })

  test('by a signal that was aborted before: the body is never called', async () => {
    const { run, body } = manual({ signal: AbortSignal.abort('too late') })
    await expect(run).rejects.toBe('too late')
    expect(body).not.toHaveBeenCalled()
    await expect(collect(run)).rejects.toBe('too late')
  })

  test('by the signal, mid-way', async () => {
    const controller = new AbortController()
    const { run } = manual({ signal: controller.signal })
    controller.abort('enough')
    await expect(run).rejects.toBe('enough')
  })

  test('after the end has no effect, and the signal keeps no listener', async () => {
    const controller = new AbortController()
    const remove = vi.spyOn(controller.signal, 'removeEventListener')
    const { run, context, end } = manual({ signal: controller.signal })
    end('done')
    await run
    controller.abort()
    run.abort()
    expect(await run).toBe('done')
    expect(await collect(run)).toEqual([])
    expect(remove).toHaveBeenCalled()
    expect(context().signal.aborted).toBe(true) // only run.abort reached it, to no effect
  })
})

test('is a promise as far as await and Promise.all can tell', async () => {
  const { run, end } = manual()
  end('done')
  expect(await Promise.all([run, run.result])).toEqual(['done', 'done'])
  expect(await run.then((value) => value.length)).toBe(4)
  const failing = startRun({}, async () => {
    throw new Error('no')
  })
  expect(await failing.then(undefined, (error: Error) => error.message)).toBe('no')
})

test('a run that fails and that nobody waits for is no unhandled rejection', async () => {
  const unhandled = vi.fn()
  process.on('unhandledRejection', unhandled)
  startRun({}, async () => {
    throw new Error('nobody hears')
  })
  await tick()
  await tick()
  process.off('unhandledRejection', unhandled)
  expect(unhandled).not.toHaveBeenCalled()
})
