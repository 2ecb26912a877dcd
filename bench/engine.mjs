// What is paid besides the arithmetic: until the first result, per call, per training step.
import { runOnce, Side } from './side.mjs'
import { comparePairs } from './stats.mjs'

/** Fresh processes in turn, each from `import` to the first result of a small network. */
export function compareStartup({ python, quick, say }) {
  const runs = []
  for (let i = 0; i <= (quick ? 2 : 5); i++) {
    say(`first result, ${i === 0 ? 'warm-up' : `pair ${i}`}`)
    runs.push([runOnce(process.execPath, 'sides/first-result.mjs'), runOnce(python, 'peers/first_result.py')])
  }
  const counted = (key) => comparePairs(runs.slice(1).map((pair) => pair.map((run) => run[key])))
  return { import: counted('import'), first: counted('first'), process: counted('process') }
}

/** One forward call, and one training step, of networks with next to no arithmetic. */
export async function compareEngine({ python, quick, say }) {
  const sides = []
  try {
    sides.push(await Side.start(process.execPath, 'sides/engine.mjs', []))
    sides.push(await Side.start(python, 'peers/engine.py', []))
    const compare = async (unit) => {
      const pairs = []
      for (let i = 0; i <= (quick ? 2 : 7); i++) {
        say(`${unit}, ${i === 0 ? 'warm-up' : `pair ${i}`}`)
        const pair = []
        for (const side of sides) pair.push((await side.ask(unit)).seconds)
        pairs.push(pair)
      }
      return comparePairs(pairs.slice(1))
    }
    return { forward: await compare('forward 2000'), step: await compare('train 1000') }
  } finally {
    await Promise.all(sides.map((side) => side.close()))
  }
}
