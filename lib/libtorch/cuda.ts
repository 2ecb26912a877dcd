import path from 'node:path'
import type { LibTorch } from './locate.ts'
import { libraryNames } from './platform.ts'

/** What became of CUDA's part of a LibTorch. */
export interface CudaLibraries {
  opened: boolean
  /** Why not; empty when it was. */
  reason: string
  /** Whether that is a fault somebody should hear of, and not a choice or a CPU build. */
  fault: boolean
}

/**
 * Opens CUDA's part of LibTorch, if it has one and `TORCHVID_CUDA` is not `0`: its kernels and devices then register
 * with what is open already. It must be done before anything is asked of LibTorch, which looks for devices once. A
 * failure is kept as a reason: the CPU works without.
 * @param open opens a library by its path; gives the system's words when that fails, else `''`
 */
export function openCuda(
  libtorch: Pick<LibTorch, 'root' | 'variant'>,
  open: (library: string) => string,
  env: NodeJS.ProcessEnv = process.env,
): CudaLibraries {
  if (libtorch.variant !== 'cuda') return { opened: false, reason: 'this LibTorch is a CPU build', fault: false }
  if (env.TORCHVID_CUDA === '0') return { opened: false, reason: 'TORCHVID_CUDA is 0', fault: false }
  const { c10Cuda, torchCuda } = libraryNames()
  for (const name of [c10Cuda, torchCuda]) {
    const failure = open(path.join(libtorch.root, 'lib', name))
    if (failure !== '') return { opened: false, reason: `LibTorch's ${name} does not load: ${failure}`, fault: true }
  }
  return { opened: true, reason: '', fault: false }
}
