import { damaged, openFile, readAt } from './binary-file.ts'

/** XD-Violence's list, the longest of the field, has 2 MB. */
const MOST_BYTES = 64e6

/** A line of a text file, without blanks around it. */
export interface Line {
  text: string
  /** From 1. */
  number: number
}

/**
 * The lines of a text file that hold something. All kinds of line ends are read.
 *
 * @throws `ERR_IO` when it cannot be read, has more than 64 MB, or is no text.
 */
export async function readLines(path: string, what: string): Promise<Line[]> {
  const { file, size } = await openFile(path)
  try {
    if (size > MOST_BYTES) throw damaged(path, `has ${size} bytes, too many for ${what}`, `Give ${what}.`)
    const bytes = Buffer.alloc(size)
    await readAt(path, file, bytes, 0)
    if (bytes.includes(0)) throw damaged(path, 'is no text: it holds zero bytes', `Give ${what}.`)
    const lines = bytes
      .toString('utf8')
      .replace(/^\ufeff/, '')
      .split(/\r\n|\n|\r/)
    return lines.map((text, i) => ({ text: text.trim(), number: i + 1 })).filter(({ text }) => text !== '')
  } finally {
    await file.close()
  }
}
