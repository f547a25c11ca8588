use super::*;
use crate::output::Tokens;

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
    }
}

fn message(parent: &str, ending: Option<Ending>) -> Box<Message> {
    let head = Head {
        id: "msg_n".into(),
        parent: Some(parent.into()),
        completed: true,
        ending,
        failure: None,
        cost: 0.0,
        tokens: Tokens::default(),
    };
    let raw = serde_json::json!({});
    Box::new(Message { head, text: "done".into(), touched: Vec::new(), refused: false, raw })
}

fn look(status: Status, steps: Vec<Message>) -> Event {
    let history = History { arrived: true, complete: true, steps, ..History::default() };
    Event::Looked(Box::new(Look {
        status,
        history,
        permissions: Vec::new(),
        questions: Vec::new(),
        children: Vec::new(),
    }))
}

fn signal(signal: Signal) -> Event {
    Event::Signalled { session: "ses_a".into(), signal }
}

fn verdict(effects: &[Effect]) -> Option<&Verdict> {
    effects.iter().find_map(|effect| match effect {
        Effect::Finish(verdict) => Some(verdict.as_ref()),
        _ => None,
    })
}

/// Lets time pass as the driver does, each look finding the session busy, until
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
        let looks = |effect: &Effect| matches!(effect, Effect::Look { .. });
        if now >= until || effects.iter().any(|effect| !looks(effect)) {
            return (now, effects);
        }
        if effects.iter().any(looks) {
            let more = turn.step(look(Status::Busy, Vec::new()), now);
            assert_eq!(verdict(&more), None);
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
    assert!(effects.iter().all(|it| matches!(it, Effect::Look { .. })), "{effects:?}");
    let effects =
        turn.step(Event::PromptAnswered(Answer::Message(message("msg_m", Some(Ending::Final)))), now);
    assert!(matches!(verdict(&effects), Some(Verdict::Completed(_))), "{effects:?}");
}

#[test]
fn an_hour_of_heartbeats_and_retries_is_no_progress() {
    let start = Instant::now();
    let mut turn = Turn::new(plan(start), start);
    turn.step(Event::Began, start);
    let mut attempt = 0;
    let (now, effects) = idle_away(&mut turn, start, start + 60 * MINUTE, |turn, now| {
        // Heartbeats reach no turn; the daemon's retries do.
        attempt += 1;
        let retry = Status::Retry { attempt, reason: "boom".into(), next_at_ms: None };
        let mut effects = turn.step(signal(Signal::Status(retry)), now);
        effects.extend(turn.step(signal(Signal::Status(Status::Busy)), now));
        effects.retain(|it| !matches!(it, Effect::Report(_)));
        effects
    });
    assert_eq!(now, start + 15 * MINUTE);
    assert!(effects.contains(&Effect::Abort), "{effects:?}");
    turn.step(Event::AbortSent { delivered: true }, now);
    let effects = turn.step(look(Status::Idle, vec![*message("msg_m", None)]), now);
    let Some(Verdict::Stopped { cause: StopCause::NoProgress, confirmed: true, note, .. }) =
        verdict(&effects)
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
        Event::PermissionDecided { id: "per_1".into(), reply: PermissionReply::Once },
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
        turn.step(look(Status::Idle, Vec::new()), start);
        let effects = turn.step(look(Status::Idle, vec![*message("msg_m", Some(Ending::Tools))]), start);
        assert_eq!(verdict(&effects), None);
    }
}

#[test]
fn an_answer_to_another_message_ends_nothing() {
    let start = Instant::now();
    let mut turn = Turn::new(plan(start), start);
    turn.step(Event::Began, start);
    let effects =
        turn.step(Event::PromptAnswered(Answer::Message(message("msg_other", Some(Ending::Final)))), start);
    assert!(matches!(effects[..], [Effect::Look { .. }]), "{effects:?}");
}

#[test]
fn an_abort_that_came_before_the_prompt_is_repeated() {
    let start = Instant::now();
    let mut turn = Turn::new(plan(start), start);
    turn.step(Event::Began, start);
    assert!(turn.step(Event::Cancelled, start).contains(&Effect::Abort));
    turn.step(Event::AbortSent { delivered: true }, start);
    let effects = turn.step(look(Status::Busy, Vec::new()), start);
    assert!(effects.contains(&Effect::Abort), "it is busy again: {effects:?}");
    let effects = turn.step(Event::TimePassed, start + Duration::from_secs(10));
    assert!(matches!(verdict(&effects), Some(Verdict::Stopped { confirmed: false, .. })), "{effects:?}");
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
    assert!(matches!(verdict(&effects), Some(Verdict::Completed(_))), "{effects:?}");
}
