use super::*;

const IDLE: Duration = Duration::from_mins(10);
const WAIT: Duration = Duration::from_mins(1);

/// A scheduler with a clock, and effects as short words.
struct Bench {
    scheduler: Scheduler,
    now: Instant,
}

impl Bench {
    fn new(servers: usize) -> Self {
        let now = Instant::now();
        let limits = Limits { servers, retries: 2, wait: WAIT, idle: Some(IDLE) };
        let names = ["a", "b", "c"].map(str::to_owned);
        Self { scheduler: Scheduler::new(limits, names, now), now }
    }

    fn step(&mut self, input: Input) -> Vec<String> {
        self.scheduler.step(self.now, input).into_iter().map(word).collect()
    }

    fn later(&mut self, by: Duration) -> Vec<String> {
        self.now += by;
        self.step(Input::TimePassed)
    }

    fn ask(&mut self, ticket: Ticket, workspace: &str) -> Vec<String> {
        self.step(Input::Asked { ticket, workspace: workspace.into(), finishes: false })
    }

    fn finish(&mut self, ticket: Ticket, workspace: &str) -> Vec<String> {
        self.step(Input::Asked { ticket, workspace: workspace.into(), finishes: true })
    }

    fn started(&mut self, workspace: &str) -> Vec<String> {
        self.step(Input::Started { workspace: workspace.into(), how: Adopted::Fresh })
    }

    /// The daemon of an earlier host is there.
    fn adopted(&mut self, workspace: &str, how: Adopted) -> Vec<String> {
        assert_eq!(self.step(Input::Found { workspace: workspace.into() }), [format!("adopt {workspace}")]);
        self.step(Input::Started { workspace: workspace.into(), how })
    }

    fn stopped(&mut self, workspace: &str) -> Vec<String> {
        self.step(Input::Stopped { workspace: workspace.into() })
    }

    fn returned(&mut self, workspace: &str) -> Vec<String> {
        self.step(Input::Returned { workspace: workspace.into(), again: false })
    }

    fn returned_for_now(&mut self, workspace: &str) -> Vec<String> {
        self.step(Input::Returned { workspace: workspace.into(), again: true })
    }

    fn answered(&mut self, workspace: &str) -> Vec<String> {
        self.step(Input::Answered { workspace: workspace.into() })
    }

    fn silent(&mut self, workspace: &str) -> Vec<String> {
        self.step(Input::Silent { workspace: workspace.into() })
    }

    fn died(&mut self, workspace: &str) -> Vec<String> {
        self.step(Input::Died { workspace: workspace.into() })
    }

    /// Leases a workspace that is cold, with room for it.
    fn lease(&mut self, ticket: Ticket, workspace: &str) {
        self.ask(ticket, workspace);
        assert_eq!(self.started(workspace), [format!("grant {ticket} {workspace}")]);
    }
}

fn word(effect: Effect) -> String {
    match effect {
        Effect::Start { workspace } => format!("start {workspace}"),
        Effect::Adopt { workspace } => format!("adopt {workspace}"),
        Effect::Stop { workspace } => format!("stop {workspace}"),
        Effect::Prove { workspace } => format!("prove {workspace}"),
        Effect::Grant { ticket, workspace } => format!("grant {ticket} {workspace}"),
        Effect::Refuse { ticket, refusal: Refusal::Full(_) } => format!("refuse {ticket} full"),
        Effect::Refuse { ticket, refusal: Refusal::Slow } => format!("refuse {ticket} slow"),
        Effect::Refuse { ticket, refusal: Refusal::Outdated } => format!("refuse {ticket} outdated"),
        Effect::Refuse { ticket, refusal: Refusal::Start(_) } => format!("refuse {ticket} start"),
        Effect::Refuse { ticket, refusal: Refusal::DiedTooOften } => format!("refuse {ticket} died"),
        Effect::Tell { ticket, wait } => format!("tell {ticket} {wait:?}"),
    }
}

fn failure() -> Arc<StartError> {
    Arc::new(StartError::PortTaken { port: 1 })
}

