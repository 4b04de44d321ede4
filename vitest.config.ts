import { defineConfig } from 'vitest/config'

export default defineConfig({
  resolve: { conditions: ['trestle-source'] },
  // Not 'import': vitest hands these to Node, whose require() of pg's parts would then be given ES modules.
  ssr: { resolve: { conditions: ['trestle-source', 'module', 'node', 'development|production'] } },
  test: {
    include: ['src/**/*.test.ts', 'connectors/**/*.test.ts', 'tests/**/*.test.ts'],
    exclude: ['**/node_modules/**', 'dist/**'],
    globalSetup: ['tests/support/globalSetup.ts'],
    // Generous: a busy machine is slow, and no test asserts on time.
    testTimeout: 600_000,
    hookTimeout: 600_000,
    expect: { poll: { timeout: 120_000 } },
  },
})
