// A program that does one unit of work per line on its standard input and answers each with one JSON line: torchvid's
// (bench/sides) or PyTorch's (bench/peers). While one works, the other waits for its next line.
import { spawn, spawnSync } from 'node:child_process'
import path from 'node:path'
import { createInterface } from 'node:readline'

const bench = import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname)
const env = { ...process.env, PREBUILDS_ONLY: '1' }

export class Side {
  /** Starts a program and waits until it says that it is ready; `ready` then holds what it said. */
  static async start(program, script, args) {
    const side = new Side(program, script, args)
    side.ready = await side.next()
    return side
  }

  constructor(program, script, args) {
    this.script = script
    this.waiting = []
    this.cpu = 0 // seconds used so far, all threads
    this.peakMemory = 0 // bytes
    this.child = spawn(program, [path.join(bench, script), ...args], { env, stdio: ['pipe', 'pipe', 'inherit'] })
    this.child.on('error', (error) => this.fail(error))
    this.child.on('exit', (code, signal) => this.fail(new Error(`${script} ended with ${signal ?? `code ${code}`}`)))
    this.child.stdin.on('error', () => {}) // its end is reported above
    createInterface({ input: this.child.stdout }).on('line', (line) => this.answer(line))
  }

  /** Does one unit of work and gives the program's answer. */
  ask(unit) {
    if (this.failure) return Promise.reject(this.failure)
    const answer = this.next()
    this.child.stdin.write(`${unit}\n`)
    return answer
  }

  /** Lets the program end. */
  async close() {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    this.closing = true
    const gone = new Promise((resolve) => this.child.once('exit', resolve))
    this.child.stdin.end('quit\n')
    await gone
  }

  next() {
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }))
  }

  answer(line) {
    const record = JSON.parse(line)
    this.cpu = record.cpu ?? this.cpu
    this.peakMemory = record.peakMemory ?? this.peakMemory
    const { resolve, reject } = this.waiting.shift()
    if (record.error) reject(new Error(`${this.script}: ${record.error}`))
    else resolve(record)
  }

  fail(error) {
    this.failure = error
    for (const { reject } of this.waiting.splice(0)) reject(error)
  }
}

/** Runs a program to its end and gives its one line, with the seconds that the whole process took. */
export function runOnce(program, script, args = []) {
  const begin = performance.now()
  const result = spawnSync(program, [path.join(bench, script), ...args], {
    env,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const process = (performance.now() - begin) / 1000
  if (result.error) throw result.error
  if (result.status !== 0) throw new Error(`${script} ended with ${result.signal ?? `code ${result.status}`}`)
  return { ...JSON.parse(result.stdout), process }
}

/** The Python to measure against, and its torch; with none, says how to get one and ends with code 2. */
export function findPython(given, wanted) {
  const python = given ?? process.env.TORCHVID_BENCH_PYTHON ?? 'python3'
  const probe = spawnSync(python, ['-c', 'import numpy, torch; print(torch.__version__)'], { encoding: 'utf8' })
  const found = probe.status === 0 ? probe.stdout.trim() : undefined
  if (found?.startsWith(`${wanted}+`) || found === wanted) return python
  console.error(`The benchmark needs a Python with torch ${wanted} and numpy; ${python} has ${found ?? 'none'}. For one:

  python3 -m venv bench-venv && bench-venv/bin/pip install torch==${wanted} numpy
  npm run bench -- --python bench-venv/bin/python

On Linux, add --index-url https://download.pytorch.org/whl/cpu for the small build without CUDA.
TORCHVID_BENCH_PYTHON names the Python too.`)
  process.exit(2)
}
