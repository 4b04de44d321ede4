import { battery } from './battery/battery.ts'
import { databaseGone } from './databaseGone.ts'
import { hostile } from './hostile/hostile.ts'
import { diskFull } from './diskFull.ts'
import type { Drill } from './drill.ts'
import { nodeDies } from './nodeDies.ts'
import { refreshRace } from './refreshRace.ts'
import { storm } from './storm.ts'
import { wall } from './wall.ts'

/** Drills of the plan that are run here, in its order. */
export const DRILLS: readonly Drill[] = [
  nodeDies,
  databaseGone,
  diskFull,
  storm,
  refreshRace,
  wall,
  hostile,
  battery,
]
