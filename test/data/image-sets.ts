import type { ImageSet } from '../../lib/data/image-set.ts'

/** How many images each class has. */
export function histogram(set: ImageSet): number[] {
  const counts: number[] = Array(set.classes!.length).fill(0)
  for (let i = 0; i < set.labels.length; i++) counts[set.labels[i]!]!++
  return counts
}

/** Mean and standard deviation of images / 255, per channel. */
export function meanAndStd({ images, shape }: ImageSet): [mean: number, std: number][] {
  const [count, channels, height, width] = shape
  const plane = height * width
  return Array.from({ length: channels }, (_, channel) => {
    let sum = 0
    let squares = 0
    for (let i = 0; i < count; i++) {
      const at = (i * channels + channel) * plane
      for (let j = at; j < at + plane; j++) {
        sum += images[j]!
        squares += images[j]! ** 2
      }
    }
    const mean = sum / (count * plane)
    return [mean / 255, Math.sqrt(squares / (count * plane) - mean ** 2) / 255]
  })
}
