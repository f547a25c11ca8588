//! The gate's decisions under any interleaving: taps by several people, expiries, clocks that jump,
//! restarts, edits of rules and configuration, cancellations and revocations.
//!
//! The model keeps its own books of what was shown to whom and who said yes. It does not decide what
//! must happen; it checks what must never.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use connector_contract::{Checkpoint, Target};
use connector_engine::cancel_run;
use connector_gate::clock::Clock;
use connector_gate::decision::{Decision, Tap, Tapped};
use connector_gate::ids::{RunId, StepId};
use connector_gate::people::People;
use connector_gate::policy::{Actor, GateConfig, Policy, PolicyRule, Terms};
use connector_gate::state::{Move, StepState};
use connector_ledger::audience::{self, Member};
use connector_ledger::audit::{self, Verdict};
use connector_ledger::events::{self, NewEvent};
use connector_ledger::outbox::{self, OutboxRow, Parcel};
use connector_ledger::steps::decide::decide;
use connector_ledger::steps::enter::enter;
use connector_ledger::steps::release::{InForce, Released, ask_under, release};
use connector_ledger::steps::{self, Change, NewStep, PassedBy, StepRow, allow};
use connector_ledger::{Ledger, Tx, keep, runs};
use proptest::prelude::*;
use serde_json::json;

const PEOPLE: [&str; 4] = ["screen:anna", "screen:ben", "screen:cleo", "screen:mallory"];
const RULE: &str = "v1";

/// Where a tap comes from: no chat, where it was asked, a chat that follows some runs, and one that follows none.
const CHATS: [Option<&str>; 4] = [None, Some("main"), Some("side"), Some("elsewhere")];

/// Whose accounts there may be: each number is the person of the account at its place, 9 is nobody's.
const PERSONS: [[u8; 4]; 4] = [[9, 9, 9, 9], [1, 9, 1, 9], [9, 2, 2, 9], [1, 1, 2, 2]];

/// Something that happens. Numbers choose among what is there.
#[derive(Debug, Clone)]
enum Op {
    Request { prompt: u8, requester: usize, session: Option<u8> },
    Deliver,
    Tap { step: usize, who: usize, place: usize, decision: Decision, digest: Named },
    Sweep,
    Clock(i64),
    Restart,
    Rule(Option<u8>),
    Target(u8),
    Terms { approvers: u8, needed: u32, other: bool },
    People(usize),
    Policy(Policy),
    Release { step: usize },
    End { step: usize, made: Move },
    Cancel { step: usize },
    Revoke { id: i64 },
}

/// Which digest a tap names.
#[derive(Debug, Clone, Copy)]
enum Named {
    InForce,
    Short,
    First,
    Another,
    TooShort,
}

fn op() -> impl Strategy<Value = Op> {
    let decision = prop_oneof![4 => Just(Decision::Approve), 2 => Just(Decision::AllowSession), 1 => Just(Decision::Deny)];
    let named = prop_oneof![
        6 => Just(Named::InForce), 2 => Just(Named::Short), 2 => Just(Named::First),
        1 => Just(Named::Another), 1 => Just(Named::TooShort)
    ];
    let end = prop_oneof![Just(Move::Succeed), Just(Move::Fail), Just(Move::LoseTrack), Just(Move::Cancel)];
    let policy = prop_oneof![5 => Just(Policy::Ask), 1 => Just(Policy::Allow), 1 => Just(Policy::Deny)];
    prop_oneof![
        5 => (0..3_u8, 0..3_usize, proptest::option::of(0..3_u8))
            .prop_map(|(prompt, requester, session)| Op::Request { prompt, requester, session }),
        5 => Just(Op::Deliver),
        14 => (0..8_usize, 0..4_usize, 0..CHATS.len(), decision, named)
            .prop_map(|(step, who, place, decision, digest)| Op::Tap { step, who, place, decision, digest }),
        2 => Just(Op::Sweep),
        2 => prop_oneof![Just(1_000), Just(500_000), Just(-700_000), Just(-1)].prop_map(Op::Clock),
        1 => Just(Op::Restart),
        1 => proptest::option::of(1..3_u8).prop_map(Op::Rule),
        1 => (0..2_u8).prop_map(Op::Target),
        2 => (0..8_u8, 0..3_u32, any::<bool>())
            .prop_map(|(approvers, needed, other)| Op::Terms { approvers, needed, other }),
        1 => (0..PERSONS.len()).prop_map(Op::People),
        1 => policy.prop_map(Op::Policy),
        8 => (0..8_usize).prop_map(|step| Op::Release { step }),
        3 => (0..8_usize, end).prop_map(|(step, made)| Op::End { step, made }),
        1 => (0..8_usize).prop_map(|step| Op::Cancel { step }),
        1 => (1..4_i64).prop_map(|id| Op::Revoke { id }),
    ]
}