#[test]
fn many_that_want_one_directory_get_one_start() {
    let mut bench = Bench::new(2);
    assert_eq!(bench.ask(1, "a"), ["start a", "tell 1 Starting"]);
    assert_eq!(bench.ask(2, "a"), ["tell 2 Starting"]);
    assert_eq!(bench.started("a"), ["grant 1 a", "grant 2 a"]);
    assert_eq!(bench.ask(3, "a"), ["grant 3 a"]);
}

#[test]
fn a_full_pool_of_working_daemons_makes_the_next_wait_and_says_so_once() {
    let mut bench = Bench::new(1);
    bench.lease(1, "a");
    assert_eq!(bench.ask(2, "b"), ["tell 2 Full"]);
    assert!(bench.later(Duration::from_secs(1)).is_empty());
    assert_eq!(bench.returned("a"), ["stop a"]);
    assert_eq!(bench.step(Input::Stopped { workspace: "a".into() }), ["start b", "tell 2 Starting"]);
    assert_eq!(bench.started("b"), ["grant 2 b"]);
}

#[test]
fn the_least_recently_used_idle_daemon_is_ended_and_never_a_working_one() {
    let mut bench = Bench::new(2);
    bench.lease(1, "a");
    bench.lease(2, "b");
    bench.returned("b");
    bench.now += Duration::from_secs(5);
    bench.returned("a");
    assert_eq!(bench.ask(3, "a"), ["prove a", "tell 3 Starting"]);
    assert_eq!(bench.answered("a"), ["grant 3 a"]);
    assert_eq!(bench.ask(4, "c"), ["stop b", "tell 4 Full"]);
}

#[test]
fn one_wish_ends_one_daemon() {
    let mut bench = Bench::new(2);
    bench.lease(1, "a");
    bench.lease(2, "b");
    bench.returned("a");
    bench.returned("b");
    assert_eq!(bench.ask(3, "c"), ["stop a", "tell 3 Full"]);
    assert_eq!(bench.ask(4, "c"), ["tell 4 Full"]);
    assert!(bench.later(Duration::from_secs(1)).is_empty());
}

#[test]
fn waiting_has_an_end_that_says_why() {
    let mut bench = Bench::new(1);
    bench.lease(1, "a");
    bench.ask(2, "b");
    assert_eq!(bench.scheduler.next_deadline(), Some(bench.now + WAIT));
    assert_eq!(bench.later(WAIT), ["refuse 2 full"]);
    bench.returned("a");
    bench.step(Input::Stopped { workspace: "a".into() });
    bench.ask(3, "b");
    assert_eq!(bench.later(WAIT), ["refuse 3 slow"]);

    let mut bench = Bench::new(1);
    bench.adopted("a", Adopted::Outdated);
    bench.finish(1, "a");
    bench.ask(2, "a");
    assert_eq!(bench.later(WAIT), ["refuse 2 outdated"]);
}

#[test]
fn an_idle_daemon_is_ended_after_its_time() {
    let mut bench = Bench::new(2);
    bench.lease(1, "a");
    assert_eq!(bench.scheduler.next_deadline(), None);
    bench.returned("a");
    assert_eq!(bench.scheduler.next_deadline(), Some(bench.now + IDLE));
    assert!(bench.later(IDLE / 2).is_empty());
    assert_eq!(bench.later(IDLE / 2), ["stop a"]);
}

#[test]
fn a_daemon_that_dies_at_work_rests_and_is_started_again() {
    let mut bench = Bench::new(1);
    bench.lease(1, "a");
    assert!(bench.died("a").is_empty());
    assert_eq!(bench.scheduler.phase("a"), (Phase::Resting, 1));
    assert_eq!(bench.ask(2, "a"), ["tell 2 Resting"]);
    assert_eq!(bench.later(Duration::from_millis(250)), ["start a", "tell 2 Starting"]);
    assert_eq!(bench.started("a"), ["grant 2 a"]);
}

