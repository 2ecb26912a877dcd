import { basename } from 'node:path'
import { type RtfmEvaluationReport, writeRtfmEvaluation } from '../report/rtfm-evaluation.ts'
import { summaryOfVideo } from '../report/rtfm-evaluation-data.ts'
import type { RtfmEvaluation } from '../rtfm/evaluate.ts'
import { RTFM } from '../rtfm/rtfm.ts'
import * as runtime from '../runtime.ts'
import type { RtfmEvaluateFlags } from './flags.ts'
import { Interrupted } from './interrupt.ts'
import { checkFile } from './places.ts'
import { createProgress, type Progress } from './progress.ts'
import { readTestVideos } from './rtfm-inputs.ts'
import { detectorLine, programLines } from './rtfm-summary.ts'
import { formatCount, formatPercent, printable, textTable } from './text-table.ts'

/** Everything that one call works with. */
interface Job {
  flags: RtfmEvaluateFlags
  signal: AbortSignal
  progress: Progress
  emit(event: object): void
}

/**
 * Measures a model on videos of which every frame is labelled. Progress goes to stderr, the figures (or with `--json` the
 * events) to stdout.
 * @throws TorchvidError; `Interrupted` when the signal aborts
 */
export async function evaluateFromCommandLine(flags: RtfmEvaluateFlags, signal: AbortSignal): Promise<void> {
  const emit = flags.json ? (event: object) => console.log(JSON.stringify(event)) : () => {}
  const job: Job = { flags, signal, progress: createProgress(), emit }
  let model: RTFM | undefined
  try {
    const videos = await readTestVideos(flags.list, '--list', { dataset: flags.dataset, root: flags.root })
    if (flags.report !== undefined) await checkFile(flags.report)
    if (flags.threads !== undefined) await runtime.setThreads(flags.threads)
    model = await RTFM.open(flags.model, { device: flags.device })
    const run = model.evaluate(videos, flags.groundTruth, { framesPerSegment: flags.framesPerSegment, signal })
    const evaluation = await followed(job, run)
    for (const warning of evaluation.warnings) job.progress.message(`Warning: ${warning}`)
    await finish(job, model, evaluation)
  } finally {
    job.progress.stop()
    model?.dispose()
  }
}

async function followed({ signal, progress }: Job, run: ReturnType<RTFM['evaluate']>): Promise<RtfmEvaluation> {
  try {
    for await (const { video, videos, name } of run) {
      progress.update({
        ...{ label: 'Scoring', done: video, total: videos },
        text: `${video} of ${videos}, ${printable(name)}`,
      })
    }
    return await run
  } catch (error) {
    if (!signal.aborted) throw error
    throw new Interrupted('Interrupted; nothing was written.', { cause: error })
  } finally {
    progress.stop()
  }
}

async function finish({ flags, emit }: Job, { settings }: RTFM, evaluation: RtfmEvaluation): Promise<void> {
  const { rocAuc, prAuc, averagePrecision, frames, abnormalFrames, videos } = evaluation
  const figures = { rocAuc, prAuc, averagePrecision }
  if (flags.report !== undefined) {
    const report: RtfmEvaluationReport = {
      ...{ videos, figures, threshold: flags.threshold },
      title: `torchvid rtfm evaluate ${basename(flags.list)}`,
      settings: [
        ['model', flags.model],
        detectorLine(settings),
        ['list', flags.list],
        ['ground truth', flags.groundTruth],
        ['frames per segment', String(flags.framesPerSegment)],
        ...(await programLines()),
      ],
    }
    await writeRtfmEvaluation(flags.report, report)
  }
  emit({
    event: 'done',
    ...{ ...figures, frames, abnormalFrames, warnings: evaluation.warnings },
    videos: videos.map(summaryOfVideo),
    peakMemory: process.resourceUsage().maxRSS * 1024,
    report: flags.report ?? null,
  })
  if (!flags.json) console.log(summaryOf(evaluation, flags))
}

function summaryOf(evaluation: RtfmEvaluation, { report }: RtfmEvaluateFlags): string {
  const { rocAuc, prAuc, averagePrecision, frames, abnormalFrames, videos } = evaluation
  const right = { align: 'right' as const }
  const titles = ['segments', 'abnormal', 'highest', 'mean, abnormal', 'mean, normal']
  const rows = videos.map((video) => {
    const { name, segments, abnormal, highest, meanAbnormal, meanNormal } = summaryOfVideo(video)
    const means = [meanAbnormal, meanNormal].map((mean) => (mean === undefined ? '' : mean.toFixed(3)))
    return [printable(name), formatCount(segments), formatPercent(abnormal), highest.toFixed(3), ...means]
  })
  const table = textTable([{ title: 'video' }, ...titles.map((title) => ({ title, ...right }))], rows)
  const share = `${formatCount(abnormalFrames)} of ${formatCount(frames)}`
  const lines: [string, string][] = [
    ['ROC AUC', rocAuc.toFixed(4)],
    ['PR AUC (trapezoid)', prAuc.toFixed(4)],
    ['Average precision', averagePrecision.toFixed(4)],
    ['Abnormal frames', `${share} (${formatPercent(abnormalFrames / frames)})`],
    ...(report === undefined ? [] : [['Report', report] as [string, string]]),
  ]
  return [table, '', ...lines.map(([name, value]) => `${name.padEnd(19)} ${value}`)].join('\n')
}
