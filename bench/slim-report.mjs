import { showSpread, table } from './stats.mjs'

const titles = { vgg16: 'VGG16', preresnet56: 'PreResNet-56' }

/** Tables of what `compareSlim` measured. */
export function slimTables({ vgg16, preresnet56, slimmed }) {
  return [trainingTable({ vgg16, preresnet56 }), slimmedTable(slimmed), notes({ vgg16, preresnet56, slimmed })]
}

function trainingTable(measured) {
  const [{ batch }] = Object.values(measured)
  const header = [
    `32x32, batch ${batch}, ms per step, median (min..max)`,
    'torchvid',
    'PyTorch',
    'ratio',
    'aim',
    'memory',
  ]
  const rows = Object.entries(measured).map(([name, { train, inside, memory }]) => [
    `${titles[name]}, sparse training (torchvid's steps alone: ${(inside * 1e3).toFixed(0)})`,
    showSpread(train.torchvid, 1e3, 0),
    showSpread(train.pytorch, 1e3, 0),
    train.ratio.toFixed(2),
    `<= ${train.aim}: ${train.ratio <= train.aim ? 'met' : 'missed'}`,
    `${gibibytes(memory.torchvid)} : ${gibibytes(memory.pytorch)} GiB`,
  ])
  return table(header, rows)
}

function slimmedTable({ ratio, rows, aim }) {
  const header = [
    `VGG16 cut by ${ratio}, ms per forward pass`,
    'MACs',
    'torchvid',
    'PyTorch',
    'ratio',
    'speed-up by MACs',
    'torchvid',
    'PyTorch',
    'aim',
  ]
  const lines = rows.map(({ name, batch, macs, torchvid, pytorch, ratio, byMacs, speedUp }) => [
    `batch ${batch}, ${name}`,
    `${(macs / 1e6).toFixed(1)} M`,
    showSpread(torchvid, 1e3, 1),
    showSpread(pytorch, 1e3, 1),
    ratio.toFixed(2),
    ...[byMacs, speedUp.torchvid, speedUp.pytorch].map((times) => (name === 'whole' ? '' : `${times.toFixed(1)}x`)),
    name === 'whole' || batch === 1 ? '' : reached(speedUp.torchvid / byMacs, aim),
  ])
  return table(header, lines)
}

function reached(share, aim) {
  return `${share.toFixed(2)} of MACs, >= ${aim}: ${share >= aim ? 'met' : 'missed'}`
}

function notes(measured) {
  const [{ torch, torchOfPython, threads }] = Object.values(measured)
  const others = Object.entries(measured).map(([name, { othersShare }]) => `${name} ${Math.round(othersShare * 100)}%`)
  return `LibTorch ${torch}, Python's torch ${torchOfPython}, ${threads} threads. Processors used by others: ${others.join(', ')}.`
}

const gibibytes = (bytes) => (bytes / 2 ** 30).toFixed(2)
