import { features, graph, Network, networks } from 'torchvid'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { refuses } from '../helpers/expect.ts'
import { clipMirror, clipNetwork, frame, numbered, pictureMirror, plain } from './helpers.ts'

let backbone: Network
beforeAll(async () => {
  backbone = await clipNetwork()
})
afterAll(() => backbone.dispose())

const extract = (options: object, video = numbered(3)) =>
  features.extract(video, { backbone, crop: 4, resize: null, every: 2, ...plain, ...options })

describe('options', () => {
  const cases: [wrong: object, message: RegExp][] = [
    [{ backbone: undefined }, /backbone.*Network\.create/],
    [{ crops: 3 }, /crops: got 3.*5 or 10/],
    [{ every: 0 }, /every/],
    [{ every: 1.5 }, /every/],
    [{ frameStep: 3 }, /frameStep.*from 1 to 2/],
    [{ crop: 0 }, /crop/],
    [{ resize: 3 }, /resize: got 3.*at least the crop, which is 4/],
    [{ resize: [9] }, /resize.*\[width, height\]/],
    [{ resize: [9, 2] }, /resize\[1\]: got 2/],
    [{ resize: 'large' }, /resize/],
    [{ mean: undefined }, /mean: got undefined.*I3D-ResNet50: mean 114.75, std 57.375/],
    [{ std: undefined }, /std: got undefined/],
    [{ mean: [1, 2] }, /mean.*three/],
    [{ std: 0 }, /std\[0\]/],
    [{ std: Number.NaN }, /std\[0\]/],
    [{ order: 'GBR' }, /order.*'BGR'/],
    [{ tail: 'pad' }, /tail.*'drop'/],
    [{ output: 'fc6' }, /output: got "fc6".*"features", "maps"/],
    [{ output: 'toString' }, /output: got "toString"/],
    [{ out: 'features.txt' }, /out.*\.npy/],
    [{ out: '.npy' }, /out.*\.npy/],
    [{ keep: 1 }, /keep/],
    [{ normalise: 'l2' }, /normalise/],
    [{ onProgress: 3 }, /onProgress/],
    [{ signal: {} }, /signal/],
  ]
  for (const [wrong, message] of cases) {
    test(JSON.stringify(wrong), async () => {
      await refuses('ERR_INVALID_ARGUMENT', message, async () => await extract(wrong))
    })
  }

  test('no options', async () => {
    await refuses('ERR_INVALID_ARGUMENT', /options/, () => features.extract([], undefined as never))
  })

  test('a device that is not there', async () => {
    await refuses('ERR_DEVICE_UNAVAILABLE', /tpu/, () => extract({ device: 'tpu' }))
  })
})

describe('backbones', () => {
  test('that take no pictures', async () => {
    const flat = await Network.create(networks.mlp({ input: [1, 28, 28] }))
    await refuses('ERR_INVALID_ARGUMENT', /backbone: got .*image \[any, 1, 28, 28\]/, () => extract({ backbone: flat }))
    flat.dispose()
    await refuses('ERR_DISPOSED', /disposed/, () => extract({ backbone: flat }))
  })

  test('for clips of another length', async () => {
    const fixed = await clipMirror(4)
    await refuses('ERR_INVALID_ARGUMENT', /every: got .*2.*wanted 4/, () => extract({ backbone: fixed }))
    const { settings } = await extract({ backbone: fixed, every: 8, frameStep: 2 })
    expect(settings).toMatchObject({ every: 8, frameStep: 2 })
    fixed.dispose()
  })

  test('for one size: crop and resize follow', async () => {
    const fixed = await pictureMirror(undefined, 56)
    await refuses('ERR_INVALID_ARGUMENT', /crop: got 4, wanted 56/, () => extract({ backbone: fixed }))
    const video = [frame(80, 60, () => [1, 2, 3])]
    const { settings } = await extract({ backbone: fixed, crop: undefined, resize: undefined }, video)
    expect(settings).toMatchObject({ crop: 56, resize: 64 })
    fixed.dispose()
  })

  test('whose output is no row of features', async () => {
    const clip = graph.input('clip', [null, 3, null, null, null])
    const odd = await Network.create(graph.build({ features: graph.flatten(clip, { channels: 1 }), clip }))
    const { features: found } = await extract({ backbone: odd, output: 'clip' })
    expect(found.shape).toEqual([2, 1, 3])
    odd.dispose()
  })

  test('whose numbers are no numbers', async () => {
    await refuses('ERR_NOT_FINITE', /clip 1 .*mean and std/, async () => {
      const clip = graph.input('clip', [null, 3, null, null, null])
      const init = { weight: { distribution: 'constant' as const, value: 1e38 } }
      const huge = graph.globalAveragePool(graph.conv(clip, { out: 1, kernel: [1, 1, 1], init }))
      await extract({ backbone: await Network.create(graph.build({ features: huge })) }, [
        frame(4, 4, () => [255, 255, 255]),
      ])
    })
  })
})

describe('frames', () => {
  test('smaller than the crop', async () => {
    await refuses('ERR_SHAPE', /frames are 8 x 6, smaller than the crop of 7.*resize: 7/, () => extract({ crop: 7 }))
  })

  test('of different sizes', async () => {
    const video = [frame(8, 6, () => [1, 1, 1]), frame(6, 8, () => [1, 1, 1])]
    await refuses('ERR_SHAPE', /Frame 1 is 6 x 8, the first one 8 x 6.*\[width, height\]/, () => extract({}, video))
    const { clips, width, height } = await extract({ resize: [10, 10] }, video)
    expect([clips, width, height]).toEqual([1, 8, 6])
    const scaled = [frame(8, 6, () => [1, 1, 1]), frame(16, 12, () => [1, 1, 1])]
    expect((await extract({ resize: 6 }, scaled)).frames).toBe(2)
  })

  test('far longer than high', async () => {
    await refuses('ERR_SHAPE', /65535/, () => extract({ resize: 1000 }, [frame(300, 1, () => [1, 1, 1])]))
  })
})
