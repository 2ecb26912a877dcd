import { checkInteger, invalidArgument, TorchvidError } from '../errors.ts'
import type { Graph } from '../graph/types.ts'
import { Network } from '../network.ts'
import type { Device } from '../types.ts'
import { readTable } from '../weights/table.ts'
import type { WeightsTable } from '../weights/types.ts'

/** Settings of `slim.load`. */
export interface SlimLoadOptions {
  /** Default `'auto'`. */
  device?: Device
  /** Default: the outputs of the file's classifier (`fc`, `classifier` or `linear`). */
  classes?: number
}

/** Numbers of the longest cfg: more than any network has layers. */
const longestCfg = 10_000

/**
 * A slimmed network from a file of the references (github.com/Eric-mingjie/network-slimming): a PyTorch checkpoint
 * `{ cfg, state_dict }`. `slim.load('pruned.pth.tar', networks.preresnet)`.
 * @param builder makes the graph from the widths and the number of classes; `networks.vgg`, `preresnet` and `densenet`
 *   derive the depth from the widths
 * @throws TorchvidError ERR_IO; ERR_CHECKPOINT_FORMAT when the file has no cfg; ERR_CHECKPOINT_MISMATCH when it does not
 *   fit the builder; ERR_INVALID_ARGUMENT
 */
export async function load<Cfg extends (number | 'M')[]>(
  file: string,
  builder: (options: { cfg: Cfg; classes: number }) => Graph,
  options: SlimLoadOptions = {},
): Promise<Network> {
  if (typeof builder !== 'function') {
    throw invalidArgument('builder', builder, 'a function that makes the graph: networks.vgg, preresnet or densenet')
  }
  const table = await readTable(file)
  const cfg = cfgOf(table, file)
  const classes = options.classes === undefined ? classesOf(table, file) : checkInteger('classes', options.classes, 1)
  const network = await Network.create(build(builder, cfg as Cfg, classes, file), { device: options.device })
  try {
    await network.load(file)
    return network
  } catch (error) {
    network.dispose()
    throw error
  }
}

function cfgOf({ extras }: WeightsTable, file: string): (number | 'M')[] {
  const cfg = extras?.get('cfg')
  if (cfg === undefined) {
    const message = `${file} has no cfg, so it does not say how wide its layers are. Wanted: a PyTorch checkpoint { cfg, state_dict } as network-slimming's prune scripts write it. A file that Network.save wrote opens with Network.open; for weights alone, create the network and use its load.`
    throw new TorchvidError('ERR_CHECKPOINT_FORMAT', message)
  }
  const sound = (width: unknown) => width === 'M' || (Number.isSafeInteger(width) && (width as number) >= 0)
  if (!Array.isArray(cfg) || cfg.length === 0 || cfg.length > longestCfg || !cfg.every(sound)) {
    const message = `${file}: its cfg is no list of whole numbers and 'M'. It is damaged, or of another kind than network-slimming's.`
    throw new TorchvidError('ERR_CHECKPOINT_FORMAT', message)
  }
  return cfg as (number | 'M')[]
}

/** Outputs of the last linear layer under one of the references' names. */
function classesOf({ tensors }: WeightsTable, file: string): number {
  const last = tensors.findLast(
    ({ name, shape }) => shape.length === 2 && /^(fc|classifier|linear)(\.\d+)?\.weight$/.test(name),
  )
  if (last === undefined) {
    const message = `${file} has no fc.weight, classifier.weight or linear.weight, so it does not say how many classes there are. Give classes.`
    throw new TorchvidError('ERR_CHECKPOINT_MISMATCH', message)
  }
  return last.shape[0] as number
}

function build<Cfg>(
  builder: (options: { cfg: Cfg; classes: number }) => Graph,
  cfg: Cfg,
  classes: number,
  file: string,
): Graph {
  try {
    return builder({ cfg, classes })
  } catch (cause) {
    if (!(cause instanceof TorchvidError) || cause.code !== 'ERR_INVALID_ARGUMENT') throw cause
    const message = `${file} does not fit this builder: ${cause.message} Was it another network?`
    throw new TorchvidError('ERR_CHECKPOINT_MISMATCH', message, { cause })
  }
}
