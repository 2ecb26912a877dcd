import { bothSides, samePadding } from './convolution.ts'
import type { OnnxLayer } from './layer.ts'

/** Windows over (N, C, ...). */
export function pool(opType: 'MaxPool' | 'AveragePool'): (layer: OnnxLayer) => void {
  return (layer) => {
    const kernel = layer.node.attributes?.kernel as number[]
    const rank = kernel.length
    const strides = layer.node.attributes?.stride === undefined ? kernel : layer.list('stride', rank, 1)
    const settings = {
      kernel_shape: kernel,
      strides,
      ceil_mode: layer.attribute('ceil', false) ? 1 : 0,
      count_include_pad: opType === 'AveragePool' ? Number(layer.attribute('countPadding', true)) : undefined,
    }
    if (layer.node.attributes?.padding !== 'same') {
      layer.finish(opType, [layer.x.name], { ...settings, pads: bothSides(layer.list('padding', rank, 0)) })
      return
    }
    // The operator's own padding is never picked; these zeros are. They are not quite zero, since ONNX Runtime makes zeros
    // the operator's own padding (seen in 1.30).
    const pads = samePadding(layer, kernel, strides, new Array<number>(rank).fill(1))
    const [before, after] = [pads.slice(0, rank), pads.slice(rank)]
    const nearlyZero = layer.constant('float', [1e-37], [])
    const padded = layer.emit('Pad', [layer.x.name, layer.vector([0, 0, ...before, 0, 0, ...after]), nearlyZero])
    layer.finish(opType, [padded], settings)
  }
}

/** (N, C, ...) -> (N, C), or with the other dimensions kept, at one element each, as the operator has it. */
export function globalAveragePool(layer: OnnxLayer): void {
  if (layer.attribute('keepDimensions', false)) {
    layer.finish('GlobalAveragePool', [layer.x.name])
    return
  }
  layer.finish('Flatten', [layer.emit('GlobalAveragePool', [layer.x.name])], { axis: 1 })
}