/// Whether another chat than the one that asked is told of a run when it is made. It is until it is asked about again by a rule
/// that does not name it.
fn is_followed(run: RunId) -> bool {
    run.0 % 2 == 0
}

/// The chat that is.
fn side() -> Member {
    Member::new("screen", "side")
}

/// What a card said, and who agreed to it.
#[derive(Debug, Default, Clone)]
struct Card {
    target: Target,
    rule_now: Option<String>,
    people: People,
    input: serde_json::Value,
    yes: Vec<(Actor, Decision)>,
    decided: u32,
}

struct Book {
    ledger: Ledger,
    hand: Arc<AtomicI64>,
    rule_now: Option<String>,
    target: Target,
    terms: Terms,
    persons: usize,
    policy: Policy,
    steps: Vec<StepId>,
    states: HashMap<StepId, StepState>,
    first: HashMap<StepId, String>,
    cards: HashMap<(StepId, String), Card>,
    dispatched: HashMap<StepId, u32>,
    /// The runs that another chat is told of.
    followed: BTreeSet<RunId>,
    requests: u32,
}

fn target(number: u8) -> Target {
    Target { origin: None, settings: [("model".to_owned(), json!(number))].into() }
}

fn people(number: usize) -> People {
    let owned = PERSONS[number].iter().enumerate().filter(|(_, person)| **person != 9);
    People::of(owned.map(|(place, person)| (format!("p{person}"), vec![actor(place)]))).unwrap()
}

fn actor(number: usize) -> Actor {
    Actor::from_text(PEOPLE[number])
}

impl Book {
    fn new() -> Self {
        let (clock, hand) = Clock::manual(1_000_000);
        Self {
            ledger: Ledger::in_memory(clock).unwrap(),
            hand,
            rule_now: Some(RULE.to_owned()),
            target: target(0),
            terms: Terms {
                approvers: vec![actor(0), actor(1)],
                needed: 1,
                other: false,
                people: People::default(),
            },
            persons: 0,
            policy: Policy::Ask,
            steps: Vec::new(),
            states: HashMap::new(),
            first: HashMap::new(),
            cards: HashMap::new(),
            dispatched: HashMap::new(),
            followed: BTreeSet::new(),
            requests: 0,
        }
    }

