import { evaluate } from './evaluate.ts'
import { load } from './load.ts'
import { prune } from './prune.ts'
import { slimNetwork } from './slim.ts'
import { finetune, train } from './train.ts'

/** Network slimming: `slim(net, options)` does it all; `train`, `prune`, `finetune` are its stages. */
export const slim: typeof slimNetwork & {
  train: typeof train
  prune: typeof prune
  finetune: typeof finetune
  evaluate: typeof evaluate
  load: typeof load
} = Object.assign(slimNetwork.bind(null), { train, prune, finetune, evaluate, load })
