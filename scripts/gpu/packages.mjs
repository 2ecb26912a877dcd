// Copies installed npm packages with all that they depend on, without what only development needs.
import fs from 'node:fs'
import path from 'node:path'
import { root } from '../tools.mjs'

/** Types, source maps and texts: nothing of it runs. */
const unneeded = /\.(map|md|markdown|d\.ts|d\.mts|d\.cts|flow)$|(^|\/)(docs?|examples?|tests?|__tests__|\.github)\//

/**
 * Copies `names` and their dependencies from the repository's node_modules to `folder`, at the same places.
 * @returns how many packages that were
 */
export function copyPackages(names, folder) {
  const places = closure(names)
  for (const place of places) {
    const from = path.join(root, place)
    // `place` begins with node_modules, as does what it is relative to.
    const to = path.join(path.dirname(folder), place)
    for (const file of listFiles(from)) {
      if (unneeded.test(file) && !isHeaders(place)) continue
      const target = path.join(to, file)
      fs.mkdirSync(path.dirname(target), { recursive: true })
      fs.copyFileSync(path.join(from, file), target)
    }
  }
  return places.length
}

/** Headers are few, and their folders may have any name. */
const isHeaders = (place) => /node-(addon-api|api-headers)$/.test(place)

/** Places of packages in node_modules, as npm resolved them; optional ones for other platforms are not installed. */
function closure(names) {
  const { packages } = JSON.parse(fs.readFileSync(path.join(root, 'node_modules/.package-lock.json'), 'utf8'))
  const found = new Set()
  const queue = names.map((name) => ({ from: '', name, optional: false }))
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    const place = resolve(packages, next)
    if (place === undefined && next.optional) continue
    if (place === undefined) throw new Error(`npm package ${next.name} is not installed: run npm ci`)
    if (found.has(place)) continue
    found.add(place)
    const { dependencies = {}, optionalDependencies = {} } = packages[place]
    for (const name of Object.keys(dependencies)) {
      queue.push({ from: place, name, optional: name in optionalDependencies })
    }
    for (const name of Object.keys(optionalDependencies)) queue.push({ from: place, name, optional: true })
  }
  return [...found].sort()
}

/** Upwards from the package that asks, as Node looks. */
function resolve(packages, { from, name }) {
  for (let place = from; ; place = place.slice(0, Math.max(place.lastIndexOf('/node_modules/'), 0))) {
    const candidate = `${place === '' ? '' : `${place}/`}node_modules/${name}`
    if (candidate in packages && fs.existsSync(path.join(root, candidate))) return candidate
    if (place === '') return undefined
  }
}

/** Files of a package, relative to it, without the packages inside it. */
function listFiles(folder, below = '') {
  return fs.readdirSync(path.join(folder, below), { withFileTypes: true }).flatMap((entry) => {
    const name = path.posix.join(below, entry.name)
    if (entry.isDirectory()) return entry.name === 'node_modules' ? [] : listFiles(folder, name)
    return entry.isFile() ? [name] : []
  })
}
