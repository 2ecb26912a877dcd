import { readFile, rm } from 'node:fs/promises'
import { describe, TorchvidError } from '../errors.ts'
import { writeError, writeWhole } from './files.ts'

/**
 * What a feature file was made with. Features of other settings are other features: two public extractions of one data set
 * have norms ten times apart, so a file without its settings cannot be told from a wrong one.
 */
export interface FeatureSettings {
  /** The network's name. */
  backbone: string
  /** The network's output that they are. */
  output?: string
  /** Numbers per crop and clip (F). */
  size: number
  crops: 1 | 5 | 10
  /** Frames a clip. */
  every: number
  /** Of a clip's frames, every how many-th the network saw. */
  frameStep: number
  /** The frames' shorter side or [width, height] in pixels; null: as they are. */
  resize: number | [width: number, height: number] | null
  /** A crop's side in pixels. */
  crop: number
  order: 'RGB' | 'BGR'
  /** value = (x - mean) / std, x in 0..255, in the order of `order`. */
  mean: number[]
  std: number[]
  /** How a last clip shorter than `every` was filled, or that it was left out. */
  tail: 'loop' | 'repeat' | 'drop'
  /** Of the video. */
  frames: number
  /** Frames a second, where the video says so. */
  fps?: number
  /** The video's name. */
  video?: string
  /** Mean L2 norm of a clip's features, over clips and crops. */
  meanNorm: number
  /** Whether every clip's features were divided by their L2 norm. */
  normalise?: boolean
}

const FORMAT = 'torchvid-features'

/** Where the settings of a feature file are: beside it, `.json` after its name. */
function settingsPath(npyPath: string): string {
  return `${npyPath}.json`
}

/**
 * What the feature file was made with, from `NAME.npy.json` beside it; undefined where there is no such file, or it is
 * some other program's.
 * @throws TorchvidError ERR_IO when the file is there but cannot be read, or is damaged
 */
export async function readFeatureSettings(npyPath: string): Promise<FeatureSettings | undefined> {
  const path = settingsPath(npyPath)
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new TorchvidError('ERR_IO', `${describe(path)} cannot be read (${(cause as Error).message}).`, { cause })
  }
  if (!text.includes(FORMAT)) return undefined
  const settings = parse(text)
  if (typeof settings === 'string') throw damaged(path, settings)
  const wrong = wrongField(settings)
  if (wrong !== undefined) throw damaged(path, wrong)
  return settings as unknown as FeatureSettings
}

function damaged(path: string, reason: string): TorchvidError {
  const message = `${describe(path)} is damaged: ${reason}. Extract the features again, or delete it: they are then read without their settings.`
  return new TorchvidError('ERR_IO', message)
}

/** Writes `NAME.npy.json`, whole or not at all. @throws TorchvidError ERR_IO */
export async function writeFeatureSettings(npyPath: string, settings: FeatureSettings): Promise<void> {
  const text = `${JSON.stringify({ format: FORMAT, version: 1, ...settings }, null, 2)}\n`
  await writeWhole(settingsPath(npyPath), Buffer.from(text))
}

/** Removes `NAME.npy.json`, if it is there. @throws TorchvidError ERR_IO */
export async function removeFeatureSettings(npyPath: string): Promise<void> {
  const path = settingsPath(npyPath)
  await rm(path, { force: true }).catch((error) => {
    throw writeError(path, error)
  })
}

/** The object without its marks, or what is wrong. */
function parse(text: string): Record<string, unknown> | string {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    return (error as Error).message
  }
  if (typeof value !== 'object' || value === null) return 'it holds no object'
  const { format, version, ...settings } = value as Record<string, unknown>
  if (format !== FORMAT) return `its format is ${describe(format)}`
  return version === 1 ? settings : `its version is ${describe(version)}, and this torchvid knows version 1`
}

const isNumber = (value: unknown) => typeof value === 'number' && Number.isFinite(value)
const isText = (value: unknown) => typeof value === 'string'
const isNumbers = (value: unknown) => Array.isArray(value) && value.length > 0 && value.every(isNumber)
const orAbsent = (is: (value: unknown) => boolean) => (value: unknown) => value === undefined || is(value)

