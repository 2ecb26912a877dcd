import type { ImageSet } from '../data/image-set.ts'
import { type Run, type RunContext, type RunOptions, startRun } from '../engine/run.ts'
import { checkInteger, checkNumber, invalidArgument } from '../errors.ts'
import type { Network } from '../network.ts'
import { evaluate } from './evaluate.ts'
import { checkNetwork, imageSetOf } from './images.ts'
import { inputShapes, type PruneOptions, type PruneResult, prune } from './prune.ts'
import type { ChannelMask, ImageTrainingOptions, SlimProgress } from './recipe.ts'
import type { SlimReport, StageReport } from './report.ts'
import { mergeReports } from './report.ts'
import { StageFiles } from './stages.ts'
import { type FineTuneOptions, finetune, train } from './train.ts'

/** A training that is part of `slim`: no files and no signal of its own. */
type StageTraining = Partial<Omit<ImageTrainingOptions, 'masks' | keyof RunOptions<never>>>

/** Settings of `slim`: of its sparse training, its cut and what follows. */
export interface SlimOptions extends StageTraining, Omit<PruneOptions, 'ratio'>, RunOptions<SlimStageProgress> {
  /** The images to learn from. */
  train: ImageSet | PromiseLike<ImageSet>
  /** The images on which every stage is measured. Default: none is. */
  test?: ImageSet | PromiseLike<ImageSet>
  /** Strength of the L1 penalty. Default 1e-4. */
  sparsity?: number
  /** Share of the channels that go, all passes together. Default 0.7, unless `target` is given. */
  ratio?: number
  /**
   * How often to train, cut and fine-tune (the paper's multi-pass scheme). Each pass takes the same share of what is left,
   * and, from two passes on, at most half of a layer. Default 1.
   */
  passes?: number
  /**
   * Cuts step by step within the sparse training: after it, for every share from `from` to `ratio` in steps of `step`, the
   * channels below the threshold are held at zero and one epoch more is trained; the layers are rebuilt once, at the end.
   * Default: off; `true`: from 0.1, step 0.01. With `ratio` alone.
   */
  iterative?: boolean | { from?: number; step?: number }
  /** The fine-tuning after each cut; false: none. Default: 40 epochs at 0.001, the rest as for the sparse training. */
  fineTune?: (StageTraining & Pick<FineTuneOptions, 'teacher' | 'outputs'>) | false
}

/** What a step of `slim` reports; steps count through all stages. */
export interface SlimStageProgress extends SlimProgress {
  stage: 'train' | 'iterate' | 'finetune'
  /** 1 for the first. */
  pass: number
}

/** What `slim` gives. */
export interface SlimResult {
  /** The slimmed network; the one given is unchanged. */
  network: Network
  /** The channels of the network given that are left, by batch-norm (through all passes). */
  kept: Record<string, number[]>
  report: SlimReport
}

/**
 * Network slimming as one run (Liu et al. 2017, arXiv 1708.06519): sparse training, cut, fine-tuning, as often as `passes`
 * says. With `test`, the accuracy is measured at the start and after every stage.
 *
 * With `checkpoint: { path, every }` every training writes its state to a file beside `path`, named after its stage, and
 * finished trainings leave their network there; `resume` with that path, and the same options, goes on from there.
 * @param net trained or fresh; it is not changed
 * @throws TorchvidError (the run rejects) as `slim.train`, `slim.prune` and `slim.finetune`
 */
export function slimNetwork(net: Network, options: SlimOptions): Run<SlimResult, SlimStageProgress> {
  return startRun<SlimResult, SlimStageProgress>(options ?? {}, async (context) => {
    checkNetwork('net', net)
    const plan = planOf(options ?? {})
    const slimming = new Slimming(await net.clone(), await withData(options), plan, context)
    return await slimming.run()
  })
}

/** The options with data that is there. */
async function withData(options: SlimOptions): Promise<SlimOptions> {
  const train = await imageSetOf('train', options.train)
  const test = options.test === undefined ? undefined : await imageSetOf('test', options.test)
  return { ...options, train, test }
}

