//! Decoding events, side by side: ours, `eventsource-stream` with
//! `serde_json::Value`, and a pass that reads the JSON and keeps nothing.

#![expect(clippy::unwrap_used, reason = "a benchmark")]

use std::convert::Infallible;
use std::hint::black_box;

use bytes::Bytes;
use connector_opencode::sse::Decoder;
use connector_opencode::testing::decode_events;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use eventsource_stream::Eventsource as _;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use serde::de::IgnoredAny;
use testkit::fake::Fixture;

/// What `hyper` hands out at a time.
const PIECE: usize = 8 << 10;

fn events(criterion: &mut Criterion) {
    let mut bytes = Vec::new();
    while bytes.len() < 4 << 20 {
        Fixture::names().for_each(|name| bytes.extend(Fixture::recorded(name).stream()));
    }
    let pieces: Vec<Bytes> = bytes.chunks(PIECE).map(Bytes::copy_from_slice).collect();
    let mut group = criterion.benchmark_group("events");
    group.throughput(Throughput::Bytes(bytes.len() as u64)).sample_size(10);
    group.bench_function("ours", |b| b.iter(|| decode_events(black_box(&bytes), PIECE, 4 << 20)));
    group.bench_function("eventsource-stream and Value", |b| {
        b.iter(|| {
            let chunks = stream::iter(pieces.iter().cloned().map(Ok::<_, Infallible>));
            let values = chunks
                .eventsource()
                .map(|event| serde_json::from_str::<serde_json::Value>(&event.unwrap().data).unwrap());
            black_box(values.count().now_or_never().unwrap())
        });
    });
    group.bench_function("IgnoredAny", |b| {
        b.iter(|| {
            let mut decoder = Decoder::new(4 << 20);
            let mut count = 0;
            for piece in bytes.chunks(PIECE) {
                decoder.feed(piece, |data| {
                    count += usize::from(serde_json::from_slice::<IgnoredAny>(data).is_ok());
                });
            }
            black_box(count)
        });
    });
    group.finish();
}

criterion_group!(benches, events);
criterion_main!(benches);
