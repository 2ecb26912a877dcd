import crypto from 'node:crypto'
import fs from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import zlib from 'node:zlib'
import { libraryNames } from '../../lib/libtorch/platform.ts'

const names = libraryNames()

/** One file of a zip archive made here. */
export interface ZipFileSpec {
  name: string
  data: string | Buffer
  /** Replaces the right checksum. */
  crc?: number
  /** Unix mode, such as 0o120777 for a link. */
  mode?: number
}

/** A zip archive with stored entries: small enough to write by hand, wrong on purpose where a test asks. */
export function makeZip(files: ZipFileSpec[]): Buffer {
  const locals: Buffer[] = []
  const centrals: Buffer[] = []
  let offset = 0
  for (const file of files) {
    const data = Buffer.from(file.data as string)
    const name = Buffer.from(file.name)
    const shared = Buffer.alloc(26)
    shared.writeUInt16LE(20, 0)
    shared.writeUInt32LE(file.crc ?? zlib.crc32(data), 10)
    shared.writeUInt32LE(data.length, 14)
    shared.writeUInt32LE(data.length, 18)
    shared.writeUInt16LE(name.length, 22)
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), shared, name, data])
    const rest = Buffer.alloc(14)
    rest.writeUInt32LE(((file.mode ?? 0o100644) << 16) >>> 0, 6)
    rest.writeUInt32LE(offset, 10)
    centrals.push(Buffer.concat([Buffer.from('PK\x01\x02'), Buffer.from([20, 3]), shared, rest, name]))
    locals.push(local)
    offset += local.length
  }
  const directory = Buffer.concat(centrals)
  const end = Buffer.alloc(22)
  end.write('PK\x05\x06', 0, 'latin1')
  end.writeUInt16LE(files.length, 8)
  end.writeUInt16LE(files.length, 10)
  end.writeUInt32LE(directory.length, 12)
  end.writeUInt32LE(offset, 16)
  return Buffer.concat([...locals, directory, end])
}

/** The files of an official archive. */
export function officialFiles(version = '2.13.0+cpu'): ZipFileSpec[] {
  return [
    { name: 'libtorch/build-version', data: `${version}\n` },
    { name: `libtorch/lib/${names.torchCpu}`, data: 'torch_cpu library' },
    { name: `libtorch/lib/${names.c10}`, data: 'c10 library' },
    { name: 'libtorch/include/ATen/ATen.h', data: '// header' },
    { name: 'libtorch/bin/tool', data: 'not wanted' },
  ]
}

/** The files of a torch wheel, with its RECORD of checksums. */
export function wheelFiles({
  cuda = 'None',
  library = Buffer.from('torch_cpu library') as Buffer,
  tamper = '',
} = {}): ZipFileSpec[] {
  const files: ZipFileSpec[] = [
    { name: 'torch/version.py', data: `__version__ = '2.13.0'\ndebug = False\ncuda: Optional[str] = ${cuda}\n` },
    { name: `torch/lib/${names.torchCpu}`, data: library },
    { name: `torch/lib/${names.c10}`, data: 'c10 library' },
    { name: 'torch/nn/modules.py', data: 'not wanted' },
  ]
  const record = files.map(({ name, data }) => {
    const digest = crypto.createHash('sha256').update(name === tamper ? 'something else' : data)
    return `${name},sha256=${digest.digest('base64url')},${data.length}\n`
  })
  return [...files, { name: 'torch-2.13.0.dist-info/RECORD', data: record.join('') }]
}

/** An ELF library that asks for the named libraries and holds nothing else. */
export function makeElf(needed: string[]): Buffer {
  const strings = Buffer.from(`\0${needed.join('\0')}\0`)
  const tableAt = 64 + 2 * 56
  const entries = [
    ...needed.map((name) => [1, strings.indexOf(`\0${name}\0`) + 1]),
    [5, tableAt + (needed.length + 2) * 16],
    [0, 0],
  ]
  const table = Buffer.alloc(entries.length * 16)
  entries.forEach(([tag, value], index) => {
    table.writeBigUInt64LE(BigInt(tag!), index * 16)
    table.writeBigUInt64LE(BigInt(value!), index * 16 + 8)
  })
  const header = Buffer.alloc(64)
  header.write('\x7fELF\x02\x01\x01', 0, 'latin1')
  header.writeBigUInt64LE(64n, 32)
  header.writeUInt16LE(56, 54)
  header.writeUInt16LE(2, 56)
  const size = tableAt + table.length + strings.length
  const segment = (type: number, at: number, length: number) => {
    const bytes = Buffer.alloc(56)
    bytes.writeUInt32LE(type, 0)
    for (const field of [8, 16]) bytes.writeBigUInt64LE(BigInt(at), field)
    for (const field of [32, 40]) bytes.writeBigUInt64LE(BigInt(length), field)
    return bytes
  }
  return Buffer.concat([header, segment(1, 0, size), segment(2, tableAt, table.length), table, strings])
}

/** A folder that looks like a LibTorch of `version`. */
export function makeRoot(root: string, version = '2.13.0+cpu', library: string | Buffer = 'torch_cpu library'): string {
  fs.mkdirSync(path.join(root, 'lib'), { recursive: true })
  fs.writeFileSync(path.join(root, 'build-version'), `${version}\n`)
  fs.writeFileSync(path.join(root, 'lib', names.torchCpu), library)
  fs.writeFileSync(path.join(root, 'lib', names.c10), 'c10 library')
  return root
}

/** What the stand-in for Python answers. */
export interface FakePython {
  /** Folder of its torch package. */
  torch?: string
  /** The wheel that `pip download` brings; without one it fails as it does offline. */
  wheel?: string
}

/** A program that answers the two questions torchvid asks Python. */
export function makePython(folder: string, { torch = '', wheel = '' }: FakePython = {}): string {
  const file = path.join(folder, `python-${crypto.randomBytes(4).toString('hex')}`)
  const script = `#!${process.execPath}
const fs = require('node:fs')
const args = process.argv.slice(2)
if (args[0] === '-c') console.log(${JSON.stringify(torch)})
else if (args.join(' ').startsWith('-m pip download') && ${JSON.stringify(wheel)}) {
  const folder = args[args.indexOf('--dest') + 1]
  fs.mkdirSync(folder, { recursive: true })
  fs.copyFileSync(${JSON.stringify(wheel)}, folder + '/torch-2.13.0-py3-none-any.whl')
} else {
  console.error('ERROR: No matching distribution found for torch==2.13.0')
  process.exit(1)
}
`
  fs.writeFileSync(file, script, { mode: 0o755 })
  return file
}

/** A temporary folder, and an environment in which nothing of this machine is found. */
export function makeSandbox(): { folder: string; cache: string; env: NodeJS.ProcessEnv } {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'torchvid-libtorch-'))
  const cache = path.join(folder, 'cache')
  const env = {
    PATH: process.env.PATH,
    TORCHVID_CACHE: cache,
    TORCHVID_PYTHON: makePython(folder),
    // Port 9 discards: nothing listens there, so the archive cannot be reached unless a test serves it.
    TORCHVID_LIBTORCH_URL: 'http://127.0.0.1:9',
  }
  return { folder, cache, env }
}

/** Serves every request with `respond` on this machine only. */
export async function serve(respond: http.RequestListener): Promise<{ url: string; close: () => Promise<void> }> {
  const server = http.createServer(respond)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const close = () =>
    new Promise<void>((resolve) => {
      server.closeAllConnections()
      server.close(() => resolve())
    })
  return { url: `http://127.0.0.1:${port}`, close }
}
