/** Whose business an exchange is. */
export interface OnBehalfOf {
  readonly tenant: string
  readonly connectionId: string
  readonly runId?: string
}
