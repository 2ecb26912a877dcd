import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'

export const SIZE = { width: 64, height: 48 }

/** Where the square of a frame is: it moves two pixels to the right a frame. */
export function inSquare(frame: number, x: number, y: number): boolean {
  const left = 8 + 2 * frame
  return x >= left && x < left + 20 && y >= 12 && y < 34
}

/** What an object's pixel is in the annotation of frame `frame`: 0 for background, else its id. */
export type IdAt = (frame: number, x: number, y: number) => number

/** Grey pixels as a PNG. */
export async function writeGrey(file: string, value: (x: number, y: number) => number, size = SIZE): Promise<void> {
  const { width, height } = size
  const data = Buffer.from(Array.from({ length: width * height }, (_, i) => value(i % width, Math.floor(i / width))))
  await sharp(data, { raw: { ...size, channels: 1 } })
    .toColourspace('b-w')
    .png()
    .toFile(file)
}

/** A folder as DAVIS's, of sequences in which a bright square moves over a dark ground, and with each sequence's frames. */
export async function makeDavis(
  root: string,
  sequences: Record<string, number>,
  idAt: IdAt = (frame, x, y) => (inSquare(frame, x, y) ? 1 : 0),
): Promise<string> {
  const { width, height } = SIZE
  for (const [name, frames] of Object.entries(sequences)) {
    const [images, masks] = ['JPEGImages', 'Annotations'].map((kind) => join(root, kind, '480p', name)) as [
      string,
      string,
    ]
    for (const folder of [images, masks]) mkdirSync(folder, { recursive: true })
    for (let frame = 0; frame < frames; frame++) {
      const file = String(frame).padStart(5, '0')
      const data = Buffer.alloc(width * height * 3)
      for (let i = 0; i < data.length; i++) {
        const [x, y] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width)]
        data[i] = inSquare(frame, x, y) ? 220 : 40 + ((x * 7 + y * 13) % 32)
      }
      await sharp(data, { raw: { ...SIZE, channels: 3 } })
        .jpeg()
        .toFile(join(images, `${file}.jpg`))
      await writeGrey(join(masks, `${file}.png`), (x, y) => idAt(frame, x, y))
    }
  }
  return root
}
