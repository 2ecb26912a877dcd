import { spawnSync } from 'node:child_process'

/**
 * Prints the folder of the torch package without importing it: importing would take seconds and load its libraries.
 * The empty entry of sys.path is the current folder, where a folder named "torch" would be taken for the package.
 */
const FIND_TORCH = `
import sys
sys.path = [entry for entry in sys.path if entry]
import importlib.util
spec = importlib.util.find_spec('torch')
print(spec.submodule_search_locations[0] if spec and spec.submodule_search_locations else '')
`

/** The Python programs to try, in order: `TORCHVID_PYTHON` alone when it is set, else python3 and python. */
export function pythonPrograms(env: NodeJS.ProcessEnv = process.env): string[] {
  return env.TORCHVID_PYTHON ? [env.TORCHVID_PYTHON] : ['python3', 'python']
}

/** What one Python said about torch. */
export interface PythonTorch {
  program: string
  /** Folder of the torch package; undefined when there is none or the program does not run. */
  root: string | undefined
  /** Why `root` is undefined. */
  reason: string | undefined
}

/** Asks each Python program for its torch package, until one has it. */
export function findPythonTorch(env: NodeJS.ProcessEnv = process.env): PythonTorch[] {
  const answers: PythonTorch[] = []
  for (const program of pythonPrograms(env)) {
    const answer = askPython(program, env)
    answers.push(answer)
    if (answer.root) break
  }
  return answers
}

function askPython(program: string, env: NodeJS.ProcessEnv): PythonTorch {
  const result = spawnSync(program, ['-c', FIND_TORCH], { env, encoding: 'utf8', timeout: 10_000, windowsHide: true })
  if (result.error) {
    const absent = (result.error as NodeJS.ErrnoException).code === 'ENOENT'
    return { program, root: undefined, reason: absent ? 'no such program' : `does not run (${result.error.message})` }
  }
  if (result.status !== 0) return { program, root: undefined, reason: `failed with exit code ${result.status}` }
  const root = result.stdout.trim()
  return root ? { program, root, reason: undefined } : { program, root: undefined, reason: 'has no torch package' }
}
