//! The audience of a run at work: what goes on is shown in all of its chats at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use connector_contract::Progress;
use connector_gate::ask::Answer;
use connector_gate::ids::{RunId, StepId};
use connector_gate::policy::Actor;
use connector_ledger::audience::{self, Following};
use connector_ledger::{LedgerError, Tx};
use connector_rules::Rule;
use connector_surface::{OpenAsk, Surface};

use super::Engine;
use crate::followers;

/// The chats that are told of a run, on those surfaces that there are. Each clone of it hears of those that leave.
#[derive(Clone)]
pub(super) struct Audience(Arc<Mutex<Vec<Member>>>);

#[derive(Clone)]
struct Member {
    surface: Arc<dyn Surface>,
    chat: String,
}

/// The audiences of the runs that something is shown of now.
#[derive(Default)]
pub(super) struct Audiences {
    known: Mutex<HashMap<RunId, Weak<Mutex<Vec<Member>>>>>,
    /// Held from a look at the ledger until what is there is known here: no look brings back who has left since.
    looking: tokio::sync::Mutex<()>,
    /// Somebody left whom what is known here still has.
    is_stale: AtomicBool,
}

impl Audiences {
    fn known(&self) -> MutexGuard<'_, HashMap<RunId, Weak<Mutex<Vec<Member>>>>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, audience| audience.strong_count() > 0);
        known
    }

    fn all(&self) -> Vec<(RunId, Audience)> {
        let known = self.known();
        known.iter().filter_map(|(run, it)| Some((*run, Audience(it.upgrade()?)))).collect()
    }

    /// That of a run with these members, which it has for everybody from now on.
    fn set(&self, run: RunId, members: Vec<Member>) -> Audience {
        let mut known = self.known();
        if let Some(audience) = known.get(&run).and_then(Weak::upgrade) {
            *audience.lock().unwrap_or_else(PoisonError::into_inner) = members;
            return Audience(audience);
        }
        let audience = Arc::new(Mutex::new(members));
        known.insert(run, Arc::downgrade(&audience));
        Audience(audience)
    }
}

impl Engine {
    /// The audience of a run.
    pub(super) async fn audience(&self, run: RunId) -> Result<Audience, LedgerError> {
        let _looking = self.0.audiences.looking.lock().await;
        Ok(self.0.audiences.set(run, self.members(run).await?))
    }

    async fn members(&self, run: RunId) -> Result<Vec<Member>, LedgerError> {
        let members = self.0.ledger.read(move |tx| audience::of_run(tx, run)).await?;
        let found = |member: audience::Member| {
            Some(Member { surface: self.surface(&member.surface)?, chat: member.chat })
        };
        Ok(members.into_iter().filter_map(found).collect())
    }

    /// Whether a chat may be told of what it did not ask for.
    pub(super) fn admits(&self, chat: (&str, &str)) -> Result<(), String> {
        followers::admitted_by(self.0.surfaces.values(), chat)
    }

    /// The followers of a rule that may be told.
    pub(super) fn followers_of(&self, rule: &Rule) -> Vec<audience::Member> {
        let mut all = Vec::new();
        for chat in rule.followers() {
            match self.admits((chat.surface(), chat.chat())) {
                Ok(()) => all.push(audience::Member::new(chat.surface(), chat.chat())),
                Err(reason) => tracing::warn!(rule = rule.name(), %chat, reason, "a follower is not told"),
            }
        }
        all
    }

    /// Those of the rule of this name that is in force; none where there is no such rule.
    pub(super) fn followers_in_force(&self, rule: &str) -> Vec<audience::Member> {
        self.rules().get(rule).map(|rule| self.followers_of(rule)).unwrap_or_default()
    }

