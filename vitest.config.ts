import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  resolve: {
    // Tests take the package as a user gets it: built, and by its name.
    alias: { torchvid: fileURLToPath(new URL('./dist/index.mjs', import.meta.url)) },
  },
  test: {
    include: ['test/**/*.test.ts'],
    // Processes, not threads: every file gets its own LibTorch, and a crash names its file.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // Only the addon in prebuilds/ is loaded, never one that happens to lie in build/.
    env: { PREBUILDS_ONLY: '1' },
    server: { deps: { external: [/\/dist\//] } },
  },
})
