import type { ImageSet } from '../data/image-set.ts'
import { type Run, type RunContext, type RunOptions, startRun } from '../engine/run.ts'
import { trainingBasics } from '../engine/training.ts'
import { checkInteger, checkNumber, invalidArgument } from '../errors.ts'
import type { Network } from '../network.ts'
import { evaluate } from './evaluate.ts'
import { checkBatches, checkClasses, checkNetwork, imageSetOf, intakeOf } from './images.ts'
import { checkPruneOptions, inputShapes, type PruneOptions, type PruneResult, prune } from './prune.ts'
import { type ChannelMask, type ImageTrainingOptions, recipeFrom, type SlimProgress } from './recipe.ts'
import type { SlimReport, StageReport } from './report.ts'
import { mergeReports } from './report.ts'
import { StageFiles } from './stages.ts'
import { type FineTuneOptions, fineTuneDefaults, finetune, objectiveOf, train } from './train.ts'

/** A training that is part of `slim`: no files and no signal of its own. */
type StageTraining = Partial<Omit<ImageTrainingOptions, 'masks' | keyof RunOptions<never>>>

/** The fine-tuning that is part of `slim`. */
export interface SlimFineTuning extends StageTraining, Pick<FineTuneOptions, 'outputs'> {
  /** A network whose outputs are learnt instead of labels; `'uncut'`: the one before each cut. Default: labels. */
  teacher?: Network | 'uncut'
}

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
  fineTune?: SlimFineTuning | false
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
 * finished trainings leave their network there; `resume` with that path, and the same options, goes on from there. Without
 * `resume`, what an older run left under that name is removed.
 * @param net trained or fresh; it is not changed
 * @throws TorchvidError (the run rejects) as `slim.train`, `slim.prune` and `slim.finetune`; what is wrong with an option is
 *   said before anything is trained
 */
export function slimNetwork(net: Network, options: SlimOptions): Run<SlimResult, SlimStageProgress> {
  return startRun<SlimResult, SlimStageProgress>(options ?? {}, async (context) => {
    checkNetwork('net', net)
    const plan = planOf(options)
    const files = new StageFiles(options.checkpoint, options.resume)
    const data = await withData(options)
    return await new Slimming(await net.clone(), data, plan, files, context).run()
  })
}

/** The options with data that is there. */
async function withData(options: SlimOptions): Promise<SlimOptions> {
  const { fineTune } = options
  const train = await imageSetOf('train', options.train)
  const test = options.test === undefined ? undefined : await imageSetOf('test', options.test)
  if (!fineTune || fineTune.train === undefined) return { ...options, train, test }
  const own = await imageSetOf('fineTune.train', fineTune.train, fineTune.teacher === undefined)
  return { ...options, train, test, fineTune: { ...fineTune, train: own } }
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
  const { passes = 1, target, iterative = false, fineTune = {} } = options
  checkInteger('passes', passes, 1, 100)
  if (target !== undefined && options.ratio !== undefined)
    throw invalidArgument('ratio', options.ratio, 'either ratio or target')
  const ratio = target === undefined ? checkNumber('ratio', options.ratio ?? 0.7, 0, 0.999) : undefined
  if (fineTune !== false && (typeof fineTune !== 'object' || fineTune === null))
    throw invalidArgument('fineTune', fineTune, 'an object of settings, or false')
  const { strategy, score, fold, roundTo, keepAtLeast, inputs } = options
  const keepShare = options.keepShare ?? (passes > 1 ? 0.5 : 0)
  const cut = Array.from({ length: passes }, (_, pass): PruneOptions => {
    const common = { strategy, score, fold, roundTo, keepAtLeast, keepShare, inputs }
    if (target !== undefined) return { ...common, target: targetOf(target, pass, passes) }
    // The same share of what is left in every pass: (1 - share)^passes = 1 - ratio.
    return { ...common, ratio: passes === 1 ? ratio : 1 - (1 - (ratio as number)) ** (1 / passes) }
  })
  for (const each of cut) checkPruneOptions(each)
  return { passes, cut, shares: sharesOf(iterative, ratio, passes) }
}

