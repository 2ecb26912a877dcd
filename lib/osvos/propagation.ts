import { type NativeNetwork, type NativePropagation, native } from '../native.ts'
import { matcherDecoder, matcherEncoder } from '../networks/matcher.ts'

type Propagate = ReturnType<typeof native>['propagate']

/**
 * The way of a first frame's objects through a video, by the two halves of a matcher (networks.matcher), which are let go of
 * when it is closed.
 */
export async function openPropagation(
  network: NativeNetwork,
  first: Parameters<Propagate>[2],
  options: Parameters<Propagate>[3],
): Promise<NativePropagation> {
  const encoder = await network.view(matcherEncoder())
  const decoder = await network.view(matcherDecoder())
  const dispose = () => {
    encoder.dispose()
    decoder.dispose()
  }
  try {
    const { next, close } = await native().propagate(encoder, decoder, first, options)
    return {
      next,
      close: () => {
        close()
        dispose()
      },
    }
  } catch (error) {
    dispose()
    throw error
  }
}
