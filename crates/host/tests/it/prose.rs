//! What agents write, as chats and terminals show it.

use connector_host::console::prose::lines;
use connector_host::telegram::{Part, parts};
use connector_telegram::Config;
use connector_telegram::frankenstein::methods::SendMessageParams;
use connector_telegram::frankenstein::types::{MessageEntity, MessageEntityType as Kind};
use connector_telegram::text::{ENTITIES, MESSAGE, Styled};
use proptest::prelude::*;
use serde_json::json;
use testkit::telegram::{FakeTelegram, TOKEN};
use unicode_width::UnicodeWidthStr as _;

/// The shapes of real agents' answers; `%` stands for words.
const SHAPES: [&str; 34] = [
    "%.",
    "%.\n\n%.\n\n%.",
    "# %\n\n%.\n\n## %\n\n%.",
    "I fixed **%**. The bug was in `parse()`:\n\n```rust\nfn parse(input: &str) -> u32 {\n    // %\n    0\n}\n```\n\n%.",
    "## Summary\n\n- %\n- **%**: %\n- `%`\n\n### Next\n\n1. %\n2. %",
    "1. %\n   - %\n     - %\n2. %\n\n   %\n3. %",
    "- [x] %\n- [ ] %\n- [x] **%**",
    "| File | Change | Why |\n|---|---|---|\n| `a.rs` | % | % |\n| `b.rs` | % | % |",
    "| a | b |\n|:--|--:|\n| % | 1 |\n| % | 20 |\n\n%",
    "> %\n> %\n\n%",
    "> **Note**\n> %\n>\n> - %\n> - %",
    "See [the docs](https://example.org/docs) and <https://example.org>. %",
    "%: https://example.org/a?b=c&d=e#f\n\n%",
    "```\n$ cargo test\n%\n```\n\n%",
    "```diff\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-%\n+%\n```",
    "%:\n\n    indented code\n    %\n\n%",
    "```bash\n%\n```\n\n```json\n{\"a\": [1, 2, \"%\"]}\n```\n\n```\n%\n```",
    "````markdown\n```rust\n%\n```\n````\n\n%",
    "Run `%` or ``a ` b``. %",
    "%\n\n---\n\n%\n\n***\n\n%",
    "**%**\n%\n\n**%**\n%",
    "✅ % 🎉\n\n⚠️ %\n\n👨\u{200d}👩\u{200d}👧 %",
    "%。日本語のテキスト、%。\n\n한국어 % العربية שלום",
    "<details>\n<summary>%</summary>\n\n%\n\n</details>",
    "Line one  \nline two\\\nline three %",
    "The function `snake_case_name` and 2 * 3 * 4, a_b_c. %",
    "***%*** and **bold *nested* %** and ~~%~~",
    "- item\n\n  ```python\n  def f():\n      return \"%\"\n  ```\n\n- % [src/main.rs](src/main.rs#L10)",
    "![screenshot](https://example.org/shot.png)\n\n%",
    "Changes:\n* `src/a.rs:10-20` — %\n* `src/b.rs` — %\n\nTests: 12 passed; 0 failed.",
    "%\n\n```\nunclosed %\n",
    "Unbalanced **bold and `code and [link](https://example.org %",
    "Footnote[^1] and math $a_1$ and :emoji: %\n\n[^1]: %",
    "# %\n\n> - a\n>   ```sh\n>   %\n>   ```\n\n1) %\n2) %",
];

/// What stands for words: few, many, and more than a message holds.
const WORDS: [&str; 6] = [
    "the quantity",
    "a longer sentence about what was changed, and why it was changed that way",
    "Ünïcode wörds",
    "x",
    "REPEAT long prose that goes on and on",
    "REPEAT-LINES line of code = 1;",
];

/// Two hundred answers.
fn corpus() -> Vec<String> {
    let words = |at: usize| {
        let given = WORDS[at % WORDS.len()];
        match (given.strip_prefix("REPEAT-LINES "), given.strip_prefix("REPEAT ")) {
            (Some(line), _) => format!("{line} ").repeat(30),
            (_, Some(words)) => format!("{words} ").repeat(150).trim_end().to_owned(),
            _ => given.to_owned(),
        }
    };
    let filled = |shape: &str, at: usize| {
        let mut pieces = shape.split('%');
        let first = pieces.next().unwrap().to_owned();
        pieces.enumerate().fold(first, |text, (place, piece)| text + &words(at + place * at) + piece)
    };
    let all = (0..WORDS.len()).flat_map(|at| SHAPES.iter().map(move |shape| filled(shape, at)));
    let mut all: Vec<String> = all.collect();
    all.push(all.concat());
    all
}

