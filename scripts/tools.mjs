// What the scripts share. Plain Node without dependencies: bootstrap.mjs runs before anything is installed.
import { spawnSync } from 'node:child_process'
import crypto from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** The repository's folder. */
export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')

/** The program of an installed npm package, as [node, file], so that no shell is needed on any platform. */
export function tool(packageName, binName = packageName.split('/').at(-1)) {
  const folder = path.join(root, 'node_modules', packageName)
  const { bin } = JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8'))
  return [process.execPath, path.join(folder, typeof bin === 'string' ? bin : bin[binName])]
}

/** Runs a program in the repository with its output shown, and returns its exit code. */
export function run([program, ...args], options = {}) {
  const result = spawnSync(program, args, { cwd: root, stdio: 'inherit', ...options })
  if (result.error) console.error(`${program}: ${result.error.message}`)
  return result.status ?? 1
}

/** All files below the given files and folders, as sorted paths relative to the repository. */
export function filesBelow(...places) {
  return places.flatMap((place) => listFiles(path.join(root, place))).sort()
}

function listFiles(place) {
  const stat = fs.statSync(place, { throwIfNoEntry: false })
  if (!stat) return []
  if (stat.isFile()) return [path.relative(root, place)]
  return fs.readdirSync(place).flatMap((name) => listFiles(path.join(place, name)))
}

/** One hash of the names and contents of files, and of anything else that matters. */
export function contentHash(files, ...others) {
  const hash = crypto.createHash('sha256')
  for (const file of files)
    hash
      .update(`${file}\0`)
      .update(fs.readFileSync(path.join(root, file)))
      .update('\0')
  hash.update(JSON.stringify(others))
  return hash.digest('hex')
}

/** Whether `stamp` (a file) holds `hash`. */
export function isStamped(stamp, hash) {
  const file = path.join(root, stamp)
  return fs.existsSync(file) && fs.readFileSync(file, 'utf8').trim() === hash
}

/** Writes a stamp, after the work it stands for is done. */
export function writeStamp(stamp, hash) {
  fs.mkdirSync(path.dirname(path.join(root, stamp)), { recursive: true })
  fs.writeFileSync(path.join(root, stamp), `${hash}\n`)
}
