/** Whether `for await` goes through it: an array, a generator, a stream. Texts do not count. */
export function isIterable<T>(value: unknown): value is Iterable<T> | AsyncIterable<T> {
  return typeof value === 'object' && value !== null && (Symbol.asyncIterator in value || Symbol.iterator in value)
}
