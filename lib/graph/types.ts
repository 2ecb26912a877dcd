/** How a network takes its pictures: value = (x - mean) / std for x in 0..255; all three in the order named. */
export interface PixelFormat {
  order: 'RGB' | 'BGR'
  mean: [number, number, number]
  std: [number, number, number]
}

/** An input of a graph. */
export interface GraphInput {
  name: string
  /** Sizes; null is any size. The first dimension is the batch. */
  shape: (number | null)[]
  /** For pictures: what becomes of a picture before it enters. */
  pixels?: PixelFormat
}

/** How a parameter starts. `value`: the standard deviation, bound or constant of those distributions that have one. */
export interface Init {
  distribution:
    | 'constant'
    | 'normal'
    | 'uniform'
    | 'kaimingUniform'
    | 'kaimingNormalFanIn'
    | 'kaimingNormalFanOut'
    | 'xavierUniform'
    | 'xavierNormal'
    | 'bilinear'
  value?: number
}

/** A layer's settings: numbers, flags, texts, lists of whole numbers. */
export type Attributes = Record<string, number | boolean | string | number[]>

/** One layer. */
export interface GraphNode {
  /** A row of the native op table: `conv`, `relu`, `add`... */
  op: string
  /** Unique in the graph; the prefix of its parameters' names (`conv1` has `conv1.weight`). */
  name: string
  /** Names of graph inputs or of nodes before this one. */
  inputs: string[]
  attributes?: Attributes
  /** How parameters start, by their last name (`weight`, `bias`); the layer's usual way where absent. */
  init?: Record<string, Init>
  /** Its parameters are never trained. */
  frozen?: boolean
}

/** A network as plain JSON. */
export interface Graph {
  format: 'torchvid-graph'
  version: 1
  inputs: GraphInput[]
  nodes: GraphNode[]
  /** Output name -> node name. */
  outputs: Record<string, string>
  /** What the network is, for code that picks settings by it: `{ task: 'osvos', backbone: 'vgg16' }`. */
  labels?: Record<string, string>
}
