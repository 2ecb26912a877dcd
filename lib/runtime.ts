import os from 'node:os'
import { checkInteger } from './errors.ts'
import { packageVersion } from './libtorch/package.ts'
import { libtorchInUse, native } from './native.ts'

/** A device that networks can be on. */
export interface DeviceInfo {
  name: string
  /** Bytes in all. */
  memory: number
}

/** What runs here. */
export interface RuntimeInfo {
  /** torchvid's version. */
  version: string
  node: string
  libtorch: { root: string; version: string; source: string; builtFor: string }
  devices: DeviceInfo[]
  /** Threads LibTorch computes with. */
  threads: number
  /** The instructions it uses, such as AVX512. */
  cpuCapability: string
}

/**
 * Versions, LibTorch's path and build, devices with their memory, threads. Loads LibTorch.
 * @throws TorchvidError ERR_LIBTORCH_NOT_FOUND, ERR_LIBTORCH_VERSION
 */
export async function info(): Promise<RuntimeInfo> {
  const { builtFor, threads, cpuCapability } = await native().info()
  const { root, version, source } = libtorchInUse()
  return {
    version: packageVersion(),
    node: process.versions.node,
    libtorch: { root, version, source, builtFor },
    devices: [{ name: 'cpu', memory: os.totalmem() }],
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
