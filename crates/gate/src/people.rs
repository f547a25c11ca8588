//! Identity: which accounts are one person's.
//!
//! A surface vouches for an account; `[people]` in `host.toml` says whose it is. Whatever counts
//! approvers counts persons. An account that nobody claims is a person of its own.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::policy::{Actor, Terms};

/// What stands behind the colon of a surface's accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// A name; the word for it in messages.
    Name(&'static str),
    /// A number.
    Number,
    /// Nothing: the surface has one user.
    None,
}

impl Account {
    /// An account of `surface`, as messages write it.
    fn of(self, surface: &str) -> String {
        match self {
            Self::Name(word) => format!("{surface}:{word}"),
            Self::Number => format!("{surface}:NUMBER"),
            Self::None => surface.to_owned(),
        }
    }
}

/// The surfaces that accounts can be of, by their names.
pub type Accountable<'a> = &'a [(&'a str, Account)];

/// The identities of persons: their accounts, by their names. Account names are unique in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct People(BTreeMap<String, BTreeSet<Actor>>);

/// One entry of `[people]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    /// Whatever is theirs.
    pub accounts: Vec<Actor>,
}

/// The identity that is counted: a person's name, or the account that is nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Person<'a>(&'a str);

/// Why `[people]` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeopleError {
    /// An account is claimed twice.
    #[error(
        "`{account}` is an account of both `{first}` and `{second}` in [people]; leave it with one of them"
    )]
    Shared {
        /// The account.
        account: Actor,
        /// Who claims it.
        first: String,
        /// Who claims it too.
        second: String,
    },
    /// No surface vouches for it.
    #[error("[people.{person}]: `{account}` is of no surface there is; an account is one of {known}")]
    Surface {
        /// Who claims it.
        person: String,
        /// The account.
        account: Actor,
        /// What accounts there are.
        known: String,
    },
    /// A person could be taken for an account, or is none.
    #[error(
        "[people.{person}]: a person's name is made of letters, digits, `-` and `_`, and is not a surface's name"
    )]
    Name {
        /// The name.
        person: String,
    },
    /// Nobody could act as this person.
    #[error("[people.{person}] has no accounts; name one, or take the entry out")]
    None {
        /// The person.
        person: String,
    },
}

impl Person<'_> {
    /// As the ledger writes it.
    pub fn as_str(&self) -> &str {
        self.0
    }
}

impl People {
    /// Reads `[people]`: every account is of one of `surfaces`, and one person's.
    pub fn parse(table: BTreeMap<String, Accounts>, surfaces: Accountable<'_>) -> Result<Self, PeopleError> {
        for (person, Accounts { accounts }) in &table {
            let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            let surface = surfaces.iter().any(|(surface, _)| surface == person);
            if person.is_empty() || surface || !person.bytes().all(letters) {
                return Err(PeopleError::Name { person: person.clone() });
            }
            if accounts.is_empty() {
                return Err(PeopleError::None { person: person.clone() });
            }
            if let Some(account) = accounts.iter().find(|account| !is_known(account, surfaces)) {
                let known =
                    surfaces.iter().map(|(surface, kind)| kind.of(surface)).collect::<Vec<_>>().join(", ");
                return Err(PeopleError::Surface { person: person.clone(), account: account.clone(), known });
            }
        }
        Self::of(table.into_iter().map(|(person, Accounts { accounts })| (person, accounts)))
    }

    /// Persons with their accounts, of whatever surfaces.
    pub fn of(persons: impl IntoIterator<Item = (String, Vec<Actor>)>) -> Result<Self, PeopleError> {
        let mut people = Self::default();
        for (person, accounts) in persons {
            for account in &accounts {
                if let Some(first) = people.name_of(account).filter(|name| *name != person) {
                    let (account, first) = (account.clone(), first.to_owned());
                    return Err(PeopleError::Shared { account, first, second: person });
                }
            }
            people.0.entry(person).or_default().extend(accounts);
        }
        Ok(people)
    }

    /// Whether no account is anybody's.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The identity that an account counts as.
    pub fn person<'a>(&'a self, account: &'a Actor) -> Person<'a> {
        Person(self.name_of(account).unwrap_or_else(|| account.as_str()))
    }

    /// Whose account it is, if anybody claims it.
    pub fn name_of(&self, account: &Actor) -> Option<&str> {
        self.0.iter().find(|(_, accounts)| accounts.contains(account)).map(|(name, _)| name.as_str())
    }

