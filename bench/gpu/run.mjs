// The GPU benchmark: torchvid beside the references' algorithms in eager PyTorch, on one GPU. See scripts/gpu/README.md.
//
//   node bench/gpu/run.mjs [--only peak,a,b,c,d,quality] [--device cuda] [--tiny] [--python PATH] [--shared FOLDER] [--json FILE]
//   node bench/gpu/run.mjs --report FOLDER      one table of all bench-*.json in a folder
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { compareFit, compareFrames, compareRtfm, compareSlim, measurePeak } from './compare.mjs'
import { measureQuality } from './quality.mjs'
import { report } from './report.mjs'

const parts = {
  peak: measurePeak,
  a: compareFit,
  b: compareFrames,
  c: compareRtfm,
  d: compareSlim,
  quality: measureQuality,
}

const values = readArguments()
if (values.report !== undefined) console.log(report(readResults(values.report)))
else await measure()

async function measure() {
  const wanted = values.only?.split(',') ?? Object.keys(parts)
  for (const name of wanted) {
    if (!(name in parts)) usage(`--only ${name}: there are ${Object.keys(parts).join(', ')}`)
  }
  const { device, tiny, shared, python = process.env.TORCHVID_BENCH_PYTHON ?? 'python3' } = values
  const say = (text) => console.error(text)
  const results = { date: new Date().toISOString(), device, tiny }
  for (const name of wanted) {
    try {
      results[name] = await parts[name]({ device, tiny, shared, python, say })
    } catch (error) {
      console.error(`bench: ${name}: ${error.stack}`)
      results[name] = { error: error.message }
      process.exitCode = 1 // the other parts are still worth having
    }
  }
  const root = fileURLToPath(new URL('../..', import.meta.url))
  const file = values.json ?? path.join(root, 'bench/out', `gpu-${results.date.replaceAll(':', '-')}.json`)
  fs.mkdirSync(path.dirname(file), { recursive: true })
  fs.writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`)
  console.log(report(results))
  console.error(`All numbers: ${file}`)
}

/** What single parts measured, joined. */
function readResults(folder) {
  const files = fs.readdirSync(folder).filter((name) => /^bench-.*\.json$/.test(name))
  if (files.length === 0) usage(`--report ${folder}: there is no bench-*.json`)
  const all = files.map((name) => JSON.parse(fs.readFileSync(path.join(folder, name), 'utf8')))
  return Object.assign({}, ...all)
}

function readArguments() {
  try {
    return parseArgs({
      options: {
        only: { type: 'string' },
        device: { type: 'string', default: 'cuda' },
        tiny: { type: 'boolean', default: false },
        python: { type: 'string' },
        shared: { type: 'string' },
        json: { type: 'string' },
        report: { type: 'string' },
      },
    }).values
  } catch (error) {
    return usage(error.message)
  }
}

function usage(problem) {
  console.error(problem)
  console.error(
    'node bench/gpu/run.mjs [--only peak,a,b,c,d,quality] [--device cuda] [--tiny] [--python PATH] [--shared FOLDER] [--json FILE] [--report FOLDER]',
  )
  process.exit(2)
}
