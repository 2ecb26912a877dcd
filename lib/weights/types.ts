import type { NativeTensorRow } from '../native.ts'
import type { PickleValue } from './pickle.ts'

/** A tensor in a weights file: its name, type and shape, and where it lies. */
export interface WeightsTensor extends NativeTensorRow {
  name: string
  bytes: number
}

/** What a weights file holds, without its data. */
export interface WeightsTable {
  tensors: WeightsTensor[]
  metadata: Record<string, string>
  /**
   * PyTorch checkpoints: what lies beside the tensors, by name (`epoch`, `cfg`...). From the file as it is: values may
   * contain themselves.
   */
  extras?: ReadonlyMap<string, PickleValue>
}