#[test]
fn a_resting_daemon_at_work_keeps_its_place() {
    let mut bench = Bench::new(1);
    bench.lease(1, "a");
    bench.died("a");
    assert_eq!(bench.ask(2, "b"), ["tell 2 Full"]);
}

#[test]
fn an_idle_daemon_that_dies_stays_down_until_it_is_wanted() {
    let mut bench = Bench::new(1);
    bench.lease(1, "a");
    bench.returned("a");
    assert!(bench.died("a").is_empty());
    assert_eq!(bench.scheduler.phase("a"), (Phase::Cold, 0));
    assert_eq!(bench.ask(2, "a"), ["start a", "tell 2 Starting"]);
}

#[test]
fn a_daemon_that_keeps_dying_is_given_up_and_heals() {
    let mut bench = Bench::new(1);
    bench.lease(1, "a");
    for _ in 0..2 {
        bench.died("a");
        assert_eq!(bench.later(Duration::from_secs(1)), ["start a"]);
        bench.started("a");
    }
    assert!(bench.died("a").is_empty());
    assert!(bench.later(Duration::from_mins(4)).is_empty());
    assert_eq!(bench.later(Duration::from_mins(1)), ["start a"]);
}

#[test]
fn a_failed_start_is_told_to_all_who_wait_for_it_at_once() {
    let mut bench = Bench::new(1);
    bench.ask(1, "a");
    bench.ask(2, "a");
    bench.ask(3, "b");
    let effects = bench.step(Input::Failed { workspace: "a".into(), error: failure() });
    assert_eq!(effects, ["refuse 1 start", "refuse 2 start", "start b", "tell 3 Starting"]);
    assert_eq!(bench.scheduler.phase("a"), (Phase::Cold, 0));
}

#[test]
fn warming_starts_and_holds_nothing() {
    let mut bench = Bench::new(1);
    let warm = |workspace: &str| Input::Warmed { workspace: workspace.into() };
    assert_eq!(bench.step(warm("a")), ["start a"]);
    assert!(bench.started("a").is_empty());
    assert_eq!(bench.step(warm("b")), ["stop a"], "an idle one makes room");
    assert_eq!(bench.step(Input::Stopped { workspace: "a".into() }), ["start b"]);
}

#[test]
fn an_idle_daemon_is_given_out_when_it_answered_just_now_or_does_when_asked() {
    let mut bench = Bench::new(1);
    bench.lease(1, "a");
    bench.returned("a");
    assert_eq!(bench.ask(2, "a"), ["grant 2 a"], "it started just now");
    bench.returned("a");
    bench.later(FRESH);
    assert_eq!(bench.ask(3, "a"), ["prove a", "tell 3 Starting"]);
    assert_eq!(bench.ask(4, "a"), ["tell 4 Starting"], "it is asked once");
    assert_eq!(bench.answered("a"), ["grant 3 a", "grant 4 a"]);
    bench.later(FRESH);
    assert_eq!(bench.ask(5, "a"), ["grant 5 a"], "one that works is its supervisor's to ask");
}

#[test]
fn an_idle_daemon_that_hangs_is_replaced_at_once_and_spends_no_try() {
    let mut bench = Bench::new(1);
    bench.lease(1, "a");
    bench.returned("a");
    for ticket in 2..6 {
        bench.later(FRESH);
        bench.ask(ticket, "a");
        assert_eq!(bench.silent("a"), ["start a"]);
        assert_eq!(bench.started("a"), [format!("grant {ticket} a")]);
        bench.returned("a");
    }
}

#[test]
fn warming_replaces_a_daemon_that_hangs_and_leaves_one_that_answers_alone() {
    let mut bench = Bench::new(1);
    bench.lease(1, "a");
    bench.returned("a");
    bench.later(FRESH);
    let warm = || Input::Warmed { workspace: "a".into() };
    assert_eq!(bench.step(warm()), ["prove a"]);
    assert!(bench.answered("a").is_empty());
    assert_eq!(bench.later(IDLE), ["stop a"]);
    assert!(
        bench.step(Input::Stopped { workspace: "a".into() }).is_empty(),
        "it was warm when that was wished"
    );

    bench.lease(2, "a");
    bench.returned("a");
    bench.later(FRESH);
    assert_eq!(bench.step(warm()), ["prove a"]);
    assert_eq!(bench.silent("a"), ["start a"]);
    assert!(bench.started("a").is_empty());
}

