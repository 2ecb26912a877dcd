import type { TensorData } from '../types.ts'

/** The scales |gamma| of one batch-norm. */
export interface Scales {
  name: string
  channels: number
  min: number
  median: number
  max: number
  /** Share of the channels whose scale is at or below the threshold, 0..1. */
  below: number
}

/** The scales of each batch-norm that has some; `read` gets a weight by its name. */
export async function scalesOf(
  names: string[],
  threshold: number,
  read: (name: string) => Promise<TensorData['data']>,
): Promise<Scales[]> {
  const scales: Scales[] = []
  for (const name of names) {
    const gammas = Float64Array.from((await read(`${name}.weight`)) as Float32Array, Math.abs).sort()
    const channels = gammas.length
    if (channels === 0) continue
    const middle = (gammas[(channels - 1) >> 1]! + gammas[channels >> 1]!) / 2
    const below = gammas.filter((gamma) => gamma <= threshold).length / channels
    scales.push({ name, channels, min: gammas[0]!, median: middle, max: gammas[channels - 1]!, below })
  }
  return scales
}
