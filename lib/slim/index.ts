import { load } from './load.ts'
import { prune } from './prune.ts'

export const slim = { load, prune }
