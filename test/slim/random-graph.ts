import { graph } from 'torchvid'

type Value = graph.Value

/**
 * A graph that no one designed: convolutions (plain, grouped, depthwise with and without bias and multiplier), batch-norms,
 * activations, sums, products, concatenations, pools and selections, in random order over one size; then a head.
 */
export function randomGraph(random: () => number): graph.Graph {
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T
  const chance = (probability: number) => random() < probability
  const width = () => pick([4, 6, 8, 12, 16])
  const norm = (x: Value) => graph.batchNorm(x)
  const activation = (x: Value) => pick([graph.relu, graph.relu, graph.relu, graph.relu6, graph.sigmoid])(x)
  const image = graph.input('image', [null, 3, 12, 12])
  const pool: Value[] = [
    activation(norm(graph.conv(image, { out: width(), kernel: 3, padding: 1, bias: chance(0.5) }))),
  ]

  const steps: Record<string, (x: Value) => Value> = {
    conv: (x) => {
      const kernel = pick([1, 3])
      const y = graph.conv(x, { out: width(), kernel, padding: (kernel - 1) / 2, bias: chance(0.5) })
      return chance(0.8) ? activation(norm(y)) : activation(y)
    },
    preActivation: (x) => graph.conv(graph.relu(norm(x)), { out: width(), kernel: 1, bias: chance(0.3) }),
    depthwise: (x) => {
      const channels = x.channels as number
      const out = channels * pick([1, 1, 2])
      const y = graph.conv(x, { out, kernel: 3, padding: 1, groups: channels, bias: chance(0.5) })
      return chance(0.7) ? graph.relu6(norm(y)) : graph.relu(y)
    },
    grouped: (x) => {
      const groups = pick([2, 4].filter((n) => (x.channels as number) % n === 0).concat(1))
      return activation(norm(graph.conv(x, { out: 8, kernel: 3, padding: 1, groups, bias: chance(0.5) })))
    },
    residual: (x) => {
      const y = norm(graph.conv(x, { out: x.channels as number, kernel: 3, padding: 1, bias: false }))
      return graph.relu(graph.add([y, x]))
    },
    concat: (x) => graph.concat(chance(0.5) ? [x, pick(pool)] : [x, pick(pool), pick(pool)]),
    add: (x) => {
      const same = pool.filter(({ channels }) => channels === x.channels)
      return graph.add(chance(0.7) ? [pick(same), x] : [x, pick(same), pick(same)])
    },
    multiply: (x) => graph.multiply(x, pick(pool.filter(({ channels }) => channels === x.channels))),
    gate: (x) => {
      const scale = graph.sigmoid(graph.conv(x, { out: 1, kernel: 1 }))
      return graph.multiply(x, scale)
    },
    pool: (x) => graph.maxPool(x, { kernel: 3, stride: 1, padding: 1 }),
    select: (x) => graph.relu(graph.select(norm(x))),
    padChannels: (x) => graph.padChannels(x, { before: pick([0, 2]), after: pick([1, 3]) }),
    dropout: (x) => graph.dropout(x, { probability: 0.3 }),
  }
  const names = Object.keys(steps)
  const length = 3 + Math.floor(random() * 8)
  for (let i = 0; i < length; i++) {
    const x = chance(0.6) ? (pool.at(-1) as Value) : pick(pool)
    if ((x.channels as number) > 64) continue
    pool.push((steps[pick(names)] as (x: Value) => Value)(x))
  }
  const last = pool.at(-1) as Value
  const small = graph.subsample(last, { stride: 3 })
  const features = chance(0.5)
    ? graph.flatten(small, { channels: (small.channels as number) * 16 })
    : graph.globalAveragePool(last)
  const hidden = graph.relu(norm(graph.linear(features, { out: 10 })))
  const outputs: Record<string, Value> = { logits: graph.linear(hidden, { out: 5 }) }
  if (chance(0.3)) outputs.map = graph.conv(pick(pool), { out: 2, kernel: 1 })
  if (chance(0.2)) outputs.inner = pick(pool)
  return graph.build(outputs)
}
