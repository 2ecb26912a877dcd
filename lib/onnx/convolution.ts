import type { OnnxLayer, Size } from './layer.ts'

/** y = x * weight + bias over any number of dimensions. */
export function convolution(layer: OnnxLayer): void {
  const kernel = layer.node.attributes?.kernel as number[]
  const rank = kernel.length
  const settings = common(layer, kernel)
  if (layer.node.attributes?.padding !== 'same') {
    layer.finish('Conv', [layer.x.name, ...weights(layer)], {
      ...settings,
      pads: bothSides(layer.list('padding', rank, 0)),
    })
    return
  }
  const { strides, dilations } = settings
  const free = kernel.some((_, d) => layer.x.sizes[d + 2] === null && strides[d] !== 1)
  if (free && dilations.every((dilation) => dilation === 1)) {
    layer.finish('Conv', [layer.x.name, ...weights(layer)], { ...settings, auto_pad: 'SAME_UPPER' })
    return
  }
  const pads = samePadding(layer, kernel, strides, dilations)
  if (pads.every((pad) => typeof pad === 'number')) {
    layer.finish('Conv', [layer.x.name, ...weights(layer)], { ...settings, pads })
    return
  }
  // Runtimes do not take SAME_UPPER with a dilation.
  const [before, after] = [pads.slice(0, rank), pads.slice(rank)]
  const padded = layer.emit('Pad', [layer.x.name, layer.vector([0, 0, ...before, 0, 0, ...after])])
  layer.finish('Conv', [padded, ...weights(layer)], settings)
}

/** The gradient of a convolution: weight (in, out / groups, kernel...). */
export function transposedConvolution(layer: OnnxLayer): void {
  const kernel = layer.node.attributes?.kernel as number[]
  layer.finish('ConvTranspose', [layer.x.name, ...weights(layer)], {
    ...common(layer, kernel),
    pads: bothSides(layer.list('padding', kernel.length, 0)),
    output_padding: layer.list('outputPadding', kernel.length, 0),
  })
}

/** y = x W^T + b over the last dimension. */
export function linear(layer: OnnxLayer): void {
  if (layer.x.sizes.length === 2) {
    layer.finish('Gemm', [layer.x.name, ...weights(layer)], { transB: 1 })
    return
  }
  // The weight keeps its state_dict form; a runtime transposes it once, when it loads the file.
  const transposed = layer.emit('Transpose', [layer.weight('weight')], { perm: [1, 0] })
  if (!layer.hasWeight('bias')) {
    layer.finish('MatMul', [layer.x.name, transposed])
    return
  }
  layer.finish('Add', [layer.emit('MatMul', [layer.x.name, transposed]), layer.weight('bias')])
}

function weights(layer: OnnxLayer): string[] {
  return ['weight', 'bias'].filter((name) => layer.hasWeight(name)).map((name) => layer.weight(name))
}

function common(layer: OnnxLayer, kernel: number[]) {
  return {
    kernel_shape: kernel,
    strides: layer.list('stride', kernel.length, 1),
    dilations: layer.list('dilation', kernel.length, 1),
    group: layer.attribute('groups', 1),
  }
}

/** ONNX lists the padding before all dimensions, then that after all of them. */
export function bothSides(padding: number[]): number[] {
  return [...padding, ...padding]
}

/** TensorFlow's SAME: as many outputs as strides begun; the odd zero goes to the end. */
export function samePadding(layer: OnnxLayer, kernel: number[], strides: number[], dilations: number[]): Size[] {
  const totals = kernel.map((length, d) => {
    const stride = strides[d] as number
    const reach = (length - 1) * (dilations[d] as number) + 1
    if (stride === 1) return reach - 1
    const size = layer.sizeOf(layer.x, d + 2)
    const steps = layer.compute('Div', layer.compute('Add', size, -1), stride)
    const covered = layer.compute('Add', layer.compute('Mul', steps, stride), reach)
    return layer.compute('Max', layer.compute('Sub', covered, size), 0)
  })
  const before = totals.map((total) => layer.compute('Div', total, 2))
  return [...before, ...totals.map((total, d) => layer.compute('Sub', total, before[d] as Size))]
}
