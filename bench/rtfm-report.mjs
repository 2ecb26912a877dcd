import { showSpread, table } from './stats.mjs'

/** Tables of what `compareRtfm` measured. */
export function rtfmTables({ size, crops, segments, batches, scoring }) {
  const header = [
    `F = ${size}, ${crops} crops, s per step, median (min..max)`,
    'torchvid',
    'PyTorch',
    'ratio',
    'aim',
    'memory',
  ]
  const rows = Object.entries(batches).flatMap(([batch, { step, warm, cold, memory }]) => [
    [
      `batch ${batch}+${batch}, data in memory`,
      showSpread(step.torchvid),
      showSpread(step.pytorch),
      step.ratio.toFixed(2),
      reached(step),
      `${gibibytes(memory.torchvid)} : ${gibibytes(memory.pytorch)} GiB`,
    ],
    loopRow(`batch ${batch}+${batch}, with its data, files cached by the system`, warm),
    loopRow(`batch ${batch}+${batch}, with its data, files read from the disk`, cold),
  ])
  const notes = Object.entries(batches).map(([batch, { once, losses, othersShare }]) => {
    const pairs = losses[0].map((loss, i) => `${loss.toFixed(5)} : ${losses[1][i].toFixed(5)}`)
    return `Batch ${batch}+${batch}: the whole set is read and resampled once, in ${once.toFixed(2)} s; losses without dropout ${pairs.join(', ')}. Other programs used ${Math.round(othersShare * 100)}% of the processors.`
  })
  const [{ torch, torchOfPython, threads }] = Object.values(batches)
  const about = `Files of ${segments.join(' to ')} segments. LibTorch ${torch}, Python's torch ${torchOfPython}, ${threads} threads.`
  return [table(header, rows), [about, ...notes].join('\n'), scoringTable(scoring)]
}

function loopRow(what, { torchvid, pytorch, data, ratio, aim }) {
  const theirs = `${showSpread(pytorch)}, of which data ${data.toFixed(2)}`
  return [what, showSpread(torchvid), theirs, ratio.toFixed(2), aim === undefined ? '' : reached({ ratio, aim }), '']
}

function scoringTable(scoring) {
  const header = ['one video, one crop', 'seconds', 'segments a second', 'peak memory', 'of which before scoring']
  const rows = scoring.map(({ segments, seconds, before, peakMemory }) => [
    `${segments} segments`,
    seconds.toFixed(1),
    (segments / seconds).toFixed(0),
    `${gibibytes(peakMemory)} GiB`,
    `${gibibytes(before)} GiB`,
  ])
  return table(header, rows)
}

const backbones = {
  i3dResnet50: 'I3D-ResNet50',
  i3dResnet50NonLocal: 'I3D-ResNet50, non-local',
  i3d: 'I3D',
  c3d: 'C3D',
}

/** Table of what `compareFeatures` measured. */
export function featuresTable(measured) {
  const header = [
    's per clip of 16 frames, median (min..max)',
    'MACs',
    'torchvid',
    'PyTorch',
    'ratio',
    'aim',
    'memory',
    'others',
  ]
  const rows = Object.entries(measured).map(([name, { macs, torchvid, pytorch, ratio, aim, memory, othersShare }]) => [
    `${backbones[name]}, ${name === 'c3d' ? '112x112' : '224x224'}`,
    `${(macs / 1e9).toFixed(1)} G`,
    showSpread(torchvid, 1, 3),
    showSpread(pytorch, 1, 3),
    ratio.toFixed(2),
    reached({ ratio, aim }),
    `${gibibytes(memory.torchvid)} : ${gibibytes(memory.pytorch)} GiB`,
    `${Math.round(othersShare * 100)}%`,
  ])
  return table(header, rows)
}

function reached({ ratio, aim }) {
  return `<= ${aim}: ${ratio <= aim ? 'met' : 'missed'}`
}

const gibibytes = (bytes) => (bytes / 2 ** 30).toFixed(2)
