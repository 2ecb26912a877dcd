import { checkInteger, invalidArgument } from '../errors.ts'
import type { Graph } from '../graph/types.ts'
import { deepMil } from '../networks/deep-mil.ts'
import { rtfm } from '../networks/rtfm.ts'
import type { Device } from '../types.ts'

/** `'reference'` and `'paper'` are RTFM's loss, as its authors' program and as their paper has it. */
export type RtfmObjective = 'reference' | 'paper' | 'milRanking'

/** Settings of `RTFM.create`. */
export interface RtfmOptions {
  /** Numbers per segment: 2048 for I3D-ResNet50, 1024 for I3D and MobileNet, 4096 for C3D. Default 2048; 4096 with `'deepMil'`. */
  featureSize?: number
  /** `networks.rtfm` or `networks.deepMil`. Default `'rtfm'`; `'deepMil'` with the objective `'milRanking'`. */
  network?: 'rtfm' | 'deepMil'
  /** What `fit` minimises. Default `'reference'`; `'milRanking'` with the network `'deepMil'`, which takes no other. */
  objective?: RtfmObjective
  /** Of the network and, with `'reference'`, of the choice of segments; in [0, 1). Default 0.7; 0.6 with `'deepMil'`. */
  dropout?: number
  /** What `fit` resamples every video to. Default 32. */
  segments?: number
  /**
   * Divides every segment's features by their L2 norm, in training after the resampling. Sultani et al. do that to C3D's;
   * RTFM, which learns from magnitudes, does not. Default false.
   */
  normalise?: boolean
  /** Default `'auto'`. */
  device?: Device
  /** The parameters' start comes from this number. Default 0. */
  seed?: number
}

/** What a detector is, besides its weights; kept with them in its file. */
export interface RtfmSettings {
  network: 'rtfm' | 'deepMil'
  objective: RtfmObjective
  featureSize: number
  dropout: number
  segments: number
  normalise: boolean
}

const objectives = ['reference', 'paper', 'milRanking']

/** The options, checked and complete. */
export function settingsOf(options: RtfmOptions): RtfmSettings {
  const { objective, network = objective === 'milRanking' ? 'deepMil' : 'rtfm' } = options
  if (network !== 'rtfm' && network !== 'deepMil') throw invalidArgument('network', network, "'rtfm' or 'deepMil'")
  const mil = network === 'deepMil'
  const { featureSize = mil ? 4096 : 2048, dropout = mil ? 0.6 : 0.7, segments = 32, normalise = false } = options
  const chosen = objective ?? (mil ? 'milRanking' : 'reference')
  if (!objectives.includes(chosen)) throw invalidArgument('objective', chosen, "'reference', 'paper' or 'milRanking'")
  if (mil && chosen !== 'milRanking') {
    throw invalidArgument('objective', chosen, "'milRanking' with the network 'deepMil', which has no magnitudes")
  }
  checkInteger('segments', segments, 2)
  if (typeof normalise !== 'boolean') throw invalidArgument('normalise', normalise, 'true or false')
  return { network, objective: chosen, featureSize, dropout, segments, normalise }
}

/** The graph of a detector, with its settings as a label. */
export function graphOf(settings: RtfmSettings): Graph {
  const { network, featureSize, dropout } = settings
  const form = formOf(settings)
  const graph = network === 'deepMil' ? deepMil({ featureSize, dropout }) : rtfm({ featureSize, dropout, form })
  return { ...graph, labels: { ...graph.labels, [settingsLabel]: JSON.stringify(settings) } }
}

/** The form of RTFM's network that goes with the objective. */
export function formOf({ objective }: RtfmSettings): 'reference' | 'paper' {
  return objective === 'paper' ? 'paper' : 'reference'
}

/** The label under which a graph carries a detector's settings. */
const settingsLabel = 'rtfm'

/** The settings that a saved detector's graph carries, or undefined when it is no detector. */
export function savedSettings(graph: Graph): RtfmSettings | undefined {
  try {
    return settingsOf(JSON.parse(graph.labels?.[settingsLabel] as string))
  } catch {
    return undefined
  }
}
