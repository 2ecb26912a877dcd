import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import type { RunOptions } from '../engine/run.ts'
import { checkFiles } from '../engine/training.ts'
import type { Network } from '../network.ts'

/** The files of a run of several trainings: a checkpoint per training under way, a network per finished one. */
export class StageFiles {
  constructor(
    private readonly checkpoint: RunOptions<never>['checkpoint'],
    private readonly resume: string | undefined,
  ) {
    checkFiles({ checkpoint, resume })
  }

  /** Loads what the training `name` left when it was finished. False when it was not, or nothing is resumed. */
  async reopened(network: Network, name: string): Promise<boolean> {
    if (this.resume === undefined) return false
    const file = fileOf(this.resume, `${name}-done`)
    if (!existsSync(file)) return false
    await network.load(file)
    return true
  }

  /** The options of the training `name`. */
  async of(name: string): Promise<Pick<RunOptions<never>, 'checkpoint' | 'resume'>> {
    const { checkpoint, resume } = this
    const options: Pick<RunOptions<never>, 'checkpoint' | 'resume'> = {}
    if (checkpoint !== undefined) options.checkpoint = { ...checkpoint, path: fileOf(checkpoint.path, name) }
    if (resume !== undefined && existsSync(fileOf(resume, name))) options.resume = fileOf(resume, name)
    return options
  }

  /** Keeps the network that the training `name` ended with, in place of its checkpoint. */
  async finish(network: Network, name: string): Promise<void> {
    if (this.checkpoint === undefined) return
    await network.save(fileOf(this.checkpoint.path, `${name}-done`))
    await rm(fileOf(this.checkpoint.path, name), { force: true })
  }
}

/** The name before the file's ending: `slim.safetensors` gives `slim-1-train.safetensors`. */
function fileOf(path: string, name: string): string {
  return path.replace(/(\.[^./\\]*)?$/, `-${name}$1`)
}