fn texts(parts: &[Part]) -> Vec<&Styled> {
    parts.iter().filter_map(|part| if let Part::Text(text) = part { Some(text) } else { None }).collect()
}

fn all_of(parts: &[Part]) -> String {
    let one = |part: &Part| match part {
        Part::Text(text) => text.text().to_owned(),
        Part::File { content, .. } => content.clone(),
    };
    parts.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn range(entity: &MessageEntity) -> (usize, usize) {
    let from = usize::from(entity.offset);
    (from, from + usize::from(entity.length))
}

/// That Telegram takes it, and that nothing in it lies.
fn check(text: &Styled) -> Result<(), String> {
    let units: Vec<u16> = text.text().encode_utf16().collect();
    if units.is_empty() || units.len() > MESSAGE || text.is_blank() {
        return Err(format!("{} units", units.len()));
    }
    let entities = text.entities();
    if entities.len() > ENTITIES {
        return Err(format!("{} styles", entities.len()));
    }
    for (at, entity) in entities.iter().enumerate() {
        let (from, to) = range(entity);
        if from >= to || to > units.len() {
            return Err(format!("{from}..{to} of {}", units.len()));
        }
        for other in &entities[at + 1..] {
            let (begins, ends) = range(other);
            let apart = begins >= to;
            let within = begins >= from && ends <= to;
            let alone = matches!(entity.type_field, Kind::Code | Kind::Pre);
            if !apart && (!within || alone) {
                return Err(format!("{entity:?} and {other:?}"));
            }
        }
        if let Some(url) = &entity.url {
            let shown = String::from_utf16(&units[from..to]).map_err(|error| error.to_string())?;
            let bare = |text: &str| text.trim_end_matches('/').replace("https://", "").replace("http://", "");
            let letters: Vec<char> = shown.chars().collect();
            let dotted = letters
                .windows(3)
                .any(|it| it[0].is_alphanumeric() && it[1] == '.' && it[2].is_alphanumeric());
            let looks = (shown.contains("://") || dotted) && bare(&shown) != bare(url);
            if looks || !url.starts_with("http") {
                return Err(format!("{shown:?} leads to {url}"));
            }
        }
    }
    Ok(())
}

#[test]
fn what_agents_write_fits_into_messages_and_into_terminals_and_loses_no_word() {
    let answers = corpus();
    assert!(answers.len() >= 200, "{}", answers.len());
    for answer in &answers {
        let parts = parts(answer);
        for text in texts(&parts) {
            check(text).unwrap_or_else(|problem| panic!("{problem}\n{answer}"));
        }
        let shown = all_of(&parts);
        if !answer.contains("````") {
            assert!(!shown.contains("```"), "a fence is left: {answer}\n{shown}");
        }
        let word = |it: &char| !it.is_alphanumeric();
        for wanted in answer.split(|it| word(&it)).filter(|it| it.chars().count() > 3) {
            let named = ["https", "bash", "json", "diff", "python", "markdown", "rust"].contains(&wanted);
            assert!(named || shown.contains(wanted), "{wanted} is lost of {answer}\n{shown}");
        }
        for width in [80, 60] {
            let lines = lines(answer, width);
            let wide = lines.iter().find(|line| line.width() > width || line.contains('\n'));
            assert_eq!(wide, None, "{answer}");
        }
    }
}

#[tokio::test]
async fn no_message_of_what_agents_write_is_refused() {
    let telegram = FakeTelegram::start().unwrap();
    let config = json!({ "bot_token": TOKEN, "api_base": telegram.base_url(), "allow_users": [1] });
    let api = serde_json::from_value::<Config>(config).unwrap().check().unwrap().api().unwrap();
    let answers = corpus();
    for text in answers.iter().flat_map(|answer| parts(answer)) {
        let Part::Text(text) = text else { continue };
        let message =
            SendMessageParams::builder().chat_id(1).text(text.text()).entities(text.entities()).build();
        api.call(&message).await.unwrap_or_else(|error| panic!("{error}: {}", text.text()));
    }
}

#[test]
fn code_that_does_not_fit_is_a_file_and_what_is_cut_keeps_its_language() {
    let long = format!("before\n\n```rust\n{}```\n\nafter", "let a = 1;\n".repeat(600));
    let shown = parts(&long);
    let [Part::Text(before), Part::File { name, content }, Part::Text(after)] = shown.as_slice() else {
        panic!("{shown:?}");
    };
    assert_eq!((before.text(), name.as_str(), after.text()), ("before", "code-1.rs", "after"));
    assert_eq!(content.lines().count(), 600);
    // Blocks that do not fit together are not cut: the second begins a message.
    let both = format!("{}\n\n```sh\n{}```", "words ".repeat(500), "echo\n".repeat(300));
    let shown = parts(&both);
    let pieces = texts(&shown);
    assert_eq!(pieces.len(), 2);
    let entities = pieces[1].entities();
    assert_eq!((entities.len(), entities[0].language.as_deref()), (1, Some("sh")));
    assert_eq!(range(&entities[0]), (0, pieces[1].units()));
}

#[test]
fn a_text_that_would_take_many_messages_is_its_beginning_and_a_file() {
    let wide = format!("{}|\n{}|\n{}", "|a column".repeat(700), "|-".repeat(700), "|\n".repeat(1_000));
    let named = format!("{}|\n{}|\n{}", "|a column".repeat(300), "|-".repeat(300), "|x|y|z\n".repeat(900));
    let tall = format!("|a|b|\n|-|-|\n|{}|{}|", "x".repeat(40_000), "y".repeat(40_000));
    let styled = "**a** ".repeat(2_000);
    for (text, most) in [
        (wide.as_str(), 8),
        (&named, 2),
        (&tall, 2),
        (&"- a\n".repeat(30_000), 2),
        (&styled, 2),
        (&"word ".repeat(6_000), 8),
    ] {
        let shown = parts(text);
        assert!(!shown.is_empty() && shown.len() <= most, "{} for {text:.80}", shown.len());
        for it in texts(&shown) {
            check(it).unwrap();
        }
        if let [Part::Text(begins), Part::File { name, content }] = shown.as_slice() {
            assert_eq!((name.as_str(), content.trim_end()), ("answer.md", text.trim_end()));
            assert!(begins.text().ends_with("… the whole of it is in the file below"), "{}", begins.text());
        }
        assert!(lines(text, 80).len() < 100_000, "{text:.80}");
    }
}

#[test]
fn code_in_a_file_is_the_agents_and_in_a_message_it_keeps_its_tabs() {
    let code = "\tif a { // \u{202e}\n";
    let shown = parts(&format!("```go\n{}```", code.repeat(400)));
    let [Part::File { content, .. }] = shown.as_slice() else { panic!("{shown:?}") };
    assert_eq!(*content, code.repeat(400));
    let shown = parts(&format!("```go\n{code}```"));
    assert_eq!(texts(&shown)[0].text(), "\tif a { // \\u{202e}");
}

#[test]
fn styles_of_a_long_list_are_all_shown() {
    let list: Vec<String> = (0..150).map(|number| format!("- **item {number}** in `a.rs`\n")).collect();
    let list = list.concat();
    let shown = parts(&list);
    let styles: usize = texts(&shown).iter().map(|text| text.entities().len()).sum();
    assert_eq!((styles, shown.len()), (300, 3));
}

fn hostile() -> impl Strategy<Value = String> {
    let token = prop_oneof![
        4 => "[\\PC]{0,12}",
        2 => "[a-z ]{1,40}",
        1 => "[a-z👍é\u{301}]{800,1200}",
        3 => prop::sample::select(vec![
            "**", "*", "_", "~~", "`", "```", "```rust\n", "````", "[", "](", ")", "![", "<", ">", "|", "\n", "\n\n",
            "# ", "> ", "- ", "1. ", "- [x] ", "---\n", "    ", "\t", "|---|---|\n", "| a | b |\n|---|---|\n",
            "https://good.org", "[https://good.org](https://evil.org)", "[x](tg://a)", "<script>", "&lt;", "\\",
            "\u{202e}", "\u{200d}", "👨\u{200d}👩\u{200d}👧", "\u{0}", "\r", "é", "日本語", "[good.org",
            "](https://evil.org)", "^", "$", "[^1]", "\u{fe0f}", "ﷺ",
        ]).prop_map(str::to_owned),
    ];
    proptest::collection::vec(token, 0..60).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn no_markdown_yields_more_than_text(markdown in hostile()) {
        for text in texts(&parts(&markdown)) {
            if let Err(problem) = check(text) {
                prop_assert!(false, "{problem}\n{}", text.text());
            }
        }
        for width in [80, 60, 20] {
            for line in lines(&markdown, width) {
                prop_assert!(line.width() <= width && !line.contains('\n'), "{} {line:?}", line.width());
            }
        }
    }
}
