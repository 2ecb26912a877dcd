import { prune } from './prune.ts'

export const slim = { prune }
