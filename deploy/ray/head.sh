#!/bin/sh
# Start TORI on the first machine: a Ray head that other machines can join, its dashboard for `tori submit`, and the system.
#
#   TORI_HOME=/var/lib/tori deploy/ray/head.sh NODE_IP [NODES]
#
# NODE_IP: the address of this machine for the others. NODES: a first start waits for this many nodes (this one included)
# before it spreads the modules over them; later starts put every module where its journal is. The token that workers and
# laptops need is $TORI_HOME/ray_token (mode 0600): copy it over a channel you trust.
set -eu
: "${TORI_HOME:?set TORI_HOME to the directory where this node keeps its state}"
: "${1:?give the address of this machine for the others}"
. "$(dirname "$0")/tcp.sh"
export TORI_RAY__NODE_IP="$1"
export TORI_RAY__NODES="${2:-1}"
export TORI_RAY__PORT="${TORI_RAY__PORT:-6380}"
export TORI_RAY__DASHBOARD="${TORI_RAY__DASHBOARD:-true}"
exec "${TORI:-tori}" up --home "$TORI_HOME"
