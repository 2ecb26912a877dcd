import { Command, InvalidArgumentError, Option } from 'commander'
import type { Box } from '../osvos/prompt.ts'
import type { SegmentFlags } from './flags.ts'
import { withInterrupt } from './interrupt.ts'
import { deviceName, objectIds, positiveNumber, probability, videoFile, wholeNumber } from './values.ts'

/** `torchvid segment`: learn an object from the first frame's mask, write a mask for every frame. */
export function segmentCommand(): Command {
  return new Command('segment')
    .description('learn the object of the first frame and find it in every frame')
    .argument('<frames>', 'a video file, a folder of images, or a glob in quotes ("frames/*.jpg")')
    .addOption(
      new Option(
        '--mask <file>',
        'mask of the first frame: object above 0, or a palette PNG with several ids',
      ).conflicts(['box', 'scribble']),
    )
    .addOption(
      new Option(
        '--box <x,y,width,height>',
        'instead: a box round the object, in pixels; again for each further object',
      )
        .argParser(boxes)
        .conflicts('scribble'),
    )
    .option('--scribble <file>', 'instead: strokes over the first frame, ids on objects, 255 (white) on background')
    .requiredOption('--out <folder>', 'where masks and pictures go')
    .addOption(
      new Option(
        '--model <file>',
        'the model to start from: default, or a file (.safetensors) (default: default)',
      ).conflicts(['backbone', 'pretrained']),
    )
    .addOption(
      new Option('--preset <name>', 'of the default model: how much is done for quality (default: fast)').choices([
        'fast',
        'balanced',
        'best',
      ]),
    )
    .addOption(
      new Option('--backbone <name>', 'fine-tune a network of this trunk instead').choices(['mobilenet', 'vgg16']),
    )
    .option('--pretrained <file>', 'ImageNet weights of the trunk (.safetensors, .pth)')
    .option('--iterations <n>', "training steps per object (default: the model's own)", wholeNumber(1))
    .option('--learning-rate <x>', "(default: the model's own)", positiveNumber)
    .option('--max-size <n>', 'scale frames down to this longer side for the network', wholeNumber(16))
    .option('--objects <ids>', 'ids of the mask to learn, such as 1,2 (default: all)', objectIds)
    .option('--threshold <x>', 'least probability of the object (default: 0.5)', probability)
    .option('--probabilities', 'write 16-bit probabilities into OUT/probabilities too')
    .option('--no-overlay', 'write no overlay video')
    .addOption(
      new Option('--overlay-video <file>', 'the overlay video (default: OUT/overlay.mp4, where there is ffmpeg)')
        .argParser(videoFile)
        .conflicts('overlay'),
    )
    .addOption(new Option('--seed <n>', 'of everything random').argParser(wholeNumber(0)).default(0))
    .option('--checkpoint <file>', 'keep the state of the training in this file')
    .addOption(new Option('--every <n>', 'steps between checkpoints').argParser(wholeNumber(1)).default(50))
    .option('--resume <file>', 'go on from a checkpoint of the same training')
    .option('--device <name>', 'auto, cpu, cuda or cuda:N', deviceName)
    .option('--save-model <file>', 'save the fitted model (one file per object)')
    .option('--report', 'write OUT/report.html')
    .option('--json', 'print events as JSON, one a line, on stdout')
    .action((frames: string, flags: SegmentFlags, command: Command) => {
      if (flags.mask === undefined && flags.box === undefined && flags.scribble === undefined) {
        command.error('error: where is the object? Give --mask, --box or --scribble.', { exitCode: 2 })
      }
      if (flags.checkpoint === undefined && command.getOptionValueSource('every') === 'cli') {
        command.error('error: --every is for --checkpoint: give the file too, or leave it out.', { exitCode: 2 })
      }
      return withInterrupt(async (signal) => {
        // Loaded when it is wanted: the other commands start faster, and work where sharp does not.
        const { segment } = await import('./segment-run.ts')
        await segment(frames, flags, signal)
      })
    })
}

/** One more box, from its four numbers. */
function boxes(text: string, earlier: Box[] = []): Box[] {
  const [x, y, width, height, ...more] = text.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)))
  const numbers = [x, y, width, height].every(Number.isFinite) && more.length === 0
  if (!numbers || width! <= 0 || height! <= 0) {
    throw new InvalidArgumentError('Wanted x,y,width,height in pixels, such as 120,80,300,240.')
  }
  return [...earlier, { x: x!, y: y!, width: width!, height: height! }]
}
