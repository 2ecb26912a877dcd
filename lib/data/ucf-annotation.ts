import { invalidArgument } from '../errors.ts'
import { damaged } from './binary-file.ts'
import { videoName } from './feature-names.ts'
import { readLines } from './text-lines.ts'

/** When something abnormal happens in a video of UCF-Crime's test set. */
export interface UcfEvents {
  /** `'Normal'`, or what happens: `'Abuse'`, `'Arrest'`... */
  class: string
  /** First and last frame of each event, counted from 1; both belong to it. None of a normal video. */
  events: [start: number, end: number][]
}

const REMEDY =
  "Give UCF-Crime's Temporal_Anomaly_Annotation.txt: a line per video, with name, class, and first and last frame of two events (-1 where there is none)."

/**
 * UCF-Crime's frame-level annotation of its 290 test videos (Temporal_Anomaly_Annotation.txt of Sultani et al., CVPR 2018),
 * by video name without ending, such as `Abuse028_x264`.
 *
 * @throws TorchvidError ERR_INVALID_ARGUMENT; ERR_IO naming file and line when it cannot be read or is another kind of file
 */
export async function ucfAnnotation(file: string): Promise<Map<string, UcfEvents>> {
  if (typeof file !== 'string' || file === '') throw invalidArgument('file', file, 'the path of the annotation file')
  const videos = new Map<string, UcfEvents>()
  for (const { text, number } of await readLines(file, "UCF-Crime's annotation")) {
    const bad = (reason: string) => damaged(file, `line ${number}: ${reason}`, REMEDY)
    const [path = '', kind = '', ...frames] = text.split(/\s+/)
    if (frames.length === 0 || frames.length % 2 !== 0 || !frames.every((word) => /^(?:-1|\d{1,9})$/.test(word))) {
      throw bad(`"${text.slice(0, 60)}" is not a name, a class and pairs of frames`)
    }
    const name = videoName(path)
    if (videos.has(name)) throw bad(`${name} is there for the second time`)
    videos.set(name, { class: kind, events: eventsOf(frames.map(Number), bad) })
  }
  if (videos.size === 0) throw damaged(file, 'holds no videos', REMEDY)
  return videos
}

function eventsOf(frames: number[], bad: (reason: string) => Error): [number, number][] {
  const events: [number, number][] = []
  for (let i = 0; i < frames.length; i += 2) {
    const [start, end] = [frames[i]!, frames[i + 1]!]
    if (start === -1 && end === -1) continue
    if (start < 0 || end < start) throw bad(`an event from frame ${start} to ${end}`)
    events.push([start, end])
  }
  return events
}
