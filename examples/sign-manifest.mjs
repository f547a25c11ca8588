// Signs a connector.toml in place with an Ed25519 key:
//   node examples/sign-manifest.mjs KEY.pem connector.toml
// The key is made by this program when there is none. What it prints is the public
// key, as `[plugin_trust.keys]` of host.toml takes it.
import { createPublicKey, createPrivateKey, generateKeyPairSync, sign } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";

const [keyFile, manifestFile] = process.argv.slice(2);
if (!manifestFile) {
  console.error("usage: node sign-manifest.mjs KEY.pem connector.toml");
  process.exit(2);
}
if (!existsSync(keyFile)) {
  const made = generateKeyPairSync("ed25519").privateKey;
  writeFileSync(keyFile, made.export({ type: "pkcs8", format: "pem" }), { mode: 0o600, flag: "wx" });
}
const key = createPrivateKey(readFileSync(keyFile));

// What is signed: the file without its signature, with one line that names the algorithm.
const ALGORITHM = 'signature_alg = "ed25519"\n';
const unsigned = readFileSync(manifestFile, "utf8")
  .replaceAll("\r\n", "\n")
  .replace(/^signature(_alg)? *=.*\n/gm, "");
const table = unsigned.search(/^\[/m);
const end = table < 0 ? unsigned.length : table;
const head = unsigned.slice(0, end) + ALGORITHM;
const tail = unsigned.slice(end);
const signature = sign(null, Buffer.from(head + tail), key).toString("hex");
writeFileSync(manifestFile, `${head}signature = "${signature}"\n${tail}`);

const der = createPublicKey(key).export({ type: "spki", format: "der" });
console.log(der.subarray(-32).toString("hex"));
