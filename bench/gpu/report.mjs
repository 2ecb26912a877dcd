import { showSpread, table } from '../stats.mjs'
import { aims } from './plans.mjs'

/** The results, of one or of all parts, as Markdown: a table, what it stands on, and what went wrong. */
export function report(results) {
  const { peak } = results
  const rows = [...fitRows(results), ...frameRows(results), ...rtfmRows(results), ...slimRows(results)]
  const header = ['', 'torchvid', 'PyTorch eager, TF32', 'times as fast', 'aim', 'of the peak: torchvid', 'PyTorch']
  const texts = [results.tiny ? 'A rehearsal at tiny sizes: its numbers mean nothing.' : undefined, chip(results)]
  if (rows.length > 0) texts.push(table(header, rows))
  if (peak === undefined && rows.length > 0) texts.push('Without the part `peak` there are no shares of it.')
  texts.push(quality(results.quality), disagreements(results), failures(results))
  return `\n${texts.filter((text) => text !== undefined).join('\n\n')}\n`
}

function chip({ peak, a, b, c, d }) {
  const facts = peak?.device ?? a?.device ?? b?.vgg16?.device ?? c?.device ?? d?.vgg16?.device
  if (facts === undefined) return undefined
  const memory = facts.memory ? `, ${(facts.memory / 2 ** 30).toFixed(0)} GiB` : ''
  if (peak?.bfloat16 === undefined) return `${facts.name}${memory}`
  const { bfloat16, tf32, float32, side } = peak
  const show = (value) => (value / 1e12).toPrecision(3)
  return `${facts.name}${memory}. Products of two ${side} x ${side} matrices, TFLOP/s: bfloat16 ${show(bfloat16)}, TF32 ${show(tf32)}, float32 ${show(float32)}.`
}

/** What was done in how long, as a share of the measured peak: bfloat16's for torchvid, TF32's for PyTorch. */
function shares({ peak }, flops, ours, theirs) {
  if (peak?.bfloat16 === undefined) return ['', '']
  const show = (seconds, most) => `${((100 * flops) / seconds / most).toFixed(1)}%`
  return [show(ours, peak.bfloat16), show(theirs, peak.tf32)]
}

function aimOf({ faster, seconds }, ratio, ours) {
  const parts = []
  if (seconds !== undefined) parts.push(`<= ${seconds} s: ${ours <= seconds ? 'met' : 'missed'}`)
  if (faster !== undefined) parts.push(`>= ${faster}x: ${ratio >= faster ? 'met' : 'missed'}`)
  return parts.join(', ')
}

const usable = (part) => part !== undefined && part.error === undefined

function fitRows(results) {
  if (!usable(results.a)) return []
  const { passes, seconds, flops } = results.a
  const { torchvid, pytorch, float32, augmented } = seconds
  const ratio = pytorch.median / torchvid.median
  const what = `OSVOS VGG16, ${passes} passes, s`
  const more = (name, one) => [
    `${what}, ${name}`,
    showSpread(one),
    '',
    (pytorch.median / one.median).toFixed(1),
    '',
    ...shares(results, flops, one.median, pytorch.median).slice(0, 1),
    '',
  ]
  return [
    [
      what,
      showSpread(torchvid),
      showSpread(pytorch),
      ratio.toFixed(1),
      aimOf(aims.a, ratio, torchvid.median),
      ...shares(results, flops, torchvid.median, pytorch.median),
    ],
    more('with augmentation', augmented),
    more('float32', float32),
  ]
}

function frameRows(results) {
  if (!usable(results.b)) return []
  return Object.entries(results.b).flatMap(([network, { frames, seconds, flops }]) => {
    const rate = ({ median, min, max }) =>
      showSpread({ median: frames / median, min: frames / max, max: frames / min }, 1, 1)
    const { torchvid, streamed, pytorch } = seconds
    return [
      ['one at a time', torchvid],
      ['streamed', streamed],
    ].map(([how, ours]) => [
      `OSVOS ${network}, frames a second, ${how}`,
      rate(ours),
      rate(pytorch),
      (pytorch.median / ours.median).toFixed(1),
      '',
      ...shares(results, flops, ours.median, pytorch.median),
    ])
  })
}