#[test]
fn a_daemon_that_is_asked_can_be_stopped_and_can_die() {
    let mut bench = Bench::new(1);
    bench.lease(1, "a");
    bench.returned("a");
    bench.later(FRESH);
    bench.ask(2, "a");
    assert_eq!(bench.step(Input::StopAsked { workspace: "a".into() }), ["stop a"]);
    assert!(bench.answered("a").is_empty(), "the order came after the answer");
    assert_eq!(bench.step(Input::Stopped { workspace: "a".into() }), ["start a"]);
    bench.started("a");
    bench.returned("a");
    bench.later(FRESH);
    bench.ask(3, "a");
    assert_eq!(bench.died("a"), ["tell 3 Resting"]);
}

#[test]
fn warming_against_working_daemons_is_forgotten() {
    let mut bench = Bench::new(1);
    bench.lease(1, "a");
    assert!(bench.step(Input::Warmed { workspace: "b".into() }).is_empty());
    assert!(bench.returned("a").is_empty());
}

#[test]
fn a_stopped_daemon_stays_down_until_asked_for_although_leased() {
    let mut bench = Bench::new(1);
    bench.lease(1, "a");
    assert_eq!(bench.step(Input::StopAsked { workspace: "a".into() }), ["stop a"]);
    assert!(bench.step(Input::Stopped { workspace: "a".into() }).is_empty());
    assert_eq!(bench.ask(2, "a"), ["start a", "tell 2 Starting"]);
}

#[test]
fn a_stop_during_the_start_wins_over_a_start_that_was_just_done() {
    let mut bench = Bench::new(1);
    bench.ask(1, "a");
    assert_eq!(bench.step(Input::StopAsked { workspace: "a".into() }), ["stop a"]);
    assert!(bench.started("a").is_empty());
    assert_eq!(bench.step(Input::Stopped { workspace: "a".into() }), ["start a"]);
}

#[test]
fn who_gives_up_is_forgotten() {
    let mut bench = Bench::new(1);
    bench.lease(1, "a");
    bench.ask(2, "b");
    assert!(bench.step(Input::Cancelled { ticket: 2 }).is_empty());
    assert!(bench.returned("a").is_empty());
}

#[test]
fn what_an_earlier_host_left_is_idle_and_ended_after_its_time() {
    let mut bench = Bench::new(2);
    assert!(bench.adopted("a", Adopted::Same).is_empty());
    assert!(bench.step(Input::Found { workspace: "a".into() }).is_empty());
    assert!(bench.later(SETTLES).is_empty());
    assert_eq!(bench.later(IDLE), ["stop a"]);
}

#[test]
fn what_cannot_be_taken_over_is_started_when_somebody_wants_it_and_else_not() {
    let mut bench = Bench::new(1);
    for workspace in ["a", "b"] {
        assert_eq!(bench.step(Input::Found { workspace: workspace.into() }), [format!("adopt {workspace}")]);
    }
    assert_eq!(bench.ask(1, "b"), ["tell 1 Starting"]);
    assert!(bench.stopped("a").is_empty());
    assert_eq!(bench.stopped("b"), ["start b"]);
}

#[test]
fn more_than_may_run_are_ended_when_nobody_goes_on_with_them() {
    let mut bench = Bench::new(1);
    for workspace in ["a", "b", "c"] {
        assert!(bench.adopted(workspace, Adopted::Same).is_empty(), "{workspace}");
    }
    assert_eq!(bench.finish(1, "b"), ["grant 1 b"]);
    assert_eq!(bench.later(SETTLES), ["stop a", "stop c"]);
    assert_eq!(bench.ask(2, "a"), ["tell 2 Starting"]);
    bench.stopped("c");
    assert_eq!(bench.stopped("a"), ["tell 2 Full"]);
}

