"""Sends one request as GitHub does, or a sender of Standard Webhooks: python3 deliver.py HOW URL SECRET ID BODY.

Prints the status and the answer on one line.
"""

import base64
import hashlib
import hmac
import sys
import time
import urllib.error
import urllib.request

how, url, secret, delivery, body = sys.argv[1:]
headers = {"content-type": "application/json"}
if how == "github":
    signature = hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()
    headers |= {"X-GitHub-Event": "push", "X-GitHub-Delivery": delivery, "X-Hub-Signature-256": f"sha256={signature}"}
elif how == "token":
    headers |= {"X-Gitlab-Token": secret, "X-Gitlab-Event": "Push Hook"}
    headers |= {"Idempotency-Key": delivery} if delivery else {}
else:
    late = int(how.removeprefix("standard").removeprefix("-") or 0)
    at = int(time.time()) - late
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = base64.b64encode(hmac.new(key, f"{delivery}.{at}.{body}".encode(), hashlib.sha256).digest())
    headers |= {"webhook-id": delivery, "webhook-timestamp": str(at), "webhook-signature": f"v1,{signature.decode()}"}

try:
    with urllib.request.urlopen(urllib.request.Request(url, body.encode(), headers), timeout=60) as answer:
        print(answer.status, answer.read().decode())
except urllib.error.HTTPError as refused:
    print(refused.code, refused.read().decode())
