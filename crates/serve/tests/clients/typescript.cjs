// The official TypeScript SDK as a client. Standard input has the plan, standard output what was seen.
"use strict"

const { createRequire } = require("node:module")
const fs = require("node:fs")
const plan = JSON.parse(fs.readFileSync(0, "utf8"))
const sdk = createRequire(plan.place + "/index.js")
const { Client } = sdk("@modelcontextprotocol/sdk/client/index.js")
const { StdioClientTransport } = sdk("@modelcontextprotocol/sdk/client/stdio.js")
const { StreamableHTTPClientTransport } = sdk("@modelcontextprotocol/sdk/client/streamableHttp.js")
const { ElicitRequestSchema } = sdk("@modelcontextprotocol/sdk/types.js")

const pause = () => new Promise((done) => setTimeout(done, 20))

function transport() {
  if (!plan.url) return new StdioClientTransport({ command: plan.command, args: plan.args, env: plan.env })
  const headers = { Authorization: "Bearer " + plan.token }
  return new StreamableHTTPClientTransport(new URL(plan.url), { requestInit: { headers } })
}

async function connect(elicits, seen) {
  const client = new Client({ name: "typescript", version: "1" }, { capabilities: elicits ? { elicitation: {} } : {} })
  if (elicits) {
    client.setRequestHandler(ElicitRequestSchema, async ({ params }) => {
      seen.forms += 1
      if (params.message.includes(plan.declined)) return { action: "decline" }
      return { action: "accept", content: { decision: "once" } }
    })
  }
  const way = transport()
  await client.connect(way)
  return { client, way }
}

async function call(client, { tool, arguments: input, limit, cancelWhen, fetch }) {
  const stop = new AbortController()
  const options = { timeout: limit * 1000, resetTimeoutOnProgress: true, onprogress: () => {}, signal: stop.signal }
  const ask = (name, input) => client.callTool({ name, arguments: input }, undefined, options)
  const calling = ask(tool, input)
  if (cancelWhen) {
    while (!fs.existsSync(cancelWhen) || !fs.readFileSync(cancelWhen, "utf8").trim()) await pause()
    stop.abort("enough")
  }
  let result = await calling
  while (fetch && result.structuredContent?.task) {
    result = await ask("task_result", { task: result.structuredContent.task, wait_secs: 2 })
  }
  return { error: Boolean(result.isError), text: result.content.map((block) => block.text ?? "").join("\n") }
}

async function main() {
  const seen = { forms: 0, results: {} }
  for (const elicits of [true, false]) {
    const { client, way } = await connect(elicits, seen)
    seen.tools = (await client.listTools()).tools.map((tool) => tool.name)
    const calls = plan.calls.filter((one) => one.elicits === elicits)
    await Promise.all(
      calls.map(async (one) => {
        seen.results[one.key] = await call(client, one).catch((error) => ({ failed: String(error.message ?? error) }))
      }),
    )
    if (way.terminateSession) await way.terminateSession()
    await client.close()
  }
  return seen
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
