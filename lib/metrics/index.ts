import { native } from '../native.ts'

/** A mask of one object: non-zero inside it. Row-major, one byte a pixel. */
export interface BinaryMask {
  data: Uint8Array
  width: number
  height: number
}

/**
 * DAVIS's region similarity J: |mask and truth| / |mask or truth|, 0 to 1; 1 when both are empty.
 * @throws TorchvidError ERR_SHAPE when the sizes differ
 */
export async function jaccard(mask: BinaryMask, truth: BinaryMask): Promise<number> {
  return await native().jaccard(mask, truth)
}

/**
 * DAVIS's contour accuracy F, 0 to 1: the F-measure of boundary pixels that lie within 0.8 % of the diagonal of the other
 * boundary (Perazzi et al., CVPR 2016; the official evaluation code's boundary map and disk).
 * @throws TorchvidError ERR_SHAPE when the sizes differ
 */
export async function contour(mask: BinaryMask, truth: BinaryMask): Promise<number> {
  return await native().contour(mask, truth)
}