const fields: Record<keyof FeatureSettings, (value: unknown) => boolean> = {
  backbone: isText,
  output: orAbsent(isText),
  size: isNumber,
  crops: (value) => value === 1 || value === 5 || value === 10,
  every: isNumber,
  frameStep: isNumber,
  resize: (value) => value === null || isNumber(value) || isNumbers(value),
  crop: isNumber,
  order: (value) => value === 'RGB' || value === 'BGR',
  mean: isNumbers,
  std: isNumbers,
  tail: (value) => value === 'loop' || value === 'repeat' || value === 'drop',
  frames: isNumber,
  fps: orAbsent(isNumber),
  video: orAbsent(isText),
  meanNorm: isNumber,
  normalise: orAbsent((value) => typeof value === 'boolean'),
}

function wrongField(settings: Record<string, unknown>): string | undefined {
  const name = Object.entries(fields).find(([key, isRight]) => !isRight(settings[key]))?.[0]
  return name === undefined ? undefined : `its ${name} is ${describe(settings[name])}`
}

/** Settings that make features another kind when they differ; `frames`, `fps`, `video` and norms differ by video. */
const compared = [
  'backbone',
  'output',
  'size',
  'crops',
  'every',
  'frameStep',
  'resize',
  'crop',
  'order',
  'mean',
  'std',
  'tail',
  'normalise',
] as const

const defaults = { output: 'features', normalise: false }

/** Norms further apart than this are no matter of what the videos show. */
const MOST_APART = 2

/** A feature file and what is known of it. */
export interface DescribedFeatures {
  name: string
  settings?: FeatureSettings
  /** Default: the settings'. */
  meanNorm?: number
}

/**
 * What speaks against using these feature files together, in sentences for people: settings that differ, and mean norms
 * more than twice apart. Empty when nothing does. Files of which nothing is known are passed over.
 */
export function settingsWarnings(files: DescribedFeatures[]): string[] {
  const warnings: string[] = []
  for (const key of compared) {
    const groups = new Map<string, string[]>()
    for (const { name, settings } of files) {
      if (settings === undefined) continue
      const value = shown({ ...defaults, ...settings }[key])
      const group = groups.get(value)
      if (group === undefined) groups.set(value, [name])
      else group.push(name)
    }
    if (groups.size > 1) warnings.push(differs(key, groups))
  }
  return [...warnings, ...normWarnings(files)]
}

function shown(value: unknown): string {
  if (Array.isArray(value) && value.every((number) => number === value[0]) && value.length === 3) return `${value[0]}`
  return Array.isArray(value) ? value.join(', ') : String(value)
}

function differs(key: string, groups: Map<string, string[]>): string {
  const most = [...groups].sort(([, a], [, b]) => b.length - a.length)
  const parts = most.slice(0, 3).map(([value, names]) => {
    const others = names.length === 1 ? '' : ` and ${names.length - 1} more`
    return `${value} (${names[0]}${others})`
  })
  const rest = most.length > parts.length ? [`${most.length - parts.length} other values`] : []
  return `The features were made with different settings of '${key}': ${[...parts, ...rest].join('; ')}. Extract all of them with the same.`
}

function normWarnings(files: DescribedFeatures[]): string[] {
  const norms = files.flatMap(({ name, settings, meanNorm = settings?.meanNorm }) =>
    meanNorm === undefined || !Number.isFinite(meanNorm) ? [] : [{ name, norm: meanNorm }],
  )
  let [least, most] = [norms[0], norms[0]]
  if (least === undefined || most === undefined) return []
  for (const file of norms) {
    if (file.norm < least.norm) least = file
    if (file.norm > most.norm) most = file
  }
  if (most.norm <= MOST_APART * least.norm) return []
  const ratio = least.norm > 0 ? `${(most.norm / least.norm).toPrecision(2)} times as long` : 'not zero'
  return [
    `The features' mean L2 norms are too far apart: ${least.name} has ${least.norm.toPrecision(3)}, ${most.name} has ${most.norm.toPrecision(3)}, ${ratio}. They were probably scaled differently before the network (mean, std) or come from other networks; extract them with one setting.`,
  ]
}
