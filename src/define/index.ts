/**
 * The declarations that authors write: connectors, operations, webhooks, flows, configuration.
 *
 * Owns: their types and the checks that need nothing but the declaration itself.
 * Leaves to others: every effect. Nothing here reads a clock, a file, the network or the database.
 */
export { ALERT_CONNECTIONS } from './alerts.ts'
export type { AlertsDefinition, EmailAlerts, WebhookAlerts } from './alerts.ts'
export * from './auth.ts'
export * from './config.ts'
export * from './connector.ts'
export * from './events.ts'
export * from './flow.ts'
export * from './limits.ts'
export * from './mail.ts'
export * from './operation.ts'
export * from './retry.ts'
export * from './schema.ts'
export * from './signatures.ts'
export * from './states.ts'
export * from './triggers/index.ts'
export * from './webhooks.ts'
