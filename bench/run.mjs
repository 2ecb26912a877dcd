// The benchmark: torchvid beside the same algorithm in Python on the same LibTorch. See docs/benchmarks.md.
//
//   node bench/run.mjs [--quick] [--only vgg16,mobilenet,startup,engine,slim,rtfm,features] [--json FILE] [--python PATH] [--threads N]
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { compareEngine, compareStartup } from './engine.mjs'
import { compareFeatures } from './features.mjs'
import { compareOsvos } from './osvos.mjs'
import { report } from './report.mjs'
import { compareRtfm } from './rtfm.mjs'
import { findPython } from './side.mjs'
import { compareSlim } from './slim.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const { torchvid } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'))

const parts = {
  vgg16: (options) => compareOsvos('vgg16', options),
  mobilenet: (options) => compareOsvos('mobilenet', options),
  startup: compareStartup,
  engine: compareEngine,
  slim: compareSlim,
  rtfm: compareRtfm,
  features: compareFeatures,
}

const values = readArguments()
const wanted = values.only?.split(',') ?? Object.keys(parts)
for (const name of wanted) {
  if (!(name in parts)) usage(`--only ${name}: there are ${Object.keys(parts).join(', ')}`)
}
const options = {
  python: findPython(values.python, torchvid.libtorch),
  threads: values.threads,
  quick: values.quick,
  say: (text) => console.error(text),
}
const results = {
  date: new Date().toISOString(),
  quick: values.quick,
  machine: {
    cpu: os.cpus()[0]?.model,
    cores: os.cpus().length,
    memory: os.totalmem(),
    system: `${os.platform()} ${os.arch()}`,
    node: process.versions.node,
  },
}
for (const name of wanted) {
  try {
    results[name] = await parts[name](options)
  } catch (error) {
    console.error(`bench: ${name}: ${error.message}`)
    process.exitCode = 1 // the other parts are still worth having
  }
}

console.log(report(results))
const file = values.json ?? path.join(root, 'bench', 'out', `${results.date.replaceAll(':', '-')}.json`)
fs.mkdirSync(path.dirname(file), { recursive: true })
fs.writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`)
console.error(`All numbers: ${file}`)

function readArguments() {
  try {
    return parseArgs({
      options: {
        quick: { type: 'boolean', default: false },
        only: { type: 'string' },
        json: { type: 'string' },
        python: { type: 'string' },
        threads: { type: 'string' },
      },
    }).values
  } catch (error) {
    return usage(error.message)
  }
}

function usage(problem) {
  console.error(problem)
  console.error(
    'node bench/run.mjs [--quick] [--only vgg16,mobilenet,startup,engine,slim,rtfm,features] [--json FILE] [--python PATH] [--threads N]',
  )
  process.exit(2)
}
