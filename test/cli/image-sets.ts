import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Pictures that are easy to learn: of class c the upper (c + 1) tenths are bright, over a little noise. Writes MNIST's files. */
export function writeMnist(folder: string, counts: { train: number; test?: number }): string {
  mkdirSync(folder, { recursive: true })
  for (const [prefix, count] of [
    ['train', counts.train],
    ['t10k', counts.test],
  ] as const) {
    if (count === undefined) continue
    const labels = Uint8Array.from({ length: count }, (_, i) => i % 10)
    const images = new Uint8Array(count * 784)
    for (let i = 0; i < images.length; i++) {
      const [image, row] = [Math.floor(i / 784), Math.floor((i % 784) / 28)]
      const bright = row < 2.8 * ((image % 10) + 1)
      images[i] = (bright ? 180 : 0) + ((i * 7919 + image * 104729) % 60)
    }
    writeFileSync(join(folder, `${prefix}-images-idx3-ubyte`), idx([count, 28, 28], images))
    writeFileSync(join(folder, `${prefix}-labels-idx1-ubyte`), idx([count], labels))
  }
  return folder
}

/** CIFAR-10's binary version: the class is how bright the image is. */
export function writeCifar10(file: string, count: number): string {
  const bytes = new Uint8Array(count * 3073)
  for (let i = 0; i < count; i++) {
    bytes[i * 3073] = i % 10
    for (let j = 1; j < 3073; j++) bytes[i * 3073 + j] = (i % 10) * 22 + ((i * 31 + j * 17) % 20)
  }
  writeFileSync(file, bytes)
  return file
}

function idx(sizes: number[], data: Uint8Array): Uint8Array {
  const header = Buffer.alloc(4 + 4 * sizes.length)
  header.set([0, 0, 8, sizes.length])
  for (const [i, size] of sizes.entries()) header.writeUInt32BE(size, 4 + 4 * i)
  return Buffer.concat([header, data])
}
