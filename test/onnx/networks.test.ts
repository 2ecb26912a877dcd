import { type graph, networks } from 'torchvid'
import { afterAll, describe, expect, test } from 'vitest'
import { scratch } from '../helpers/expect.ts'
import { agree, declaredShape, exported, randomNetwork } from './helpers.ts'

const folder = scratch()

type Shapes = Record<string, number[]>

/** Every network there is: its graph and two sets of input shapes. A network without a row here fails a test. */
const table: Record<keyof typeof networks, { make: () => graph.Graph; shapes: [Shapes, Shapes] }[]> = {
  vgg: [
    { make: () => networks.vgg({ depth: 11 }), shapes: batches(3, 32, 32) },
    {
      make: () => networks.vgg({ input: [1, 28, 28], cfg: [8, 12, 'M', 16, 'M', 24] }),
      shapes: batches(1, 28, 28),
    },
    {
      make: () =>
        networks.vgg({
          head: 'imagenet',
          input: [3, 64, 64],
          cfg: [8, 'M', 8, 'M', 8, 'M', 8, 'M', 8, 'M'],
          classes: 20,
        }),
      shapes: batches(3, 64, 64),
    },
  ],
  preresnet: [{ make: () => networks.preresnet({ depth: 20, cfg: narrow(20) }), shapes: batches(3, 32, 32) }],
  densenet: [{ make: () => networks.densenet({ depth: 13 }), shapes: batches(3, 32, 32) }],
  resnet: [{ make: () => networks.resnet({ depth: 20 }), shapes: batches(3, 32, 32) }],
  mlp: [{ make: () => networks.mlp(), shapes: batches(1, 28, 28) }],
  mobilenet: [
    {
      make: () => networks.mobilenet({ classes: 7 }),
      shapes: [{ image: [1, 3, 64, 96] }, { image: [2, 3, 71, 45] }],
    },
  ],
  rtfm: [
    { make: () => networks.rtfm({ featureSize: 24 }), shapes: bags(24) },
    { make: () => networks.rtfm({ featureSize: 10, form: 'paper' }), shapes: bags(10) },
  ],
  deepMil: [{ make: () => networks.deepMil({ featureSize: 12 }), shapes: bags(12) }],
  i3d: [
    {
      make: () => networks.i3d({ classes: 5 }),
      shapes: [{ clip: [1, 3, 9, 40, 32] }, { clip: [2, 3, 16, 33, 47] }],
    },
  ],
  i3dResnet50: [
    {
      make: () => networks.i3dResnet50({ classes: 5, width: 4 }),
      shapes: [{ clip: [1, 3, 8, 40, 32] }, { clip: [2, 3, 9, 33, 47] }],
    },
    {
      make: () => networks.i3dResnet50({ classes: 5, width: 4, nonLocal: true }),
      shapes: [{ clip: [1, 3, 8, 40, 32] }, { clip: [2, 3, 9, 33, 47] }],
    },
  ],
  c3d: (['ceil', 'padded'] as const).map((pool5) => ({
    make: () => networks.c3d({ classes: 5, width: 2, hidden: 16, pool5 }),
    shapes: [{ clip: [1, 3, 16, 112, 112] }, { clip: [2, 3, 16, 112, 112] }],
  })),
  osvos: [
    {
      make: () => networks.osvos({ backbone: 'mobilenet' }),
      shapes: [{ image: [1, 3, 64, 96] }, { image: [2, 3, 71, 45] }],
    },
    {
      make: () => networks.osvos({ backbone: 'vgg16' }),
      shapes: [{ image: [1, 3, 32, 48] }, { image: [2, 3, 37, 29] }],
    },
  ],
  matcher: [
    {
      make: networks.matcher,
      shapes: [
        { image: [1, 3, 32, 48], cues: [1, 7, 4, 6] },
        { image: [2, 3, 64, 32], cues: [2, 7, 8, 4] },
      ],
    },
  ],
}

/** Features of one video, and of two with other crops and lengths. */
function bags(featureSize: number): [Shapes, Shapes] {
  return [{ features: [1, 1, 6, featureSize] }, { features: [2, 3, 37, featureSize] }]
}

/** One picture, and three. */
function batches(...shape: number[]): [Shapes, Shapes] {
  return [{ image: [1, ...shape] }, { image: [3, ...shape] }]
}

/** A slimmed PreResNet's widths: each a little below the full one. */
function narrow(depth: number): number[] {
  const net = networks.preresnet({ depth })
  return net.nodes.filter(({ op }) => op === 'batchNorm').map(({ attributes }) => (attributes?.channels as number) - 3)
}

test('the table has every network', () => {
  expect(Object.keys(table).sort()).toEqual(Object.keys(networks).sort())
})

const cases = Object.entries(table).flatMap(([name, rows]) =>
  rows.map((row, i) => ({ name: `${name} ${i + 1}`, ...row })),
)
const gaps: Record<string, number> = {}
afterAll(() => {
  if (process.env.ONNX_GAPS) console.log(gaps)
})

describe.each(cases)('$name', ({ name, make, shapes }) => {
  test('computes in ONNX Runtime what it does here, with any batch and size, and with fixed ones', async () => {
    const network = await randomNetwork(make(), folder)
    try {
      const free = await exported(network, folder)
      const input = network.graph.inputs[0]!.name
      expect(declaredShape(free.inputMetadata, input)[0]).toBe('batch')
      const both = [await agree(network, free, shapes[0]), await agree(network, free, shapes[1])]
      const fixed = await exported(network, folder, { inputs: shapes[1] })
      expect(declaredShape(fixed.inputMetadata, input)).toEqual(shapes[1][input])
      gaps[name] = Math.max(...both, await agree(network, fixed, shapes[1]))
    } finally {
      network.dispose()
    }
  })
})
