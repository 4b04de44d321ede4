import { defineConfig } from 'vitest/config'

export default defineConfig({
  resolve: { conditions: ['trestle-source'] },
  // Not 'import': vitest hands these to Node, whose require() of pg's parts would then be given ES modules.
  ssr: { resolve: { conditions: ['trestle-source', 'module', 'node', 'development|production'] } },
  test: {
    include: ['src/**/*.test.ts', 'connectors/**/*.test.ts', 'tests/**/*.test.ts'],
    exclude: ['**/node_modules/**', 'dist/**'],
    globalSetup: ['tests/support/globalSetup.ts'],
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
})