    /// Takes the followers away that the rule in force names no more, or that their surface does not tell any more.
    pub(super) async fn withdraw_followers(&self) -> Result<(), LedgerError> {
        let following = self.0.ledger.read(audience::following).await?;
        let gone = |it: Following| Some((self.why_gone(&it)?, it));
        let gone: Vec<(String, Following)> = following.into_iter().filter_map(gone).collect();
        if gone.is_empty() && !self.0.audiences.is_stale.load(Ordering::SeqCst) {
            return Ok(());
        }
        // Also where the look fails that follows: then the next one is not left out.
        self.0.audiences.is_stale.store(true, Ordering::SeqCst);
        let leave = move |tx: &Tx<'_>| {
            gone.iter().try_for_each(|(reason, it)| audience::leave(tx, it.run, &it.member, reason))
        };
        self.0.ledger.write(leave).await?;
        self.look_at_audiences().await
    }

    /// A rule whose file cannot be used names whom it named: nobody joins again that leaves by a slip in a file.
    fn why_gone(&self, Following { rule, member, .. }: &Following) -> Option<String> {
        let in_force = self.rules().get(rule).cloned();
        let known = in_force.or_else(|| self.switched_off().rule(rule));
        let is_named = known
            .is_some_and(|rule| rule.followers().iter().any(|chat| member.is(chat.surface(), chat.chat())));
        if is_named {
            self.admits((&member.surface, &member.chat)).err()
        } else {
            Some(format!("the rule `{rule}` names it no more"))
        }
    }

    /// Somebody left the audience of a run, or follows it under another name: what is shown of it is shown to those that it has
    /// now.
    pub(super) async fn look_at_audiences(&self) -> Result<(), LedgerError> {
        let _looking = self.0.audiences.looking.lock().await;
        for (run, before) in self.0.audiences.all() {
            let before = before.members();
            let now = self.0.audiences.set(run, self.members(run).await?).members();
            let only = |these: &[Member], those: &[Member]| -> Vec<Member> {
                these.iter().filter(|member| !those.iter().any(|it| it.is(member))).cloned().collect()
            };
            for ask in self.open_asks().iter().filter(|ask| ask.step.run == run) {
                for Member { surface, chat } in only(&before, &now) {
                    surface.ask_closed(&chat, ask, None);
                }
                for Member { surface, chat } in only(&now, &before) {
                    surface.ask(&chat, ask);
                }
            }
        }
        self.0.audiences.is_stale.store(false, Ordering::SeqCst);
        Ok(())
    }
}

impl Member {
    fn is(&self, other: &Self) -> bool {
        (self.surface.name(), &self.chat) == (other.surface.name(), &other.chat)
    }

    fn takes_answers(&self) -> bool {
        self.surface.takes_answers()
    }
}

impl Audience {
    fn members(&self) -> Vec<Member> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows progress of a running step.
    pub(super) fn progress(&self, step: StepId, progress: &Progress) {
        for Member { surface, chat } in self.members() {
            surface.progress(&chat, step, progress);
        }
    }

    /// Shows an ask, also where it cannot be answered.
    pub(super) fn ask(&self, ask: &OpenAsk) {
        for Member { surface, chat } in self.members() {
            surface.ask(&chat, ask);
        }
    }

    /// Closes an ask everywhere: it was answered, or its agent no longer waits.
    pub(super) fn close_ask(&self, ask: &OpenAsk, answered: Option<(&Answer, &Actor)>) {
        for Member { surface, chat } in self.members() {
            match answered {
                Some((answer, by)) => surface.ask_answered(&chat, ask, answer, by),
                None => surface.ask_closed(&chat, ask, None),
            }
        }
    }

    /// The same without these chats.
    pub(super) fn without(&self, left_out: &[audience::Member]) -> Self {
        let is_left_out = |it: &Member| left_out.iter().any(|out| out.is(it.surface.name(), &it.chat));
        let others = self.members().into_iter().filter(|member| !is_left_out(member)).collect();
        Self(Arc::new(Mutex::new(others)))
    }

    /// Whether an ask can be answered in one of these chats.
    pub(super) fn takes_answers(&self) -> bool {
        self.members().iter().any(Member::takes_answers)
    }

    /// Why none of `approvers` can answer where asks are shown.
    pub(super) fn nobody_answers(&self, approvers: &[Actor]) -> Option<String> {
        let members = self.members();
        if members.is_empty() {
            return Some("its surface is not configured".to_owned());
        }
        if !self.takes_answers() {
            let names = names(members.iter());
            return Some(format!("asks on {names} are answered by the command line, and no `cli:USER` may"));
        }
        let answering = || members.iter().filter(|member| member.takes_answers());
        let may = |member: &Member| approvers.iter().any(|actor| actor.surface() == member.surface.name());
        let somebody = answering().any(may);
        (!somebody).then(|| format!("none of those who may answer is on {} or `cli`", names(answering())))
    }
}

/// The surfaces of members, each once.
fn names<'a>(members: impl Iterator<Item = &'a Member>) -> String {
    let mut names: Vec<String> = Vec::new();
    for member in members {
        let name = format!("`{}`", member.surface.name());
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(", ")
}
