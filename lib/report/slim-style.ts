/** How the report looks: light or dark as the reader's system is, from a telephone's width on. */
export const slimStyle = `
:root {
  --ground: #fff; --panel: #f5f7f9; --text: #1c2329; --muted: #5b6670; --line: #dde2e7;
  --before: #bcc4cd; --after: #1f6fd6; --cut: #d9772a; --warn: #fff4e0; --warn-line: #e0a030;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14181c; --panel: #1d2328; --text: #e4e8ec; --muted: #9aa6b2; --line: #303942;
    --before: #58636f; --after: #5aa0f2; --cut: #ef9a50; --warn: #33291a; --warn-line: #9a742b;
  }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1180px; padding: 24px 16px 64px; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 24px; margin: 0 0 4px; overflow-wrap: anywhere }
h2 { font-size: 18px; margin: 40px 0 8px }
p { margin: 4px 0 12px; color: var(--muted); max-width: 90ch }
.tiles { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); margin-top: 20px }
.tile { background: var(--panel); border-radius: 8px; padding: 12px 16px }
.tile b { display: block; font-size: 26px; line-height: 1.3; font-variant-numeric: tabular-nums }
.tile span { color: var(--muted); font-size: 13px }
.pair { display: grid; gap: 24px 32px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)) }
figure { margin: 0; min-width: 0 }
figcaption { font-size: 13px; color: var(--muted); overflow-wrap: anywhere }
.plot { position: relative; height: 280px }
.pair + .scroll { margin-top: 16px }
.tall { height: 340px }
.scroll { overflow-x: auto }
.many { display: grid; gap: 16px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 260px), 1fr)) }
.many .plot { height: 140px }
.many figcaption b { color: var(--text); font-weight: 600 }
.key { display: flex; flex-wrap: wrap; gap: 4px 20px; font-size: 13px; margin-bottom: 12px }
.key i { display: inline-block; width: 12px; height: 12px; margin-right: 6px; vertical-align: -1px }
.key .line { width: 0; height: 14px; border-left: 2px dashed var(--text); margin-left: 5px }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums }
th, td { padding: 4px 12px 4px 0; text-align: left; vertical-align: top }
thead th { border-bottom: 1px solid var(--line); color: var(--muted); font-weight: 600; white-space: nowrap }
tbody tr + tr td { border-top: 1px solid var(--line) }
.wide { width: 100% }
.number { text-align: right; white-space: nowrap }
.name { overflow-wrap: anywhere; min-width: 9em }
.was { color: var(--muted) }
.share { width: 110px; min-width: 90px }
.share div { background: linear-gradient(var(--cut), var(--cut)) 0 / var(--part) 100% no-repeat var(--panel);
  height: 12px; border-radius: 3px; margin-top: 5px }
.facts td:first-child { color: var(--muted); white-space: nowrap }
.facts td { overflow-wrap: anywhere }
.warnings { background: var(--warn); border-left: 4px solid var(--warn-line); border-radius: 4px; margin: 20px 0 0;
  padding: 10px 16px; font-size: 14px }
.warnings ul { margin: 0; padding-left: 18px }
.warnings li { overflow-wrap: anywhere }
summary { cursor: pointer }
footer { margin-top: 40px; color: var(--muted); font-size: 13px }
@media print { .plot { break-inside: avoid } }
`
