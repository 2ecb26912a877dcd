import { Command, Option } from 'commander'
import type { Device } from '../types.ts'
import { withInterrupt } from './interrupt.ts'
import { deviceName, notNegative, numberList, positiveNumber, wholeNumber } from './values.ts'

/** The options of `torchvid train-parent`. */
export interface TrainParentFlags {
  out: string
  backbone: 'mobilenet' | 'vgg16' | 'matcher'
  precision: 'float32' | 'float16'
  weights?: string
  train: 'train' | 'val' | string[]
  val?: 'train' | 'val' | string[]
  valEvery: number
  valFrames: number
  epochs?: number
  steps?: number
  accumulate?: number
  learningRate?: number
  weightDecay?: number
  sizes?: number[]
  augment: boolean
  /** Megabytes. */
  cache?: number
  seed: number
  threads?: number
  device?: Device
  checkpoint?: string
  every: number
  resume?: string
  json?: boolean
}

/** `torchvid train-parent`: the offline training of an OSVOS model on DAVIS. */
export function trainParentCommand(): Command {
  const command = new Command('train-parent')
    .description('train an OSVOS model offline on the videos of DAVIS, for segment --model to start from')
    .argument('<davis>', 'the folder of DAVIS, with JPEGImages, Annotations and ImageSets')
    .requiredOption('--out <file>', 'the model (.safetensors)')
    .addOption(
      new Option('--backbone <name>', 'the kind: a trunk that is fine-tuned, or the matcher that the default model is')
        .choices(['mobilenet', 'vgg16', 'matcher'])
        .default('mobilenet'),
    )
    .option('--weights <file>', 'ImageNet weights of the trunk, or a whole model (.safetensors, .pth)')
    .addOption(
      new Option('--train <names>', 'what to learn from: a list (train, val), or sequences with commas between them')
        .argParser(sequenceNames)
        .default('train'),
    )
    .option('--val <names>', 'measure J and F on these, as --train, and keep the best state', sequenceNames)
    .addOption(new Option('--val-every <n>', 'epochs between measurements').argParser(wholeNumber(1)).default(1))
    .addOption(
      new Option('--val-frames <n>', 'at most so many frames of each sequence').argParser(wholeNumber(1)).default(8),
    )
  return withOutputOptions(withTrainingOptions(command)).action((davis: string, flags: TrainParentFlags) => {
    refuseIdle(command, 'every', flags.checkpoint, '--checkpoint')
    refuseIdle(command, 'valEvery', flags.val, '--val')
    refuseIdle(command, 'valFrames', flags.val, '--val')
    return withInterrupt(async (signal) => {
      // Loaded when it is wanted: the other commands start faster, and work where sharp does not.
      const { trainParentFromCommandLine } = await import('./train-parent-run.ts')
      await trainParentFromCommandLine(davis, flags, signal)
    })
  })
}

function withTrainingOptions(command: Command): Command {
  return command
    .option(
      '--epochs <n>',
      'times every frame is seen (default: 240 with vgg16, 12 with mobilenet, 3600 steps with matcher)',
      wholeNumber(1),
    )
    .option('--steps <n>', 'passes of one frame (matcher: four clips) each, instead of --epochs', wholeNumber(1))
    .option(
      '--accumulate <n>',
      'passes that make one update (default: 10 with vgg16, 4 with mobilenet)',
      wholeNumber(1),
    )
    .option('--learning-rate <x>', "(default: the trunk's own)", positiveNumber)
    .option('--weight-decay <x>', "(default: the trunk's own)", notNegative)
    .option(
      '--sizes <heights>',
      'frames are scaled down to one of these, such as 240,480 (default: 480 with vgg16, 240,320,400,480 with mobilenet)',
      numberList,
    )
    .option('--no-augment', 'train on the frames as they are')
    .option('--cache <megabytes>', 'decoded frames kept in memory (default: 1074)', wholeNumber(0))
    .addOption(new Option('--seed <n>', 'of everything random').argParser(wholeNumber(0)).default(0))
    .option('--threads <n>', 'of the computation (default: one per core)', wholeNumber(1))
    .option('--device <name>', 'auto, cpu, cuda or cuda:N', deviceName)
}

function withOutputOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--precision <name>', 'of the model file; float16 halves it')
        .choices(['float32', 'float16'])
        .default('float32'),
    )
    .option('--checkpoint <file>', 'keep the state of the training in this file')
    .addOption(new Option('--every <n>', 'passes between checkpoints').argParser(wholeNumber(1)).default(500))
    .option('--resume <file>', 'go on from a checkpoint of the same training')
    .option('--json', 'print events as JSON, one a line, on stdout')
}

/** An option that is for another one does nothing without it. */
function refuseIdle(command: Command, option: string, wanted: unknown, name: string): void {
  if (wanted !== undefined || command.getOptionValueSource(option) !== 'cli') return
  const flag = `--${option.replace(/[A-Z]/, (letter) => `-${letter.toLowerCase()}`)}`
  command.error(`error: ${flag} is for ${name}: give that too, or leave it out.`, { exitCode: 2 })
}

/** `train`, `val`, or names with commas between them. */
function sequenceNames(text: string): 'train' | 'val' | string[] {
  if (text === 'train' || text === 'val') return text
  return text
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')
}
