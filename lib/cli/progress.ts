import { SingleBar } from 'cli-progress'

/** How far one part of the work has come. */
export interface ProgressState {
  /** What is being done; a new label starts a new bar. */
  label: string
  done: number
  /** Left out when nobody knows. */
  total?: number
  /** What else there is to say, such as the time left. */
  text: string
}

/** Shows on stderr how far the work has come: a bar on a terminal, a line a second in a pipe or a log. */
export interface Progress {
  update(state: ProgressState): void
  /** A line of its own that stays. */
  message(text: string): void
  /** Shows the last state and lets go of the terminal. Call it however the work ends. */
  stop(): void
}

/** The display that suits stderr. */
export function createProgress(): Progress {
  return process.stderr.isTTY ? new BarProgress() : new LineProgress()
}

/** Seconds for people: "0.42 s", "12 s", "3 min 20 s". */
export function formatSeconds(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(seconds < 0.995 ? 2 : 1)} s`
  const whole = Math.round(seconds)
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`
}

class BarProgress implements Progress {
  private bar: SingleBar | undefined
  private kind = ''

  update({ label, done, total, text }: ProgressState): void {
    const kind = `${label} ${total === undefined}`
    if (this.bar === undefined || kind !== this.kind) this.start(kind, label, total)
    if (total !== undefined) this.bar?.setTotal(total)
    this.bar?.update(done, { text })
  }

  message(text: string): void {
    this.stop()
    console.error(text)
  }

  // An arrow function, so that it can be taken off as a listener.
  readonly stop = (): void => {
    process.removeListener('exit', this.stop)
    this.bar?.stop()
    this.bar = undefined
  }

  private start(kind: string, label: string, total: number | undefined): void {
    this.stop()
    this.kind = kind
    // Left hidden by a sudden exit, the cursor would stay so.
    process.once('exit', this.stop)
    const middle = total === undefined ? '' : '{bar} {percentage}% '
    const format = `${label.padEnd(10)} ${middle}{text}`
    this.bar = new SingleBar({ format, stream: process.stderr, barsize: 28, hideCursor: true, linewrap: false, fps: 5 })
    this.bar.start(total ?? 1, 0, { text: '' })
  }
}

const LINE_EVERY_MS = 1000

class LineProgress implements Progress {
  private label: string | undefined
  private shownAt = 0
  private waiting: ProgressState | undefined

  update(state: ProgressState): void {
    if (state.label !== this.label) this.stop()
    this.waiting = state
    if (state.label !== this.label || Date.now() - this.shownAt >= LINE_EVERY_MS) this.show()
  }

  message(text: string): void {
    console.error(text)
  }

  stop(): void {
    if (this.waiting !== undefined) this.show()
  }

  private show(): void {
    const { label, text } = this.waiting as ProgressState
    console.error(`${label}: ${text}`)
    this.label = label
    this.shownAt = Date.now()
    this.waiting = undefined
  }
}