/** Of passes with a target: shares are approached in equal factors, counts are for the last pass alone. */
function targetOf(target: NonNullable<PruneOptions['target']>, pass: number, passes: number): PruneOptions['target'] {
  checkPruneOptions({ target })
  const step = (value: number | undefined) => {
    if (value === undefined) return undefined
    if (value < 1) return value ** (1 / passes)
    if (pass === passes - 1) return value
    throw invalidArgument('target', target, 'shares below 1 when there are several passes')
  }
  return { macs: step(target.macs), parameters: step(target.parameters) }
}

function sharesOf(iterative: SlimOptions['iterative'], ratio: number | undefined, passes: number): number[] {
  if (iterative === false || iterative === undefined) return []
  if (iterative !== true && (typeof iterative !== 'object' || iterative === null))
    throw invalidArgument('iterative', iterative, 'true, false or { from, step }')
  const { from = 0.1, step = 0.01 } = iterative === true ? {} : iterative
  if (ratio === undefined || passes > 1)
    throw invalidArgument('iterative', iterative, 'left out with target or several passes')
  checkNumber('iterative.from', from, 0, ratio)
  checkNumber('iterative.step', step, 0.001, 1)
  return Array.from({ length: Math.floor((ratio - from) / step + 1e-9) + 1 }, (_, i) => from + i * step)
}

/** One training of the plan. */
interface Stage {
  stage: SlimStageProgress['stage']
  pass: number
  /** What its files are called. */
  name: string
  /** Iterative alone: the share of the channels that is held. */
  share?: number
}

/** All trainings, in order. */
function stagesOf({ fineTune }: SlimOptions, { passes, shares }: Plan): Stage[] {
  return Array.from({ length: passes }, (_, i) => i + 1).flatMap((pass): Stage[] => [
    { stage: 'train', pass, name: `${pass}-train` },
    ...shares.map((share, i): Stage => ({ stage: 'iterate', pass, name: `${pass}-iterate-${i + 1}`, share })),
    ...(fineTune === false ? [] : [{ stage: 'finetune', pass, name: `${pass}-finetune` } as const]),
  ])
}

/** One slimming under way. */
class Slimming {
  private readonly reports: StageReport[] = []
  private readonly cuts: PruneResult[] = []
  private readonly stages: Stage[]
  private readonly steps: number
  private done = 0

  constructor(
    private network: Network,
    private readonly options: SlimOptions,
    private readonly plan: Plan,
    private readonly files: StageFiles,
    private readonly context: RunContext<SlimStageProgress>,
  ) {
    this.stages = stagesOf(options, plan)
    this.steps = this.stages.reduce((sum, { stage }) => sum + stepsOf(options, stage), 0)
  }

  async run(): Promise<SlimResult> {
    try {
      await this.check()
      await this.files.prepare(this.stages.map(({ name }) => name))
      await this.measure('start', 1, performance.now())
      for (let pass = 1; pass <= this.plan.passes; pass++) await this.pass(pass)
    } catch (error) {
      this.network.dispose()
      throw error
    }
    const { kept, report } = mergeReports(this.cuts)
    return { network: this.network, kept, report: { ...report, stages: this.reports } }
  }

  /** What would otherwise come out after the sparse training, which may take days, or after older files are gone. */
  private async check(): Promise<void> {
    const { network, options, plan } = this
    trainingBasics(options)
    recipeFrom(this.training(), fineTuneDefaults)
    if (options.sparsity !== undefined) checkNumber('sparsity', options.sparsity, 0)
    const [cut] = plan.cut
    if (cut?.target !== undefined) (await prune(network, cut)).network.dispose()
    const { fineTune = {} } = options
    if (fineTune === false) return
    const settings = { ...this.training(), ...fineTuneOf(fineTune, network) } as FineTuneOptions
    const { batchSize } = recipeFrom(settings, fineTuneDefaults)
    objectiveOf(network, settings)
    settings.teacher?.parameters() // says when it was disposed
    const set = settings.train as ImageSet
    const name = fineTune.train === undefined ? 'train' : 'fineTune.train'
    const intake = await intakeOf(network, name, set)
    if (settings.teacher === undefined) checkClasses(network, name, set, intake)
    checkBatches(network, name, set, intake, batchSize)
  }

