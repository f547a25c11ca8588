use super::*;
use crate::output::Tokens;
use crate::wire::{End, Inbox, Message, Outcome, ToolSignal, ToolState};

const MINUTE: Duration = Duration::from_mins(1);

fn plan(now: Instant) -> Plan {
    Plan {
        session: SessionId::parse("ses_a").unwrap(),
        message: MessageId::parse("msg_m").unwrap(),
        deadline: now + 60 * MINUTE,
        no_progress: 15 * MINUTE,
        asks: AskPolicy::Relay,
        ask_timeout: 10 * MINUTE,
        timing: Timing::default(),
        resume: false,
        live: true,
        queued: false,
    }
}

fn message(parent: &str, ending: Option<Ending>) -> Box<Message> {
    let head = Head {
        id: "msg_n".into(),
        parent: Some(parent.into()),
        completed: true,
        ending,
        failure: None,
        summary: false,
        cost: 0.0,
        tokens: Tokens::default(),
    };
    let raw = serde_json::json!({});
    let (text, touched) = ("done".into(), Vec::new());
    Box::new(Message {
        head,
        text,
        cut: None,
        reasoned: false,
        added: false,
        touched,
        refused: false,
        size: 0,
        raw,
    })
}

fn poll(status: Status, steps: Vec<Message>) -> Event {
    let history = History { arrived: true, steps, ..History::default() };
    Event::Polled(Box::new(Snapshot {
        status,
        history,
        permissions: Vec::new(),
        questions: Vec::new(),
        unparseable_permissions: Vec::new(),
        unparseable_questions: Vec::new(),
        children: Vec::new(),
        whole: true,
    }))
}

fn signal(signal: Signal) -> Event {
    Event::Signalled { session: "ses_a".into(), signal }
}

fn outcome_of(effects: &[Effect]) -> Option<&TurnOutcome> {
    effects.iter().find_map(|effect| match effect {
        Effect::Finish(outcome) => Some(outcome.as_ref()),
        _ => None,
    })
}

/// Lets time pass as the driver does, each poll finding the session busy, until
/// the turn does something else or `until` is reached.
fn idle_away(
    turn: &mut Turn,
    mut now: Instant,
    until: Instant,
    mut each: impl FnMut(&mut Turn, Instant) -> Vec<Effect>,
) -> (Instant, Vec<Effect>) {
    loop {
        now = turn.next_wake().max(now).min(until);
        let mut effects = each(turn, now);
        effects.extend(turn.step(Event::TimePassed, now));
        let polls = |effect: &Effect| matches!(effect, Effect::Poll { .. });
        if now >= until || effects.iter().any(|effect| !polls(effect)) {
            return (now, effects);
        }
        if effects.iter().any(polls) {
            let more = turn.step(poll(Status::Busy, Vec::new()), now);
            assert_eq!(outcome_of(&more), None);
        }
    }
}

#[test]
fn an_answer_that_takes_minutes_to_begin_is_waited_for() {
    let start = Instant::now();
    let mut turn = Turn::new(plan(start), start);
    assert!(turn.step(Event::Began, start).contains(&Effect::SendPrompt));
    let (now, effects) = idle_away(&mut turn, start, start + 14 * MINUTE, |_, _| Vec::new());
    assert_eq!(now, start + 14 * MINUTE);
    assert!(effects.iter().all(|it| matches!(it, Effect::Poll { .. })), "{effects:?}");
    let effects =
        turn.step(Event::PromptAnswered(Answer::Message(message("msg_m", Some(Ending::Final)))), now);
    assert!(matches!(outcome_of(&effects), Some(TurnOutcome::Completed(_))), "{effects:?}");
}

/// A provider that fails is asked again by a step that begins again (2.x) or whose message is told of
/// again (1.x); neither is work.
#[test]
fn a_step_that_begins_again_is_no_progress() {
    type Told = fn(Head) -> Signal;
    let head = || Head { completed: false, ending: None, ..message("msg_m", None).head };
    let of_2_x: Told = |head| Signal::Step(Head { parent: None, ..head });
    for (queued, again) in [(false, Signal::Head as Told), (true, of_2_x)] {
        let start = Instant::now();
        let mut turn = Turn::new(Plan { queued, ..plan(start) }, start);
        turn.step(Event::Began, start);
        if queued {
            turn.step(Event::PromptAnswered(Answer::Admitted), start);
            turn.step(signal(Signal::Taken("msg_m".into())), start);
        }
        turn.step(signal(again(head())), start);
        let mut attempt = 0;
        let (now, effects) = idle_away(&mut turn, start, start + 60 * MINUTE, |turn, now| {
            attempt += 1;
            let retry = Status::Retry { attempt, reason: "boom".into(), next_at_ms: None };
            let mut effects = turn.step(signal(again(head())), now);
            effects.extend(turn.step(signal(Signal::Status(retry)), now));
            effects.retain(|it| !matches!(it, Effect::Report(_)));
            effects
        });
        assert_eq!(now, start + 15 * MINUTE, "queued {queued}");
        assert!(effects.contains(&Effect::Abort), "{effects:?}");
    }
}

