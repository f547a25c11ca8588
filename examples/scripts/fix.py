"""Submits a task, approves exactly the card that was read, waits, and prints the agent's reply.

    fix.py "/fix the failing test"

Exits as the task did: 0 done, 1 failed, 3 refused, 4 when no rule fires on the message.
"""
import json, os, subprocess, sys, uuid

HOST = os.environ.get("CONNECTOR_HOST", "connector-host")

def host(*arguments):
    ended = subprocess.run([HOST, *arguments, "--json"], stdout=subprocess.PIPE, text=True)
    return ended.returncode, json.loads(ended.stdout or "null")

message = ["send", "--as", os.environ.get("AS", "connector-console"), "--id", str(uuid.uuid4()), sys.argv[1]]
_, event = host(*message)
_, cards = host("approvals", "wait", "--event", str(event), "--timeout", "60")
for card in cards:
    print(card["id"], card["input"]["prompt"], "at", card["target"]["origin"], file=sys.stderr)
    host("approvals", "approve", card["id"], "--digest", card["digest"])
code, outcome = host(*message, "--wait", "--timeout", "3600")  # the same id: the same message
for step in (step for run in outcome["runs"] for step in run["steps"]):
    print((step["output"] or {}).get("reply") or step.get("reason"))
sys.exit(code)
