import type { Graph, GraphNode } from '../graph/types.ts'
import type { SlimmingCfg } from './torch-writer.ts'

/**
 * The `cfg` by which the network-slimming references (github.com/Eric-mingjie/network-slimming) build a slimmed network,
 * from its graph; undefined when it is none of theirs: another network, or one that was cut in a way their classes
 * cannot express (narrower residual streams, biases that took over removed channels).
 */
export function slimmingCfg(graph: Graph): SlimmingCfg | undefined {
  const nodes = new Map(graph.nodes.map((node) => [node.name, node]))
  if (graph.nodes.some(({ op, attributes }) => op === 'conv' && attributes?.bias !== false)) return undefined
  if (graph.labels?.network === 'vgg') return vggCfg(graph)
  if (graph.labels?.network === 'preresnet') return preresnetCfg(graph, nodes)
  if (graph.labels?.network === 'densenet') return densenetCfg(graph, nodes)
  return undefined
}

/** Widths of the convolutions, `'M'` for a max pool. */
function vggCfg({ nodes }: Graph): SlimmingCfg | undefined {
  if (!nodes.some(({ name }) => name === 'classifier')) return undefined
  return nodes.flatMap((node): SlimmingCfg => {
    if (node.op === 'maxPool') return ['M']
    return node.op === 'conv' ? [width(node)] : []
  })
}

/** For each block the channels selected, those of its first and its second convolution; then the last selection's. */
function preresnetCfg({ nodes }: Graph, byName: Map<string, GraphNode>): SlimmingCfg | undefined {
  const blocks = nodes.flatMap(({ name }) => /^(layer([123])\.\d+)\.bn1$/.exec(name)?.slice(1, 3).join(' ') ?? [])
  const cfg: number[] = []
  for (const block of blocks) {
    const [prefix, layer] = block.split(' ') as [string, string]
    const out = 4 * 16 * 2 ** (Number(layer) - 1)
    const shortcut = byName.get(`${prefix}.downsample.0`)
    const whole = width(byName.get(`${prefix}.conv3`)) === out && (shortcut === undefined || width(shortcut) === out)
    if (!whole) return undefined
    cfg.push(...['select', 'conv1', 'conv2'].map((part) => width(byName.get(`${prefix}.${part}`))))
  }
  cfg.push(width(byName.get('select')))
  const sound = width(byName.get('conv1')) === 16 && cfg.length % 9 === 1 && cfg.length > 1
  return sound && cfg.every((value) => value > 0) ? cfg : undefined
}

/** What every selection selects; the convolutions' outputs are as they were made. */
function densenetCfg({ nodes }: Graph, byName: Map<string, GraphNode>): SlimmingCfg | undefined {
  const cfg = nodes.filter(({ op }) => op === 'select').map(width)
  const norms = nodes.filter(({ name }) => /^dense\d+\.\d+\.bn1$/.test(name))
  if (norms.length === 0 || cfg.length !== norms.length + 3) return undefined
  const growth = width(byName.get('dense1.0.conv1'))
  let channels = 2 * growth
  if (width(byName.get('conv1')) !== channels) return undefined
  for (const { name } of norms) {
    const prefix = name.slice(0, -'.bn1'.length)
    const [, block, index] = /^dense(\d+)\.(\d+)$/.exec(prefix) as unknown as [string, string, string]
    if (index === '0' && block !== '1' && width(byName.get(`trans${Number(block) - 1}.conv1`)) !== channels)
      return undefined
    if (width(byName.get(`${prefix}.conv1`)) !== growth) return undefined
    channels += growth
  }
  return cfg
}

/** Output channels; 0 where there is no such node. */
function width(node: GraphNode | undefined): number {
  const out = node?.attributes?.out
  return typeof out === 'number' ? out : 0
}
