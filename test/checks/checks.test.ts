import { join } from 'node:path'
import { expect, test } from 'vitest'
import { runProgram } from '../helpers/child.ts'
import { shared, sharedNote } from '../helpers/expect.ts'

const run = (name: string) => runProgram(process.execPath, [join(shared!, 'checks', `${name}.mjs`)])

test
  .skipIf(shared === undefined)
  .each(['osvos', 'davis-metrics', 'bad-input', 'slim', 'features', 'rtfm', 'mil-ranking'])(
  `the check %s holds${sharedNote}`,
  async (name) => {
    const { output, ...ending } = await run(name)
    expect(output).not.toMatch(/^SHORT/m)
    expect(ending).toEqual({ code: 0, signal: null })
  },
)

test.skipIf(shared === undefined)(`the check event-loop holds${sharedNote}`, async () => {
  let ending = await run('event-loop')
  // It measures delays, and other programs make delays too: once more before it counts.
  if (ending.code !== 0) ending = await run('event-loop')
  expect(ending.output).not.toMatch(/^SHORT/m)
  expect(ending).toMatchObject({ code: 0, signal: null })
})
