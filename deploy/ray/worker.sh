#!/bin/sh
# Join a TORI that runs elsewhere, as one more node with a home of its own. Running it again is harmless, so a supervisor
# may run it whenever the machine is up; the modules that live here start again by themselves.
#
#   TORI_HOME=/var/lib/tori deploy/ray/worker.sh NODE_IP HEAD_IP:PORT
#
# The cluster's token lies in $TORI_HOME/ray_token, or RAY_AUTH_TOKEN_PATH names its file. Leave with: tori down.
set -eu
: "${TORI_HOME:?set TORI_HOME to the directory where this node keeps its state}"
: "${1:?give the address of this machine for the others}"
: "${2:?give the address of the head, as its tori up printed it}"
. "$(dirname "$0")/tcp.sh"
export TORI_RAY__NODE_IP="$1"
exec "${TORI:-tori}" up --home "$TORI_HOME" --address "$2"