    /// Whether two accounts are one person's.
    pub fn are_one(&self, one: &Actor, other: &Actor) -> bool {
        self.person(one) == self.person(other)
    }

    /// An account as people read it: with the name of its person.
    pub fn named(&self, account: &Actor) -> String {
        named(account, self.name_of(account))
    }
}

/// An account as people read it, with the name of its person where it has one.
pub fn named(account: &Actor, person: Option<&str>) -> String {
    match person {
        Some(person) => format!("{account} ({person})"),
        None => account.to_string(),
    }
}

/// Whether a surface there is vouches for such an account.
fn is_known(account: &Actor, surfaces: Accountable<'_>) -> bool {
    let user = account.as_str().split_once(':').map(|(_, user)| user);
    surfaces.iter().filter(|(surface, _)| *surface == account.surface()).any(|(_, kind)| match kind {
        Account::None => user.is_none(),
        Account::Name(_) => user.is_some_and(|user| !user.is_empty()),
        Account::Number => user.is_some_and(|user| user.parse::<u64>().is_ok()),
    })
}

/// The approvers of whom it is not known that they are different people, where that matters: more
/// than one surface vouches for the list, and these accounts are nobody's.
pub fn unproven(terms: &Terms) -> Vec<&Actor> {
    let surfaces: BTreeSet<&str> = terms.approvers.iter().map(Actor::surface).collect();
    if !(terms.other || terms.needed > 1) || surfaces.len() < 2 {
        return Vec::new();
    }
    terms.approvers.iter().filter(|account| terms.people.name_of(account).is_none()).collect()
}

