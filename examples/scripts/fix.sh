#!/bin/sh
# Submits a task, approves its card, follows it, and prints the agent's reply.
#   fix.sh "/fix the failing test"
# Exits as the task did: 0 done, 1 failed, 3 refused, 4 when no rule fires on the message.
set -eu
host=${CONNECTOR_HOST:-connector-host}

event=$("$host" send --as "${AS:-connector-console}" --json "$1")
card=$("$host" approvals wait --event "$event" --timeout 60) || exit $?
echo "$card"

# Whoever may run this script may approve: a card could be shown to a person here.
step=${card%% *}
case $step in [0-9]*) # else it ran without a card, and has ended
    "$host" approvals approve "$step"
    "$host" runs follow "${step%.*}" ;;
esac
"$host" events show "$event"
