import type { OsvosBackbone } from '../networks/index.ts'
import { OSVOS } from '../osvos/osvos.ts'
import type { Device } from '../types.ts'

/** The options that say which model is meant. */
export interface ModelFlags {
  model?: string
  backbone?: OsvosBackbone
  pretrained?: string
  device?: Device
  seed: number
}

/** Which model is meant: `default` or a file's name, or undefined for a trunk of its own. */
export function modelOf({ model, backbone, pretrained }: ModelFlags): string | undefined {
  return model ?? (backbone === undefined && pretrained === undefined ? 'default' : undefined)
}

/** The model to start from. */
export async function openModel(flags: ModelFlags, warn: (message: string) => void): Promise<OSVOS> {
  const { backbone, pretrained, device, seed } = flags
  const model = modelOf(flags)
  if (model !== undefined) return await OSVOS.open(model, { device })
  if (pretrained === undefined) {
    warn('without --pretrained or --model the trunk starts from random weights; expect poorer masks.')
  }
  return await OSVOS.create({ backbone, pretrained, device, seed })
}
