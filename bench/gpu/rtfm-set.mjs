// Feature files for RTFM, made where they are needed: nobody has to carry a gigabyte.
import fs from 'node:fs'
import path from 'node:path'
import { writeFeatures } from '../rtfm.mjs'

/** `videos` normal and as many abnormal files, and a JSON file that names them, whose path it gives. Made once. */
export function makeSet(folder, { videos, lengths, crops, size }) {
  const set = path.join(folder, `rtfm-${videos}-${crops}x${size}.json`)
  if (fs.existsSync(set)) return set
  const [least, most] = lengths
  const make = (kind, scale) =>
    Array.from({ length: videos }, (_, i) => {
      const file = path.join(folder, `rtfm-${kind}-${i}-${crops}x${size}.npy`)
      const count = least + ((i * 97 + (kind === 'normal' ? 0 : 41)) % (most - least + 1))
      writeFeatures(file, [count, crops, size], scale, i + scale)
      return file
    })
  fs.writeFileSync(set, JSON.stringify({ normal: make('normal', 2), abnormal: make('abnormal', 3) }))
  return set
}