/** How the passes go. */
interface Plan {
  passes: number
  /** Of each pass. */
  cut: PruneOptions[]
  /** Shares at which channels are held, before each cut. */
  shares: number[]
}

function planOf(options: SlimOptions): Plan {
  if (typeof options !== 'object' || options === null) throw invalidArgument('options', options, 'an object')
  const { passes = 1, target, iterative = false } = options
  checkInteger('passes', passes, 1, 100)
  if (target !== undefined && options.ratio !== undefined)
    throw invalidArgument('ratio', options.ratio, 'either ratio or target')
  const ratio = target === undefined ? checkNumber('ratio', options.ratio ?? 0.7, 0, 0.999) : undefined
  const { strategy, score, fold, roundTo, keepAtLeast, inputs } = options
  const keepShare = options.keepShare ?? (passes > 1 ? 0.5 : 0)
  const cut = Array.from({ length: passes }, (_, pass): PruneOptions => {
    const common = { strategy, score, fold, roundTo, keepAtLeast, keepShare, inputs }
    // The same share of what is left in every pass: (1 - share)^passes = 1 - ratio.
    if (ratio !== undefined) return { ...common, ratio: 1 - (1 - ratio) ** (1 / passes) }
    return { ...common, target: targetOf(target as NonNullable<PruneOptions['target']>, pass, passes) }
  })
  return { passes, cut, shares: sharesOf(iterative, cut[0]?.ratio, passes) }
}

/** Of passes with a target: shares are approached in equal factors, counts are for the last pass alone. */
function targetOf(target: NonNullable<PruneOptions['target']>, pass: number, passes: number): PruneOptions['target'] {
  const step = (value: number | undefined) => {
    if (value === undefined) return undefined
    if (value < 1) return value ** (1 / passes)
    if (pass === passes - 1) return value
    throw invalidArgument('target', target, 'shares below 1 when there are several passes')
  }
  return { macs: step(target.macs), parameters: step(target.parameters) }
}

function sharesOf(iterative: SlimOptions['iterative'], ratio: number | undefined, passes: number): number[] {
  if (iterative === false) return []
  const { from = 0.1, step = 0.01 } = iterative === true || iterative === undefined ? {} : iterative
  if (ratio === undefined || passes > 1)
    throw invalidArgument('iterative', iterative, 'left out with target or several passes')
  checkNumber('iterative.from', from, 0, ratio)
  checkNumber('iterative.step', step, 0.001, 1)
  return Array.from({ length: Math.floor((ratio - from) / step + 1e-9) + 1 }, (_, i) => from + i * step)
}

/** One slimming under way. */
class Slimming {
  private readonly stages: StageReport[] = []
  private readonly cuts: PruneResult[] = []
  private readonly files: StageFiles
  private readonly steps: number
  private done = 0

  constructor(
    private network: Network,
    private readonly options: SlimOptions,
    private readonly plan: Plan,
    private readonly context: RunContext<SlimStageProgress>,
  ) {
    this.files = new StageFiles(options.checkpoint, options.resume)
    this.steps = stepsOf(options, plan)
  }

  async run(): Promise<SlimResult> {
    await this.measure('start', 1, performance.now())
    for (let pass = 1; pass <= this.plan.passes; pass++) await this.pass(pass)
    const { kept, report } = mergeReports(this.cuts)
    return { network: this.network, kept, report: { ...report, stages: this.stages } }
  }

  private async pass(pass: number): Promise<void> {
    let start = performance.now()
    const { sparsity } = this.options
    await this.trained('train', pass, (options) => train(this.network, { ...options, sparsity }))
    for (const [i, share] of this.plan.shares.entries()) {
      const masks = await this.masksAt(share)
      await this.trained(
        'iterate',
        pass,
        (options) => train(this.network, { ...options, sparsity, masks, epochs: 1 }),
        i,
      )
    }
    await this.measure('train', pass, start)

    start = performance.now()
    const cut = await prune(this.network, this.plan.cut[pass - 1] as PruneOptions)
    this.cuts.push(cut)
    this.network.dispose()
    this.network = cut.network
    await this.measure('prune', pass, start)

    const { fineTune = {} } = this.options
    if (fineTune === false) return
    start = performance.now()
    await this.trained('finetune', pass, (options) => finetune(this.network, { ...options, ...fineTuneOf(fineTune) }))
    await this.measure('finetune', pass, start)
  }

