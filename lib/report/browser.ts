/*
 * What the reports' programs use of the browser and of chart.js, as types alone: they run in a page, not in Node.
 */

/** chart.js's `Chart`. */
export interface ChartClass<Canvas, Drawn> {
  new (canvas: Canvas, config: object): Drawn
  defaults: { [name: string]: unknown; font: { family: string } }
}

/** A canvas's pen. */
export interface Pen {
  [style: string]: unknown
  save(): void
  restore(): void
  beginPath(): void
  moveTo(x: number, y: number): void
  lineTo(x: number, y: number): void
  stroke(): void
  setLineDash(lengths: number[]): void
}

/** The page's `document`. */
export interface PageDocument<Canvas> {
  documentElement: object
  getElementById(id: string): { textContent: string }
  querySelectorAll(selector: string): Iterable<Canvas>
}

/** `getComputedStyle`. */
export type ComputedStyle = (element: object) => { getPropertyValue(name: string): string }

/** `matchMedia`. */
export type MediaQuery = (query: string) => { addEventListener(type: string, listener: () => void): void }
