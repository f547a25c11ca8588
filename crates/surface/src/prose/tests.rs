//! What Markdown is read as.

use super::*;

/// Blocks in a short form: `indent lead text`, with the looks of words as letters in brackets.
fn shown(markdown: &str) -> Vec<String> {
    let run = |run: &Run| {
        let Look { bold, italic, struck, code } = run.look;
        let looks = [(bold, 'b'), (italic, 'i'), (struck, 's'), (code, 'c'), (run.link.is_some(), 'l')];
        let looks: String = looks.iter().filter(|(is_so, _)| *is_so).map(|(_, letter)| *letter).collect();
        if looks.is_empty() { run.text.clone() } else { format!("[{looks}:{}]", run.text) }
    };
    let block = |block: &Block| {
        let text = match &block.kind {
            Kind::Words { lead, runs } => format!("{lead}{}", runs.iter().map(run).collect::<String>()),
            Kind::Code { language, text } => format!("<{}>{text}", language.as_deref().unwrap_or("")),
            Kind::Table(rows) => rows.iter().map(|row| row.join("|")).collect::<Vec<_>>().join("/"),
            Kind::Rule => "---".to_owned(),
        };
        let (quote, tight) = (if block.quoted { "> " } else { "" }, if block.tight { "^" } else { "" });
        format!("{tight}{quote}{}{text}", "  ".repeat(block.indent))
    };
    Prose::parse(markdown).blocks.iter().map(block).collect()
}

#[test]
fn markdown_is_read_into_blocks_of_styled_words() {
    for (markdown, blocks) in [
        ("plain", vec!["plain"]),
        ("two\nlines", vec!["two\nlines"]),
        ("# Title\n\ntext", vec!["[b:Title]", "text"]),
        ("**bold** *italic* ~~gone~~ `code`", vec!["[b:bold] [i:italic] [s:gone] [c:code]"]),
        ("***both***", vec!["[bi:both]"]),
        ("- a\n- b\n  - c\n- d", vec!["• a", "^• b", "^  • c", "^• d"]),
        ("3. a\n4. b", vec!["3. a", "^4. b"]),
        ("- [x] done\n- [ ] not", vec!["☑ done", "^☐ not"]),
        ("1. a\n\n   ```sh\n   ls\n   ```", vec!["1. a", "^  <sh>ls"]),
        ("```rust\nfn a() {}\n\n```\nafter", vec!["<rust>fn a() {}", "after"]),
        ("```\nopen to the end", vec!["<>open to the end"]),
        ("````md\n```\nx\n```\n````", vec!["<md>```\nx\n```"]),
        ("| a | b |\n|---|--:|\n| `1` | **2** |", vec!["a|b/1|2"]),
        ("> quoted\n> more\n\nnot", vec!["> quoted\nmore", "not"]),
        ("a\n\n---\n\nb", vec!["a", "---", "b"]),
        ("<b>no</b> &amp; <br>", vec!["<b>no</b> & <br>"]),
        ("<details>\n<summary>x</summary>\n</details>", vec!["<details>\n<summary>x</summary>\n</details>"]),
        ("2 * 3 * 4 and snake_case_name", vec!["2 * 3 * 4 and snake_case_name"]),
        ("a\u{202e}b `\u{1b}[2J`", vec!["a\\u{202e}b [c:\\u{1b}[2J]"]),
        // Code is the agent's: it may become a file.
        ("```\na\tb\u{202e}\n```", vec!["<>a\tb\u{202e}"]),
        ("", vec![]),
    ] {
        assert_eq!(shown(markdown), blocks, "{markdown:?}");
    }
}

