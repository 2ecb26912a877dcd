import { Command } from 'commander'
export function segmentCommand(): Command {
  return new Command('segment')
}
