"""Submits a task over the host's socket, approves exactly the card that was read, follows it, and prints the reply.

    api.py "/fix the failing test"

Exits 0 when all of it succeeded, 4 when no rule fires on the message, and else 1. See docs/api.md.
"""
import http.client, json, os, socket, sys

STATE = os.environ.get("CONNECTOR_HOST_STATE", os.path.expanduser("~/.local/state/connector-host"))

def api(path, body=None):
    host = http.client.HTTPConnection("localhost")
    host.sock = socket.socket(socket.AF_UNIX)
    host.sock.connect(os.path.join(STATE, "api.sock"))
    host.request("POST" if body else "GET", "/v1/" + path, json.dumps(body), {"Content-Type": "application/json"})
    return host.getresponse()

event = json.load(api("events", {"text": sys.argv[1]}))["event"]["id"]
for card in json.load(api(f"approvals?event={event}&wait_secs=50")):
    print(card["id"], card["input"]["prompt"], "at", card["target"]["origin"], file=sys.stderr)
    api(f"approvals/{card['id']}/decision", {"decision": "approve", "digest": card["digest"]}).read()
    for line in api(f"runs/{card['id'].split('.')[0]}/events"):
        print(json.loads(line)["kind"], file=sys.stderr)
runs = json.load(api(f"events/{event}?wait_secs=50"))["runs"]
print(*(step["output"]["reply"] for run in runs for step in run["steps"] if step["output"]), sep="\n")
sys.exit(0 if runs and all(run["state"] == "succeeded" for run in runs) else 1 if runs else 4)
