import * as runtime from '../runtime.ts'
import type { SlimReport, StageReport } from '../slim/report.ts'
import type { SlimFlags } from './flags.ts'
import type { Images } from './image-data.ts'
import { formatSeconds } from './progress.ts'
import { formatChange, formatCount, formatPercent, textTable } from './text-table.ts'

const STAGES: Record<StageReport['stage'], string> = {
  start: 'start',
  train: 'sparse training',
  prune: 'cut',
  finetune: 'fine-tuning',
}

/** What was done, as a table of stages and lines of totals and files. */
export function summaryOf(report: SlimReport, files: [string, string][]): string {
  const passes = Math.max(...report.stages.map(({ pass }) => pass))
  const right = { align: 'right' as const }
  const columns = [
    { title: 'stage' },
    ...['accuracy', 'loss', 'parameters', 'MACs', 'time'].map((title) => ({ title, ...right })),
  ]
  const rows = report.stages.map(({ stage, pass, accuracy, loss, parameters, macs, seconds }) => [
    `${STAGES[stage]}${passes > 1 && stage !== 'start' ? ` ${pass}` : ''}`,
    ...[accuracy === null ? '' : formatPercent(accuracy, 2), loss === null ? '' : loss.toFixed(3)],
    ...[formatCount(parameters), formatCount(macs), formatSeconds(seconds)],
  ])
  const totals = (['channels', 'parameters', 'macs'] as const).map((key): [string, string] => {
    const change = report[key]
    const name = key === 'macs' ? 'MACs' : `${key[0]?.toUpperCase()}${key.slice(1)}`
    return [name, `${formatCount(change.before)} -> ${formatCount(change.after)} (${formatChange(change)})`]
  })
  const lines = [...totals, ...files].map(([name, value]) => `${name.padEnd(11)} ${value}`)
  return [textTable(columns, rows), '', ...lines].join('\n')
}

/** What the report says of how it was made. */
export async function settingsOf(
  model: string,
  flags: SlimFlags,
  images: Images | undefined,
): Promise<[string, string][]> {
  const { version, libtorch, threads, cpuCapability } = await runtime.info()
  const { data, out, seed, ...others } = flags
  const hidden = new Set(['json', 'report', 'checkpoint', 'every', 'resume', 'testSplit', 'augment', 'dataset'])
  const given = Object.entries(others).filter(([name, value]) => value !== undefined && !hidden.has(name))
  const counts =
    images &&
    `${images.train.shape[0]} for training, ${images.test?.shape[0] ?? 0} for testing${images.heldOut ? ' (held out)' : ''}`
  return [
    ['model', model],
    ...(images === undefined ? [] : [['data', `${data} (${images.dataset}): ${counts}`] as [string, string]]),
    ...given.map(([name, value]): [string, string] => [wordsOf(name), textOf(value)]),
    ...(flags.augment ? [] : [['augmentation', 'off'] as [string, string]]),
    ['seed', String(seed)],
    ['network written to', out],
    ['torchvid', `${version}, LibTorch ${libtorch.version}, ${threads} threads, ${cpuCapability}`],
    ['Node', `${process.versions.node}, ${process.platform}-${process.arch}`],
    ['made', new Date().toISOString()],
  ]
}

/** `fineTuneEpochs` as "fine tune epochs". */
function wordsOf(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
}

function textOf(value: unknown): string {
  if (value === true) return 'yes'
  if (Array.isArray(value)) return value.join(', ')
  return typeof value === 'object' && value !== null ? JSON.stringify(value) : String(value)
}
