//! One test, run on each generation of the API.
//!
//! A test that takes a [`Generation`](testkit::fake::Generation) is named in its file's
//! [`on_wires!`]: under `both` (or `threaded`,
//! with several threads), or under `only` with the reason why it cannot exist
//! on the other. One that is named nowhere is dead code, which is an error.

/// Makes tests of functions that take a generation.
macro_rules! on_wires {
    (
        $(both { $($both:ident),* $(,)? })?
        $(threaded { $($threaded:ident),* $(,)? })?
        $(only $generation:ident because $why:literal { $($single:ident),* $(,)? })*
    ) => {
        $($(mod $both {
            use testkit::fake::Generation;

            #[tokio::test]
            async fn v1() {
                super::$both(Generation::V1).await;
            }

            #[tokio::test]
            async fn v2() {
                super::$both(Generation::V2).await;
            }
        })*)?
        $($(mod $threaded {
            use testkit::fake::Generation;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn v1() {
                super::$threaded(Generation::V1).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn v2() {
                super::$threaded(Generation::V2).await;
            }
        })*)?
        $($(mod $single {
            #[tokio::test]
            async fn alone() {
                super::$single(testkit::fake::Generation::$generation).await;
            }
        })*)*

        /// Tests that exist on one wire alone, and why.
        pub(crate) const ONLY: &[(&str, testkit::fake::Generation, &str)] =
            &[$($((stringify!($single), testkit::fake::Generation::$generation, $why),)*)*];
    };
}
pub(crate) use on_wires;

/// The files of the suite: name, source, and what exists on one wire alone.
type File = (&'static str, &'static str, &'static [(&'static str, testkit::fake::Generation, &'static str)]);

fn suite() -> [File; 12] {
    [
        ("asks", include_str!("asks.rs"), crate::asks::ONLY),
        ("bad_input", include_str!("bad_input.rs"), crate::bad_input::ONLY),
        ("cuts", include_str!("cuts.rs"), crate::cuts::ONLY),
        ("faults", include_str!("faults.rs"), crate::faults::ONLY),
        ("resume", include_str!("resume.rs"), crate::resume::ONLY),
        ("real/asks", include_str!("real/asks.rs"), crate::real::asks::ONLY),
        ("real/turns", include_str!("real/turns.rs"), crate::real::turns::ONLY),
        ("real/failures", include_str!("real/failures.rs"), crate::real::failures::ONLY),
        ("real/sessions", include_str!("real/sessions.rs"), crate::real::sessions::ONLY),
        ("real/life", include_str!("real/life.rs"), crate::real::life::ONLY),
        ("real/long", include_str!("real/long.rs"), crate::real::long::ONLY),
        ("real/behind", include_str!("real/behind.rs"), crate::real::behind::ONLY),
    ]
}

/// The document's table names each test and each row that exists on one wire alone,
/// and none besides.
#[test]
fn every_test_runs_on_both_wires_or_the_document_says_why_not() {
    let document = include_str!("../../docs/opencode-versions.md");
    let mut expected = Vec::new();
    for (file, source, only) in suite() {
        for test in source.split("#[tokio::test").skip(1).chain(source.split("#[test]").skip(1)) {
            let body = test.split("\n}\n").next().unwrap_or_default();
            assert!(!body.contains("Fixture::"), "{file}.rs has a test of a daemon and no wire: {body}");
        }
        expected.extend(
            only.iter().map(|(test, generation, why)| (format!("{file}: {test}"), *generation, *why)),
        );
    }
    let rows = crate::faults::rows::rows_of_one_wire();
    expected
        .extend(rows.into_iter().map(|(row, generation, why)| (format!("faults: {row}"), generation, why)));
    let wanted: Vec<String> = expected
        .iter()
        .map(|(test, generation, why)| {
            let shown = match generation {
                testkit::fake::Generation::V1 => "1.x",
                testkit::fake::Generation::V2 => "2.x",
            };
            format!("| {test} | {shown} | {why} |")
        })
        .collect();
    let begin = "| test | only on | because |";
    let listed: Vec<&str> = document
        .lines()
        .skip_while(|line| *line != begin)
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert_eq!(listed, wanted, "docs/opencode-versions.md should list:\n{}", wanted.join("\n"));
}
