import { type DescribedFeatures, settingsWarnings } from '../data/feature-settings.ts'
import type { FeatureReader } from '../data/features.ts'
import type { Graph } from '../graph/types.ts'

/** Rows from the middle of a video that stand for all of it. */
const SAMPLE = 8

/** What is known of each video's features. One after the other: rows of thousands at once would be gigabytes. */
export async function describeAll(readers: FeatureReader[]): Promise<DescribedFeatures[]> {
  const described: DescribedFeatures[] = []
  for (const reader of readers) described.push(await describeFeatures(reader))
  return described
}

/** A video's settings or, where nothing tells them, its features' mean L2 norm, measured. */
async function describeFeatures(reader: FeatureReader): Promise<DescribedFeatures> {
  const { name, settings } = reader
  return settings === undefined ? { name, meanNorm: await meanNorm(reader) } : { name, settings }
}

/** Mean L2 norm of a segment's features, over crops and some segments from the middle. */
async function meanNorm(reader: FeatureReader): Promise<number> {
  const count = Math.min(SAMPLE, reader.segments)
  const { data } = await reader.read(Math.floor((reader.segments - count) / 2), count)
  let sum = 0
  for (let row = 0; row < data.length; row += reader.size) {
    let squares = 0
    for (let i = row; i < row + reader.size; i++) squares += Number(data[i]) ** 2
    sum += Math.sqrt(squares)
  }
  return sum / (count * reader.crops)
}

/** The label under which a detector's graph carries what it was trained on. */
const trainedOnLabel = 'features'

/** A graph's labels, and what its detector remembers of the features it was trained on. */
export function trainingLabels(graph: Graph, described: DescribedFeatures[]): Record<string, string> {
  return { ...graph.labels, [trainedOnLabel]: JSON.stringify(summaryOf(described)) }
}

/** What a detector was trained on, as far as it is known. */
export function trainedOn({ labels }: Graph): DescribedFeatures | undefined {
  const text = labels?.[trainedOnLabel]
  return text === undefined ? undefined : JSON.parse(text)
}

function summaryOf(described: DescribedFeatures[]): DescribedFeatures {
  const name = 'the training features'
  const settings = described.find((features) => features.settings !== undefined)?.settings
  const norms = described.flatMap(({ settings: own, meanNorm: norm = own?.meanNorm }) => norm ?? [])
  const mean = norms.reduce((a, b) => a + b, 0) / Math.max(norms.length, 1)
  return { name, ...(settings && { settings: { ...settings, meanNorm: mean } }), meanNorm: mean }
}

/** What is odd about features that are used together, and with those that a detector was trained on. */
export async function mismatches(
  readers: FeatureReader[],
  trainedOn: DescribedFeatures | undefined,
): Promise<string[]> {
  if (trainedOn !== undefined) return settingsWarnings([trainedOn, ...(await describeAll(readers))])
  return readers.length < 2 ? [] : settingsWarnings(await describeAll(readers))
}