#[test]
fn a_daemon_of_an_earlier_host_is_not_ended_for_another_before_its_turn_is_asked_for() {
    let mut bench = Bench::new(1);
    bench.adopted("a", Adopted::Same);
    assert_eq!(bench.ask(1, "b"), ["tell 1 Full"]);
    assert_eq!(bench.finish(2, "a"), ["grant 2 a"]);
    assert!(bench.later(SETTLES).is_empty());
    assert_eq!(bench.returned("a"), ["stop a"]);
}

#[test]
fn an_outdated_daemon_finishes_what_was_begun_and_nothing_else() {
    let mut bench = Bench::new(1);
    bench.adopted("a", Adopted::Outdated);
    assert_eq!(bench.ask(1, "a"), ["tell 1 Outdated"]);
    assert_eq!(bench.finish(2, "a"), ["grant 2 a"]);
    assert!(bench.later(SETTLES).is_empty());
    assert_eq!(bench.returned("a"), ["stop a", "tell 1 Starting"]);
    assert_eq!(bench.stopped("a"), ["start a"]);
    assert_eq!(bench.started("a"), ["grant 1 a"]);
}

#[test]
fn one_that_is_left_alone_for_longer_than_it_may_be_idle_wakes_nobody_before() {
    let mut bench = Bench::new(1);
    bench.scheduler.limits.idle = Some(SETTLES / 2);
    bench.adopted("a", Adopted::Same);
    assert_eq!(bench.scheduler.next_deadline(), Some(bench.now + SETTLES));
    assert_eq!(bench.later(SETTLES), ["stop a"]);
}

#[test]
fn a_daemon_in_mid_turn_is_not_ended_for_one_question_it_has_no_time_for() {
    let mut bench = Bench::new(1);
    bench.adopted("a", Adopted::Same);
    bench.later(FRESH);
    assert_eq!(bench.finish(1, "a"), ["grant 1 a"]);
}

#[test]
fn a_daemon_whose_turn_is_looked_up_again_is_there_then() {
    for how in [Adopted::Same, Adopted::Outdated] {
        let mut bench = Bench::new(1);
        bench.adopted("a", how);
        assert_eq!(bench.finish(1, "a"), ["grant 1 a"]);
        bench.later(SETTLES);
        assert_eq!(bench.ask(2, "b"), ["tell 2 Full"]);
        assert!(bench.returned_for_now("a").is_empty(), "{how:?}");
        assert!(bench.later(Duration::from_secs(15)).is_empty(), "{how:?}");
        assert_eq!(bench.finish(3, "a"), ["grant 3 a"], "{how:?}");
        assert!(bench.returned_for_now("a").is_empty(), "{how:?}");
        assert_eq!(bench.scheduler.next_deadline(), Some(bench.now + LINGERS));
        assert_eq!(bench.later(LINGERS), ["stop a"], "{how:?}");
    }
}

#[test]
fn an_outdated_daemon_that_nobody_needs_is_ended_and_a_wish_for_a_warm_one_is_kept() {
    let mut bench = Bench::new(1);
    bench.adopted("a", Adopted::Outdated);
    assert!(bench.step(Input::Warmed { workspace: "a".into() }).is_empty());
    assert_eq!(bench.scheduler.next_deadline(), Some(bench.now + SETTLES));
    assert_eq!(bench.later(SETTLES), ["stop a"]);
    assert_eq!(bench.stopped("a"), ["start a"]);
}

#[test]
fn one_that_is_told_to_stop_while_it_rests_or_waits_for_a_place_stays_cold() {
    let mut bench = Bench::new(1);
    bench.lease(1, "a");
    bench.died("a");
    assert_eq!(bench.scheduler.phase("a").0, Phase::Resting);
    assert!(bench.step(Input::StopAsked { workspace: "a".into() }).is_empty());
    assert_eq!(bench.scheduler.phase("a").0, Phase::Cold);
    assert!(bench.later(Duration::from_mins(1)).is_empty());
    assert_eq!(bench.ask(2, "a"), ["start a", "tell 2 Starting"]);
}
