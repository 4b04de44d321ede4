import { hash } from 'node:crypto'
import { newId, type Id } from '../base/index.ts'
import type { Actor, LedgerAction } from './actions.ts'
import { canonicalJson, writeString } from './canonical.ts'

/** One thing that was done, as its writer states it. */
export interface LedgerEntry {
  readonly tenant: string
  /** When it was done, in milliseconds since 1970. */
  readonly at: number
  readonly actor: Actor
  readonly action: LedgerAction
  /** Id of what it was done to: a delivery, run, connection, token. */
  readonly target: string
  /** How it ended, in one word or code: `accepted`, `succeeded`, `rate_limited`. */
  readonly outcome: string
  readonly runId?: string
  readonly connectionId?: string
  /**
   * What else belongs to the evidence, as plain data; for exchanges, what {@link Redactor.exchange} returned.
   * Beyond {@link DETAIL_LIMIT} characters only its length and hash are kept. Never put a secret in it.
   */
  readonly detail?: unknown
}

/** A ledger entry as it is read back. */
export interface WrittenEntry extends LedgerEntry {
  readonly id: Id<'led'>
}

/** Most characters of an entry's detail, written as JSON. */
export const DETAIL_LIMIT = 65_536
/** Most characters of an entry's other texts; an index of PostgreSQL takes no more than 2,704 bytes. */
const TEXT_LIMIT = 256
/** 9999-12-31, in milliseconds since 1970. */
const LATEST_TIME = 253_402_214_400_000
/** What a text column refuses or UTF-8 cannot say: NUL, and a surrogate without its other half. */
const UNWRITABLE = /\0|\p{Surrogate}/gu
const MAYBE_UNWRITABLE = /[\0\ud800-\udfff]/

/** An entry made ready for writing: its columns and the bytes that are hashed. */
export interface EncodedEntry {
  readonly id: Id<'led'>
  readonly tenant: string
  readonly at: number
  readonly actor: string
  readonly action: string
  readonly target: string
  readonly outcome: string
  readonly runId: string | null
  readonly connectionId: string | null
  /** Canonical JSON (RFC 8785): what the Merkle leaf is made of. */
  readonly json: string
}

/**
 * Gives the entry its id and its canonical form. The keys are written in their sorted order, which is several times
 * faster than sorting them; a test holds the result against the package `canonicalize`.
 */
export function encodeEntry(entry: LedgerEntry): EncodedEntry {
  const head = {
    id: newId('led'),
    tenant: writable(entry.tenant),
    at: writableTime(entry.at),
    actor: writable(entry.actor),
    action: writable(entry.action),
    target: writable(entry.target),
    outcome: writable(entry.outcome),
    runId: entry.runId === undefined ? null : writable(entry.runId),
    connectionId: entry.connectionId === undefined ? null : writable(entry.connectionId),
  }
  const json =
    `{"action":${JSON.stringify(head.action)},"actor":${JSON.stringify(head.actor)},"at":${head.at}` +
    (head.connectionId === null ? '' : `,"connectionId":${JSON.stringify(head.connectionId)}`) +
    (entry.detail === undefined ? '' : `,"detail":${encodeDetail(entry.detail)}`) +
    `,"id":"${head.id}","outcome":${JSON.stringify(head.outcome)}` +
    (head.runId === null ? '' : `,"runId":${JSON.stringify(head.runId)}`) +
    `,"target":${JSON.stringify(head.target)},"tenant":${JSON.stringify(head.tenant)},"v":1}`
  return { ...head, json }
}

/** A time that both JSON and timestamptz can hold; what is none becomes 1970. */
function writableTime(at: number): number {
  return at >= 0 && at < LATEST_TIME ? Math.trunc(at) : 0
}

function writable(text: string): string {
  const clean = MAYBE_UNWRITABLE.test(text) ? text.replace(UNWRITABLE, '\ufffd') : text
  return clean.length <= TEXT_LIMIT ? clean : clean.slice(0, TEXT_LIMIT).replace(UNWRITABLE, '')
}

function encodeDetail(detail: unknown): string {
  const json = canonicalJson(detail)
  if (json.length <= DETAIL_LIMIT) return json
  return `{"omitted":{"characters":${json.length},"sha256":${writeString(hash('sha256', json, 'hex'))}}}`
}

/** Reads an entry's bytes. Throws if they are not an entry. */
export function decodeEntry(bytes: Uint8Array): WrittenEntry {
  const value = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8')) as
    | (WrittenEntry & { v: unknown })
    | null
  if (value === null || typeof value !== 'object' || value.v !== 1)
    throw new TypeError('not an entry of version 1')
  const { v: _version, ...entry } = value
  return entry
}

/** The UTC day of a time, `YYYY-MM-DD`: the partition that a batch of that time is kept in. */
export function utcDay(at: number): string {
  return new Date(at).toISOString().slice(0, 10)
}
