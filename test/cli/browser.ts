import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { decode } from 'fast-png'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome']

/** A Chromium of this machine: CHROMIUM_PATH, or found by its usual names. Undefined when there is none. */
export const browser = [process.env.CHROMIUM_PATH ?? '', ...NAMES].find(
  (name) => name !== '' && spawnSync(name, ['--version'], { timeout: 30_000 }).status === 0,
)

/** For the names of tests that need it. */
export const browserNote = browser === undefined ? ' (skipped: no chromium; set CHROMIUM_PATH)' : ''

/** What a page was found to be. */
export interface Seen {
  /** Uncaught errors, messages of the console and what the page's own policy refused. */
  complaints: string[]
  /** Addresses that were asked for, besides the page itself. */
  requests: string[]
  /** Each canvas: whether the page says it is drawn, its size on the screen, and how many colours it really shows. */
  canvases: { chart: string; drawn: boolean; width: number; height: number; colours: number }[]
  /** All the text that a reader sees. */
  text: string
  /** Wider than the window: it would have to be scrolled sideways. */
  overflow: number
  dark: boolean
  /** What `count` asked for. */
  elements: number
  /** The picture of the window. */
  picture: { width: number; height: number; data: ArrayLike<number>; channels: number }
}

/** How a page is looked at. */
export interface View {
  width: number
  height: number
  dark?: boolean
  /** A selector whose elements are counted. */
  count?: string
}

/** Opens a page of this machine in a real browser and tells what is there to see. */
export async function look(file: string, view: View): Promise<Seen> {
  const folder = mkdtempSync(join(tmpdir(), 'torchvid-browser-'))
  try {
    const probed = join(folder, 'page.html')
    const html = readFileSync(file, 'utf8')
    if (!html.includes('<head>')) throw new Error('the page has no <head> for the probe')
    writeFileSync(
      probed,
      html.replace('<head>', () => `<head><script>${probe(view.count ?? 'nothing')}</script>`),
    )
    const address = pathToFileURL(probed).href
    const { stdout, stderr } = await run(folder, view, ['--dump-dom', address])
    const found = /<script type="application\/json" id="probe">(.*?)<\/script>/s.exec(stdout)?.[1]
    if (found === undefined) throw new Error(`the probe did not report. ${stderr.slice(-2000)}`)
    const picture = join(folder, 'picture.png')
    await run(folder, view, [`--screenshot=${picture}`, address])
    const seen = JSON.parse(found)
    // The browser's own complaints, such as of a policy, reach no listener of the page.
    const console = stderr.split('\n').filter((line) => /:CONSOLE[:(]/.test(line))
    return { ...seen, complaints: [...seen.complaints, ...console], picture: decode(readFileSync(picture)) }
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

function run(
  folder: string,
  { width, height, dark }: View,
  args: string[],
): Promise<{ stdout: string; stderr: string }> {
  const flags = [
    ...['--headless', '--disable-gpu', '--hide-scrollbars', '--no-first-run', '--enable-logging=stderr'],
    ...['--disable-background-networking', '--disable-component-update', '--disable-dev-shm-usage'],
    ...[
      `--user-data-dir=${join(folder, 'profile')}`,
      '--virtual-time-budget=10000',
      `--window-size=${width},${height}`,
    ],
    `--blink-settings=preferredColorScheme=${dark ? 0 : 1}`,
    // Chromium's sandbox does not start for root; the page is our own.
    ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
  ]
  return new Promise((done, fail) => {
    const child = spawn(browser as string, [...flags, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    const timer = setTimeout(() => child.kill('SIGKILL'), 90_000)
    const outcome = { stdout: '', stderr: '' }
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      outcome.stdout += text
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      outcome.stderr += text
    })
    child.on('error', fail)
    child.on('close', (status) => {
      clearTimeout(timer)
      if (status === 0) done(outcome)
      else fail(new Error(`the browser ended with ${status}. ${outcome.stderr.slice(-2000)}`))
    })
  })
}

/** The program that looks around inside the page, and writes what it found into the page as JSON. */
function probe(count: string): string {
  return `
const complaints = []
addEventListener('error', (event) => complaints.push(String(event.message)), true)
addEventListener('unhandledrejection', (event) => complaints.push(String(event.reason)))
addEventListener('securitypolicyviolation', (event) => complaints.push('refused: ' + event.blockedURI))
for (const level of ['error', 'warn']) console[level] = (...parts) => complaints.push(parts.join(' '))
addEventListener('load', () => setTimeout(() => {
  const coloursOf = (canvas) => {
    if (canvas.width === 0 || canvas.height === 0) return 0
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
    const colours = new Set()
    for (let i = 0; i < data.length; i += 4) {
      if (data[i + 3] === 255) colours.add(data[i] * 65536 + data[i + 1] * 256 + data[i + 2])
    }
    return colours.size
  }
  const found = {
    complaints,
    requests: performance.getEntriesByType('resource').map((entry) => entry.name),
    canvases: [...document.querySelectorAll('canvas')].map((canvas) => ({
      chart: canvas.dataset.chart,
      drawn: canvas.dataset.drawn === 'yes',
      width: canvas.clientWidth,
      height: canvas.clientHeight,
      colours: coloursOf(canvas),
    })),
    text: document.body.innerText,
    overflow: document.documentElement.scrollWidth - innerWidth,
    dark: matchMedia('(prefers-color-scheme: dark)').matches,
    elements: document.querySelectorAll(${JSON.stringify(count)}).length,
  }
  const element = document.createElement('script')
  element.type = 'application/json'
  element.id = 'probe'
  element.textContent = JSON.stringify(found).replaceAll('<', '\\\\u003c')
  document.body.append(element)
}, 1500))
`
}
