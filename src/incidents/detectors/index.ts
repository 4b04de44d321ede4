import { budgets, type LimitsOf } from './budgets.ts'
import { certificateExpiry } from './certificateExpiry.ts'
import { conservation } from './conservation.ts'
import { credentialExpiry } from './credentialExpiry.ts'
import { credentialRefresh } from './credentialRefresh.ts'
import { credentialRefused } from './credentialRefused.ts'
import { deadLetters } from './deadLetters.ts'
import type { Detector } from './detector.ts'
import { disk, type RoomOf } from './disk.ts'
import { failingCalls } from './failingCalls.ts'
import { heldRuns } from './heldRuns.ts'
import { nodesGone } from './nodesGone.ts'
import { outages } from './outages.ts'
import { reauthorization } from './reauthorization.ts'
import { schedules } from './schedules.ts'
import { tokenExpiry } from './tokenExpiry.ts'

/** Everything that is looked for, a kind an entry. Disks are looked at only with `roomOf`. */
export function detectors(limitsOf: LimitsOf, roomOf?: RoomOf): readonly Detector[] {
  return [
    failingCalls,
    outages,
    budgets(limitsOf),
    deadLetters,
    heldRuns,
    schedules,
    reauthorization,
    credentialRefresh,
    credentialRefused,
    credentialExpiry,
    certificateExpiry,
    tokenExpiry,
    conservation,
    nodesGone,
    ...(roomOf === undefined ? [] : [disk(roomOf)]),
  ]
}