#[test]
fn retries_are_no_progress_however_long_they_go_on() {
    let start = Instant::now();
    let mut turn = Turn::new(plan(start), start);
    turn.step(Event::Began, start);
    let mut attempt = 0;
    let (now, effects) = idle_away(&mut turn, start, start + 60 * MINUTE, |turn, now| {
        attempt += 1;
        let retry = Status::Retry { attempt, reason: "boom".into(), next_at_ms: None };
        let mut effects = turn.step(signal(Signal::Status(retry)), now);
        effects.extend(turn.step(signal(Signal::Status(Status::Busy)), now));
        effects.retain(|it| !matches!(it, Effect::Report(_)));
        effects
    });
    assert_eq!(now, start + 15 * MINUTE);
    assert!(effects.contains(&Effect::Abort), "{effects:?}");
    turn.step(Event::AbortSent(Abort::Delivered), now);
    let effects = turn.step(poll(Status::Idle, vec![*message("msg_m", None)]), now);
    let Some(TurnOutcome::Stopped { cause: StopCause::NoProgress, confirmed: true, note, .. }) =
        outcome_of(&effects)
    else {
        panic!("{effects:?}");
    };
    assert_eq!(note.as_deref(), Some("boom"));
}

#[test]
fn work_of_the_session_or_of_a_child_is_progress() {
    let start = Instant::now();
    let mut turn = Turn::new(plan(start), start);
    turn.step(Event::Began, start);
    let child =
        Signal::Created { session: "ses_c".into(), parent: Some("ses_a".into()), title: String::new() };
    turn.step(signal(child), start);
    let (now, effects) = idle_away(&mut turn, start, start + 60 * MINUTE, |turn, now| {
        turn.step(Event::Signalled { session: "ses_c".into(), signal: Signal::Activity }, now)
    });
    assert_eq!(now, start + 60 * MINUTE, "only the deadline ends it");
    assert!(effects.contains(&Effect::Abort));
}

#[test]
fn an_agent_that_waits_for_a_person_makes_progress_until_the_ask_expires() {
    let start = Instant::now();
    let mut turn = Turn::new(Plan { no_progress: MINUTE, ..plan(start) }, start);
    turn.step(Event::Began, start);
    let ask = PermissionAsk {
        id: "per_1".into(),
        session_id: "ses_a".into(),
        permission: "bash".into(),
        patterns: vec!["ls".into()],
        metadata: serde_json::Value::Null,
        call: None,
    };
    let effects = turn.step(signal(Signal::PermissionAsked(ask.clone())), start);
    assert!(effects.contains(&Effect::AskPermission(ask)));
    let expired = turn.step(Event::TimePassed, start + 10 * MINUTE);
    assert!(
        matches!(
            &expired[..2],
            [Effect::Withdraw(_), Effect::ReplyPermission { reply: PermissionReply::Reject { .. }, .. }]
        ),
        "{expired:?}"
    );
    let late = turn.step(
        Event::PermissionDecided { id: "per_1".into(), reply: PermissionReply::Once, by: "a person" },
        start + 11 * MINUTE,
    );
    assert!(!late.iter().any(|it| matches!(it, Effect::ReplyPermission { .. })), "{late:?}");
}

#[test]
fn idle_is_a_hint_while_the_prompt_is_open() {
    let start = Instant::now();
    let mut turn = Turn::new(plan(start), start);
    turn.step(Event::Began, start);
    for _ in 0..10 {
        turn.step(signal(Signal::Status(Status::Idle)), start);
        turn.step(poll(Status::Idle, Vec::new()), start);
        let effects = turn.step(poll(Status::Idle, vec![*message("msg_m", Some(Ending::Tools))]), start);
        assert_eq!(outcome_of(&effects), None);
    }
}

#[test]
fn an_answer_to_another_message_ends_nothing() {
    let start = Instant::now();
    let mut turn = Turn::new(plan(start), start);
    turn.step(Event::Began, start);
    let effects =
        turn.step(Event::PromptAnswered(Answer::Message(message("msg_other", Some(Ending::Final)))), start);
    assert!(matches!(effects[..], [Effect::Poll { .. }]), "{effects:?}");
}

#[test]
fn an_abort_that_came_before_the_prompt_is_repeated() {
    let start = Instant::now();
    let mut turn = Turn::new(plan(start), start);
    turn.step(Event::Began, start);
    assert!(turn.step(Event::Cancelled, start).contains(&Effect::Abort));
    turn.step(Event::AbortSent(Abort::Delivered), start);
    let effects = turn.step(poll(Status::Busy, Vec::new()), start);
    assert!(effects.contains(&Effect::Abort), "it is busy again: {effects:?}");
    let effects = turn.step(Event::TimePassed, start + Duration::from_secs(10));
    assert!(
        matches!(outcome_of(&effects), Some(TurnOutcome::Stopped { confirmed: false, .. })),
        "{effects:?}"
    );
    assert_eq!(turn.step(Event::TimePassed, start + MINUTE), Vec::new(), "over is over");
}

#[test]
fn work_that_was_done_before_the_stop_arrived_is_done() {
    let start = Instant::now();
    let mut turn = Turn::new(plan(start), start);
    turn.step(Event::Began, start);
    turn.step(Event::Cancelled, start);
    let effects =
        turn.step(Event::PromptAnswered(Answer::Message(message("msg_m", Some(Ending::Final)))), start);
    assert!(matches!(outcome_of(&effects), Some(TurnOutcome::Completed(_))), "{effects:?}");
}

fn not_there(reason: &str) -> Event {
    Event::PromptFailed { nothing_sent: true, reason: reason.into() }
}

fn empty(status: Status) -> Event {
    let Event::Polled(mut it) = poll(status, Vec::new()) else { unreachable!() };
    it.history.arrived = false;
    Event::Polled(it)
}

fn answered(status: u16, failure: Option<Failure>) -> Event {
    Event::PromptAnswered(Answer::Refused { status, failure })
}

