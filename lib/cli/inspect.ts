import { Command, Option } from 'commander'
import type { InspectFlags } from './flags.ts'
import { inputShape, notNegative, wholeNumber } from './values.ts'

/** `torchvid inspect`: what is in a model's file. */
export function inspectCommand(): Command {
  return new Command('inspect')
    .description("show a model's layers, parameters and multiply-accumulates, or the tensors of a weights file")
    .argument('<model>', 'a file of torchvid (.safetensors), weights (.pth, .safetensors), or a name such as vgg16')
    .addOption(
      new Option(
        '--input <shape>',
        'sizes of the input, such as 1x3x224x224, or name=1x3x224x224 (repeat for several)',
      ).argParser((text: string, before: InspectFlags['input'] = []) => [...before, inputShape(text)]),
    )
    .addOption(new Option('--classes <n>', "with a network's name").argParser(wholeNumber(1)).default(10))
    .option('--channels', "show each batch-norm's scales |gamma|: what a cut by slim would meet")
    .addOption(
      new Option('--threshold <x>', 'with --channels: scales at or below this are counted as small')
        .argParser(notNegative)
        .default(0.01),
    )
    .option('--tensors', 'list the tensors of the file instead of the layers (needs no LibTorch)')
    .option('--json', 'print one JSON object')
    .action(async (model: string, flags: InspectFlags) => {
      const { inspect } = await import('./inspect-run.ts')
      await inspect(model, flags)
    })
}