/// Says what rests on accounts that may be one person's, for `doctor` and the host's start; `what`
/// names whose terms they are.
pub fn warning(what: &str, terms: &Terms) -> Option<String> {
    let unproven: Vec<&str> = unproven(terms).into_iter().map(Actor::as_str).collect();
    if unproven.is_empty() {
        return None;
    }
    let rests = match (terms.needed > 1, terms.other) {
        (true, true) => "approvals_needed and require_other_approver count",
        (true, false) => "approvals_needed counts",
        (false, _) => "require_other_approver counts",
    };
    Some(format!(
        "{what}: {rests} persons, and nothing says whose accounts {} are; one person may have several of \
         the approvers' accounts. name them in host.toml, as in [people.anna] accounts = [\"{}\"]",
        unproven.join(", "),
        unproven.join("\", \""),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ACCOUNTS: [(&str, Account); 5] = [
        ("api", Account::Name("CLIENT")),
        ("cli", Account::Name("USER")),
        ("console", Account::None),
        ("mcp", Account::Name("CLIENT")),
        ("telegram", Account::Number),
    ];

    fn people(table: &[(&str, &[&str])]) -> Result<People, PeopleError> {
        let entry = |(name, accounts): &(&str, &[&str])| {
            let accounts = accounts.iter().map(|it| Actor::from_text(*it)).collect();
            ((*name).to_owned(), Accounts { accounts })
        };
        People::parse(table.iter().map(entry).collect(), &ACCOUNTS)
    }

    #[test]
    fn accounts_of_surfaces_that_are_there_are_taken() {
        let table: [(&str, &[&str]); 3] = [
            ("anna", &["telegram:1", "cli:anna", "console"]),
            ("ben-2", &["cli:b:c"]),
            ("C_3", &["telegram:3"]),
        ];
        let people = people(&table).unwrap();
        assert_eq!(people.named(&Actor::from_text("telegram:1")), "telegram:1 (anna)");
        assert_eq!(people.named(&Actor::from_text("telegram:2")), "telegram:2");
        assert!(people.are_one(&Actor::from_text("console"), &Actor::from_text("cli:anna")));
        assert!(!people.are_one(&Actor::from_text("cli:b:c"), &Actor::from_text("cli:b")));
    }

    #[test]
    fn an_account_that_no_surface_vouches_for_is_an_error() {
        for account in [
            "telgram:1",
            "telegram",
            "telegram:",
            "telegram:anna",
            "telegram:-1",
            "cli",
            "cli:",
            "console:x",
            "mcp",
            "mcp:",
            "",
            ":",
        ] {
            let error = people(&[("anna", &[account])]).unwrap_err();
            let known = "api:CLIENT, cli:USER, console, mcp:CLIENT, telegram:NUMBER".to_owned();
            let wanted =
                PeopleError::Surface { person: "anna".into(), account: Actor::from_text(account), known };
            assert_eq!(error, wanted, "{account}");
            assert!(error.to_string().contains(&format!("`{account}`")), "{error}");
        }
    }

    #[test]
    fn an_account_in_two_persons_is_an_error_that_names_both() {
        let error = people(&[("anna", &["cli:a"]), ("ben", &["telegram:1", "cli:a"])]).unwrap_err();
        let said = error.to_string();
        assert!(["`cli:a`", "`anna`", "`ben`"].iter().all(|part| said.contains(part)), "{said}");
    }

    #[test]
    fn a_person_that_could_be_taken_for_an_account_or_has_none_is_an_error() {
        for name in ["", "console", "cli", "mcp", "telegram", "telegram:1", "anna b", "ännchen"] {
            assert!(matches!(people(&[(name, &["cli:a"])]), Err(PeopleError::Name { .. })), "{name}");
        }
        assert!(matches!(people(&[("anna", &[])]), Err(PeopleError::None { .. })));
    }

    #[test]
    fn doubt_is_said_where_several_surfaces_vouch_and_persons_are_counted() {
        let one: (&str, &[&str]) = ("anna", &["telegram:1", "cli:anna"]);
        for (approvers, needed, other, table, doubted) in [
            (&["telegram:1", "cli:anna"][..], 1, false, &[][..], &[][..]),
            (&["telegram:1", "cli:anna"], 2, false, &[], &["telegram:1", "cli:anna"]),
            (&["telegram:1", "cli:anna"], 1, true, &[], &["telegram:1", "cli:anna"]),
            (&["telegram:1", "telegram:2"], 2, true, &[], &[]),
            (&["telegram:1", "cli:anna"], 2, true, &[one], &[]),
            (&["telegram:1", "cli:anna", "cli:ben"], 2, true, &[one], &["cli:ben"]),
        ] {
            let approvers = approvers.iter().map(|it| Actor::from_text(*it)).collect();
            let terms = Terms { approvers, needed, other, people: people(table).unwrap() };
            let found: Vec<&str> = unproven(&terms).into_iter().map(Actor::as_str).collect();
            assert_eq!(found, doubted, "{terms:?}");
            assert_eq!(warning("gate", &terms).is_some(), !doubted.is_empty());
        }
    }

    /// Accounts a0 to a5, each the account of one of four persons or of nobody.
    fn owners() -> impl Strategy<Value = Vec<Option<u8>>> {
        prop::collection::vec(prop::option::of(0..4_u8), 6)
    }

    fn account(number: usize) -> Actor {
        Actor::from_text(format!("screen:{number}"))
    }

    fn owned(owners: &[Option<u8>], name: impl Fn(u8) -> String) -> People {
        let claimed = owners.iter().enumerate().filter_map(|(number, owner)| Some((number, (*owner)?)));
        People::of(claimed.map(|(number, owner)| (name(owner), vec![account(number)]))).unwrap()
    }

    proptest! {
        #[test]
        fn as_many_count_as_there_are_persons_who_may(
            owners in owners(),
            may in prop::collection::vec(any::<bool>(), 6),
            given in prop::collection::vec(0..6_usize, 0..8),
            requester in 0..6_usize,
            needed in 0..4_u32,
            other in any::<bool>(),
        ) {
            // Each account in a class: its owner's, or its own.
            let class = |number: usize| owners[number].map_or(100 + number, usize::from);
            let classes: BTreeSet<usize> = given.iter().copied()
                .filter(|number| may[*number])
                .map(class)
                .filter(|found| !(other && *found == class(requester)))
                .collect();
            let approvers = (0..6).filter(|number| may[*number]).map(account).collect();
            let terms = Terms { approvers, needed, other, people: owned(&owners, |owner| format!("p{owner}")) };
            let accounts: Vec<Actor> = given.iter().copied().map(account).collect();
            prop_assert_eq!(terms.count(&accounts, &account(requester)) as usize, classes.len());
            let enough = classes.len() >= needed.max(1) as usize;
            prop_assert_eq!(terms.satisfied_by(&accounts, &account(requester)), enough);

            // What persons are called changes nothing, and to know more about them never lets more pass.
            let renamed = Terms { people: owned(&owners, |owner| format!("q{}", 9 - owner)), ..terms.clone() };
            prop_assert_eq!(renamed.satisfied_by(&accounts, &account(requester)), enough);
            let unknown = Terms { people: People::default(), ..terms };
            prop_assert!(!enough || unknown.satisfied_by(&accounts, &account(requester)));
        }
    }
}
