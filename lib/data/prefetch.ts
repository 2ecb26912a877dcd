/** Any source of items, pulled one at a time. */
type Items<T> = Iterator<T> | AsyncIterator<T>

/**
 * Decodes items ahead of whoever reads the results: while one result is being worked on, up to `ahead`
 * more are pulled and decoded, never more. Results come in the order of the items. When the reader stops,
 * or something fails, the source is closed (`return`); when `signal` aborts, its reason is thrown.
 */
export async function* prefetch<T, R>(
  items: Items<T>,
  decode: (item: T, index: number) => R | Promise<R>,
  options: { ahead: number; signal?: AbortSignal },
): AsyncGenerator<R> {
  const { ahead, signal } = options
  signal?.throwIfAborted()
  const slots: Promise<IteratorResult<R>>[] = []
  let pulled: Promise<IteratorResult<T>> = Promise.resolve({ done: false, value: undefined as T })
  let pulling = 0
  let exhausted = false
  let index = 0
  const pull = async (before: Promise<IteratorResult<T>>): Promise<IteratorResult<T>> => {
    // One pull at a time: not every iterator allows overlapping calls of `next`.
    const last = await before
    if (last.done || exhausted) return { done: true, value: undefined }
    pulling++
    try {
      const item = await items.next()
      if (item.done) exhausted = true
      return item
    } catch (error) {
      exhausted = true
      throw error
    } finally {
      pulling--
    }
  }
  const addSlot = () => {
    const at = index++
    pulled = pull(pulled)
    const slot = pulled.then(async (item): Promise<IteratorResult<R>> => {
      return item.done ? { done: true, value: undefined } : { done: false, value: await decode(item.value, at) }
    })
    // It is looked at in its turn, or never when the reader stops before.
    slot.catch(() => {})
    slots.push(slot)
  }
  try {
    for (;;) {
      while (slots.length <= ahead) addSlot()
      const result = await untilAborted(slots.shift()!, signal)
      if (result.done) return
      yield result.value
    }
  } finally {
    const isBusy = pulling > 0
    if (!exhausted) {
      exhausted = true
      const closed = Promise.resolve(items.return?.()).catch(() => {})
      // A source that is waiting for something of its own must not hold up a reader who has left.
      if (!isBusy) await closed
    }
    await Promise.allSettled(isBusy ? [] : slots)
  }
}

/** The promise's value, or the signal's reason as soon as it aborts. Leaves no listener behind. */
function untilAborted<T>(promise: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (!signal) return promise
  return new Promise<T>((resolve, reject) => {
    const abort = () => reject(signal.reason)
    if (signal.aborted) return abort()
    signal.addEventListener('abort', abort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
