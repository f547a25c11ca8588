//! A server that answers as each kind of model provider does, and remembers what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const OPENAI: &str = r#"data: {"id":"1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":"It is said."},"finish_reason":null}]}

data: {"id":"1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10},"x_groq":{"id":"1","usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}}

data: [DONE]

"#;
const RESPONSES: &str = r#"data: {"type":"response.created","response":{"id":"r","created_at":1,"model":"gpt-4o"}}

data: {"type":"response.output_item.added","output_index":0,"item":{"type":"message","id":"m"}}

data: {"type":"response.output_text.delta","item_id":"m","output_index":0,"content_index":0,"delta":"It is said."}

data: {"type":"response.output_item.done","output_index":0,"item":{"type":"message","id":"m"}}

data: {"type":"response.completed","response":{"usage":{"input_tokens":7,"output_tokens":3}}}

"#;
const ANTHROPIC: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant","model":"claude","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":7,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"It is said."}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":3}}

event: message_stop
data: {"type":"message_stop"}

"#;
const GOOGLE: &str = r#"data: {"candidates":[{"content":{"parts":[{"text":"It is said."}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":3,"totalTokenCount":10}}

"#;

pub(crate) struct Upstream {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let memory = Arc::clone(&heads);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&memory)));
            }
        });
        Self { address, heads, task }
    }

    pub(crate) fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The heads of the requests whose path has `path`.
    pub(crate) fn asked(&self, path: &str) -> Vec<String> {
        let heads = self.heads.lock().unwrap();
        heads
            .iter()
            .filter(|head| head.lines().next().is_some_and(|line| line.contains(path)))
            .cloned()
            .collect()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: TcpStream, heads: Arc<Mutex<Vec<String>>>) {
    let mut read = Vec::new();
    let end = loop {
        if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return;
        }
        if let Some(end) = memchr::memmem::find(&read, b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let length: usize = length.unwrap_or(0);
    while read.len() < end + length && stream.read_buf(&mut read).await.unwrap_or(0) > 0 {}
    let body = match &head {
        head if head.contains("/messages") => ANTHROPIC,
        head if head.contains(":streamGenerateContent") => GOOGLE,
        head if head.contains("/responses") => RESPONSES,
        _ => OPENAI,
    };
    heads.lock().unwrap().push(head);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
}
