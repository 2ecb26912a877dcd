import os from 'node:os'
import { checkInteger } from './errors.ts'
import { packageVersion } from './libtorch/package.ts'
import { libtorchInUse, native } from './native.ts'

/** A device that networks can be on. */
export interface DeviceInfo {
  /** `'cpu'`, `'cuda:0'`... */
  name: string
  /** What it is, such as "NVIDIA H200", where that is known. */
  model?: string
  /** Bytes in all. */
  memory: number
  /** Bytes that nobody uses. */
  free: number
}

/** What runs here. */
export interface RuntimeInfo {
  /** torchvid's version. */
  version: string
  node: string
  libtorch: { root: string; version: string; source: string; builtFor: string }
  devices: DeviceInfo[]
  /** Why there is no CUDA device, or why some do not work; undefined when all do. */
  cudaReason?: string
  /** Threads LibTorch computes with. */
  threads: number
  /** The instructions it uses, such as AVX512. */
  cpuCapability: string
}

/**
 * Versions, LibTorch's path and build, devices with their memory, threads. Loads LibTorch, and tries each GPU.
 * @throws TorchvidError ERR_LIBTORCH_NOT_FOUND, ERR_LIBTORCH_VERSION
 */
export async function info(): Promise<RuntimeInfo> {
  const { builtFor, threads, cpuCapability, cuda } = await native().info()
  const { root, version, source } = libtorchInUse()
  return {
    version: packageVersion(),
    node: process.versions.node,
    libtorch: { root, version, source, builtFor },
    devices: [
      { name: 'cpu', model: os.cpus()[0]?.model, memory: os.totalmem(), free: os.freemem() },
      ...cuda.devices.map(({ model, ...device }) => ({ ...device, model: model || undefined })),
    ],
    cudaReason: cuda.reason || undefined,
    threads,
    cpuCapability,
  }
}

/**
 * Sets how many threads LibTorch computes with, for the whole process. Default: one per core.
 * @throws TorchvidError ERR_INVALID_ARGUMENT
 */
export async function setThreads(count: number): Promise<void> {
  checkInteger('threads', count, 1, 1024)
  await native().setThreads(count)
}
