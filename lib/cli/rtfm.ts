import { Command, Option } from 'commander'
import type { RtfmEvaluateFlags, RtfmExtractFlags, RtfmScoreFlags, RtfmTrainFlags } from './flags.ts'
import { withInterrupt } from './interrupt.ts'
import { cropCount, frameSize } from './rtfm-values.ts'
import { deviceName, notNegative, numberList, positiveNumber, probability, share, wholeNumber } from './values.ts'

const DATASETS = ['shanghaitech', 'ucf-crime', 'xd-violence', 'other']

/** `torchvid rtfm`: video anomaly detection that learns from labels of whole videos. */
export function rtfmCommand(): Command {
  const command = new Command('rtfm').description(
    'find what is abnormal in videos, having learned from labels of videos',
  )
  for (const make of [extractCommand, trainCommand, scoreCommand, evaluateCommand]) command.addCommand(make())
  return command
}

function extractCommand(): Command {
  return withExtraction(new Command('extract'))
    .description('turn videos into features: one row of numbers for every 16 frames')
    .argument('<videos...>', "video files, or folders or globs (in quotes) of one video's images each")
    .requiredOption('--out <path>', 'a folder for NAME.npy, or of a single video a file that ends with .npy')
    .option('--json', 'print events as JSON, one a line, on stdout')
    .action((videos: string[], flags: RtfmExtractFlags) =>
      withInterrupt(async (signal) => {
        const { extractFromCommandLine } = await import('./rtfm-extract-run.ts')
        await extractFromCommandLine(videos, flags, signal)
      }),
    )
}

function trainCommand(): Command {
  return withMachine(withTraining(withTrainingData(new Command('train'))))
    .description('learn from features of videos that are normal and of videos in which something is not')
    .requiredOption('--out <file>', 'where the model goes (.safetensors)')
    .option('--json', 'print events as JSON, one a line, on stdout')
    .action((flags: RtfmTrainFlags, command: Command) => {
      checkTraining(flags, command)
      return withInterrupt(async (signal) => {
        const { trainFromCommandLine } = await import('./rtfm-train-run.ts')
        await trainFromCommandLine(flags, signal)
      })
    })
}

function scoreCommand(): Command {
  return withExtraction(new Command('score'))
    .description('score every segment of videos, or of their features, from 0 (normal) to 1')
    .argument('<inputs...>', 'features (.npy, .txt, a folder of them) or videos (with --backbone)')
    .requiredOption('--model <file>', 'a model of torchvid rtfm train')
    .requiredOption('--out <folder>', 'where NAME.csv and NAME.json go')
    .addOption(
      new Option('--threshold <x>', 'from which score on a segment is marked').argParser(probability).default(0.5),
    )
    .option(
      '--ground-truth <path>',
      "labels of the frames to compare with: a .npy, a folder of NAME.npy, or UCF-Crime's annotation (.txt)",
    )
    .option(
      '--frames-per-segment <n>',
      'with features: frames of a row (default: as they say, else 16)',
      wholeNumber(1),
    )
    .option('--video <file>', "with one video's features: the video, for pictures and times in the report")
    .option('--fps <x>', 'with features: frames a second (default: as they say)', positiveNumber)
    .option('--report', 'write OUT/NAME.html, a page with pictures, curve and marked stretches')
    .option('--json', 'print events as JSON, one a line, on stdout')
    .action((inputs: string[], flags: RtfmScoreFlags) =>
      withInterrupt(async (signal) => {
        const { scoreFromCommandLine } = await import('./rtfm-score-run.ts')
        await scoreFromCommandLine(inputs, flags, signal)
      }),
    )
}

function evaluateCommand(): Command {
  return withMachine(new Command('evaluate'))
    .description(
      'measure a model on videos whose truth is known: ROC AUC, PR AUC and average precision of their frames',
    )
    .requiredOption('--model <file>', 'a model of torchvid rtfm train')
    .requiredOption('--list <path>', 'features: a list of files, one a line, or a folder of them')
    .requiredOption(
      '--ground-truth <path>',
      "a .npy of all videos' frames in order, a folder of NAME.npy, or UCF-Crime's annotation (.txt)",
    )
    .addOption(new Option('--dataset <name>', 'whose list it is (default: told by its names)').choices(DATASETS))
    .option('--root <folder>', "where the list's files are, whatever folders it names")
    .addOption(
      new Option('--frames-per-segment <n>', 'frames that a row of features stands for')
        .argParser(wholeNumber(1))
        .default(16),
    )
    .addOption(new Option('--threshold <x>', 'drawn into the report').argParser(probability).default(0.5))
    .option('--report <file>', 'write a page with both curves and every video')
    .option('--json', 'print events as JSON, one a line, on stdout')
    .action((flags: RtfmEvaluateFlags) =>
      withInterrupt(async (signal) => {
        const { evaluateFromCommandLine } = await import('./rtfm-evaluate-run.ts')
        await evaluateFromCommandLine(flags, signal)
      }),
    )
}

function withMachine(command: Command): Command {
  return command
    .option('--threads <n>', "of LibTorch on the CPU (default: LibTorch's own)", wholeNumber(1))
    .option('--device <name>', 'auto, cpu, cuda or cuda:N', deviceName)
}

