import { TorchvidError } from '../errors.ts'
import type { Graph } from '../graph/types.ts'
import { graphKey, Network, type NetworkSummary } from '../network.ts'
import { inputShapes } from '../slim/prune.ts'
import * as weights from '../weights/index.ts'
import { readTable } from '../weights/table.ts'
import type { InspectFlags } from './flags.ts'
import { graphNamed, modelKind } from './models.ts'
import { type Scales, scalesOf } from './scales.ts'
import { formatCount, formatPercent, formatShort, printable, textTable } from './text-table.ts'

/** Prints what MODEL is: a network's layers, or the tensors of a file without a graph. */
export async function inspect(model: string, flags: InspectFlags): Promise<void> {
  if ((await modelKind(model)) === 'name') {
    await usingNetwork(await Network.create(graphNamed(model, { classes: flags.classes })), model, flags)
    return
  }
  const { metadata } = await readTable(model)
  if (flags.tensors || metadata[graphKey] === undefined) await showTensors(model, flags)
  else await usingNetwork(await Network.open(model), model, flags)
}

async function usingNetwork(network: Network, model: string, flags: InspectFlags): Promise<void> {
  try {
    const shapes = shapesOf(network.graph, flags.input ?? [])
    const summary = await network.summary(shapes)
    const names = network.graph.nodes.filter(({ op }) => op === 'batchNorm').map(({ name }) => name)
    const channels = flags.channels
      ? await scalesOf(names, flags.threshold, async (name) => (await network.tensor(name)).data)
      : undefined
    if (flags.json) {
      const { inputs, outputs, labels = {} } = network.graph
      const { layers, ...totals } = summary
      console.log(
        JSON.stringify({ kind: 'network', model, inputs, outputs, labels, shapes, totals, layers, channels }, null, 2),
      )
      return
    }
    printNetwork(network.graph, shapes, summary)
    if (channels !== undefined) printScales(channels, flags.threshold)
  } finally {
    network.dispose()
  }
}

/** The declared sizes, a batch of 1, free sizes 224; or what `--input` says. */
function shapesOf(graph: Graph, given: NonNullable<InspectFlags['input']>): Record<string, number[]> {
  const shapes = inputShapes(graph)
  for (const { name = graph.inputs.length === 1 ? graph.inputs[0]!.name : '', shape } of given) {
    if (!Object.hasOwn(shapes, name)) {
      const names = Object.keys(shapes).map(printable).join(', ')
      const text = `--input: ${name === '' ? 'the network has several inputs' : `there is no input ${JSON.stringify(name)}`}. Wanted NAME=SIZES with one of ${names}.`
      throw new TorchvidError('ERR_INVALID_ARGUMENT', text)
    }
    shapes[name] = shape
  }
  return shapes
}

function printNetwork(graph: Graph, shapes: Record<string, number[]>, { layers, ...totals }: NetworkSummary): void {
  const rows = layers.map(({ name, op, shape, parameters, macs }) => [
    ...[printable(name), printable(op), shape.join('x')],
    ...[parameters, macs].map((value) => (value === 0 ? '' : formatCount(value))),
  ])
  rows.push(['total', '', '', formatCount(totals.parameters), formatCount(totals.macs)])
  const right = { align: 'right' as const }
  const columns = [
    { title: 'layer' },
    { title: 'op' },
    { title: 'output' },
    { title: 'parameters', ...right },
    { title: 'MACs', ...right },
  ]
  console.log(textTable(columns, rows))
  const facts: [string, string][] = [
    ...graph.inputs.map(({ name, shape }): [string, string] => [
      'Input',
      `${name} [${shape.map((size) => size ?? 'any').join(', ')}], here ${shapes[name]?.join('x')}`,
    ]),
    ...Object.entries(graph.outputs).map(([name, node]): [string, string] => {
      const shape = layers.find((layer) => layer.name === node)?.shape
      return ['Output', `${name}${shape === undefined ? '' : ` ${shape.join('x')}`} (${node})`]
    }),
    ...Object.entries(graph.labels ?? {}).map(([name, value]): [string, string] => ['Label', `${name}: ${value}`]),
    ['Parameters', formatShort(totals.parameters)],
    ['MACs', formatShort(totals.macs)],
    ['Activations', `${formatShort(totals.activationBytes)}B`],
  ]
  console.log()
  for (const [name, value] of facts) console.log(`${name.padEnd(12)} ${printable(value)}`)
}

function printScales(scales: Scales[], threshold: number): void {
  console.log()
  if (scales.length === 0) {
    console.log('There is no batch-norm, so there are no scales that a cut could go by.')
    return
  }
  const number = (value: number) => (value !== 0 && value < 1e-3 ? value.toExponential(2) : value.toPrecision(3))
  const rows = scales.map(({ name, channels, min, median, max, below }) => [
    ...[printable(name), String(channels), number(min), number(median), number(max), formatPercent(below)],
  ])
  const titles = ['channels', 'min |gamma|', 'median', 'max', `<= ${threshold}`]
  const columns = titles.map((title) => ({ title, align: 'right' as const }))
  console.log(textTable([{ title: 'batch-norm' }, ...columns], rows))
  const all = scales.reduce((sum, { channels }) => sum + channels, 0)
  const small = scales.reduce((sum, { channels, below }) => sum + channels * below, 0)
  console.log(
    `\n${formatCount(Math.round(small))} of ${formatCount(all)} channels (${formatPercent(small / all)}) have a scale at or below ${threshold}.`,
  )
}

/** The tensors of a file; what has running statistics is taken for a batch-norm. */
async function showTensors(file: string, flags: InspectFlags): Promise<void> {
  const tensors = await weights.list(file)
  const has = new Set(tensors.map(({ name }) => name))
  const norms = tensors
    .flatMap(({ name }) => /^(.+)\.running_var$/.exec(name)?.[1] ?? [])
    .filter((name) => has.has(`${name}.weight`))
  const channels = flags.channels
    ? await scalesOf(norms, flags.threshold, async (name) => (await weights.read(file, name)).data)
    : undefined
  const numbers = tensors.reduce((sum, { shape }) => sum + sizeOf(shape), 0)
  if (flags.json) {
    console.log(
      JSON.stringify(
        { kind: 'weights', model: file, totals: { tensors: tensors.length, numbers }, tensors, channels },
        null,
        2,
      ),
    )
    return
  }
  const rows = tensors.map(({ name, dtype, shape }) => [
    printable(name),
    dtype,
    shape.join('x') || 'scalar',
    formatCount(sizeOf(shape)),
  ])
  rows.push(['total', '', '', formatCount(numbers)])
  console.log(
    textTable([{ title: 'tensor' }, { title: 'type' }, { title: 'shape' }, { title: 'numbers', align: 'right' }], rows),
  )
  if (channels !== undefined) printScales(channels, flags.threshold)
}

function sizeOf(shape: number[]): number {
  return shape.reduce((product, size) => product * size, 1)
}
