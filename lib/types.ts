/** A tensor at the border: a flat array in row-major order and its shape. */
export interface TensorData {
  data: Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array
  /** Size of each dimension; their product is `data.length`. */
  shape: number[]
}

/** Raw pixels, row-major, interleaved, 8 bits a channel, RGB. */
export interface RawImage {
  data: Uint8Array
  width: number
  height: number
  channels: 1 | 3 | 4
}

/** An image: a file's path, an encoded image in memory (JPEG, PNG, WebP...), or raw pixels. */
export type ImageInput = string | Buffer | RawImage

/**
 * Where frames come from: a video file, a folder of images, a glob, or anything that yields images.
 * Videos need an `ffmpeg` program. Frames are read as they are asked for, never all at once.
 */
export type FrameSource = string | Iterable<ImageInput> | AsyncIterable<ImageInput>

/** `'auto'` takes a CUDA device when one works, else the CPU. */
export type Device = 'auto' | 'cpu' | 'cuda' | `cuda:${number}`

/** `'auto'` is bfloat16 on CUDA and float32 on the CPU. */
export type Precision = 'float32' | 'bfloat16' | 'auto'
