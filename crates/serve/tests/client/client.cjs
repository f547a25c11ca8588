// Drives the program with the official TypeScript SDK, and prints what it saw as one line of JSON.
// Its one argument: {modules, command, args, env, call: {name, arguments}, elicit, stopWhen, thenGone}.
"use strict"

const { createRequire } = require("node:module")
const fs = require("node:fs")
const plan = JSON.parse(fs.readFileSync(0, "utf8"))
const sdk = createRequire(plan.modules + "/index.js")
const { Client } = sdk("@modelcontextprotocol/sdk/client/index.js")
const { StdioClientTransport } = sdk("@modelcontextprotocol/sdk/client/stdio.js")
const { ElicitRequestSchema } = sdk("@modelcontextprotocol/sdk/types.js")

const DEADLINE = 120_000

async function until(what, condition) {
  const end = Date.now() + DEADLINE
  while (!condition()) {
    if (Date.now() > end) throw new Error(`not in time: ${what}`)
    await new Promise((done) => setTimeout(done, 20))
  }
}

function alive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

async function main() {
  const seen = { errors: [], progress: [], forms: [], stderr: "" }
  const capabilities = plan.elicit ? { elicitation: {} } : {}
  const client = new Client({ name: "conformance", version: "1.0.0" }, { capabilities })
  client.onerror = (error) => seen.errors.push(String(error))
  if (plan.elicit) {
    client.setRequestHandler(ElicitRequestSchema, async (request) => {
      seen.forms.push(request.params)
      return plan.elicit
    })
  }
  const { command, args, env } = plan
  const transport = new StdioClientTransport({ command, args, env, stderr: "pipe" })
  transport.stderr.on("data", (text) => (seen.stderr += text))
  await client.connect(transport)
  seen.server = client.getServerVersion()
  seen.tools = (await client.listTools()).tools
  if (plan.call) await call(client, seen)
  const pid = transport.pid
  await client.close()
  await until("the program has left", () => !alive(pid))
  return seen
}

async function call(client, seen) {
  const stop = new AbortController()
  const options = {
    signal: stop.signal,
    timeout: DEADLINE,
    resetTimeoutOnProgress: true,
    onprogress: (update) => seen.progress.push(update),
  }
  const calling = client.callTool(plan.call, undefined, options).then(
    (result) => (seen.result = result),
    (error) => (seen.refused = { code: error.code, message: String(error.message ?? error) }),
  )
  if (plan.stopWhen) {
    await until("the command runs", () => fs.existsSync(plan.stopWhen) && fs.readFileSync(plan.stopWhen, "utf8").trim())
    const pid = Number(fs.readFileSync(plan.stopWhen, "utf8"))
    if (plan.hangUp) return
    stop.abort("enough")
    await until("the command has ended", () => !alive(pid))
  }
  await calling
}

main().then(
  (seen) => {
    console.log(JSON.stringify(seen))
    process.exit(0)
  },
  (error) => {
    console.error(error)
    process.exit(1)
  },
)
