import { describe, invalidArgument, TorchvidError } from '../errors.ts'
import type { Graph, GraphInput } from '../graph/types.ts'
import type { OnnxSource } from './source.ts'

/** A size, or null for any; a text is any size too, the same wherever the text stands. */
export type OnnxShape = (number | string | null)[]

/** Sizes of a value; null where they depend on the inputs'. */
export type Sizes = (number | null)[]

/** The shapes of everything in a graph. */
export interface Shapes {
  /** Of the graph's inputs: sizes, and names of free ones. */
  inputs: Record<string, (number | string)[]>
  /** Of every input and layer. */
  sizes: Map<string, Sizes>
  /** A value's shape as the file tells it: sizes, and names of free ones. */
  named(value: string, label: string): (number | string)[]
}

/** For the first run, free sizes are these; for the second, larger ones: what differs then is free. */
const probe = { batch: 2, other: 64 }

/**
 * The shapes of a network's values with these inputs.
 * @throws TorchvidError ERR_INVALID_ARGUMENT, ERR_SHAPE, ERR_DISPOSED
 */
export async function inferShapes(network: OnnxSource, given: Record<string, OnnxShape> | undefined): Promise<Shapes> {
  const inputs = inputShapes(network.graph, given)
  const batches = new Set(Object.values(inputs).map((shape) => shape[0]))
  const free = [...new Set(Object.values(inputs).flat())].filter((size) => typeof size === 'string')
  const one = new Map(free.map((name) => [name, batches.has(name) ? probe.batch : probe.other]))
  const first = await run(network, inputs, one)
  if (free.length === 0) return { inputs, sizes: first, named: (value) => first.get(value) as number[] }
  // Different sizes tell height from width; a graph that wants some of them equal gets equal ones.
  const apart = new Map(free.map((name, i) => [name, batches.has(name) ? probe.batch + 1 : probe.other * (i + 2)]))
  const alike = new Map(free.map((name) => [name, batches.has(name) ? probe.batch + 1 : probe.other * 2]))
  const [two, second] = await run(network, inputs, apart).then(
    (sizes) => [apart, sizes] as const,
    async () => [alike, await run(network, inputs, alike).catch(notFree)] as const,
  )
  const sizes = new Map<string, Sizes>()
  for (const [value, shape] of first)
    sizes.set(
      value,
      shape.map((size, axis) => (second.get(value)?.[axis] === size ? size : null)),
    )
  const named = (value: string, label: string) =>
    (sizes.get(value) as Sizes).map((size, axis) => {
      if (size !== null) return size
      const like = free.filter(
        (name) => first.get(value)?.[axis] === one.get(name) && second.get(value)?.[axis] === two.get(name),
      )
      return like.length === 1 ? (like[0] as string) : `${label}_${axis}`
    })
  return { inputs, sizes, named }
}

/** Every value's shape when free sizes are these. */
async function run(
  network: OnnxSource,
  inputs: Record<string, (number | string)[]>,
  free: Map<string, number>,
): Promise<Map<string, number[]>> {
  const shapes = Object.entries(inputs).map(
    ([name, shape]) =>
      [name, shape.map((size) => (typeof size === 'number' ? size : (free.get(size) as number)))] as const,
  )
  const { layers } = await network.summary(Object.fromEntries(shapes))
  return new Map([...shapes, ...layers.map(({ name, shape }) => [name, shape] as const)])
}

function notFree(error: unknown): never {
  if (!(error instanceof TorchvidError) || error.code === 'ERR_DISPOSED') throw error
  const message = `exportOnnx: the network does not work at every size that its inputs leave free: ${error.message} Give whole sizes: inputs: { image: [1, 3, 224, 224] }.`
  throw new TorchvidError('ERR_SHAPE', message, { cause: error })
}

/** The inputs' shapes: as given, else as the graph declares them; free sizes get names. */
function inputShapes(graph: Graph, given: unknown): Record<string, (number | string)[]> {
  const names = graph.inputs.map(({ name }) => `'${name}'`).join(', ')
  if (given === undefined) {
    return Object.fromEntries(graph.inputs.map((input) => [input.name, nameFree(input, input.shape, graph)]))
  }
  if (given === null || typeof given !== 'object' || Array.isArray(given)) {
    throw invalidArgument('inputs', given, `a shape for each input (${names})`)
  }
  for (const name of Object.keys(given)) {
    if (!graph.inputs.some((input) => input.name === name))
      throw invalidArgument('inputs', name, `a shape for each input, by its name: ${names}`)
  }
  return Object.fromEntries(
    graph.inputs.map((input) => {
      const shape: unknown = Object.hasOwn(given, input.name) ? given[input.name as keyof typeof given] : undefined
      return [input.name, nameFree(input, checkShape(input, shape), graph)]
    }),
  )
}

function checkShape({ name, shape }: GraphInput, given: unknown): OnnxShape {
  const sound = (size: unknown) =>
    size === null || (typeof size === 'string' && size !== '') || (Number.isSafeInteger(size) && (size as number) > 0)
  if (!Array.isArray(given) || !given.every(sound)) {
    const wanted = `a list of ${shape.length} sizes: whole numbers above 0, null for any size, or a text for any size of that name`
    throw invalidArgument(`inputs.${name}`, given, wanted)
  }
  const fits = given.length === shape.length && shape.every((size, axis) => size === null || size === given[axis])
  if (fits) return given
  const declared = shape.map((size) => size ?? 'any').join(', ')
  const message = `exportOnnx: input '${name}' was given as ${describe(given)}, the network takes [${declared}]; only what is any there can be chosen, or left free (null).`
  throw new TorchvidError('ERR_SHAPE', message)
}

/** Names for sizes that are free: the batch is one, shared by all inputs; the others belong to their input. */
function nameFree(input: GraphInput, shape: OnnxShape, graph: Graph): (number | string)[] {
  const prefix = graph.inputs.length > 1 ? `${input.name}_` : ''
  const axes = axesOf(input)
  return shape.map((size, axis) => {
    if (size !== null) return size
    return axis === 0 ? 'batch' : prefix + (axes[axis] ?? `size_${axis}`)
  })
}

/** What the axes of pictures and clips are called. */
function axesOf({ shape }: GraphInput): string[] {
  if (shape.length === 4 && shape[3] === null) return ['batch', 'channels', 'height', 'width']
  if (shape.length === 5 && shape[4] === null) return ['batch', 'channels', 'frames', 'height', 'width']
  return ['batch']
}
