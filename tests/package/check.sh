#!/usr/bin/env bash
# The package as a newcomer gets it: packed, installed in an empty folder outside the clone, a project made by
# `trestle init`, a flow of it run by `trestle dev`. Fails with what went wrong; leaves nothing running.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=$(mktemp -d)
dev=
end() {
  if [ -n "$dev" ]; then kill -TERM "$dev" 2>/dev/null || true; wait "$dev" 2>/dev/null || true; fi
  rm -rf "$folder"
}
trap end EXIT

npm pack --ignore-scripts --silent --pack-destination "$folder" >/dev/null
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund ./trestle-*.tgz
trestle="$folder/node_modules/.bin/trestle"
"$trestle" init shop >/dev/null
cd shop
# Port 0 would do, but the test of readiness needs one that it knows.
port=$((20000 + RANDOM % 20000))
"$trestle" dev --port "$port" >dev.log 2>&1 &
dev=$!
for _ in $(seq 1 240); do
  if curl -sf "http://127.0.0.1:$port/ready" >/dev/null; then break; fi
  if ! kill -0 "$dev" 2>/dev/null; then cat dev.log; echo "trestle dev ended"; exit 1; fi
  sleep 0.5
done
"$trestle" emit appointment.completed --data @events/appointment-completed.json
for _ in $(seq 1 120); do
  if "$trestle" runs --json | grep -q '"state":"succeeded"'; then echo "the packed flow ran"; exit 0; fi
  sleep 0.5
done
cat dev.log
"$trestle" runs
echo "the packed flow did not succeed"
exit 1
