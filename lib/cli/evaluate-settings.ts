import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readdir, realpath, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { damaged } from '../data/binary-file.ts'
import type { DavisSequence } from '../data/davis.ts'
import { packageRoot, packageVersion } from '../libtorch/package.ts'
import type { EvaluateFlags } from './evaluate-flags.ts'
import { modelOf } from './osvos-model.ts'

/** All that a sequence's figures depend on, by the option that decides it. */
export type Settings = Record<string, string>

/**
 * The settings of a call. Files are known by their contents: a model that was trained on under the same name is another.
 * @throws TorchvidError ERR_IO when the model cannot be read
 */
export async function settingsOf(flags: EvaluateFlags): Promise<Settings> {
  const { year, resolution, every } = flags
  const common = { '--year': String(year), '--resolution': resolution, '--every': String(every) }
  if (flags.masks !== undefined) {
    const folder = await realpath(flags.masks).catch((error) => {
      throw damaged(
        flags.masks!,
        `cannot be read (${error.message})`,
        'Give the folder that holds FRAME.png by sequence.',
      )
    })
    return { masks: 'on disk', '--masks': folder, ...common }
  }
  if (flags.copyFirst) return { masks: 'the first one copied', ...common }
  const { maxSize, threshold, device } = flags
  return {
    masks: flags.fit ? 'of a fitted model' : 'of a model without a fit',
    ...(await modelSettings(flags)),
    ...(flags.fit ? fitSettings(flags) : {}),
    '--max-size': textOf(maxSize),
    '--threshold': textOf(threshold),
    '--device': textOf(device),
    ...common,
    torchvid: packageVersion(),
  }
}

/** What tells a sequence's files from others: names and sizes of pictures, annotations and, where given, masks. */
export async function filesOf({ frames, masks }: DavisSequence, results: string[]): Promise<Settings> {
  const stamp = async (paths: string[]) => {
    const hash = createHash('sha256')
    for (const path of paths) {
      const { size } = await stat(path).catch((error) => {
        throw damaged(path, `cannot be read (${error.message})`, 'Wanted a mask for every frame.', error)
      })
      hash.update(`${basename(path)} ${size}\n`)
    }
    return `${paths.length} files, ${hash.digest('hex').slice(0, 16)}`
  }
  const own = { frames: await stamp(frames), annotations: await stamp(masks) }
  return results.length === 0 ? own : { ...own, 'masks scored': await stamp(results) }
}

async function modelSettings(flags: EvaluateFlags): Promise<Settings> {
  const { backbone, pretrained, seed } = flags
  const model = modelOf(flags)
  if (model !== undefined) {
    const files = model === 'default' ? await shippedModels() : [model]
    return { '--model': `${model === 'default' ? model : basename(model)}, ${await contentOf(files)}` }
  }
  return {
    '--backbone': backbone ?? 'mobilenet',
    '--pretrained': pretrained === undefined ? 'none' : `${basename(pretrained)}, ${await contentOf([pretrained])}`,
    '--seed': String(seed),
  }
}

function fitSettings({ preset, iterations, learningRate, seed }: EvaluateFlags): Settings {
  return {
    '--preset': textOf(preset),
    '--iterations': textOf(iterations),
    '--learning-rate': textOf(learningRate),
    '--seed': String(seed),
  }
}

function textOf(value: unknown): string {
  return value === undefined ? 'default' : String(value)
}

/** The weights that come with the package. */
async function shippedModels(): Promise<string[]> {
  const folder = join(packageRoot(), 'models')
  const names = await readdir(folder).catch(() => [])
  const weights = names.filter((name) => name.endsWith('.safetensors')).sort()
  return weights.map((name) => join(folder, name))
}

async function contentOf(files: string[]): Promise<string> {
  const hash = createHash('sha256')
  for (const file of files) {
    try {
      for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer)
    } catch (error) {
      throw damaged(file, `cannot be read (${(error as Error).message})`, 'Check the path.', error)
    }
  }
  return `sha256 ${hash.digest('hex').slice(0, 16)}`
}
