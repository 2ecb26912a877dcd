export {
  type Cifar10Options,
  type Cifar100Options,
  cifar10,
  cifar100,
} from './cifar.ts'
export { type DavisOptions, type DavisSequence, davis } from './davis.ts'
export { type FeatureDataset, type FeatureListOptions, type FeatureVideo, featureList } from './feature-lists.ts'
export { type Frame, type FrameReader, openFrames as frames } from './frames.ts'
export { frameLabels, type GroundTruth, type LabelledVideo } from './ground-truth.ts'
export { type ImageFolderOptions, imageFolder } from './image-folder.ts'
export { type ImageAugmentation, type ImageSet, subset } from './image-set.ts'
export { concat, type SplitOptions, split } from './image-set-parts.ts'
export { type MnistOptions, mnist } from './mnist.ts'
export { readNpy, writeNpy } from './npy.ts'
export { type SvhnOptions, svhn } from './svhn.ts'
export { type UcfEvents, ucfAnnotation } from './ucf-annotation.ts'
export { type UcsdOptions, ucsdSplits, type VideoGroups } from './ucsd.ts'
