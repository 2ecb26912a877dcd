export { mobilenet } from './mobilenet.ts'
export { type OsvosBackbone, osvos } from './osvos.ts'
export { type VggConfig, type VggOptions, vgg } from './vgg.ts'
