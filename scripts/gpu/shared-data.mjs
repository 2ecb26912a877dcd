// The reference numbers and the few real data that tests and benchmarks on a GPU name, from the folder of shared data.
import fs from 'node:fs'
import path from 'node:path'

/** A sequence of DAVIS 2016, its first frames; of CIFAR-10's binary file the first images. */
const davis = { sequence: 'blackswan', frames: 20 }
const cifar = { file: 'data/cifar10/train_first4000_lossless.bin', images: 2000 }
const cifarRecord = 1 + 3 * 32 * 32

/**
 * Copies what there is of it; what is absent is done without, and its tests are skipped.
 * @returns what was copied, in words
 */
export function copyShared(shared, folder) {
  fs.mkdirSync(folder, { recursive: true })
  const copied = []
  for (const name of ['golden/osvos', 'golden/rtfm', 'golden/slim']) {
    if (copyFolder(shared, folder, name)) copied.push(name)
  }
  if (copyFolder(shared, folder, 'data/rtfm/ucf-crime-c3d', /\.npy$/)) copied.push('features of UCF-Crime')
  const frames = copyDavis(shared, folder)
  if (frames > 0) copied.push(`${frames} frames of DAVIS`)
  const images = copyCifar(shared, folder)
  if (images > 0) copied.push(`${images} images of CIFAR-10`)
  return copied
}

function copyFolder(shared, folder, name, pattern = /./) {
  const from = path.join(shared, name)
  if (!fs.existsSync(from)) return false
  const to = path.join(folder, name)
  fs.mkdirSync(to, { recursive: true })
  for (const file of fs.readdirSync(from).filter((each) => pattern.test(each))) {
    fs.copyFileSync(path.join(from, file), path.join(to, file))
  }
  return true
}

/** Frames and masks at 480p, in DAVIS's own folders. */
function copyDavis(shared, folder) {
  const kinds = ['JPEGImages', 'Annotations']
  const place = (kind) => path.join('data/davis-2016', kind, '480p', davis.sequence)
  if (!kinds.every((kind) => fs.existsSync(path.join(shared, place(kind))))) return 0
  let count = 0
  for (const kind of kinds) {
    const names = fs
      .readdirSync(path.join(shared, place(kind)))
      .sort()
      .slice(0, davis.frames)
    fs.mkdirSync(path.join(folder, place(kind)), { recursive: true })
    for (const name of names)
      fs.copyFileSync(path.join(shared, place(kind), name), path.join(folder, place(kind), name))
    count = names.length
  }
  return count
}

function copyCifar(shared, folder) {
  const from = path.join(shared, cifar.file)
  if (!fs.existsSync(from)) return 0
  const bytes = fs.readFileSync(from).subarray(0, cifar.images * cifarRecord)
  const to = path.join(folder, cifar.file)
  fs.mkdirSync(path.dirname(to), { recursive: true })
  fs.writeFileSync(to, bytes)
  return Math.floor(bytes.length / cifarRecord)
}
