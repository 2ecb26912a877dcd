export {
  type Cifar10Options,
  type Cifar100Options,
  cifar10,
  cifar100,
} from './cifar.ts'
export { type ImageFolderOptions, imageFolder } from './image-folder.ts'
export { type ImageAugmentation, type ImageSet, subset } from './image-set.ts'
export { concat, type SplitOptions, split } from './image-set-parts.ts'
export { type MnistOptions, mnist } from './mnist.ts'
export { type SvhnOptions, svhn } from './svhn.ts'
