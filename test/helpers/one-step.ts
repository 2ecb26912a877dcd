import type { NativeTraining } from '../../lib/native.ts'

/** One step of plain SGD so large that the movement is the gradient. */
export const oneStep: Omit<NativeTraining, 'source' | 'objective'> = {
  passes: 1,
  accumulate: 1,
  schedule: { kind: 'constant' },
  bfloat16: false,
  seed: 0,
  device: 'cpu',
  optimizer: {
    kind: 'sgd',
    momentum: 0,
    nesterov: false,
    groups: [{ pattern: '*', learningRate: 1, weightDecay: 0 }],
  },
}
