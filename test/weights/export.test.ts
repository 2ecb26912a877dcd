import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join as joinPath } from 'node:path'
import { graph, Network, networks, weights } from 'torchvid'
import { describe, expect, test } from 'vitest'
import { type Entry, openPromise } from 'yauzl'
import { readTable } from '../../lib/weights/table.ts'
import { leftovers, refuses, scratch } from '../helpers/expect.ts'
import { differing, noise, withNetwork } from '../helpers/tensors.ts'

const folder = scratch()
let count = 0
const fresh = () => joinPath(folder, `${count++}.pth`)

/** A small network with every kind of tensor. */
const small = () => {
  const x = graph.input('x', [null, 2, null, null])
  const y = graph.batchNorm(graph.conv(x, { out: 3, kernel: 3, name: 'a.conv' }), { name: 'a.bn' })
  return graph.build({ y: graph.conv(y, { out: 1, kernel: 1, frozen: true, name: 'b "\u00e9"' }) })
}

const extrasOf = async (file: string) => (await readTable(file)).extras

describe('exportPyTorch', () => {
  test('what it writes loads again, bit by bit', async () => {
    const file = fresh()
    await withNetwork(small(), async (network) => {
      await network.forward({ x: noise([2, 2, 5, 5]) }, { training: true }) // moves statistics and the count
      await network.exportPyTorch(file)
      await withNetwork(
        small(),
        async (other) => {
          const { loaded, unexpected } = await other.load(file)
          expect(unexpected).toEqual([])
          expect(loaded).toEqual(network.parameters().map(({ name }) => name))
          expect(await differing(network, other)).toEqual([])
        },
        { seed: 9 },
      )
      expect(await weights.list(file)).toContainEqual({ name: 'a.bn.num_batches_tracked', dtype: 'I64', shape: [] })
      expect((await extrasOf(file))?.size).toBe(0)
    })
  })

  test('the archive is laid out as PyTorch lays it out, and its checksums are right', async () => {
    const file = fresh()
    await withNetwork(small(), (network) => network.exportPyTorch(file))
    const zip = await openPromise(file, { lazyEntries: true, autoClose: false })
    const names: string[] = []
    const bytesOf = async (entry: Entry) => {
      const stream = await zip.openReadStreamPromise(entry)
      const chunks: Buffer[] = []
      for await (const chunk of stream) chunks.push(chunk)
      return Buffer.concat(chunks).toString('latin1')
    }
    for await (const entry of zip.eachEntry()) {
      expect(entry.compressionMethod).toBe(0)
      names.push(entry.fileName)
      if (entry.fileName === 'archive/version') expect(await bytesOf(entry)).toBe('3\n')
      if (entry.fileName === 'archive/byteorder') expect(await bytesOf(entry)).toBe('little')
      if (entry.fileName === 'archive/data.pkl') expect(await bytesOf(entry)).toContain('_rebuild_tensor_v2')
    }
    zip.close()
    const wanted = ['archive/byteorder', 'archive/data.pkl', 'archive/version']
    expect(names.filter((name) => !name.startsWith('archive/data/')).sort()).toEqual(wanted)
    expect(names.filter((name) => name.startsWith('archive/data/'))).toHaveLength(9)
  })

  test('twice the same network, twice the same bytes', async () => {
    const [a, b] = [fresh(), fresh()]
    await withNetwork(small(), async (network) => {
      await network.exportPyTorch(a)
      await network.exportPyTorch(b)
    })
    expect(readFileSync(a).equals(readFileSync(b))).toBe(true)
  })

  test('whole or not at all', async () => {
    const file = fresh()
    const network = await Network.create(small(), { device: 'cpu' })
    mkdirSync(file)
    await refuses('ERR_IO', /could not be written/, () => network.exportPyTorch(file))
    expect(statSync(file).isDirectory()).toBe(true)
    const other = fresh()
    const running = network.exportPyTorch(other)
    network.dispose()
    await refuses('ERR_DISPOSED', /./, () => running)
    expect(existsSync(other)).toBe(false)
    expect(leftovers(folder)).toEqual([])
    expect(readdirSync(folder).filter((name) => name.startsWith('.'))).toEqual([])
  })

  test('arguments', async () => {
    await withNetwork(small(), async (network) => {
      for (const path of ['', undefined, 5])
        await refuses('ERR_INVALID_ARGUMENT', /path/, () => network.exportPyTorch(path as any))
      for (const cfg of ['64', [1.5], ['N'], [-1]])
        await refuses('ERR_INVALID_ARGUMENT', /cfg/, () => network.exportPyTorch(fresh(), { cfg: cfg as any }))
    })
  })
})

describe("the references' cfg", () => {
  const cfgOf = async (net: ReturnType<typeof small>, options?: { cfg?: (number | 'M')[] | false }) => {
    const file = fresh()
    await withNetwork(net, (network) => network.exportPyTorch(file, options))
    return (await extrasOf(file))?.get('cfg')
  }

  test('vgg: widths and pools', async () => {
    const cfg = [3, 'M', 5, 'M', 4] as (number | 'M')[]
    expect(await cfgOf(networks.vgg({ cfg, classes: 2 }))).toEqual(cfg)
  })

  test('preresnet: selected, first and second convolution of each block, last selected', async () => {
    const cfg = [7, 3, 4, 9, 5, 6, 11, 2, 3, 20]
    expect(await cfgOf(networks.preresnet({ cfg, classes: 2 }))).toEqual(cfg)
  })

  test('densenet: selected', async () => {
    const cfg = [5, 9, 7, 11, 13, 20]
    expect(await cfgOf(networks.densenet({ cfg, growth: 4, classes: 2 }))).toEqual(cfg)
  })

  test('options go before the graph', async () => {
    const net = () => networks.vgg({ cfg: [3, 'M', 4], classes: 2 })
    expect(await cfgOf(net(), { cfg: [1, 'M', 2] })).toEqual([1, 'M', 2])
    expect(await cfgOf(net(), { cfg: false })).toBe(undefined)
    expect(await cfgOf(small(), { cfg: [1, 300, 70_000, 2 ** 40] })).toEqual([1, 300, 70_000, 2 ** 40])
  })

  test('none for networks that the references cannot make', async () => {
    expect(await cfgOf(networks.vgg({ cfg: [3, 'M', 4], head: 'imagenet', input: [1, 8, 8] }))).toBe(undefined)
    expect(await cfgOf(networks.resnet({ depth: 20 }))).toBe(undefined)
    const narrow = networks.preresnet({ cfg: [7, 3, 4, 9, 5, 6, 11, 2, 3, 20], classes: 2 })
    for (const node of narrow.nodes) {
      // As a cut with strategy 'group' leaves it: the first stream has 60 channels.
      if (/^layer1\.0\.(conv3|downsample\.0)$/.test(node.name)) node.attributes!.out = 60
      if (/^layer2\.0\.(bn1|select)$/.test(node.name)) node.attributes!.channels = 60
      if (node.name === 'layer2.0.downsample.0') node.attributes!.in = 60
    }
    expect(await cfgOf(narrow)).toBe(undefined)
  })
})
