/** Placeholder replaced below. */
export async function peers(): Promise<Record<string, unknown>> {
  return Promise.resolve({})
}
