// Runs the tests on the prebuilt addon; arguments go to vitest. Ends with one line: N passed, N failed[, N skipped].
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { run, tool } from './tools.mjs'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'torchvid-test-'))
const report = path.join(folder, 'report.json')
const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`]
const env = { ...process.env, PREBUILDS_ONLY: '1' }
const status = run([...tool('vitest'), 'run', ...reporters, ...process.argv.slice(2)], { env })
const counts = readCounts(report)
fs.rmSync(folder, { recursive: true })

const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : ''
console.log(`${counts.passed} passed, ${counts.failed} failed${skipped}`)
process.exitCode = status !== 0 || counts.failed > 0 ? 1 : 0

/** A file that cannot even be loaded has no tests to count, and counts as one failure. */
function readCounts(file) {
  // Without a report vitest itself failed; that must not read as "0 failed".
  if (!fs.existsSync(file)) return { passed: 0, failed: 1, skipped: 0 }
  const { testResults } = JSON.parse(fs.readFileSync(file, 'utf8'))
  const states = testResults.flatMap(({ assertionResults }) => assertionResults.map((test) => test.status))
  const count = (state) => states.filter((each) => each === state).length
  const broken = testResults.filter(
    (result) => result.status === 'failed' && !result.assertionResults.some((test) => test.status === 'failed'),
  ).length
  const passed = count('passed')
  const failed = count('failed') + broken
  return { passed, failed, skipped: states.length - passed - count('failed') }
}
