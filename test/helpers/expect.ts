import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { type ErrorCode, TorchvidError } from 'torchvid'
import { afterAll, expect } from 'vitest'

/** A folder for this test file, removed when it is done. */
export function scratch(): string {
  const folder = mkdtempSync(join(tmpdir(), 'torchvid-test-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** What `action` throws or rejects with. */
export async function failureOf(action: () => unknown): Promise<unknown> {
  try {
    await action()
  } catch (error) {
    return error
  }
  throw new Error('It was accepted; a failure was wanted.')
}

/** Expects a TorchvidError of this code whose message matches, and returns it. */
export async function refuses(code: ErrorCode, message: RegExp, action: () => unknown): Promise<TorchvidError> {
  const error = await failureOf(action)
  expect(error).toBeInstanceOf(TorchvidError)
  expect((error as TorchvidError).message).toMatch(message)
  expect((error as TorchvidError).code).toBe(code)
  return error as TorchvidError
}

/** The folder of shared test data: TORCHVID_SHARED, or `shared` beside the repository; undefined where there is none. */
export const shared = [process.env.TORCHVID_SHARED, resolve(import.meta.dirname, '../../../shared')].find(
  (folder): folder is string => folder !== undefined && existsSync(folder),
)

/** Says on the test's title why it does not run here. */
export const sharedNote = shared === undefined ? ' (skipped: no ../shared and no TORCHVID_SHARED)' : ''

/** Files in a folder that a save left behind under a temporary name. */
export function leftovers(folder: string): string[] {
  return readdirSync(folder).filter((name) => /partial|tmp/.test(name))
}
