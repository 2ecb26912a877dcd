import type { Graph, GraphInput } from '../graph/types.ts'

/** What a file says of itself, key by key: its labels, and for each input of pictures their format as JSON. */
export function metadata(graph: Graph): { key: string; value: string }[] {
  const labels = Object.entries(graph.labels ?? {}).map(([name, value]) => ({ key: `torchvid.label.${name}`, value }))
  const pixels = graph.inputs.flatMap(({ name, pixels }) =>
    pixels === undefined ? [] : [{ key: `torchvid.pixels.${name}`, value: JSON.stringify(pixels) }],
  )
  return [...labels, ...pixels]
}

/** An input's format in words, for who looks at the file. */
export function inputDescription({ pixels }: GraphInput): string | undefined {
  if (pixels === undefined) return undefined
  const { order, mean, std } = pixels
  return `Pictures (N, 3, H, W), channels ${order}: (x - [${mean.join(', ')}]) / [${std.join(', ')}] for x in 0..255.`
}

/** The labels in one line. */
export function graphDescription({ labels }: Graph): string | undefined {
  if (labels === undefined) return undefined
  return Object.entries(labels)
    .map(([name, value]) => `${name}: ${value}`)
    .join(', ')
}