    fn write<T>(&self, work: impl FnOnce(&Tx<'_>) -> Result<T, connector_ledger::LedgerError>) -> T {
        self.ledger.write_now(work).unwrap()
    }

    fn row(&self, id: StepId) -> StepRow {
        self.ledger.read_now(|tx| steps::get(tx, id)).unwrap().unwrap()
    }

    fn choose(&self, number: usize) -> Option<StepId> {
        // The newest are the most interesting.
        self.steps.iter().rev().nth(number % self.steps.len().max(1)).copied()
    }

    fn gate(&self) -> GateConfig {
        let policy = PolicyRule {
            connector: "oc".into(),
            action: "act".into(),
            rule: "fix".into(),
            policy: self.policy,
        };
        GateConfig { policy: vec![policy], ..GateConfig::default() }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Request { prompt, requester, session } => self.request(prompt, requester, session),
            Op::Deliver => self.deliver(),
            Op::Tap { step, who, place, decision, digest } => {
                if let Some(id) = self.choose(step) {
                    self.tap(id, (&actor(who), CHATS[place]), decision, digest);
                }
            }
            Op::Sweep => _ = self.write(|tx| steps::expire_overdue(tx, 100)),
            Op::Clock(by) => _ = self.hand.fetch_add(by, Ordering::SeqCst),
            Op::Restart => self.restart(),
            Op::Rule(version) => self.rule_now = version.map(|version| format!("v{version}")),
            Op::Target(number) => self.target = target(number),
            Op::Terms { approvers, needed, other } => {
                let may = (0..3).filter(|person| approvers & (1 << person) != 0).map(actor);
                let people = self.terms.people.clone();
                self.terms = Terms { approvers: may.collect(), needed, other, people };
            }
            Op::People(number) => {
                self.persons = number;
                self.terms.people = people(number);
            }
            Op::Policy(policy) => self.policy = policy,
            Op::Release { step } => {
                if let Some(id) = self.choose(step) {
                    self.release(id);
                }
            }
            Op::End { step, made } => {
                if let Some(id) = self.choose(step) {
                    let change = || Change::none();
                    self.write(|tx| steps::make(tx, id, made, change().ended(tx.now)));
                }
            }
            Op::Cancel { step } => {
                if let Some(id) = self.choose(step) {
                    self.write(|tx| cancel_run(tx, id.run, &actor(0)));
                }
            }
            Op::Revoke { id } => _ = self.write(|tx| allow::revoke(tx, id, &actor(0))),
        }
        self.look_at_states();
    }

    fn restart(&mut self) {
        let asked_again = self.write(|tx| {
            steps::refresh_approvers(tx, RULE, &self.terms)?;
            let mut asked_again = Vec::new();
            for id in steps::waiting_under_other(tx, &self.terms.people)? {
                let asked = steps::get(tx, id)?.unwrap().asked;
                assert!(ask_under(tx, id, &self.terms.people, format!("people-{id}-{asked}"))?);
                asked_again.push(id);
            }
            runs::find_idle(tx)?;
            outbox::show_again(tx, "screen")?;
            Ok(asked_again)
        });
        for id in asked_again {
            self.note_card(id);
        }
    }

    fn request(&mut self, prompt: u8, requester: usize, session: Option<u8>) {
        self.requests += 1;
        let event = NewEvent {
            surface: "screen".into(),
            platform_id: self.requests.to_string(),
            connector: "chat".into(),
            event: "message".into(),
            chat: "main".into(),
            requester: actor(requester),
            payload: json!({}),
            reply: None,
        };
        let mut input = json!({ "prompt": prompt });
        if let Some(session) = session {
            input["session_id"] = json!(format!("ses_{session}"));
        }
        let gate = self.gate();
        let (rule_now, target, terms) = (self.rule_now.clone(), self.target.clone(), self.terms.clone());
        let number = self.requests;
        let id = self.write(|tx| {
            let id = events::store(tx, &event)?.unwrap();
            let event = events::get(tx, id)?.unwrap();
            let by = runs::By { rule: "fix", version: RULE, definition: "text" };
            let run = runs::create(tx, &event, by, &[])?.unwrap();
            let run = runs::get(tx, run)?.unwrap();
            if is_followed(run.id) {
                audience::join(tx, run.id, &side())?;
            }
            let new = NewStep {
                id: StepId { run: run.id, index: 1 },
                name: None,
                connector: "oc".into(),
                action: "act".into(),
                read_only: false,
                input,
                target,
                rule_now,
                terms,
                expiry_ms: 600_000,
                allowance_ms: 900_000,
                token: format!("token-{number}"),
            };
            enter(tx, &run, &new, &gate)?;
            Ok(new.id)
        });
        if is_followed(id.run) {
            self.followed.insert(id.run);
        }
        self.steps.push(id);
        self.states.insert(id, StepState::Resolved);
        self.first.insert(id, self.row(id).digest.as_str().to_owned());
        self.note_card(id);
    }

    /// A question was put: its digest stands for exactly this.
    fn note_card(&mut self, id: StepId) {
        let row = self.row(id);
        let Card { yes, decided, .. } = Card::default();
        let (target, rule_now) = (row.target, row.rule_now);
        let card = Card { target, rule_now, people: row.people, input: row.input, yes, decided };
        let before = self.cards.insert((id, row.digest.as_str().to_owned()), card);
        assert!(before.is_none(), "the digest of an earlier question came back");
    }

