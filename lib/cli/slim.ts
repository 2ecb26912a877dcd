import { Command, Option } from 'commander'
import type { SlimFlags } from './flags.ts'
import { withInterrupt } from './interrupt.ts'
import {
  deviceName,
  inputShape,
  notNegative,
  numberList,
  positiveNumber,
  probability,
  share,
  shareOrCount,
  wholeNumber,
} from './values.ts'

/** What `--only-prune` leaves nothing to do for. */
const TRAINING_OPTIONS = [
  ...[
    'epochs',
    'batchSize',
    'learningRate',
    'sparsity',
    'weightDecay',
    'nesterov',
    'passes',
    'iterative',
    'fineTuneEpochs',
  ],
  ...['fineTuneLearningRate', 'imitate', 'checkpoint', 'resume'],
]

/** `torchvid slim`: network slimming from the command line. */
export function slimCommand(): Command {
  return withCutOptions(withTrainingOptions(withDataOptions(new Command('slim'))))
    .description('train a classifier sparse, cut its weakest channels, fine-tune it')
    .argument(
      '<model>',
      'a file of torchvid (.safetensors), or a network to start: vgg16, preresnet56, densenet40, resnet20, mlp',
    )
    .requiredOption('--out <file>', 'where the slimmed network goes (.safetensors, graph inside)')
    .option('--only-prune', 'train nothing: cut, and save (with --data: measure before and after)')
    .addOption(new Option('--seed <n>', 'of everything random').argParser(wholeNumber(0)).default(0))
    .option('--threads <n>', "of LibTorch on the CPU (default: LibTorch's own)", wholeNumber(1))
    .option('--device <name>', 'auto, cpu, cuda or cuda:N', deviceName)
    .option('--checkpoint <file>', 'keep the state of the work beside this name, a file for each stage')
    .addOption(new Option('--every <n>', 'steps between checkpoints').argParser(wholeNumber(1)).default(100))
    .option('--resume <file>', 'go on from the checkpoints of the same slimming (give --checkpoint too to keep more)')
    .option('--report [file]', 'write a report (default: beside OUT, with the ending .html)')
    .option('--json', 'print events as JSON, one a line, on stdout')
    .action((model: string, flags: SlimFlags, command: Command) => {
      checkTogether(flags, command)
      return withInterrupt(async (signal) => {
        const { slimFromCommandLine } = await import('./slim-run.ts')
        await slimFromCommandLine(model, flags, signal)
      })
    })
}

function withDataOptions(command: Command): Command {
  return command
    .option('--data <path>', 'CIFAR-10 or -100 (binary or Python), SVHN, MNIST, or a folder of images by class')
    .addOption(
      new Option('--dataset <name>', 'what lies in --data (default: recognised by its files)').choices([
        ...['cifar10', 'cifar100', 'svhn', 'mnist', 'images'],
      ]),
    )
    .addOption(
      new Option(
        '--test-split <x>',
        'where the data have no test images: a share, or a number, of those for training to hold out; 0: none',
      )
        .argParser(notNegative)
        .default(0.1),
    )
    .option(
      '--image-size <n>',
      "with a folder of images: side of the pictures (default: the network's, else 224)",
      wholeNumber(1),
    )
    .option(
      '--mean <numbers>',
      "of the channels, of values 0..1, such as 0.485,0.456,0.406 (default: the network's, else the data's)",
      numberList,
    )
    .option('--std <numbers>', 'as --mean', numberList)
    .option('--no-augment', 'train on the images as they are')
    .option('--classes <n>', "with a network's name (default: those of the data, else 10)", wholeNumber(1))
    .option('--weights <file>', "with a network's name: start from these (.pth, .safetensors), not at random")
}

function withTrainingOptions(command: Command): Command {
  return command
    .option('--epochs <n>', 'of the sparse training (default: 160)', wholeNumber(1))
    .option('--batch-size <n>', '(default: 64)', wholeNumber(1))
    .option('--learning-rate <x>', 'of the sparse training; x0.1 at 50 % and at 75 % (default: 0.1)', positiveNumber)
    .option(
      '--sparsity <x>',
      'strength of the L1 penalty on the scales (default: 1e-4; residual and dense networks 1e-5)',
      notNegative,
    )
    .option('--weight-decay <x>', '(default: 1e-4)', notNegative)
    .option('--nesterov', "Nesterov's form of momentum")
    .option('--fine-tune-epochs <n>', '0: no fine-tuning (default: 40)', wholeNumber(0))
    .option('--fine-tune-learning-rate <x>', '(default: 0.001)', positiveNumber)
    .option('--imitate', 'fine-tune on the outputs of the network before the cut, not on the labels')
}

function withCutOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--ratio <x>', 'share of the channels that go (default: 0.7)')
        .argParser(share)
        .conflicts(['targetMacs', 'targetParameters']),
    )
    .option(
      '--target-macs <x>',
      'cut until so many multiply-accumulates are left: a share (0.5, 50%) or a count (120M)',
      shareOrCount,
    )
    .option('--target-parameters <x>', 'cut until so many parameters are left, as --target-macs', shareOrCount)
    .addOption(
      new Option(
        '--strategy <name>',
        "select: each channel for itself, as the paper's code; group: those tied by sums go together (default: select)",
      ).choices(['select', 'group']),
    )
    .addOption(
      new Option(
        '--score <name>',
        'by what channels are ranked: scale |gamma| (default with select), or variance (default with group), better on networks that were not trained sparse',
      ).choices(['scale', 'variance']),
    )
    .option('--fold', 'put what removed channels contribute on average into what follows')
    .option('--round-to <n>', 'round widths up to a multiple of n (default: 1)', wholeNumber(1))
    .option('--keep-at-least <n>', 'channels that every layer keeps (default: 4)', wholeNumber(0))
    .option(
      '--keep-share <x>',
      'share of its channels that every layer keeps (default: 0; 0.5 with several passes)',
      probability,
    )
    .option('--passes <n>', 'train, cut and fine-tune so often (default: 1)', wholeNumber(1))
    .option('--iterative', 'cut step by step within the sparse training')
    .option(
      '--input <shape>',
      'sizes at which MACs are counted, where the network leaves them free: 1x3x224x224',
      inputShape,
    )
}

/** What makes no sense together. */
function checkTogether(flags: SlimFlags, command: Command): void {
  const refuse = (text: string) => command.error(`error: ${text}`, { exitCode: 2 })
  if (flags.onlyPrune) {
    const given = command.options.find(
      (option) => TRAINING_OPTIONS.includes(option.attributeName()) && isGiven(command, option),
    )
    if (given !== undefined) refuse(`${given.long} is for training: leave it out, or leave --only-prune out.`)
  } else if (flags.data === undefined) {
    refuse('--data is missing: the images to learn from. To cut without training: --only-prune.')
  }
  if (flags.checkpoint === undefined && command.getOptionValueSource('every') === 'cli') {
    refuse('--every is for --checkpoint: give the file too, or leave it out.')
  }
  if ((flags.mean === undefined) !== (flags.std === undefined))
    refuse('--mean and --std belong together: give both, or none.')
  if (flags.iterative && (flags.targetMacs ?? flags.targetParameters) !== undefined) {
    refuse('--iterative goes by --ratio: leave the target out.')
  }
  if (flags.iterative && (flags.passes ?? 1) > 1)
    refuse('--iterative and --passes cannot be used together: leave one out.')
}

function isGiven(command: Command, option: Option): boolean {
  return command.getOptionValueSource(option.attributeName()) === 'cli'
}
