export type { FeatureVideo } from './data/feature-lists.ts'
export type { FeatureSettings } from './data/feature-settings.ts'
export type { FeatureInput } from './data/features.ts'
export type { GroundTruth } from './data/ground-truth.ts'
export type { ImageAugmentation, ImageSet } from './data/image-set.ts'
export * as data from './data/index.ts'
export type { Run, RunOptions, TrainingProgress } from './engine/run.ts'
export { type ErrorCode, TorchvidError } from './errors.ts'
export type { ExtractedFile } from './features/extract.ts'
export * as features from './features/index.ts'
export type { ExtractedFeatures, ExtractOptions, ExtractProgress } from './features/options.ts'
export * as graph from './graph/index.ts'
export * as losses from './losses/index.ts'
export * as metrics from './metrics/index.ts'
export type { FileDtype, NativeLayer as LayerSummary } from './native.ts'
export {
  type LoadOptions,
  type LoadResult,
  Network,
  type NetworkOptions,
  type NetworkSummary,
  type ParameterInfo,
} from './network.ts'
export * as networks from './networks/index.ts'
export type { ExportOnnxOptions } from './onnx/export.ts'
export type { OnnxShape } from './onnx/shapes.ts'
export type { Augmentation } from './osvos/augmentation.ts'
export type { FitOptions, Head, Preset } from './osvos/fit.ts'
export { OSVOS, type OsvosOptions } from './osvos/osvos.ts'
export type { ParentOptions, ParentProgress, ParentValidation } from './osvos/parent.ts'
export type { ParentData, ParentSequence } from './osvos/parent-frames.ts'
export type { FrameScore, ParentScore } from './osvos/parent-validation.ts'
export type { Box, Prompt, PromptOptions } from './osvos/prompt.ts'
export type { SegmentedFrame, SegmentOptions } from './osvos/segment.ts'
export type {
  DetectionList,
  EvaluatedVideo,
  RtfmEvaluateOptions,
  RtfmEvaluation,
  RtfmEvaluationProgress,
} from './rtfm/evaluate.ts'
export type { RtfmTraining, RtfmVideos } from './rtfm/fit.ts'
export type { RtfmFitOptions, RtfmProgress } from './rtfm/recipe.ts'
export { RTFM } from './rtfm/rtfm.ts'
export type { RtfmScores } from './rtfm/score.ts'
export type { RtfmObjective, RtfmOptions, RtfmSettings } from './rtfm/settings.ts'
export type { StreamOptions, StreamScore } from './rtfm/stream.ts'
export type { RtfmValidation } from './rtfm/validation.ts'
export * as runtime from './runtime.ts'
export type { EvaluateOptions, Evaluation } from './slim/evaluate.ts'
export { type Slim, slim } from './slim/index.ts'
export type { SlimLoadOptions } from './slim/load.ts'
export type { PruneOptions, PruneResult } from './slim/prune.ts'
export type { ChannelMask, ImageTrainingOptions, SlimProgress } from './slim/recipe.ts'
export type { Change, LayerReport, PruneReport, SlimReport, StageReport } from './slim/report.ts'
export type { SlimFineTuning, SlimOptions, SlimResult, SlimStageProgress } from './slim/slim.ts'
export type { FineTuneOptions, SlimTrainOptions } from './slim/train.ts'
export type { Device, FrameSource, ImageInput, Precision, RawImage, TensorData } from './types.ts'
export * as weights from './weights/index.ts'
export type { SlimmingCfg } from './weights/torch-writer.ts'