    fn deliver(&mut self) {
        let due: Vec<OutboxRow> = self.ledger.read_now(|tx| outbox::due(tx, 10)).unwrap();
        for row in due {
            let known = matches!(row.parcel, Parcel::Card(_));
            self.write(|tx| outbox::delivered(tx, &row, if known { "m1" } else { "m2" }));
        }
    }

    fn tap(&mut self, id: StepId, (who, chat): (&Actor, Option<&str>), decision: Decision, named: Named) {
        let before = self.row(id);
        let in_force = before.digest.as_str().to_owned();
        let digest = match named {
            Named::InForce => in_force.clone(),
            Named::Short => before.digest.short().to_owned(),
            Named::First => self.first[&id].clone(),
            Named::Another => "f".repeat(64),
            Named::TooShort => in_force[..11].to_owned(),
        };
        let fits = digest.len() >= 12 && in_force.starts_with(&digest);
        let is_there = match chat {
            None | Some("main") => true,
            Some("side") => self.followed.contains(&id.run),
            Some(_) => false,
        };
        let chat = chat.map(str::to_owned);
        let tap = Tap { step: id, digest, approver: who.clone(), chat, decision };
        let (answer, now) = self.write(|tx| Ok((decide(tx, &tap)?, tx.now)));

        let waits = before.state == StepState::Waiting;
        let in_time = before.expires_at.is_none_or(|at| at > now);
        let may = is_there
            && before.approvers.contains(who)
            && !(before.other_approver
                && before.people.are_one(&before.requester, who)
                && decision != Decision::Deny);
        let Some(card) = self.cards.get_mut(&(id, in_force)) else {
            // Policy denied it under a digest that no card ever showed.
            assert!(
                matches!(answer, Tapped::Already { state: StepState::Denied, .. }),
                "{answer:?} {before:?}"
            );
            return;
        };
        match answer {
            Tapped::Approved | Tapped::Counted { .. } => {
                assert!(waits && in_time && may && fits, "{who} {named:?} {answer:?} {before:?}");
                assert_ne!(decision, Decision::Deny);
                // A second tap of the same person changes nothing about the first.
                if !card.yes.iter().any(|(actor, _)| actor == who) {
                    card.yes.push((who.clone(), decision));
                }
                card.decided += u32::from(answer == Tapped::Approved);
            }
            Tapped::Denied => {
                assert!(waits && in_time && may && fits, "{who} {named:?} {before:?}");
                card.decided += 1;
            }
            Tapped::Already { state, .. } => assert!(!waits && state == before.state),
            Tapped::TooLate => assert!(waits && !in_time),
            Tapped::Changed { .. } => assert!(waits && !fits),
            Tapped::NotAllowed { .. } => assert!(waits && (!may || !fits)),
            Tapped::NoSuchCard => panic!("the card is there"),
        }
        assert!(card.decided <= 1, "two winners");
    }

    fn release(&mut self, id: StepId) {
        let before = self.row(id);
        let token = format!("again-{}-{}", id, before.asked);
        let now = InForce {
            target: self.target.clone(),
            rule_now: self.rule_now.clone(),
            terms: self.terms.clone(),
            followers: if self.rule_now.as_deref() == Some(RULE) { vec![side()] } else { Vec::new() },
            policy: self.policy,
            token,
        };
        let (released, at) = self.write(|tx| Ok((release(tx, id, &now)?, tx.now)));
        if matches!(released, Released::AskedAgain(_) | Released::Denied) && now.followers.is_empty() {
            self.followed.remove(&id.run);
        }
        match released {
            Released::Dispatched => self.check_dispatched(&before, at),
            Released::AskedAgain(reason) => {
                assert!(!reason.is_empty());
                self.note_card(id);
            }
            Released::Denied => assert_eq!(self.policy, Policy::Deny),
            Released::Cancelled => panic!("what is cancelled is not left approved"),
            Released::NotApproved => assert_ne!(before.state, StepState::Approved),
        }
    }

