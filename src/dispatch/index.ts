/**
 * Wake-ups: "advance these runs". Carried by pg-boss, an existing queue on PostgreSQL.
 *
 * Owns: how a wake-up is sent, taken and dropped.
 * Leaves to others: what a run is and whether it may advance. The runs table holds the truth.
 *
 * Invariants
 * 1. A wake-up is sent in the transaction of the state that it announces.
 * 2. A wake-up may come twice, late, or never: nothing is lost, since a sweep sends those of what is due again.
 * 3. Only immediate wake-ups are sent, with fresh ids; due times are ours.
 */
export {
  createDispatch,
  installDispatch,
  RUNS_PER_WAKE_UP,
  type Dispatch,
  type RunRef,
  type WakeUp,
} from './dispatch.ts'
