//! The demo's data: a small repository with a failing test, and a model that fixes it.
//!
//! The model only says which tools to use; reading, editing and running the test is done by the
//! real agent. The test needs nothing but Node, which is there wherever npm is.

use std::io;
use std::path::Path;

use serde_json::json;

use crate::model::{Answer, Call, Script, Turn};
use crate::scratch;

/// What a person types in the demo's chat, without the command.
pub const PROMPT: &str = "the failing test";

/// The command that shows whether the test passes.
pub const TEST: [&str; 2] = ["node", "--test"];

const PACKAGE: &str = r#"{
  "name": "basket",
  "private": true,
  "type": "module",
  "scripts": { "test": "node --test" }
}
"#;

const BROKEN: &str = "  return items.reduce((sum, item) => sum + item.price, 0);";
const FIXED: &str = "  return items.reduce((sum, item) => sum + item.price * item.quantity, 0);";

const SOURCE: &str = r"// The price of a basket, in cents.
export function total(items) {
  return items.reduce((sum, item) => sum + item.price, 0);
}
";

const TEST_FILE: &str = r"import assert from 'node:assert/strict';
import { test } from 'node:test';
import { total } from '../src/basket.js';

test('an empty basket costs nothing', () => {
  assert.equal(total([]), 0);
});

test('two apples and a pear cost what they cost', () => {
  const items = [{ price: 40, quantity: 2 }, { price: 55, quantity: 1 }];
  assert.equal(total(items), 135);
});
";

const REPLY: [&str; 3] = [
    "`total` added up prices without their quantities. ",
    "It now multiplies each price by its quantity, ",
    "and both tests pass.",
];

/// Makes the repository: one commit, one test that passes and one that fails.
pub fn repository(directory: &Path) -> io::Result<()> {
    scratch::repository(
        directory,
        &[("package.json", PACKAGE), ("src/basket.js", SOURCE), ("test/basket.test.js", TEST_FILE)],
    )
}

/// The model's part, for a repository in `directory`: reads test and source, edits, runs the test,
/// and says what it did. It answers any prompt, so a changed wording does not break the demo.
pub fn script(directory: &Path) -> Script {
    let file = |name: &str| directory.join(name).display().to_string();
    let read = |name: &str| Call { tool: "read".into(), arguments: json!({ "filePath": file(name) }) };
    let steps = [
        (
            "I will look at the test and at what it tests.",
            vec![read("test/basket.test.js"), read("src/basket.js")],
        ),
        (
            "The quantity is left out.",
            vec![Call {
                tool: "edit".into(),
                arguments: json!({ "filePath": file("src/basket.js"), "oldString": BROKEN, "newString": FIXED }),
            }],
        ),
        (
            "Now the test.",
            vec![Call {
                tool: "bash".into(),
                arguments: json!({ "command": TEST.join(" "), "description": "Runs the tests" }),
            }],
        ),
    ];
    let mut done = 0;
    let mut script = Script::default();
    for (text, calls) in steps {
        let turn = Turn {
            prompt: None,
            tools_done: Some(done),
            times: None,
            answer: Answer::Tools { text: text.into(), calls: calls.clone() },
        };
        script = script.turn(turn);
        done += calls.len();
    }
    let chunks = REPLY.map(str::to_owned).to_vec();
    script.turn(Turn {
        prompt: None,
        tools_done: None,
        times: None,
        answer: Answer::Text { chunks, delay_ms: 40 },
    })
}