#[test]
fn the_record_alone_shows_progress_only_when_it_changes() {
    for grows in [false, true] {
        let start = Instant::now();
        let mut turn = Turn::new(Plan { live: false, resume: true, ..plan(start) }, start);
        turn.step(Event::Began, start);
        let (mut now, mut size) = (start, 0);
        while now < start + 20 * MINUTE {
            size += usize::from(grows);
            let mut step = *message("msg_m", None);
            step.head.completed = false;
            step.size = size;
            turn.step(poll(Status::Busy, vec![step]), now);
            now = turn.next_wake().max(now);
            if turn.step(Event::TimePassed, now).contains(&Effect::Abort) {
                break;
            }
        }
        assert_eq!(now < start + 16 * MINUTE, !grows, "grows: {grows}, {:?}", now - start);
    }
}

#[test]
fn a_stop_is_not_confirmed_while_the_prompt_may_still_begin() {
    let start = Instant::now();
    let mut turn = Turn::new(plan(start), start);
    turn.step(Event::Began, start);
    turn.step(Event::Cancelled, start);
    turn.step(Event::AbortSent(Abort::Delivered), start);
    for _ in 0..10 {
        let effects = turn.step(empty(Status::Idle), start);
        assert_eq!(outcome_of(&effects), None);
        assert!(effects.contains(&Effect::Abort), "it goes on aborting: {effects:?}");
    }
    let effects = turn.step(Event::TimePassed, start + plan(start).timing.stop);
    assert!(
        matches!(outcome_of(&effects), Some(TurnOutcome::Stopped { confirmed: false, .. })),
        "{effects:?}"
    );
}

#[test]
fn the_next_wake_is_always_ahead() {
    let start = Instant::now();
    let opaque = Failure { kind: FailureKind::Opaque, reason: "?".into() };
    let mut turn = Turn::new(plan(start), start);
    turn.step(Event::Began, start);
    turn.step(answered(500, Some(opaque)), start);
    let mut now = start;
    for round in 0..200 {
        turn.step(poll(Status::Busy, Vec::new()), now);
        turn.step(Event::TimePassed, now);
        let next = turn.next_wake();
        assert!(next > now, "round {round} at {:?}", now - start);
        now = next;
    }
}

#[test]
fn a_last_word_is_none_while_the_session_works() {
    let start = Instant::now();
    let mut turn = Turn::new(Plan { resume: true, ..plan(start) }, start);
    turn.step(Event::Began, start);
    let last = || vec![*message("msg_m", Some(Ending::Final))];
    assert_eq!(outcome_of(&turn.step(poll(Status::Busy, last()), start)), None);
    let effects = turn.step(poll(Status::Idle, last()), start);
    assert!(matches!(outcome_of(&effects), Some(TurnOutcome::Completed(_))), "{effects:?}");
}

#[test]
fn a_last_word_is_none_while_the_daemon_added_a_message_without_an_answer() {
    let start = Instant::now();
    let mut turn = Turn::new(Plan { resume: true, ..plan(start) }, start);
    turn.step(Event::Began, start);
    let Event::Polled(mut seen) = poll(Status::Idle, vec![*message("msg_m", Some(Ending::Final))]) else {
        unreachable!()
    };
    seen.history.unanswered = true;
    assert_eq!(outcome_of(&turn.step(Event::Polled(seen), start)), None);
}

