import { invalidArgument } from '../errors.ts'
import { native } from '../native.ts'
import type { TensorData } from '../types.ts'

/**
 * Class-balanced cross-entropy on logits (OSVOS, equation 2): with y = [label >= 0.5], P = sum y, N = sum (1 - y) and
 * T = P + N, L = (N / T) sum over y = 1 of bce + (P / T) sum over y = 0 of bce.
 * @param logits (N, 1, H, W)
 * @param labels of the same shape, 0 to 1
 * @param options `reduction`: `'sum'` divides by the batch size only, as the reference (default); `'mean'` by the number
 *   of elements
 * @returns the loss and its gradient by the logits
 * @throws TorchvidError ERR_SHAPE, ERR_INVALID_ARGUMENT
 */
export async function classBalancedCrossEntropy(
  logits: TensorData,
  labels: TensorData,
  options: { reduction?: 'sum' | 'mean' } = {},
): Promise<{ loss: number; gradient: TensorData }> {
  const { reduction = 'sum' } = options
  if (reduction !== 'sum' && reduction !== 'mean') throw invalidArgument('reduction', reduction, "'sum' or 'mean'")
  return await native().classBalancedCrossEntropy(logits, labels, reduction)
}
