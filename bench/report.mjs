import { featuresTable, rtfmTables } from './rtfm-report.mjs'
import { slimTables } from './slim-report.mjs'
import { showSpread, table } from './stats.mjs'

const trunks = { vgg16: 'VGG16', mobilenet: 'MobileNet' }

/** The results of a run as Markdown tables. */
export function report(results) {
  const { cpu, cores, system, node } = results.machine
  const measured = Object.keys(trunks).filter((name) => results[name])
  const parts = [
    `${cpu}, ${cores} cores, ${system}, Node ${node}${results.quick ? '; --quick: few and short units' : ''}`,
  ]
  if (measured.length > 0)
    parts.push(osvosTable(results, measured), ...measured.map((name) => osvosNotes(results, name)))
  if (results.slim) parts.push(...slimTables(results.slim))
  if (results.rtfm) parts.push(...rtfmTables(results.rtfm))
  if (results.features) parts.push(featuresTable(results.features))
  const small = smallTable(results)
  if (small) parts.push(small)
  return `\n${parts.join('\n\n')}\n`
}

function osvosTable(results, measured) {
  const header = ['480x854, median (min..max)', 'torchvid', 'PyTorch', 'ratio', 'aim', 'peak memory']
  const rows = measured.flatMap((name) =>
    [
      ['training, s per pass', results[name].train],
      ['inference, s per frame', results[name].infer],
    ].map(([what, { torchvid, pytorch, ratio, aim, memory }]) => [
      `${trunks[name]} ${what}`,
      showSpread(torchvid),
      showSpread(pytorch),
      ratio.toFixed(2),
      aim === undefined ? '' : `<= ${aim}: ${ratio <= aim ? 'met' : 'missed'}`,
      `${gibibytes(memory.torchvid)} : ${gibibytes(memory.pytorch)} GiB`,
    ]),
  )
  return table(header, rows)
}

function osvosNotes(results, name) {
  const { torch, torchOfPython, threads, passes, insideFit, steady, othersShare } = results[name]
  const inside = `torchvid's pass inside fits of ${passes}: ${insideFit.toFixed(2)} s`
  const alone = steady === undefined ? '' : `, in one fit of 20 without turns: ${steady.toFixed(2)} s`
  return `${trunks[name]}: LibTorch ${torch}, Python's torch ${torchOfPython}, ${threads} threads; ${inside}${alone}. Other programs used ${Math.round(othersShare * 100)}% of the processors.`
}

function smallTable({ startup, engine }) {
  const row = (what, { torchvid, pytorch, ratio }, scale) => [
    what,
    showSpread(torchvid, scale, 0),
    showSpread(pytorch, scale, 0),
    ratio.toFixed(2),
  ]
  const rows = []
  if (startup) {
    rows.push(row('import, ms', startup.import, 1e3))
    rows.push(row('import to first result, ms', startup.first, 1e3))
    rows.push(row('the whole process of it, ms', startup.process, 1e3))
  }
  if (engine) {
    rows.push(row('forward of a 1x1 convolution of one pixel, us', engine.forward, 1e6))
    rows.push(row('training step of two layers at 16x16, us', engine.step, 1e6))
  }
  return rows.length > 0 && table(['median (min..max)', 'torchvid', 'PyTorch', 'ratio'], rows)
}

const gibibytes = (bytes) => (bytes / 2 ** 30).toFixed(2)
