import { slimStyle } from './slim-style.ts'

/** How the report on segmentation looks: as that on slimming, with strips of frames. */
export const davisStyle = `${slimStyle}
h3 { font-size: 16px; margin: 28px 0 6px; display: flex; flex-wrap: wrap; gap: 0 16px; align-items: baseline }
h3 span { font-size: 13px; font-weight: 400; color: var(--muted); font-variant-numeric: tabular-nums }
.strip { display: grid; gap: 8px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 230px), 1fr)) }
.worst { display: grid; gap: 16px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 260px), 1fr)); margin: 12px 0 }
.strip img, .worst img { display: block; width: 100%; height: auto; border-radius: 3px }
.strip figcaption, .worst figcaption { font-variant-numeric: tabular-nums; font-size: 12px }
.worst figcaption { font-size: 13px }
.worst b, .strip b { color: var(--text); font-weight: 600 }
.plot.frames { height: 120px; margin-top: 6px }
tfoot td { border-top: 2px solid var(--line); font-weight: 600 }
th.number { text-align: right }
a { color: inherit }
.key .mask { background: rgb(255 122 0 / .6) }
.key .truth { border: 2px solid rgb(0 229 255); background: #555 }
.key .j { background: var(--after); height: 3px; vertical-align: 3px }
.key .f { background: var(--cut); height: 3px; vertical-align: 3px }
`