function rtfmRows(results) {
  if (!usable(results.c)) return []
  const { batch, recipe, step, begin, whole, data, flops } = results.c
  const ratio = whole.pytorch / whole.torchvid
  const what = `RTFM ${batch}+${batch}`
  const row = (name, ours, theirs) => [
    `${what}, ${name}`,
    showSpread(ours, 1e3, 2),
    showSpread(theirs, 1e3, 2),
    (theirs.median / ours.median).toFixed(1),
    '',
    ...shares(results, flops, ours.median, theirs.median),
  ]
  return [
    row('ms a step, data in memory', step.torchvid, step.pytorch),
    row('ms a step, data in memory, float32', step.float32, step.pytorch),
    row(`ms a step, the reference's loading (${(1e3 * data.median).toFixed(0)} ms of it)`, step.torchvid, step.loop),
    [
      `${what}, s for ${recipe} steps (projected; torchvid begins in ${begin.median.toFixed(1)} s)`,
      whole.torchvid.toFixed(1),
      whole.pytorch.toFixed(1),
      ratio.toFixed(1),
      aimOf(aims.c, ratio, whole.torchvid),
      '',
      '',
    ],
  ]
}

function slimRows(results) {
  if (!usable(results.d)) return []
  return Object.entries(results.d).flatMap(([network, { steps, batch, seconds, flops }]) => {
    const images = steps * batch
    const rate = ({ median, min, max }) =>
      showSpread({ median: images / median, min: images / max, max: images / min }, 1, 0)
    const { torchvid, pytorch, augmented, float32 } = seconds
    const row = (name, ours, aim = '') => [
      `Slimming ${network}, images a second${name}`,
      rate(ours),
      rate(pytorch),
      (pytorch.median / ours.median).toFixed(1),
      aim,
      ...shares(results, flops, ours.median, pytorch.median),
    ]
    const ratio = pytorch.median / torchvid.median
    return [
      row('', torchvid, aimOf(aims.d, ratio)),
      row(', shuffled and augmented', augmented),
      row(', float32', float32),
    ]
  })
}

function quality(measured) {
  if (!usable(measured)) return undefined
  const header = ['quality, mean (each seed)', 'float32', 'bfloat16', 'difference']
  const rows = measured.map(({ what, unit, float32, bfloat16 }) => {
    const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length
    const show = (values) => `${mean(values).toFixed(2)} (${values.map((value) => value.toFixed(2)).join(', ')})`
    return [`${what}, ${unit}`, show(float32), show(bfloat16), (mean(bfloat16) - mean(float32)).toFixed(2)]
  })
  return rows.length > 0 ? table(header, rows) : undefined
}

/** Both sides must compute the same thing, or their times say nothing. */
function disagreements({ a, b, c, d }) {
  const all = [a, c, ...Object.values(b ?? {}), ...Object.values(d ?? {})].flatMap((part) => part?.agreement ?? [])
  const wrong = all.filter(({ good }) => !good)
  if (all.length === 0) return undefined
  if (wrong.length === 0) return `Both sides agree in all ${all.length} numbers compared.`
  const lines = wrong.map(({ what, values }) => `- ${what}: torchvid ${values[0]}, PyTorch ${values[1]}`)
  return `**The two sides disagree**, so the times of these say nothing:\n${lines.join('\n')}`
}

function failures(results) {
  const failed = Object.entries(results).filter(([, part]) => part?.error !== undefined)
  if (failed.length === 0) return undefined
  return `Failed:\n${failed.map(([name, { error }]) => `- ${name}: ${error.split('\n')[0]}`).join('\n')}`
}
