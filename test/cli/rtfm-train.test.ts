import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { data, RTFM } from 'torchvid'
import { beforeAll, describe, expect, test } from 'vitest'
import { eventsOf, filesBelow, scratch, torchvid } from './helpers.ts'
import { type FeatureSet, SIZE, trainModel, writeFeatureSet } from './rtfm-sets.ts'

const folder = scratch()
const model = join(folder, 'model.safetensors')
let set: FeatureSet

beforeAll(async () => {
  set = await writeFeatureSet(join(folder, 'set'), { train: 6, test: 4 })
  await trainModel(set, model)
})

describe('train', () => {
  const both = () => ['--normal', set.normal, '--abnormal', set.abnormal]

  test('says what it learns from, every step and what came of it; the file is a whole detector', async () => {
    const out = join(folder, 'trained', 'below.safetensors')
    const args = ['rtfm', 'train', ...both(), '--out', out, '--steps', '6', '--batch-size', '3', '--held-out', '0.2']
    const outcome = await torchvid([...args, '--evaluate-every', '2', '--json'])
    expect(outcome, outcome.stderr).toMatchObject({ status: 0 })
    const events = eventsOf(outcome)
    expect(events[0]).toEqual({ event: 'data', normal: 6, abnormal: 6, crops: 1, featureSize: SIZE })
    const measured = events.filter(({ event, validation }) => event === 'train' && validation !== null)
    expect(measured.map(({ step }) => step)).toEqual([2, 4, 6])
    expect(Object.keys(measured[0]!.losses)).toEqual(['bce', 'magnitude', 'smooth', 'sparse'])
    const done = events.at(-1)!
    expect(done).toMatchObject({ event: 'done', steps: 6, metric: 'rocAuc', network: 'rtfm', model: out })
    expect(done.heldOut).toMatchObject({ normal: [expect.any(String)], abnormal: [expect.any(String)] })
    expect(done.best.value).toBe(Math.max(...done.validations.map(({ value }: { value: number }) => value)))
    const opened = await RTFM.open(out)
    expect(opened.settings).toMatchObject({ network: 'rtfm', objective: 'reference', featureSize: SIZE })
    opened.dispose()
    expect(filesBelow(join(folder, 'trained'))).toEqual(['below.safetensors'])
  })

  test('chooses by test videos, of which it says that this flatters', async () => {
    const out = join(folder, 'by-test.safetensors')
    const by = [
      '--test',
      set.test,
      '--ground-truth',
      set.masks,
      '--evaluate-every',
      '2',
      '--metric',
      'averagePrecision',
    ]
    const outcome = await torchvid([
      'rtfm',
      'train',
      ...both(),
      '--out',
      out,
      '--steps',
      '4',
      '--batch-size',
      '2',
      ...by,
    ])
    expect(outcome, outcome.stderr).toMatchObject({ status: 0 })
    expect(outcome.stdout).toMatch(/the state after step [24]: average precision 0\.\d{4} of the test videos.*flatters/)
  })

  test('MIL ranking, from lists; a checkpoint is kept, and the best model so far', async () => {
    const lists = (['normal', 'abnormal'] as const).map((kind) => {
      const file = join(folder, `${kind}.list`)
      writeFileSync(file, set.videos[kind].map(({ name }) => `/elsewhere/${name}.npy`).join('\n'))
      return [`--${kind}`, file, '--root', set[kind]]
    })
    const [kept, best] = [join(folder, 'mil-state.safetensors'), join(folder, 'mil-best.safetensors')]
    const keep = ['--checkpoint', kept, '--every', '2', '--best', best, '--held-out', '0.2', '--evaluate-every', '2']
    // Both lists' files in one folder, as --root is one.
    const all = join(folder, 'all')
    mkdirSync(all)
    for (const kind of ['normal', 'abnormal'] as const) {
      for (const { name } of set.videos[kind]) copyFileSync(join(set[kind], `${name}.npy`), join(all, `${name}.npy`))
    }
    const files = lists.flatMap(([option, file]) => [option!, file!])
    const args = ['rtfm', 'train', ...files, '--root', all, '--objective', 'milRanking', '--steps', '4', '--json']
    const outcome = await torchvid([...args, '--batch-size', '3', '--out', join(folder, 'mil.safetensors'), ...keep])
    expect(outcome, outcome.stderr).toMatchObject({ status: 0 })
    expect(eventsOf(outcome).at(-1)).toMatchObject({ network: 'deepMil', objective: 'milRanking', checkpoint: kept })
    for (const file of [kept, best]) expect(existsSync(file)).toBe(true)
    const opened = await RTFM.open(best)
    expect(opened.settings.network).toBe('deepMil')
    opened.dispose()
  })

  test.skipIf(process.platform === 'win32')('interrupted: 130, keeps the checkpoint, which goes on', async () => {
    const kept = join(folder, 'state.safetensors')
    const out = join(folder, 'interrupted.safetensors')
    const common = ['rtfm', 'train', ...both(), '--out', out, '--batch-size', '2', '--json', '--held-out', '0']
    let sent = false
    const outcome = await torchvid(
      [...common, '--steps', '100000', '--checkpoint', kept, '--every', '1'],
      (child, text) => {
        if (sent || Number(/.*"step":(\d+)/s.exec(text)?.[1] ?? 0) < 3) return
        sent = true
        child.kill('SIGINT')
      },
    )
    expect(outcome.status).toBe(130)
    expect(outcome.stderr).toContain(`Go on with --resume ${kept}`)
    expect(eventsOf(outcome).at(-1)).toMatchObject({ event: 'interrupted' })
    expect(existsSync(out)).toBe(false)
    const step = Number(/at step (\d+) of/.exec(outcome.stderr)?.[1])
    const resumed = await torchvid([...common, '--steps', String(step + 5), '--resume', kept])
    expect(resumed).toMatchObject({ status: 0 })
    expect(eventsOf(resumed).find(({ event }) => event === 'train')!.step).toBeGreaterThanOrEqual(step)
    expect(filesBelow(folder).filter((file) => file.endsWith('.tmp'))).toEqual([])
  })
})