  private async pass(pass: number): Promise<void> {
    const stages = this.stages.filter((stage) => stage.pass === pass)
    let start = performance.now()
    for (const stage of stages) if (stage.stage !== 'finetune') await this.trained(stage)
    await this.measure('train', pass, start)

    start = performance.now()
    const uncut = this.network
    try {
      const cut = await prune(uncut, this.plan.cut[pass - 1] as PruneOptions)
      this.cuts.push(cut)
      this.network = cut.network
      await this.measure('prune', pass, start)

      const fineTune = stages.find(({ stage }) => stage === 'finetune')
      if (fineTune === undefined) return
      start = performance.now()
      await this.trained(fineTune, uncut)
      await this.measure('finetune', pass, start)
    } finally {
      uncut.dispose()
    }
  }

  /** Runs one training of the plan, or takes over what it left when it was finished before. */
  private async trained(stage: Stage, uncut?: Network): Promise<void> {
    const { name } = stage
    const before = this.done
    if (!(await this.files.reopened(this.network, name))) {
      const masks = stage.share === undefined ? undefined : await this.masksAt(stage.share)
      const files = await this.files.of(name)
      const run = this.start(stage, { ...this.training(), ...files, masks, signal: this.context.signal }, uncut)
      await this.follow(stage, run)
      await this.files.finish(this.network, name)
    }
    this.done = before + stepsOf(this.options, stage.stage)
  }

  private start({ stage }: Stage, options: ImageTrainingOptions, uncut?: Network): Run<Network, SlimProgress> {
    const { sparsity, fineTune } = this.options
    if (stage === 'finetune') return finetune(this.network, { ...options, ...fineTuneOf(fineTune || {}, uncut) })
    if (stage === 'train') return train(this.network, { ...options, sparsity })
    return train(this.network, { ...options, sparsity, epochs: 1, steps: undefined })
  }

  /** Passes on what a training reports, its steps counted from the first of all. */
  private async follow({ stage, pass }: Stage, run: Run<Network, SlimProgress>): Promise<void> {
    const { done, steps } = this
    let waiting: SlimStageProgress[] = []
    const handOn = () => {
      const records = waiting
      waiting = []
      this.context.report(records)
    }
    try {
      for await (const progress of run) {
        const step = done + progress.step
        const secondsLeft = (steps - step) * progress.secondsPerStep
        // Records that come together go on together, so that onProgress gets the latest of them.
        if (waiting.push({ ...progress, stage, pass, step, steps, secondsLeft }) === 1) setImmediate(handOn)
      }
    } finally {
      handOn()
    }
    await run.result
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
    return given({ train, ...recipe, shuffle, augment, seed, device, precision })
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
    this.reports.push({ stage, pass, accuracy, loss, parameters, macs, seconds })
  }
}

/** Of the sparse training, fine-tuning takes all but how long and how fast: rethinking-network-pruning's recipe. */
function fineTuneOf(fineTune: SlimFineTuning, uncut?: Network): Partial<FineTuneOptions> {
  const { teacher, ...own } = given({ ...fineTune })
  const { epochs, learningRate } = fineTuneDefaults
  const length = { epochs: own.steps === undefined ? epochs : undefined, steps: undefined }
  const recipe = { ...length, learningRate, schedule: undefined, milestones: undefined, ...own }
  return { ...recipe, ...(teacher !== undefined && { teacher: teacher === 'uncut' ? uncut : teacher }) }
}

/** Steps of one training. */
function stepsOf(options: SlimOptions, stage: Stage['stage']): number {
  const { fineTune } = options
  const settings = stage === 'finetune' ? { ...given({ ...options }), ...fineTuneOf(fineTune || {}) } : options
  const { epochs = 160, steps, batchSize = 64 } = settings
  const perEpoch = Math.ceil((settings.train as ImageSet).shape[0] / batchSize)
  return stage === 'iterate' ? perEpoch : (steps ?? epochs * perEpoch)
}

/** The options that were given: an explicit undefined is none. */
function given<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T
}
