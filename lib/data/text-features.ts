import { createReadStream } from 'node:fs'
import type { TensorData } from '../types.ts'
import { damaged, openFile } from './binary-file.ts'
import { checkMemory } from './memory.ts'

/** Bytes read between two turns of the event loop: some milliseconds of parsing. */
const PART = 1 << 17

/** A longer line is no row of features. */
const LONGEST_LINE = 1 << 25

const NUMBER = /^[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?$/i
const SEPARATOR = /[ \t]*,[ \t]*|[ \t]+/

/**
 * Features from a text file: one row a line, numbers separated by blanks, tabs or commas, all rows of one length; empty
 * lines are passed over. Sultani et al. publish UCF-Crime's C3D features so, 32 lines of 4096 numbers a video.
 *
 * @returns float32 (rows, numbers a row)
 * @throws `ERR_IO` naming file and line when it cannot be read or is no such table; `ERR_OUT_OF_MEMORY`.
 */
export async function readTextFeatures(path: string): Promise<TensorData & { data: Float32Array }> {
  const { file, size } = await openFile(path)
  await file.close()
  // A number takes two bytes at least, and four in memory; the rows are held twice for a moment.
  checkMemory(`Reading ${path}`, size * 4, 'Convert it to .npy, which is read part by part.')
  const rows: Float32Array[] = []
  let line = 0
  const take = (text: string) => {
    line++
    const row = parseRow(path, text, line)
    if (row === undefined) return
    const first = rows[0]
    if (first !== undefined && row.length !== first.length) {
      throw damaged(path, `has ${row.length} numbers in line ${line} and ${first.length} in its first row`, REMEDY)
    }
    rows.push(row)
  }
  let rest = ''
  for await (const part of readParts(path)) {
    const lines = (rest + part).split('\n')
    rest = lines.pop()!
    for (const text of lines) take(text)
    if (rest.length > LONGEST_LINE) throw damaged(path, `has a line of more than ${LONGEST_LINE} characters`, REMEDY)
  }
  take(rest)
  return joined(path, rows)
}

const REMEDY = 'Wanted one row of features a line: numbers separated by blanks or commas, as many in every line.'

async function* readParts(path: string): AsyncGenerator<string> {
  const stream = createReadStream(path, { encoding: 'latin1', highWaterMark: PART })
  try {
    for await (const part of stream) yield part as string
  } catch (error) {
    throw damaged(path, `cannot be read (${(error as Error).message})`, 'Check the path and the disk.', error)
  }
}

/** The numbers of a line; undefined when it is empty. */
function parseRow(path: string, text: string, line: number): Float32Array | undefined {
  // In Latin-1, the mark with which some editors begin UTF-8 files.
  const trimmed = (line === 1 ? text.replace(/^\u00ef\u00bb\u00bf/, '') : text).trim().replace(/,$/, '')
  if (trimmed === '') return undefined
  const words = trimmed.split(SEPARATOR)
  const row = new Float32Array(words.length)
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!
    row[i] = NUMBER.test(word) ? Number(word) : Number.NaN
    if (!Number.isFinite(row[i])) {
      throw damaged(path, `has ${JSON.stringify(word.slice(0, 30))} as number ${i + 1} of line ${line}`, REMEDY)
    }
  }
  return row
}

function joined(path: string, rows: Float32Array[]): TensorData & { data: Float32Array } {
  const size = rows[0]?.length ?? 0
  if (size === 0) throw damaged(path, 'holds no rows of features', REMEDY)
  const data = new Float32Array(rows.length * size)
  for (let i = 0; i < rows.length; i++) data.set(rows[i]!, i * size)
  return { data, shape: [rows.length, size] }
}