/** What of a video the features are made from, and with which network. */
function withExtraction(command: Command): Command {
  return withMachine(command)
    .option(
      '--backbone <name>',
      'mobilenet, i3d, i3d-r50, i3d-r50-nl, c3d, or a network of torchvid (.safetensors) (default: mobilenet)',
    )
    .option('--weights <file>', 'of the backbone (.pth, .safetensors); random ones are refused')
    .option('--crops <n>', '1 (centre), 5 or 10 views of each frame (default: 1)', cropCount)
    .option('--every <n>', 'frames of a segment (default: 16)', wholeNumber(1))
    .option('--frame-step <n>', "of a segment's frames, every how many-th is seen (default: 1)", wholeNumber(1))
    .option('--resize <size>', "shorter side, width x height, or none (default: the backbone's)", frameSize)
    .option('--crop <n>', "side of a view in pixels (default: the backbone's)", wholeNumber(1))
    .option('--mean <numbers>', "of values 0..255 (default: the backbone's)", numberList)
    .option('--std <numbers>', 'as --mean', numberList)
    .addOption(new Option('--order <name>', "of the colours (default: the backbone's)").choices(['RGB', 'BGR']))
    .addOption(
      new Option('--tail <name>', 'what to do with a last segment that is too short (default: loop)').choices([
        ...['loop', 'repeat', 'drop'],
      ]),
    )
    .option('--normalise', 'divide every row of features by its L2 norm')
}

function withTrainingData(command: Command): Command {
  return command
    .option('--normal <path>', 'features of normal videos: a folder, or a list of files, one a line')
    .option('--abnormal <path>', 'features of videos in which something abnormal happens, as --normal')
    .addOption(
      new Option(
        '--list <file>',
        "instead: one list of both, whose names tell them apart, as the data sets' do",
      ).conflicts(['normal', 'abnormal']),
    )
    .addOption(new Option('--dataset <name>', 'whose list it is (default: told by its names)').choices(DATASETS))
    .option('--root <folder>', "where the lists' files are, whatever folders they name")
    .option('--test <path>', 'features to choose the best state by, as the reference does: a list or a folder')
    .option(
      '--ground-truth <path>',
      "of --test's frames: a .npy, a folder of NAME.npy, or UCF-Crime's annotation (.txt)",
    )
    .option('--frames-per-segment <n>', 'of --test (default: 16)', wholeNumber(1))
    .option(
      '--held-out <x>',
      'without --test: share of the videos for training that choose the best state instead; 0: none (default: 0.1)',
      share,
    )
}

function withTraining(command: Command): Command {
  return command
    .addOption(new Option('--network <name>', '(default: rtfm)').choices(['rtfm', 'deepMil']))
    .addOption(
      new Option(
        '--objective <name>',
        "reference: RTFM as its authors' code has it; paper: as their paper; milRanking: Sultani et al. (default: the network's)",
      ).choices(['reference', 'paper', 'milRanking']),
    )
    .option('--steps <n>', '(default: 15000; paper: 50 epochs; milRanking: 20000)', wholeNumber(1))
    .option('--batch-size <n>', 'videos of each kind in a step (default: 32; milRanking: 30)', wholeNumber(1))
    .option('--learning-rate <x>', '(default: 0.001; milRanking: 0.01)', positiveNumber)
    .option('--weight-decay <x>', '(default: 0.005; paper: 0.0005; milRanking: 0.002)', notNegative)
    .option('--dropout <x>', '(default: 0.7; deepMil: 0.6)', share)
    .option('--segments <n>', 'rows that every video is resampled to (default: 32)', wholeNumber(2))
    .option('--normalise', "divide every segment's features by their L2 norm, as Sultani et al. do")
    .option('--evaluate-every <n>', 'steps between measurements (default: 50)', wholeNumber(1))
    .option('--evaluate-after <n>', 'steps before the first one (default: 0)', wholeNumber(0))
    .addOption(
      new Option('--metric <name>', 'what the best state is best in (default: rocAuc)').choices([
        ...['rocAuc', 'prAuc', 'averagePrecision'],
      ]),
    )
    .addOption(new Option('--seed <n>', 'of everything random').argParser(wholeNumber(0)).default(0))
    .option('--checkpoint <file>', 'keep the state of the training in this file')
    .addOption(new Option('--every <n>', 'steps between checkpoints').argParser(wholeNumber(1)).default(100))
    .option('--best <file>', 'with --checkpoint: write the best model so far whenever it is bettered')
    .option('--resume <file>', 'go on from a checkpoint of the same training')
}

/** What makes no sense together. */
function checkTraining(flags: RtfmTrainFlags, command: Command): void {
  const refuse = (text: string) => command.error(`error: ${text}`, { exitCode: 2 })
  const { list, normal, abnormal, test, groundTruth, checkpoint, heldOut, framesPerSegment } = flags
  if (list === undefined && (normal ?? abnormal) === undefined) {
    refuse('there is nothing to learn from: give --normal and --abnormal, or --list.')
  }
  if (list === undefined && (normal === undefined || abnormal === undefined)) {
    refuse(`--${normal === undefined ? 'normal' : 'abnormal'} is missing: RTFM learns from videos of both kinds.`)
  }
  if ((test === undefined) !== (groundTruth === undefined)) {
    refuse('--test and --ground-truth belong together: the features and the labels of their frames.')
  }
  if (test !== undefined && heldOut !== undefined) refuse('--held-out is for training without --test: leave one out.')
  if (test === undefined && framesPerSegment !== undefined) refuse('--frames-per-segment is for --test.')
  if (checkpoint === undefined && flags.best !== undefined) refuse('--best is for --checkpoint: give that file too.')
  if (checkpoint === undefined && command.getOptionValueSource('every') === 'cli') {
    refuse('--every is for --checkpoint: give the file too, or leave it out.')
  }
}
