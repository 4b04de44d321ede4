import type { StandardSchemaV1 } from '@standard-schema/spec'

/** A shape that can check values: any Standard Schema (https://standardschema.dev). Connectors here use zod. */
export type Schema<Output = unknown> = StandardSchemaV1<unknown, Output>

/** The type that a schema gives out. */
export type OutputOf<S extends Schema> = StandardSchemaV1.InferOutput<S>
export type InputOf<S extends Schema> = StandardSchemaV1.InferInput<S>