#[test]
fn a_link_says_where_it_leads() {
    for (markdown, text) in [
        ("[the docs](https://example.org/a)", "[l:the docs] (example.org)"),
        ("<https://example.org/a>", "[l:https://example.org/a]"),
        ("[example.org/a](https://example.org/a/)", "[l:example.org/a]"),
        ("[https://good.org](https://evil.org/x)", "https://good.org (https://evil.org/x)"),
        ("[good.org](https://evil.org)", "good.org (https://evil.org/)"),
        ("[go to good。org](https://evil.org)", "go to good。org (https://evil.org/)"),
        ("[me@good.org](https://evil.org)", "me@good.org (https://evil.org/)"),
        ("[x](https://good.org@evil.org/)", "[l:x] (evil.org)"),
        ("[x](https://аpple.com)", "[l:x] (xn--pple-43d.com)"),
        ("[main](src/main.rs)", "main (src/main.rs)"),
        ("[src/main.rs](src/main.rs)", "src/main.rs"),
        ("[x](javascript:alert(1))", "x (javascript:alert(1))"),
        ("[x](tg://resolve?domain=a)", "x (tg://resolve?domain=a)"),
        ("[top](#top)", "top"),
        ("![a chart](https://example.org/c.png)", "[l:a chart] (example.org)"),
        ("[**bold** link](https://example.org)", "[bl:bold][l: link] (example.org)"),
    ] {
        assert_eq!(shown(markdown), [text], "{markdown}");
    }
}

#[test]
fn what_looks_like_the_target_of_a_link_and_is_none_is_text() {
    for (markdown, blocks) in [
        ("[Result]: success", vec!["[Result]: success"]),
        (
            "All done.\n\n[Result]: success\n[Next]: none",
            vec!["All done.", "[Result]: success\n[Next]: none"],
        ),
        ("[a\nb]: /c", vec!["[a\nb]: /c"]),
        ("- [Result]: success\n- more", vec!["• [Result]: success", "^• more"]),
        ("> [Result]:\n> success", vec!["> [Result]:\nsuccess"]),
        // Of two with one name only the first is one for Markdown.
        ("[Result]: one\n[result]: two", vec!["[Result]: one\n[result]: two"]),
        // A link says where it leads.
        ("see [it][1]\n\n[1]: https://example.org/a", vec!["see [l:it] (example.org)"]),
        (
            "see [it][1]\n\n[1]: https://example.org/a\n[1]: other\n[2]: none",
            vec!["see [l:it] (example.org)", "[1]: other\n[2]: none"],
        ),
        ("```\n[a]: b\n```\n\n    [c]: d\n\n`[e]: f`", vec!["<>[a]: b", "<>[c]: d", "[c:[e]: f]"]),
    ] {
        assert_eq!(shown(markdown), blocks, "{markdown:?}");
    }
}

#[test]
fn a_text_of_which_markdown_shows_nothing_is_shown_as_it_is() {
    for (markdown, blocks) in [
        ("#", vec!["#"]),
        ("![]()", vec!["![]()"]),
        ("&nbsp;", vec!["&nbsp;"]),
        ("```\n```", vec!["```\n```"]),
        (" \n", vec![]),
    ] {
        assert_eq!(shown(markdown), blocks, "{markdown:?}");
    }
}

#[test]
fn cells_that_are_empty_take_no_line() {
    let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    let mut rows = vec![row(&["a"; 40])];
    rows.extend(vec![row(&[""; 40]); 500]);
    assert_eq!(layout(&rows, 48), vec!["a"; 40], "its names are all that it has");
    let mut sparse = [row(&["n"; 30]), row(&[""; 30]), row(&[""; 30])];
    (sparse[1][4], sparse[2][2]) = ("five".to_owned(), "three".to_owned());
    assert_eq!(layout(&sparse, 40), ["n: five", "", "n: three"]);
}

#[test]
fn a_table_is_aligned_and_fits() {
    let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    let rows = [row(&["name", "日本", "n"]), row(&["a", "b", "10"]), row(&["long one", "c"])];
    assert_eq!(
        layout(&rows, 40).join("\n"),
        "name      日本  n\n────────  ────  ──\na         b     10\nlong one  c"
    );
    let wide = [row(&["what", "why"]), row(&["a thing", &"words and words ".repeat(6)])];
    let lines = layout(&wide, 30);
    assert!(
        lines.iter().all(|line| unicode_width::UnicodeWidthStr::width(line.as_str()) <= 30),
        "{lines:#?}"
    );
    assert!(lines.len() > 3 && lines[2].starts_with("a thing  words"), "{lines:#?}");
    let many = [row(&["n"; 30]), row(&["v"; 30])];
    assert_eq!(layout(&many, 40)[0], "n: v", "what does not fit beside each other stands below");
}
