//! What an event costs, with few rules and with many, beside a plain look at every rule; and what
//! a reload costs.
//!
//! Rules spread over the events of 100 connectors. `nothing` is an event of a connector that rules
//! listen to, which fires none of them; `fires 4` fires four (of ten rules, the one that is there).

use std::hint::black_box;

use connector_rules::{Event, RuleSet, SourceFile, Timestamp};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;

const CONNECTORS: usize = 100;

fn files(count: usize) -> impl Iterator<Item = SourceFile> {
    (0..count).map(|number| {
        let connector = number % CONNECTORS;
        let place = number / CONNECTORS;
        // A third of the rules each look for a command, for a chat, or for both.
        let command = format!(
            "[[conditions]]\ntype = \"FieldContains\"\nfield = \"trigger.text\"\nvalue = \"/command{place}!\"\n"
        );
        let chat = format!(
            "[[conditions]]\ntype = \"FieldEquals\"\nfield = \"trigger.chat_id\"\nvalue = {place}\n"
        );
        let conditions = match place % 3 {
            0 => command,
            1 => chat,
            _ => format!("{command}{chat}"),
        };
        // The first connector has four rules that answer the same command.
        let always = if connector == 0 && place < 4 {
            "[[conditions]]\ntype = \"FieldStartsWith\"\nfield = \"trigger.text\"\nvalue = \"/all\"\n"
        } else {
            &conditions
        };
        let text = format!(
            "[rule]\nname = \"rule-{number}\"\n[trigger]\ntype = \"ConnectorEvent\"\n\
             connector = \"connector-{connector}\"\nevent = \"message_received\"\n{always}\
             [[actions]]\ntype = \"RunConnector\"\nconnector = \"connector-opencode\"\n\
             action = \"run_task\"\n[actions.params]\nprompt = \"${{trigger.text}}\"\n"
        );
        SourceFile::new(format!("{number}.toml"), text)
    })
}

fn set(count: usize) -> RuleSet {
    match RuleSet::parse(files(count)) {
        Ok(set) => set,
        Err(wrong) => unreachable!("{wrong}"),
    }
}

fn event(text: &str) -> Event {
    Event {
        id: "evt_1".to_owned(),
        connector: "connector-0".to_owned(),
        event: "message_received".to_owned(),
        payload: json!({ "text": text, "chat_id": -7, "user_id": 1, "from": { "name": "ann" } }),
        reply: None,
    }
}

fn matching(c: &mut Criterion) {
    let now = Timestamp::UNIX_EPOCH;
    let events = [
        ("nothing", event("good morning, the build is green again")),
        ("fires 4", event("/all of you, please look at this")),
    ];
    for count in [10, 1_000, 100_000] {
        let set = set(count);
        for (name, event) in &events {
            let mut group = c.benchmark_group(format!("event, {name}"));
            group.throughput(Throughput::Elements(1));
            group.bench_function(BenchmarkId::new("index", count), |b| {
                b.iter(|| set.matching(black_box(event), now).count());
            });
            group.bench_function(BenchmarkId::new("plain", count), |b| {
                b.iter(|| {
                    let rules = set.rules().iter();
                    rules.filter(|rule| rule.fires(black_box(event), now)).count()
                });
            });
            group.finish();
        }
    }
}

/// 1,000 rules of one event, of which it fires `k`.
fn firing(c: &mut Criterion) {
    let now = Timestamp::UNIX_EPOCH;
    let mut group = c.benchmark_group("event, fires k of 1000");
    for k in [1, 10, 100] {
        let files = files(1_000 * CONNECTORS).step_by(CONNECTORS).enumerate();
        let files = files.map(|(place, mut file)| {
            let (start, rest) = file.text.split_at(file.text.find("[[actions]]").unwrap_or(0));
            let value = if place < k { "/every" } else { "/never" };
            let more = "[[conditions]]\ntype = \"FieldStartsWith\"\nfield = \"trigger.order\"\n";
            let start = start.split("[[conditions]]").next().unwrap_or_default();
            file.text = format!("{start}{more}value = \"{value}\"\n{rest}");
            file
        });
        let Ok(set) = RuleSet::parse(files) else { unreachable!("the rules load") };
        let mut event = event("good morning");
        event.payload["order"] = json!("/every one of you");
        assert_eq!(set.matching(&event, now).count(), k);
        group.throughput(Throughput::Elements(k as u64));
        group.bench_function(BenchmarkId::from_parameter(k), |b| {
            b.iter(|| set.matching(black_box(&event), now).count());
        });
    }
    group.finish();
}

fn reload(c: &mut Criterion) {
    let files: Vec<_> = files(10_000).collect();
    let mut group = c.benchmark_group("reload");
    group.sample_size(10);
    group.throughput(Throughput::Elements(10_000));
    group.bench_function("10000", |b| {
        b.iter(|| RuleSet::parse(black_box(files.clone())).is_ok());
    });
    group.finish();
}

criterion_group!(benches, matching, firing, reload);
criterion_main!(benches);