describe('evaluate', () => {
  const args = () => ['rtfm', 'evaluate', '--model', model, '--list', set.test, '--ground-truth']

  test('names three areas and every video, and writes the page', async () => {
    const report = join(folder, 'evaluation', 'page.html')
    const outcome = await torchvid([...args(), set.masks, '--report', report])
    expect(outcome, outcome.stderr).toMatchObject({ status: 0 })
    const area = Number(/^ROC AUC +(\S+)$/m.exec(outcome.stdout)?.[1])
    expect(area).toBeGreaterThan(0.9)
    expect(outcome.stdout).toMatch(/^PR AUC \(trapezoid\) +[01]\.\d{4}$/m)
    expect(outcome.stdout).toMatch(/^Average precision +[01]\.\d{4}$/m)
    expect(outcome.stdout).toContain('192 of 2,016 (9.5 %)')
    expect(outcome.stdout).toMatch(/^seen0 +30 +20\.0 %/m)
    const html = readFileSync(report, 'utf8')
    expect(html.match(/class="spark"/g)).toHaveLength(4)
    expect(html).toContain(area.toFixed(4))
  })

  test('--json, and a list of the same: the same figures', async () => {
    const list = join(folder, 'test.list')
    writeFileSync(list, set.videos.test.map(({ name }) => `set/test/${name}.npy`).join('\n'))
    const listed = ['rtfm', 'evaluate', '--model', model, '--list', list, '--ground-truth', set.masks]
    const outcome = await torchvid([...listed, '--json'])
    expect(outcome, outcome.stderr).toMatchObject({ status: 0 })
    const done = eventsOf(outcome).at(-1)!
    expect(done).toMatchObject({ event: 'done', frames: 2016, abnormalFrames: 192, report: null })
    expect(done.videos.map(({ name, segments }: Record<string, unknown>) => [name, segments])).toEqual([
      ...[
        ['seen0', 30],
        ['seen1', 31],
        ['seen2', 32],
        ['seen3', 33],
      ],
    ])
    expect(done.videos[1].meanAbnormal).toBe(undefined)
  })

  test('labels of another length: which, by how much, and what would fit', async () => {
    const wrong = join(folder, 'wrong.npy')
    await data.writeNpy(wrong, { data: new Uint8Array(126 * 15).fill(1, 0, 40), shape: [126 * 15] })
    const outcome = await torchvid([...args(), wrong])
    expect(outcome.status).toBe(1)
    expect(outcome.stderr).toMatch(/ERR_SHAPE: .*1890 frame labels.*126 segments of 16.*2016.*framesPerSegment: 15/)
    const fits = await torchvid([...args(), wrong, '--frames-per-segment', '15'])
    expect(fits).toMatchObject({ status: 0 })
  })
})
