import { defineConfig } from 'vitest/config'

export default defineConfig({
  resolve: { conditions: ['trestle-source'] },
  ssr: { resolve: { conditions: ['trestle-source', 'node', 'import', 'module', 'default'] } },
  test: {
    include: ['src/**/*.test.ts', 'connectors/**/*.test.ts', 'tests/**/*.test.ts'],
    exclude: ['**/node_modules/**', 'dist/**'],
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
})
