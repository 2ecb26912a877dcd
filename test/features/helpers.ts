import { readFileSync } from 'node:fs'
import { graph, Network, type RawImage } from 'torchvid'

/** A backbone whose features are the pictures' own numbers, channel by channel: what it is given can be read off. */
export function pictureMirror(pixels?: graph.PixelFormat, side: number | null = null): Promise<Network> {
  const image = graph.input('image', [null, 3, side, side], pixels)
  return Network.create(graph.build({ features: graph.flatten(image) }), { device: 'cpu' })
}

/** The same for clips. */
export function clipMirror(time: number | null = null): Promise<Network> {
  const clip = graph.input('clip', [null, 3, time, null, null])
  return Network.create(graph.build({ features: graph.flatten(clip) }), { device: 'cpu' })
}

/** A small 3-D network with random weights. */
export function clipNetwork(): Promise<Network> {
  const clip = graph.input('clip', [null, 3, null, null, null])
  const maps = graph.relu(graph.conv(clip, { out: 6, kernel: [3, 3, 3], stride: 2, padding: 1 }))
  const wide = { features: graph.globalAveragePool(maps), maps }
  return Network.create(graph.build(wide, { network: 'tiny' }), { device: 'cpu', seed: 3 })
}

/** Takes pictures as they are, 0..255. */
export const plain = { mean: 0, std: 1 }

/** A frame from a function of the pixel. */
export function frame(width: number, height: number, pixel: (x: number, y: number) => number[]): RawImage {
  const data = new Uint8Array(width * height * 3)
  for (let i = 0; i < width * height; i++) data.set(pixel(i % width, Math.floor(i / width)), i * 3)
  return { data, width, height, channels: 3 }
}

/** Frames of 8 x 6 pixels, each all of its own number. */
export function numbered(count: number): RawImage[] {
  return Array.from({ length: count }, (_, i) => frame(8, 6, () => [i, i, i]))
}

/** A .npy file of format 1.0, read by other code than the library's. */
export function readNpy(path: string): { header: string; shape: number[]; data: Float32Array } {
  const bytes = readFileSync(path)
  const length = bytes.readUInt16LE(8)
  const header = bytes.toString('latin1', 10, 10 + length)
  const shape = /'shape': \(([^)]*)\)/.exec(header)?.[1] ?? ''
  const data = new Float32Array(Uint8Array.from(bytes.subarray(10 + length)).buffer)
  return {
    header,
    shape: shape
      .split(',')
      .filter((side) => side.trim() !== '')
      .map(Number),
    data,
  }
}
