//! An [`Answer`] as OpenAI-compatible servers write it: values, no I/O.

use serde_json::{Value, json};

use super::{Answer, Call};

/// The text that an answer has, whole.
pub(super) fn text(answer: &Answer) -> String {
    match answer {
        Answer::Text { chunks, .. } => chunks.concat(),
        Answer::Tools { text, .. } | Answer::Hang { text } | Answer::Ended { text, .. } => text.clone(),
        Answer::Error { .. } => String::new(),
    }
}

/// The body of an answer that is not streamed.
pub(super) fn whole(answer: &Answer) -> Value {
    let mut message = json!({ "role": "assistant", "content": text(answer) });
    if let Answer::Tools { calls, .. } = answer {
        message["tool_calls"] = calls.iter().enumerate().map(call).collect();
    }
    json!({
        "id": "scripted", "object": "chat.completion", "created": 0, "model": "scripted",
        "choices": [{ "index": 0, "message": message, "finish_reason": finish(answer) }],
        "usage": usage(),
    })
}

/// The chunks of a streamed answer, without the closing `[DONE]`.
pub(super) fn chunks(answer: &Answer) -> Vec<Value> {
    let pieces = match answer {
        Answer::Text { chunks, .. } => chunks.clone(),
        Answer::Tools { text, .. } | Answer::Hang { text } | Answer::Ended { text, .. }
            if !text.is_empty() =>
        {
            vec![text.clone()]
        }
        _ => Vec::new(),
    };
    let mut chunks: Vec<Value> =
        pieces.iter().map(|piece| chunk(&json!({ "role": "assistant", "content": piece }), None)).collect();
    if let Answer::Ended { reasoning, .. } = answer
        && !reasoning.is_empty()
    {
        chunks.insert(0, chunk(&json!({ "role": "assistant", "reasoning_content": reasoning }), None));
    }
    if let Answer::Tools { calls, .. } = answer {
        let calls: Value = calls.iter().enumerate().map(call).collect();
        chunks.push(chunk(&json!({ "role": "assistant", "tool_calls": calls }), None));
    }
    let mut last = chunk(&json!({}), Some(finish(answer)));
    last["usage"] = usage();
    chunks.push(last);
    chunks
}

fn chunk(delta: &Value, finish: Option<&str>) -> Value {
    json!({
        "id": "scripted", "object": "chat.completion.chunk", "created": 0, "model": "scripted",
        "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }],
    })
}

fn call((index, call): (usize, &Call)) -> Value {
    json!({
        "index": index,
        "id": format!("call_{index}"),
        "type": "function",
        "function": { "name": call.tool, "arguments": call.arguments.to_string() },
    })
}

fn finish(answer: &Answer) -> &str {
    match answer {
        Answer::Tools { .. } => "tool_calls",
        Answer::Ended { finish, .. } => finish,
        _ => "stop",
    }
}

fn usage() -> Value {
    json!({ "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15 })
}
