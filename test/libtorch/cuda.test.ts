import path from 'node:path'
import { expect, test } from 'vitest'
import { gpuFacts } from '../../lib/cli/doctor.ts'
import { openCuda } from '../../lib/libtorch/cuda.ts'
import { libraryNames } from '../../lib/libtorch/platform.ts'

const { c10Cuda, torchCuda } = libraryNames()
const root = path.join('some', 'libtorch')

/** An `open` that fails for `broken`, and what it was asked for. */
function opener(broken?: string) {
  const asked: string[] = []
  const open = (library: string) => {
    asked.push(library)
    return path.basename(library) === broken ? 'libcudnn.so.9: cannot open shared object file' : ''
  }
  return { asked, open }
}

test('a CPU build has nothing to open, and that is no fault', () => {
  const { asked, open } = opener()
  expect(openCuda({ root, variant: 'cpu' }, open, {})).toEqual({
    opened: false,
    reason: expect.stringContaining('CPU build'),
    fault: false,
  })
  expect(asked).toEqual([])
})

test('of a CUDA build c10_cuda is opened, then torch_cuda', () => {
  const { asked, open } = opener()
  expect(openCuda({ root, variant: 'cuda' }, open, {})).toEqual({ opened: true, reason: '', fault: false })
  expect(asked).toEqual([c10Cuda, torchCuda].map((name) => path.join(root, 'lib', name)))
})

test('TORCHVID_CUDA=0 leaves it closed, as was asked', () => {
  const { asked, open } = opener()
  const result = openCuda({ root, variant: 'cuda' }, open, { TORCHVID_CUDA: '0' })
  expect(result).toEqual({ opened: false, reason: 'TORCHVID_CUDA is 0', fault: false })
  expect(asked).toEqual([])
})

test('a part that does not load is a fault, told in the words of the system', () => {
  const { open } = opener(torchCuda)
  const { opened, reason, fault } = openCuda({ root, variant: 'cuda' }, open, {})
  expect({ opened, fault }).toEqual({ opened: false, fault: true })
  expect(reason).toContain(torchCuda)
  expect(reason).toContain('libcudnn.so.9')
})

test('doctor names each GPU, or why there is none', () => {
  const cpu = { name: 'cpu', memory: 8e9, free: 4e9 }
  const gpu = { name: 'cuda:0', model: 'NVIDIA H200', memory: 1.5e11, free: 1.4e11 }
  expect(gpuFacts({ devices: [cpu, gpu] })).toMatchObject([{ state: 'ok', value: expect.stringMatching(/H200/) }])
  const [none] = gpuFacts({ devices: [cpu], cudaReason: 'Found no NVIDIA driver on your system' })
  expect(none).toMatchObject({
    state: 'note',
    value: expect.stringMatching(/^none: Found/),
    remedy: expect.any(String),
  })
  expect(gpuFacts({ devices: [cpu], cudaReason: 'TORCHVID_CUDA is 0' })[0]?.remedy).toBeUndefined()
})
