import { slimStyle } from './slim-style.ts'

/** How the reports on scores look: as that on slimming, with what lies along the time axis. */
export const rtfmStyle = `${slimStyle}
:root { --above-ground: #f7dcc4; --truth: #7a5bd0; --truth-ground: #ebe5fb; --left: 44px; --right: 28px }
@media (prefers-color-scheme: dark) {
  :root { --above-ground: #4a3423; --truth: #a68cf0; --truth-ground: #2c2740 }
}
.timeline { margin-top: 12px }
.strip, .band { margin-left: var(--left); margin-right: var(--right) }
.strip { display: flex; gap: 2px; align-items: flex-end }
.strip figure { flex: 1 1 0; min-width: 0 }
.strip img { display: block; width: 100%; height: auto; border-radius: 2px }
.strip figcaption { text-align: center; font-size: 12px; white-space: nowrap; overflow: hidden;
  font-variant-numeric: tabular-nums }
.strip .none { background: var(--panel); aspect-ratio: 4 / 3; border-radius: 2px }
.plot.scores { height: 300px }
.plot.magnitudes { height: 100px }
.band { position: relative; height: 12px; background: var(--panel); border-radius: 3px; margin-top: 4px; overflow: hidden }
.band span { position: absolute; top: 0; bottom: 0; min-width: 2px; border-radius: 2px }
.band .above { background: var(--cut) }
.band .truth { background: var(--truth) }
.bandname { margin: 10px var(--right) 0 var(--left); font-size: 12px; color: var(--muted) }
.key .above { background: var(--above-ground); border-top: 2px solid var(--cut) }
.key .truth { background: var(--truth-ground); border: 1px solid var(--truth) }
.curve { width: 100%; max-width: 480px; height: auto }
.curve path { stroke: var(--line); fill: none }
.curve text { font: 12px system-ui, sans-serif; fill: var(--muted) }
.curve line { stroke: var(--muted); stroke-dasharray: 4 3 }
.curve polyline { fill: none; stroke: var(--after); stroke-width: 2; stroke-linejoin: round }
.spark { display: block; width: 260px; min-width: 180px; height: 36px }
.spark rect { fill: var(--truth-ground) }
.spark polyline { fill: none; stroke: var(--after); stroke-width: 1.5; vector-effect: non-scaling-stroke }
.spark line { stroke: var(--muted); stroke-dasharray: 4 3; vector-effect: non-scaling-stroke }
.when { white-space: nowrap }
.notes li { margin: 4px 0; max-width: 90ch }
.notes { padding-left: 18px }
@media (max-width: 700px) {
  /* One of three, and over the moment that it shows: a third of a telephone's strip could not be made out. */
  .strip.thirds figure { display: none }
  .strip.thirds figure:nth-child(3n + 2) { display: block }
}
`
