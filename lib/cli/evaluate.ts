import { Command, Option } from 'commander'
import { davisYear, type EvaluateFlags, sequenceNames } from './evaluate-flags.ts'
import { withInterrupt } from './interrupt.ts'
import { deviceName, positiveNumber, probability, wholeNumber } from './values.ts'

/** Options that have no meaning where no model is used. */
const MODEL_OPTIONS = ['model', 'backbone', 'pretrained', 'maxSize', 'threshold', 'device']
const FIT_OPTIONS = ['preset', 'iterations', 'learningRate']

/** `torchvid evaluate`: the DAVIS table of a model, or of masks on disk. */
export function evaluateCommand(): Command {
  return withWorkOptions(withModelOptions(withDataOptions(new Command('evaluate'))))
    .description('segment the sequences of DAVIS, or take masks on disk, and print the table of J and F')
    .option('--out <folder>', 'keep OUT/SEQUENCE with its masks and scores.json; run again, it goes on where it was')
    .option('--report <file>', 'write a report (.html): table, pictures, curves')
    .option('--json', 'print events as JSON, one a line, on stdout')
    .action((flags: EvaluateFlags) =>
      withInterrupt(async (signal) => {
        const { evaluateFromCommandLine } = await import('./evaluate-run.ts')
        await evaluateFromCommandLine(flags, signal)
      }),
    )
}

function withDataOptions(command: Command): Command {
  return command
    .requiredOption('--davis <folder>', 'DAVIS: the folder with JPEGImages, Annotations and ImageSets')
    .addOption(
      new Option('--sequences <names>', 'val, train, or names: dog,libby (the sequence called train: "train,")')
        .argParser(sequenceNames)
        .default('val'),
    )
    .addOption(
      new Option('--year <year>', '2016: all objects as one; 2017: each object for itself')
        .argParser(davisYear)
        .default(2016),
    )
    .option('--resolution <name>', 'folder below JPEGImages and Annotations', '480p')
    .addOption(new Option('--every <n>', 'measure every nth frame only').argParser(wholeNumber(1)).default(1))
}

function withModelOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--model <name>', 'an OSVOS model: a file, or "default" (the default)').conflicts([
        'backbone',
        'pretrained',
      ]),
    )
    .addOption(new Option('--backbone <name>', 'a trunk without a parent').choices(['mobilenet', 'vgg16']))
    .option('--pretrained <file>', 'ImageNet weights of that trunk (.safetensors, .pth)')
    .addOption(new Option('--preset <name>', 'how much work a fit is').choices(['fast', 'balanced', 'best']))
    .option('--iterations <n>', "training steps per object (default: the model's own)", wholeNumber(1))
    .option('--learning-rate <x>', "(default: the model's own)", positiveNumber)
    .option('--max-size <n>', 'scale frames down to this longer side for the network', wholeNumber(16))
    .option('--threshold <x>', 'least probability of the object (default: 0.5)', probability)
    .addOption(new Option('--seed <n>', 'of everything random').argParser(wholeNumber(0)).default(0))
    .option('--device <name>', 'auto, cpu, cuda or cuda:N', deviceName)
    .addOption(new Option('--no-fit', 'the model as it is, without the first mask').conflicts(FIT_OPTIONS))
    .addOption(
      new Option('--masks <folder>', 'score masks on disk: FOLDER/SEQUENCE/FRAME.png').conflicts([
        ...['copyFirst', 'fit'],
        ...MODEL_OPTIONS,
        ...FIT_OPTIONS,
      ]),
    )
    .addOption(
      new Option('--copy-first', "every frame's mask is the first one").conflicts([
        'fit',
        ...MODEL_OPTIONS,
        ...FIT_OPTIONS,
      ]),
    )
}

function withWorkOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--jobs <n>', 'sequences at a time, each in a process of its own')
        .argParser(wholeNumber(1))
        .default(1),
    )
    .option(
      '--threads <n>',
      'of LibTorch on the CPU, shared out among the jobs (default: one per core)',
      wholeNumber(1),
    )
    .addOption(new Option('--part').hideHelp())
}
