import type { Graph } from '../graph/types.ts'
import type { NativeLayer, NativeNetwork } from '../native.ts'

/** What the export needs of a Network; declared here, so that the export stands below Network, which offers it. */
export interface OnnxSource {
  readonly graph: Graph
  readonly handle: Pick<NativeNetwork, 'read'>
  parameters(): { name: string; shape: number[] }[]
  summary(shapes: Record<string, number[]>): Promise<{ layers: NativeLayer[] }>
}