    /// The one thing that must never go wrong.
    fn check_dispatched(&mut self, row: &StepRow, at: i64) {
        let times = self.dispatched.entry(row.id).or_default();
        *times += 1;
        assert_eq!(*times, 1, "dispatched twice");
        assert_ne!(self.policy, Policy::Deny);
        let card = &self.cards[&(row.id, row.digest.as_str().to_owned())];
        assert_eq!(
            (&card.target, &card.rule_now, &card.people),
            (&self.target, &self.rule_now, &self.terms.people),
            "something else than shown"
        );
        assert_eq!(card.input, row.input);
        if self.policy == Policy::Allow {
            return;
        }
        match row.passed_by {
            None => {
                let yes = card.yes.iter().map(|(who, _)| who);
                assert!(self.enough(yes, &row.requester), "{card:?} {:?}", self.terms);
            }
            Some(PassedBy::Allowance) => self.check_allowance(row, at),
            Some(PassedBy::Policy) => panic!("its exemption is gone"),
        }
    }

    fn check_allowance(&self, row: &StepRow, at: i64) {
        let given = self.ledger.read_now(|tx| allow::get(tx, row.allowance.unwrap())).unwrap().unwrap();
        let from = self.row(given.step);
        let card =
            self.cards.iter().find(|((step, _), card)| *step == given.step && card.decided == 1).unwrap().1;
        let said_so = card.yes.iter().filter(|(_, how)| *how == Decision::AllowSession).map(|(who, _)| who);
        assert!(self.enough(said_so, &row.requester), "{card:?} {:?}", self.terms);
        assert!(given.revoked_at.is_none() && given.expires_at > at, "{given:?} at {at}");
        assert_eq!(row.input["session_id"].as_str(), from.session_id.as_deref());
        assert_eq!((&row.requester, &row.target), (&from.requester, &from.target));
        assert_eq!(self.rule_now.as_deref(), Some(RULE));
    }

    fn enough<'a>(&self, yes: impl Iterator<Item = &'a Actor>, requester: &Actor) -> bool {
        // Without the code's own idea of a person: accounts of one number are one, those of 9 are alone.
        let class = |who: &Actor| {
            let place = PEOPLE.iter().position(|name| *name == who.as_str()).unwrap();
            let person = PERSONS[self.persons][place];
            if person == 9 { 10 + place } else { usize::from(person) }
        };
        let counted: BTreeSet<usize> = yes
            .filter(|who| self.terms.approvers.contains(who))
            .map(class)
            .filter(|person| !(self.terms.other && *person == class(requester)))
            .collect();
        counted.len() >= self.terms.needed.max(1) as usize
    }

    /// No state was left by a move that the table does not have.
    fn look_at_states(&mut self) {
        let after = |from: StepState| Move::ALL.into_iter().filter_map(move |made| from.after(made));
        for id in self.steps.clone() {
            let (was, is) = (self.states[&id], self.row(id).state);
            let reachable = was == is
                || after(was).any(|next| next == is)
                || after(was).flat_map(after).any(|next| next == is);
            assert!(reachable, "{id} went from {was} to {is}");
            self.states.insert(id, is);
        }
    }

    fn finish(&self) {
        let (verdict, findings) =
            self.ledger.read_now(|tx| Ok((audit::verify(tx)?, keep::check(tx)?))).unwrap();
        assert!(matches!(verdict, Verdict::Intact { .. }), "{verdict:?}");
        assert_eq!(findings.problems, Vec::<String>::new());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn nothing_runs_without_enough_valid_approvals_of_exactly_that(ops in prop::collection::vec(op(), 1..80)) {
        let mut book = Book::new();
        for op in &ops {
            book.apply(op);
            // A step that runs gets its session, as a checkpoint would give it.
            for (number, id) in book.steps.iter().enumerate() {
                let row = book.row(*id);
                if row.state == StepState::Dispatched && row.session_id.is_none() {
                    let note = Checkpoint(json!({ "session_id": format!("ses_{}", number % 3) }));
                    assert!(book.write(|tx| steps::checkpoint(tx, *id, &note)));
                }
            }
        }
        book.finish();
    }
}
