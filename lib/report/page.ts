import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import { TorchvidError } from '../errors.ts'

/** A page that is one file: no address in it is ever asked for anything, and the browser is told to refuse any. */
export interface Page {
  title: string
  style: string
  /** HTML of the body. */
  body: string
  /** Scripts in order, as JavaScript. */
  scripts: string[]
  /** What the scripts find as JSON in the element `#data`. */
  data: unknown
}

const POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"

/** The page's HTML. */
export function pageHtml({ title, style, body, scripts, data }: Page): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escapeHtml(title)}</title>
<style>${style}</style>
</head>
<body>
${body}
<script type="application/json" id="data">${jsonInHtml(data)}</script>
${scripts.map((script) => `<script>${scriptInHtml(script)}</script>`).join('\n')}
</body>
</html>
`
}

/** Text as HTML, in elements and in attributes. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)
}

/** JSON that cannot end the element it stands in, whatever its texts hold. */
export function jsonInHtml(data: unknown): string {
  return JSON.stringify(data).replaceAll('<', '\\u003c')
}

/** A program's text with nothing in it that HTML would take for the end, or for a comment, of the script. */
function scriptInHtml(script: string): string {
  return script.replace(/<(?=\/script|!--)/gi, '\\x3c').replace(/^\/\/# sourceMappingURL=.*$/gm, '')
}

/**
 * The program of chart.js for browsers, from the installed package.
 * @throws TorchvidError ERR_IO when it is not there
 */
export async function chartProgram(): Promise<string> {
  try {
    // The package exports no such file, but it lies beside the one that it does export.
    const entry = createRequire(import.meta.url).resolve('chart.js')
    return await readFile(path.join(path.dirname(entry), 'chart.umd.min.js'), 'utf8')
  } catch (cause) {
    const text = `The report needs the package chart.js, which cannot be read (${(cause as Error).message}). It comes with torchvid: run npm install again.`
    throw new TorchvidError('ERR_IO', text, { cause })
  }
}
