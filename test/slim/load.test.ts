import { writeFileSync } from 'node:fs'
import { join as joinPath } from 'node:path'
import { graph, Network, networks, slim } from 'torchvid'
import { expect, test } from 'vitest'
import { refuses, scratch } from '../helpers/expect.ts'
import { differing, expectClose, noise } from '../helpers/tensors.ts'
import { dict, int, join, list, pickle, tensor, text, u32, zipCheckpoint } from '../weights/torch-files.ts'

const folder = scratch()
const fixture = joinPath(import.meta.dirname, '../weights/fixtures/slimmed.pth.tar')
const file = joinPath(folder, 'pruned.pth.tar')

/** What the fixture's weights belong to: a convolution, a pool for 'M', a linear layer. */
const builder = ({ cfg, classes }: { cfg: (number | 'M')[]; classes: number }) => {
  expect(cfg).toEqual([2, 'M'])
  const x = graph.conv(graph.input('image', [null, 3, 2, 2]), {
    out: cfg[0] as number,
    kernel: 1,
    bias: false,
    name: 'conv',
  })
  const y = graph.globalAveragePool(graph.maxPool(x, { kernel: 2 }))
  return graph.build({ logits: graph.linear(y, { out: classes, name: 'classifier' }) })
}

test('a file that PyTorch wrote: cfg to the builder, classes from the classifier, weights loaded', async () => {
  const network = await slim.load(fixture, builder, { device: 'cpu' })
  expect((await network.tensor('classifier.weight')).data).toEqual(Float32Array.of(0, 1, 2, 3, 4, 5))
  expect((await network.tensor('conv.weight')).data).toEqual(new Float32Array(6).fill(1))
  network.dispose()
})

test.each([
  ['vgg', networks.vgg, [3, 'M', 5, 'M', 4]],
  ['preresnet', networks.preresnet, [16, 3, 4, 64, 5, 6, 128, 2, 3, 256]],
  ['densenet', networks.densenet, [24, 36, 36, 48, 48, 60]],
] as [string, typeof networks.vgg, (number | 'M')[]][])(
  '%s: what exportPyTorch writes is what load reads',
  async (_, network, cfg) => {
    const original = await Network.create(network({ cfg, classes: 7 }), { device: 'cpu', seed: 5 })
    await original.exportPyTorch(file)
    const loaded = await slim.load(file, network, { device: 'cpu' })
    expect(await differing(original, loaded)).toEqual([])
    const image = noise([2, 3, 32, 32])
    const { logits } = await loaded.forward({ image })
    expect(logits!.shape).toEqual([2, 7])
    expectClose(logits, (await original.forward({ image })).logits!, 0)
    original.dispose()
    loaded.dispose()
  },
)

test('files that are not of this kind', async () => {
  const wanted = /no cfg.*\{ cfg, state_dict \}.*Network\.open/
  const network = await Network.create(networks.vgg({ cfg: [3, 'M', 4], classes: 2 }), { device: 'cpu' })
  const saved = joinPath(folder, 'saved.safetensors')
  await network.save(saved)
  await refuses('ERR_CHECKPOINT_FORMAT', wanted, () => slim.load(saved, networks.vgg))
  await network.exportPyTorch(file, { cfg: false })
  await refuses('ERR_CHECKPOINT_FORMAT', wanted, () => slim.load(file, networks.vgg))
  await network.exportPyTorch(file)
  await refuses('ERR_CHECKPOINT_MISMATCH', /does not fit this builder.*cfg/, () =>
    slim.load(file, networks.preresnet as any),
  )
  await network.exportPyTorch(file, { cfg: [3, 'M', 5] })
  await refuses('ERR_CHECKPOINT_MISMATCH', /shape/, () => slim.load(file, networks.vgg))
  await refuses('ERR_INVALID_ARGUMENT', /builder/, () => slim.load(file, 'vgg' as any))
  await refuses('ERR_INVALID_ARGUMENT', /classes/, () => slim.load(file, networks.vgg, { classes: 0 }))
  await refuses('ERR_IO', /ENOENT/, () => slim.load(joinPath(folder, 'missing'), networks.vgg))
  network.dispose()
})

test('cfgs that are none, and a file without a classifier', async () => {
  const weights = (name = 'fc.weight') => dict(text(name), tensor({ shape: [2, 2], strides: [2, 1] }))
  const itself = join(']r', u32(7), 'j', u32(7), 'a')
  for (const cfg of [int(5), list(), list(text('N')), list(int(-1)), list('N'), text('64'), itself, tensor()]) {
    writeFileSync(file, zipCheckpoint(pickle(dict(text('cfg'), cfg, text('state_dict'), weights()))))
    await refuses('ERR_CHECKPOINT_FORMAT', /cfg/, () => slim.load(file, networks.vgg))
  }
  writeFileSync(
    file,
    zipCheckpoint(pickle(dict(text('cfg'), list(int(5)), text('state_dict'), weights('head.weight')))),
  )
  await refuses('ERR_CHECKPOINT_MISMATCH', /Give classes/, () => slim.load(file, networks.vgg))
})