#[test]
fn what_may_have_arrived_is_not_said_to_have_never_begun() {
    let start = Instant::now();
    for (failed, unknown) in [
        (answered as fn(u16, Option<Failure>) -> Event, true),
        (|_, _| Event::PromptFailed { nothing_sent: false, reason: "cut".into() }, true),
        (|_, _| not_there("refused"), false),
    ] {
        let mut turn = Turn::new(plan(start), start);
        let mut effects = turn.step(Event::Began, start);
        for _ in 0..MAX_SENDS {
            assert!(effects.contains(&Effect::SendPrompt), "{effects:?}");
            turn.step(failed(502, None), start);
            effects = turn.step(empty(Status::Idle), start);
        }
        match outcome_of(&effects) {
            Some(TurnOutcome::Unknown { .. }) if unknown => {}
            Some(TurnOutcome::NotStarted(NotStarted::Unavailable(_))) if !unknown => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_daemon_that_was_never_reached_has_nothing_and_is_not_aborted() {
    let start = Instant::now();
    for cancelled in [false, true] {
        let mut turn = Turn::new(plan(start), start);
        turn.step(Event::Began, start);
        turn.step(not_there("refused"), start);
        let effects = if cancelled {
            turn.step(Event::Cancelled, start)
        } else {
            let gone =
                || Event::PollFailed { unauthorized: false, answered: false, reason: "refused".into() };
            turn.step(gone(), start);
            turn.step(gone(), start + MINUTE)
        };
        match outcome_of(&effects) {
            Some(TurnOutcome::Stopped { began: false, confirmed: true, .. }) if cancelled => {}
            Some(TurnOutcome::NotStarted(NotStarted::Unavailable(_))) if !cancelled => {}
            other => panic!("{other:?}"),
        }
    }
}

fn permission(id: &str) -> PermissionAsk {
    PermissionAsk {
        id: id.into(),
        session_id: "ses_a".into(),
        permission: "bash".into(),
        patterns: vec!["ls".into()],
        metadata: serde_json::Value::Null,
        call: None,
    }
}

#[test]
fn a_reply_that_the_daemon_keeps_refusing_is_no_progress_and_is_not_sent_for_ever() {
    let start = Instant::now();
    let mut turn = Turn::new(Plan { asks: AskPolicy::Reject, no_progress: MINUTE, ..plan(start) }, start);
    turn.step(Event::Began, start);
    let (mut sent, mut now) = (0, start);
    let mut effects = turn.step(signal(Signal::PermissionAsked(permission("per_1"))), now);
    while !effects.contains(&Effect::Abort) {
        assert!(now < start + 2 * MINUTE, "refusals are no progress");
        if effects.iter().any(|it| matches!(it, Effect::ReplyPermission { .. })) {
            sent += 1;
            turn.step(Event::ReplySent { id: "per_1".into(), outcome: ReplyOutcome::Refused }, now);
        }
        let Event::Polled(mut seen) = poll(Status::Busy, Vec::new()) else { unreachable!() };
        seen.permissions = vec![permission("per_1")];
        now += Duration::from_secs(1);
        turn.step(Event::EventsLost, now);
        effects = turn.step(Event::Polled(seen), now);
        effects.extend(turn.step(Event::TimePassed, now));
    }
    assert!((2..10).contains(&sent), "sent {sent} times");
}

#[test]
fn an_ask_that_cannot_be_read_is_rejected_when_it_is_ours() {
    let start = Instant::now();
    let mut turn = Turn::new(plan(start), start);
    turn.step(Event::Began, start);
    let Event::Polled(mut seen) = poll(Status::Busy, Vec::new()) else { unreachable!() };
    let unparseable = |id: &str, session: &str| UnparseableAsk { id: id.into(), session: session.into() };
    seen.unparseable_permissions = vec![unparseable("per_1", "ses_a"), unparseable("per_2", "ses_other")];
    seen.unparseable_questions = vec![unparseable("que_1", "ses_a")];
    let effects = turn.step(Event::Polled(seen), start);
    let replied: Vec<&str> = effects
        .iter()
        .filter_map(|it| match it {
            Effect::ReplyPermission { ask, reply: PermissionReply::Reject { .. } }
            | Effect::ReplyQuestion { ask, reply: QuestionReply::Reject } => Some(ask.id.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(replied, ["per_1", "que_1"]);
}

#[test]
fn a_provider_that_recovered_is_not_blamed_later() {
    let start = Instant::now();
    let mut turn = Turn::new(plan(start), start);
    turn.step(Event::Began, start);
    let retry = Status::Retry { attempt: 1, reason: "boom".into(), next_at_ms: None };
    turn.step(signal(Signal::Status(retry)), start);
    turn.step(signal(Signal::Activity), start);
    turn.step(Event::Cancelled, start);
    let effects = turn.step(Event::TimePassed, start + MINUTE);
    assert!(matches!(outcome_of(&effects), Some(TurnOutcome::Stopped { note: None, .. })), "{effects:?}");
}

/// A turn whose prompt was taken.
fn admitted(start: Instant) -> Turn {
    let mut turn = Turn::new(Plan { queued: true, ..plan(start) }, start);
    turn.step(Event::Began, start);
    turn.step(Event::PromptAnswered(Answer::Admitted), start);
    turn
}

/// What a poll finds where the record tells of ends.
fn record(status: Status, steps: Vec<Message>, change: impl FnOnce(&mut History)) -> Event {
    let Event::Polled(mut seen) = poll(status, steps) else { unreachable!() };
    seen.history.end = End::Open;
    change(&mut seen.history);
    Event::Polled(seen)
}

#[test]
fn the_end_that_the_record_tells_is_the_turns() {
    let start = Instant::now();
    let last = || vec![*message("msg_m", Some(Ending::Final))];
    for (outcome, steps, status) in [
        (Outcome::Succeeded, last(), Status::Busy),
        (Outcome::Failed, Vec::new(), Status::Busy),
        (Outcome::Interrupted, last(), Status::Idle),
    ] {
        let effects = admitted(start).step(record(status, steps, |it| it.end = End::Told(outcome)), start);
        match (outcome, outcome_of(&effects)) {
            (Outcome::Succeeded, Some(TurnOutcome::Completed(_)))
            | (Outcome::Interrupted, Some(TurnOutcome::Stopped { cause: StopCause::AbortedElsewhere, .. })) =>
                {}
            (Outcome::Failed, Some(TurnOutcome::Failed(it))) if it.reason.contains("did not record why") => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_interrupted_turn_is_over_when_its_session_is_idle() {
    let start = Instant::now();
    let mut turn = admitted(start);
    let told = |status| record(status, Vec::new(), |it| it.end = End::Told(Outcome::Interrupted));
    assert_eq!(outcome_of(&turn.step(told(Status::Busy), start)), None);
    assert!(outcome_of(&turn.step(told(Status::Idle), start)).is_some());
    let mut turn = admitted(start);
    let next = record(Status::Busy, Vec::new(), |it| {
        it.end = End::Told(Outcome::Interrupted);
        it.followed = true;
    });
    let effects = turn.step(next, start);
    assert!(outcome_of(&effects).is_some(), "it works at what somebody else sent: {effects:?}");
}

#[test]
fn a_rejection_elsewhere_ends_the_turn_even_after_one_from_here() {
    for (heard, expected) in [(true, true), (false, false)] {
        let start = Instant::now();
        let mut turn = admitted(start);
        turn.step(signal(Signal::Taken("msg_m".into())), start);
        turn.asks.unparseable_permission(
            &UnparseableAsk { id: "per_1".into(), session: "ses_a".into() },
            start,
            &mut Vec::new(),
        );
        if heard {
            turn.step(signal(Signal::Shut), start);
        }
        let left = || {
            let refused = Message { refused: true, ..*message("msg_m", Some(Ending::Tools)) };
            record(Status::Idle, vec![refused], |_| {})
        };
        let mut effects = idle_polls(&mut turn, start, left);
        assert_eq!(outcome_of(&effects).is_some(), heard, "{effects:?}");
        effects.extend(idle_polls(&mut turn, start + MINUTE, left));
        let ended = matches!(outcome_of(&effects), Some(TurnOutcome::EndedEarly { .. }));
        assert_eq!(ended, expected, "{effects:?}");
    }
}

#[test]
fn a_prompt_that_was_refused_and_is_there_for_all_that_was_taken() {
    let start = Instant::now();
    let failure = || Failure { kind: FailureKind::Other, reason: "boom".into() };
    let refused = || {
        let mut turn = Turn::new(plan(start), start);
        turn.step(Event::Began, start);
        turn.step(Event::PromptAnswered(Answer::Refused { status: 500, failure: Some(failure()) }), start);
        turn
    };
    for inbox in [Inbox { ours: true, any: true }, Inbox::default()] {
        let mut turn = refused();
        let seen = || record(Status::Idle, Vec::new(), |it| it.inbox = inbox);
        assert_eq!(outcome_of(&turn.step(seen(), start)), None);
        let told = record(Status::Idle, vec![*message("msg_m", Some(Ending::Final))], |it| {
            it.end = End::Told(Outcome::Succeeded);
        });
        assert!(matches!(outcome_of(&turn.step(told, start)), Some(TurnOutcome::Completed(_))), "{inbox:?}");
    }
    let absent = || record(Status::Idle, Vec::new(), |it| it.arrived = false);
    let mut turn = refused();
    assert_eq!(outcome_of(&turn.step(absent(), start)), None, "it may be on its way from there to here");
    let effects = idle_polls(&mut turn, start, absent);
    assert_eq!(outcome_of(&effects), Some(&TurnOutcome::NotStarted(NotStarted::Refused(failure()))));
}

#[test]
fn a_stop_that_took_the_prompt_back_is_confirmed_unless_it_is_being_sent_again() {
    let start = Instant::now();
    let mut turn = admitted(start);
    turn.step(Event::Cancelled, start);
    let effects = turn.step(Event::AbortSent(Abort::TakenBack), start);
    assert!(
        matches!(outcome_of(&effects), Some(TurnOutcome::Stopped { confirmed: true, .. })),
        "{effects:?}"
    );
    let mut turn = admitted(start);
    let parked = || record(Status::Idle, Vec::new(), |it| it.inbox = Inbox { ours: true, any: true });
    assert_eq!(idle_polls(&mut turn, start, parked), [Effect::SendPrompt]);
    turn.step(Event::Cancelled, start);
    assert_eq!(outcome_of(&turn.step(Event::AbortSent(Abort::TakenBack), start)), None);
}

#[test]
fn a_lost_prompt_that_does_not_begin_is_taken_back_in_the_end() {
    let start = Instant::now();
    let mut turn = Turn::new(Plan { resume: true, ..plan(start) }, start);
    turn.step(Event::Began, start);
    let parked = || record(Status::Idle, Vec::new(), |it| it.inbox = Inbox { ours: true, any: true });
    for _ in 0..MAX_SENDS {
        assert_eq!(idle_polls(&mut turn, start, parked), [Effect::SendPrompt]);
        turn.step(Event::PromptFailed { nothing_sent: false, reason: "cut".into() }, start);
    }
    assert_eq!(idle_polls(&mut turn, start, parked), []);
    assert!(idle_polls(&mut turn, start + 2 * MINUTE, parked).contains(&Effect::Abort));
}

#[test]
fn a_last_word_without_a_told_end_is_looked_at_twice_and_more_often_while_work_waits() {
    let start = Instant::now();
    let seen = |any| {
        let inbox = Inbox { ours: false, any };
        record(Status::Idle, vec![*message("msg_m", Some(Ending::Final))], |it| it.inbox = inbox)
    };
    for polls in [[false, false].as_slice(), &[false, true, true]] {
        let mut turn = admitted(start);
        let (last, before) = polls.split_last().unwrap();
        for any in before {
            assert_eq!(outcome_of(&turn.step(seen(*any), start)), None);
        }
        let effects = turn.step(seen(*last), start);
        assert!(matches!(outcome_of(&effects), Some(TurnOutcome::Completed(_))), "{polls:?}: {effects:?}");
    }
}

#[test]
fn the_reason_of_a_failure_without_a_step_comes_from_its_event_or_from_the_log() {
    let start = Instant::now();
    let failure = |reason: &str| Failure { kind: FailureKind::Other, reason: reason.into() };
    let told = |log: Option<Failure>| {
        record(Status::Idle, Vec::new(), |it| {
            it.end = End::Told(Outcome::Failed);
            it.reason = log;
        })
    };
    let mut turn = admitted(start);
    turn.step(signal(Signal::Taken("msg_m".into())), start);
    turn.step(signal(Signal::Ended(Some(failure("event")))), start);
    assert_eq!(outcome_of(&turn.step(told(None), start)), Some(&TurnOutcome::Failed(failure("event"))));

    let mut turn = admitted(start);
    turn.step(signal(Signal::Ended(Some(failure("of an earlier turn")))), start);
    assert_eq!(
        outcome_of(&turn.step(told(Some(failure("log"))), start)),
        Some(&TurnOutcome::Failed(failure("log")))
    );
}

/// Idle polls until the turn does something.
fn idle_polls(turn: &mut Turn, now: Instant, seen: impl Fn() -> Event) -> Vec<Effect> {
    for _ in 0..20 {
        let effects = turn.step(seen(), now);
        if effects.iter().any(|effect| !matches!(effect, Effect::Poll { .. })) {
            return effects;
        }
    }
    Vec::new()
}

#[test]
fn a_prompt_that_was_taken_and_does_not_begin_is_sent_again_and_at_last_taken_back() {
    let start = Instant::now();
    let mut turn = admitted(start);
    let parked = || record(Status::Idle, Vec::new(), |it| it.inbox = Inbox { ours: true, any: true });
    for _ in 1..MAX_SENDS {
        assert_eq!(idle_polls(&mut turn, start, parked), [Effect::SendPrompt]);
        turn.step(Event::PromptAnswered(Answer::Admitted), start);
    }
    assert_eq!(idle_polls(&mut turn, start, parked), []);
    let late = start + 2 * MINUTE;
    assert!(idle_polls(&mut turn, late, parked).contains(&Effect::Abort));
    turn.step(Event::AbortSent(Abort::Delivered), late);
    assert_eq!(outcome_of(&turn.step(parked(), late)), None, "it is still there");
    let gone = || record(Status::Idle, Vec::new(), |it| it.arrived = false);
    let effects = idle_polls(&mut turn, late, gone);
    assert!(
        matches!(outcome_of(&effects), Some(TurnOutcome::Stopped { confirmed: true, .. })),
        "{effects:?}"
    );
}

#[test]
fn a_prompt_that_was_begun_and_left_is_waited_for_and_not_sent_again() {
    let start = Instant::now();
    let half = || {
        let mut step = message("msg_m", None);
        step.head.completed = false;
        *step
    };
    let fresh = admitted as fn(Instant) -> Turn;
    let resumed = |start| Turn::new(Plan { resume: true, queued: true, ..plan(start) }, start);
    for turn in [fresh, resumed] {
        for steps in [vec![], vec![half()]] {
            let left = || record(Status::Idle, steps.clone(), |_| {});
            let mut turn = turn(start);
            assert_eq!(idle_polls(&mut turn, start, left), [], "a daemon started anew may take it up");
            turn.step(record(Status::Busy, steps.clone(), |_| {}), start + MINUTE);
            assert_eq!(idle_polls(&mut turn, start + MINUTE, left), [], "it did, and stopped again");
            let effects = idle_polls(&mut turn, start + 2 * MINUTE, left);
            assert!(
                matches!(outcome_of(&effects), Some(TurnOutcome::Failed(it)) if it.reason.contains("restarted")),
                "{effects:?}"
            );
        }
    }
}

#[test]
fn a_prompt_that_is_taken_after_the_stop_is_stopped_again() {
    let start = Instant::now();
    let mut turn = Turn::new(plan(start), start);
    turn.step(Event::Began, start);
    turn.step(Event::Cancelled, start);
    turn.step(Event::AbortSent(Abort::Delivered), start);
    let effects = turn.step(Event::PromptAnswered(Answer::Admitted), start);
    assert!(effects.contains(&Effect::Abort), "{effects:?}");
}

#[test]
fn steps_that_do_not_say_whose_they_are_belong_to_what_the_session_began_with() {
    let start = Instant::now();
    let mut turn = admitted(start);
    let step = || Signal::Step(Head { parent: None, ..message("msg_m", None).head });
    turn.step(signal(step()), start);
    assert!(turn.steps().is_empty());
    turn.step(signal(Signal::Taken("msg_other".into())), start);
    turn.step(signal(step()), start);
    assert!(turn.steps().is_empty());
    turn.step(signal(Signal::Taken("msg_m".into())), start);
    turn.step(signal(step()), start);
    assert_eq!(turn.steps().len(), 1);
}

#[test]
fn a_tool_that_is_told_in_pieces_starts_once_with_its_name_and_title() {
    let start = Instant::now();
    let mut turn = admitted(start);
    let piece = |tool: Option<&str>, title: Option<&str>, state| {
        signal(Signal::Tool(ToolSignal {
            call: "c".into(),
            tool: tool.map(Into::into),
            title: title.map(Into::into),
            state,
        }))
    };
    turn.step(signal(Signal::Taken("msg_m".into())), start);
    turn.step(piece(Some("shell"), None, ToolState::Pending), start);
    let started = turn.step(piece(None, Some("ls"), ToolState::Running), start);
    let (call_id, tool, title) = ("c".to_owned(), "shell".to_owned(), "ls".to_owned());
    let progress = Progress::ToolStarted { call_id, tool, title };
    assert!(started.contains(&Effect::Report(progress)), "{started:?}");
    let finished = turn.step(piece(None, None, ToolState::Completed), start);
    assert!(
        finished
            .iter()
            .any(|it| matches!(it, Effect::Report(Progress::ToolFinished { title, .. }) if title == "ls")),
        "{finished:?}"
    );
}

#[test]
fn each_wait_for_the_provider_is_told_and_none_of_them_twice() {
    let start = Instant::now();
    let mut turn = Turn::new(plan(start), start);
    turn.step(Event::Began, start);
    let wait = |attempt, next_at_ms| {
        signal(Signal::Status(Status::Retry { attempt, reason: "quota".into(), next_at_ms }))
    };
    let mut told = |event| {
        let effects = turn.step(event, start);
        effects.iter().filter(|it| matches!(it, Effect::Report(Progress::Retry { .. }))).count()
    };
    assert_eq!(
        [told(wait(1, None)), told(wait(1, None)), told(wait(2, None)), told(wait(2, Some(9)))],
        [1, 0, 1, 1]
    );
    // Attempts are counted anew once the provider answered.
    assert_eq!([told(signal(tool())), told(wait(1, None))], [0, 1]);
    assert_eq!([told(signal(tool())), told(wait(1, None))], [0, 1]);
}

/// A tool that begins.
fn tool() -> Signal {
    let (call, tool, title) = ("c".to_owned(), Some("bash".to_owned()), Some("ls".to_owned()));
    Signal::Tool(ToolSignal { call, tool, title, state: ToolState::Running })
}

fn child_of(parent: &str) -> Signal {
    Signal::Created { session: "ses_c".into(), parent: Some(parent.into()), title: String::new() }
}

#[test]
fn what_the_session_does_for_somebody_else_is_not_the_turns() {
    let start = Instant::now();
    let mut turn = admitted(start);
    let retry = || Status::Retry { attempt: 1, reason: "boom".into(), next_at_ms: None };
    let theirs =
        || [Signal::PermissionAsked(permission("per_1")), tool(), child_of("ses_a"), Signal::Status(retry())];
    let pending = |status: Status, change: fn(&mut History)| {
        let Event::Polled(mut seen) = record(status, Vec::new(), change) else { unreachable!() };
        seen.permissions = vec![permission("per_1")];
        seen.unparseable_questions = vec![UnparseableAsk { id: "que_1".into(), session: "ses_a".into() }];
        seen.children = vec!["ses_c".into()];
        Event::Polled(seen)
    };
    for later in [start, start + 8 * MINUTE] {
        for it in theirs() {
            let effects = turn.step(signal(it), later);
            assert!(effects.iter().all(|it| matches!(it, Effect::Poll { .. })), "{effects:?}");
        }
        let waits = pending(Status::Busy, |it| it.arrived = false);
        assert!(turn.step(waits, later).iter().all(|it| matches!(it, Effect::Poll { .. })));
    }
    let tired = turn.step(Event::TimePassed, start + 15 * MINUTE);
    assert!(tired.contains(&Effect::Abort), "their work is no progress of ours: {tired:?}");

    let mut turn = admitted(start);
    turn.step(signal(Signal::Taken("msg_m".into())), start);
    for it in theirs() {
        assert_ne!(turn.step(signal(it), start), []);
    }
    // It begins while a poll is under way that saw the one before it.
    let mut turn = admitted(start);
    turn.step(signal(Signal::Status(Status::Busy)), start);
    turn.step(signal(Signal::Taken("msg_m".into())), start);
    let asked = Effect::AskPermission(permission("per_1"));
    let effects = turn.step(pending(Status::Busy, |it| it.arrived = false), start);
    assert!(!effects.contains(&asked), "what that saw was asked by the one before: {effects:?}");

    let mut turn = Turn::new(Plan { resume: true, queued: true, ..plan(start) }, start);
    turn.step(Event::Began, start);
    let effects = turn.step(pending(Status::Busy, |_| {}), start);
    assert!(effects.contains(&asked), "the record has the prompt, so it has begun: {effects:?}");
    assert!(effects.contains(&Effect::Follow("ses_c".into())), "{effects:?}");
}

#[test]
fn an_ask_whose_beginning_was_not_heard_is_looked_for() {
    let start = Instant::now();
    let mut turn = admitted(start);
    turn.step(signal(Signal::PermissionAsked(permission("per_1"))), start);
    let soon = turn.step(Event::TimePassed, start + Duration::from_secs(1));
    assert!(matches!(soon[..], [Effect::Poll { .. }]), "{soon:?}");
}

#[test]
fn what_a_look_did_not_read_is_not_gone() {
    let start = Instant::now();
    for whole in [false, true] {
        let mut turn = Turn::new(plan(start), start);
        turn.step(Event::Began, start);
        turn.step(signal(Signal::PermissionAsked(permission("per_1"))), start);
        turn.step(Event::EventsLost, start);
        let Event::Polled(mut seen) = poll(Status::Busy, Vec::new()) else { unreachable!() };
        seen.whole = whole;
        let effects = turn.step(Event::Polled(seen), start);
        assert_eq!(effects.contains(&Effect::Withdraw("per_1".into())), whole, "{effects:?}");
    }
}

#[test]
fn a_turn_that_cannot_be_watched_any_more_is_ended_unless_its_daemon_is_gone() {
    let start = Instant::now();
    for answered in [true, false] {
        let mut turn = admitted(start);
        let failed = || Event::PollFailed { unauthorized: false, answered, reason: "boom".into() };
        assert_eq!(outcome_of(&turn.step(failed(), start)), None);
        let effects = turn.step(failed(), start + MINUTE);
        assert!(matches!(outcome_of(&effects), Some(TurnOutcome::Unknown { .. })), "{effects:?}");
        assert_eq!(effects.contains(&Effect::Abort), answered, "{effects:?}");
    }
}

#[test]
fn a_stop_that_did_not_arrive_is_sent_again_even_if_nothing_can_be_read() {
    let start = Instant::now();
    let mut turn = admitted(start);
    turn.step(Event::Cancelled, start);
    turn.step(Event::AbortSent(Abort::Failed), start);
    let failed = || Event::PollFailed { unauthorized: false, answered: true, reason: "boom".into() };
    assert!(turn.step(failed(), start).contains(&Effect::Abort));
    turn.step(Event::AbortSent(Abort::Delivered), start);
    assert!(!turn.step(failed(), start).contains(&Effect::Abort));
}

fn unknown_agent() -> Failure {
    Failure { kind: FailureKind::Other, reason: "Agent not found".into() }
}

#[test]
fn a_session_that_fails_with_the_prompt_in_its_inbox_fails_the_turn_and_gives_the_prompt_back() {
    let start = Instant::now();
    let waits = |it: &mut History| it.inbox = Inbox { ours: true, any: true };
    // By the event at once, and by the row alone after some polls.
    let told = || {
        let mut turn = admitted(start);
        turn.step(signal(Signal::Ended(Some(unknown_agent()))), start);
        let effects = turn.step(record(Status::Idle, Vec::new(), waits), start);
        (turn, effects)
    };
    let recorded = |reason: Option<Failure>| {
        let mut turn = admitted(start);
        let seen = || {
            record(Status::Idle, Vec::new(), |it| {
                waits(it);
                it.failed_before = true;
                it.reason.clone_from(&reason);
            })
        };
        let effects = idle_polls(&mut turn, start, seen);
        (turn, effects)
    };
    for ((mut turn, effects), reason) in [
        (told(), "Agent not found"),
        (recorded(Some(unknown_agent())), "Agent not found"),
        (recorded(None), "did not record why"),
    ] {
        assert!(effects.contains(&Effect::Abort) && outcome_of(&effects).is_none(), "{effects:?}");
        let lost = turn.step(Event::AbortSent(Abort::Failed), start);
        assert_eq!(outcome_of(&lost), None, "it is tried again");
        let effects = turn.step(Event::AbortSent(Abort::TakenBack), start);
        let Some(TurnOutcome::NotStarted(NotStarted::Refused(failure))) = outcome_of(&effects) else {
            panic!("{effects:?}")
        };
        assert!(failure.reason.contains(reason), "{failure:?}");
    }
    let (mut turn, _) = told();
    let late = start + Timing::default().stop;
    assert!(matches!(outcome_of(&turn.step(Event::TimePassed, late)), Some(TurnOutcome::Failed(_))));
}

#[test]
fn a_failure_before_the_session_goes_on_is_not_the_turns() {
    let start = Instant::now();
    for on in [Signal::Status(Status::Busy), Signal::Taken("msg_m".into())] {
        let mut turn = admitted(start);
        turn.step(signal(Signal::Ended(Some(unknown_agent()))), start);
        turn.step(signal(on), start);
        let waits = record(Status::Idle, Vec::new(), |it| it.inbox = Inbox { ours: true, any: true });
        assert!(!turn.step(waits, start).contains(&Effect::Abort));
    }
}

#[test]
fn what_cut_a_turn_off_is_told_as_what_it_was() {
    let start = Instant::now();
    let aborted = Failure { kind: FailureKind::Aborted, reason: "aborted: Step interrupted".into() };
    let cut_off = |refused| {
        let mut last = *message("msg_m", Some(Ending::Tools));
        last.head.failure = Some(aborted.clone());
        last.refused = refused;
        move || record(Status::Idle, vec![last.clone()], |_| {})
    };
    let early = |effects: &[Effect]| match outcome_of(effects) {
        Some(TurnOutcome::EndedEarly { why, .. }) => Some(*why),
        _ => None,
    };
    let mut turn = admitted(start);
    turn.step(signal(Signal::Taken("msg_m".into())), start);
    turn.step(signal(Signal::PermissionAsked(permission("per_1"))), start);
    let reply = PermissionReply::Reject { message: "no".into() };
    turn.step(Event::PermissionDecided { id: "per_1".into(), reply, by: "a person" }, start);
    assert_eq!(early(&idle_polls(&mut turn, start, cut_off(true))), Some(Early::Refused));

    let mut turn = admitted(start);
    let ask = QuestionAsk { id: "frm_1".into(), session_id: "ses_a".into(), questions: Vec::new() };
    turn.step(signal(Signal::Taken("msg_m".into())), start);
    turn.step(signal(Signal::QuestionAsked(ask)), start);
    turn.step(Event::QuestionDecided { id: "frm_1".into(), reply: QuestionReply::Reject }, start);
    assert_eq!(early(&idle_polls(&mut turn, start, cut_off(true))), Some(Early::Declined));

    let mut turn = admitted(start);
    let elsewhere = idle_polls(&mut turn, start, cut_off(true));
    assert_eq!(early(&elsewhere), Some(Early::Refused), "somebody else refused it");

    let mut turn = admitted(start);
    assert_eq!(outcome_of(&idle_polls(&mut turn, start, cut_off(false))), None, "it may be taken up again");
    let lost = idle_polls(&mut turn, start + MINUTE, cut_off(false));
    assert!(
        matches!(outcome_of(&lost), Some(TurnOutcome::Failed(it)) if it.reason.contains("restarted")),
        "{lost:?}"
    );
}

#[test]
fn a_prompt_that_is_answered_with_an_error_and_no_words_has_not_started_when_nothing_of_it_is_there() {
    let start = Instant::now();
    for (queued, status, unexplained) in [(true, 500, true), (true, 502, false), (false, 500, false)] {
        let mut turn = Turn::new(Plan { queued, ..plan(start) }, start);
        turn.step(Event::Began, start);
        turn.step(Event::PromptAnswered(Answer::Refused { status, failure: None }), start);
        let absent = || record(Status::Idle, Vec::new(), |it| it.arrived = false);
        let effects = idle_polls(&mut turn, start, absent);
        let expected = TurnOutcome::NotStarted(NotStarted::Unexplained(500));
        assert_eq!(outcome_of(&effects) == Some(&expected), unexplained, "{queued} {status}: {effects:?}");
    }
}
