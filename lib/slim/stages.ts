import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { RunOptions } from '../engine/run.ts'
import { checkFiles } from '../engine/training.ts'
import { describe, TorchvidError } from '../errors.ts'
import type { Network } from '../network.ts'

/** The files of a run of several trainings: a checkpoint per training under way, a network per finished one. */
export class StageFiles {
  constructor(
    private readonly checkpoint: RunOptions<never>['checkpoint'],
    private readonly resume: string | undefined,
  ) {
    checkFiles({ checkpoint, resume })
  }

  /**
   * Before the first training: what an older run left would be taken for this one's when that is resumed, so it goes.
   * @throws TorchvidError ERR_IO when there is nothing to resume
   */
  async prepare(names: string[]): Promise<void> {
    const { checkpoint, resume } = this
    const filesOf = (path: string) => names.flatMap((name) => [fileOf(path, name), fileOf(path, `${name}-done`)])
    if (resume !== undefined && !filesOf(resume).some((file) => existsSync(file))) {
      const example = fileOf(resume, names[0] as string)
      const message = `resume: there are no checkpoints of ${describe(resume)}, such as ${describe(example)}. Give the path that checkpoint had, or leave resume out.`
      throw new TorchvidError('ERR_IO', message)
    }
    if (checkpoint === undefined || !this.moves()) return
    for (const file of filesOf(checkpoint.path)) await rm(file, { force: true })
  }

  /** Loads what the training `name` left when it was finished. False when it was not, or nothing is resumed. */
  async reopened(network: Network, name: string): Promise<boolean> {
    if (this.resume === undefined) return false
    const file = fileOf(this.resume, `${name}-done`)
    if (!existsSync(file)) return false
    await network.load(file)
    if (this.moves()) await this.finish(network, name)
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

  /** Whether checkpoints go elsewhere than where the run is resumed from. */
  private moves(): boolean {
    const { checkpoint, resume } = this
    return checkpoint !== undefined && (resume === undefined || resolve(checkpoint.path) !== resolve(resume))
  }
}

/** The name before the file's ending: `slim.safetensors` gives `slim-1-train.safetensors`. */
function fileOf(path: string, name: string): string {
  return path.replace(/(\.[^./\\]*)?$/, `-${name}$1`)
}