  /** Runs one training of the plan, or takes over what it left when it was finished before. */
  private async trained(
    stage: SlimStageProgress['stage'],
    pass: number,
    start: (options: ImageTrainingOptions) => Run<Network, SlimProgress>,
    place?: number,
  ): Promise<void> {
    const name = [pass, stage, ...(place === undefined ? [] : [place + 1])].join('-')
    if (await this.files.reopened(this.network, name)) return
    const run = start({ ...this.training(), ...(await this.files.of(name)), signal: this.context.signal })
    const before = this.done
    for await (const progress of run) {
      this.done = before + progress.step
      const steps = Math.max(this.steps, this.done)
      const secondsLeft = (steps - this.done) * progress.secondsPerStep
      this.context.report([{ ...progress, stage, pass, step: this.done, steps, secondsLeft }])
    }
    await run.result
    await this.files.finish(this.network, name)
  }

  /** The options that all trainings share. */
  private training(): ImageTrainingOptions {
    const { train, epochs, steps, batchSize, learningRate, momentum, nesterov, weightDecay } = this.options
    const { schedule, milestones, factor, shuffle, augment, seed, device, precision } = this.options
    const recipe = {
      epochs,
      steps,
      batchSize,
      learningRate,
      momentum,
      nesterov,
      weightDecay,
      schedule,
      milestones,
      factor,
    }
    return given({ train, ...recipe, shuffle, augment, seed, device, precision }) as unknown as ImageTrainingOptions
  }

  private async masksAt(ratio: number): Promise<ChannelMask[]> {
    const { network, kept } = await prune(this.network, { ...this.plan.cut[0], ratio })
    network.dispose()
    return Object.entries(kept).map(([name, channels]) => {
      const width = this.network.parameters().find((parameter) => parameter.name === `${name}.weight`)
        ?.shape[0] as number
      const keep = new Uint8Array(width)
      for (const channel of channels) keep[channel] = 1
      return { name, keep }
    })
  }

  private async measure(stage: StageReport['stage'], pass: number, start: number): Promise<void> {
    const { test, inputs } = this.options
    const { parameters, macs } = await this.network.summary(inputs ?? inputShapes(this.network.graph))
    const seconds = (performance.now() - start) / 1000
    const { signal } = this.context
    const { accuracy, loss } = test ? await evaluate(this.network, test, { signal }) : { accuracy: null, loss: null }
    this.stages.push({ stage, pass, accuracy, loss, parameters, macs, seconds })
  }
}

/** Of the sparse training, fine-tuning takes all but how long and how fast: rethinking-network-pruning's recipe. */
function fineTuneOf(fineTune: Exclude<SlimOptions['fineTune'], false | undefined>): StageTraining {
  const epochs = fineTune.steps === undefined ? fineTuneEpochs : undefined
  return { epochs, steps: undefined, learningRate: 0.001, schedule: undefined, milestones: undefined, ...fineTune }
}

const fineTuneEpochs = 40

/** Steps of all trainings together. */
function stepsOf(options: SlimOptions, { passes, shares }: Plan): number {
  const { epochs = 160, steps, batchSize = 64, fineTune = {} } = options
  const count = (options.train as ImageSet).shape[0]
  const sparse = steps ?? epochs * Math.ceil(count / batchSize)
  const tuned =
    fineTune === false
      ? 0
      : (fineTune.steps ?? (fineTune.epochs ?? fineTuneEpochs) * Math.ceil(count / (fineTune.batchSize ?? batchSize)))
  return passes * (sparse + tuned) + shares.length * Math.ceil(count / batchSize)
}

/** The options that were given: an explicit undefined is none. */
function given(options: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
}
