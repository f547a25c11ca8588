//! The sheet of one ask: which question is open, and what was chosen.

use connector_contract::ask::QuestionAsk;
use connector_gate::ask::Asked;

/// How far a sheet is filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filled {
    /// There is more to choose.
    NotYet,
    /// One list of labels for each question.
    All(Vec<Vec<String>>),
}

/// What was answered so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sheet {
    questions: usize,
    answers: Vec<Vec<String>>,
    chosen: Vec<usize>,
}

impl Sheet {
    pub(super) fn of(asked: &Asked) -> Self {
        let questions = match asked {
            Asked::Question(ask) => ask.questions.len(),
            Asked::Permission(_) => 0,
        };
        Self { questions, ..Self::default() }
    }

    /// The question that is open, counted from 0.
    pub(super) fn at(&self) -> usize {
        self.answers.len()
    }

    /// Whether these words are for the open question if they are for `question`; or are the last answer
    /// already, which may have to be passed on once more.
    pub(super) fn takes(&self, question: usize, words: &str) -> bool {
        let given = || self.answers.last().and_then(|labels| labels.last());
        let is_last = || question + 1 == self.questions && self.at() == self.questions;
        question == self.at() || is_last() && given().is_some_and(|given| given == words.trim())
    }

    /// The options of the open question that are chosen.
    pub(super) fn chosen(&self) -> &[usize] {
        &self.chosen
    }

    /// All answers, once there are all. Passing them on may have failed: then the last one is given
    /// once more.
    fn filled(&self) -> Filled {
        if self.answers.len() < self.questions { Filled::NotYet } else { Filled::All(self.answers.clone()) }
    }

    /// An option was tapped. A tap on a question that is no longer open is late.
    pub(super) fn choose(&mut self, ask: &QuestionAsk, question: usize, option: usize) -> Filled {
        let open = ask.questions.get(question).filter(|_| question == self.at());
        let Some((open, label)) = open.and_then(|open| Some((open, open.options.get(option)?.label.clone())))
        else {
            return self.filled();
        };
        if !open.multiple {
            return self.answer(vec![label]);
        }
        match self.chosen.iter().position(|chosen| *chosen == option) {
            Some(at) => drop(self.chosen.remove(at)),
            None => self.chosen.push(option),
        }
        Filled::NotYet
    }

    /// Nothing more is chosen for this question.
    pub(super) fn done(&mut self, ask: &QuestionAsk, question: usize) -> Filled {
        let Some(open) = ask.questions.get(question).filter(|_| question == self.at()) else {
            return self.filled();
        };
        let mut chosen = std::mem::take(&mut self.chosen);
        chosen.sort_unstable();
        let labels: Vec<String> =
            chosen.iter().filter_map(|option| open.options.get(*option)).map(|it| it.label.clone()).collect();
        if labels.is_empty() { Filled::NotYet } else { self.answer(labels) }
    }

    /// The open question is answered in one's own words, besides what was chosen.
    pub(super) fn words(&mut self, ask: &QuestionAsk, words: &str) -> Filled {
        let Some(open) = ask.questions.get(self.at()) else { return self.filled() };
        let mut chosen = std::mem::take(&mut self.chosen);
        chosen.sort_unstable();
        let labels = chosen.iter().filter_map(|option| open.options.get(*option)).map(|it| it.label.clone());
        let answer = labels.chain([words.trim().to_owned()]).collect();
        self.answer(answer)
    }

    fn answer(&mut self, labels: Vec<String>) -> Filled {
        self.answers.push(labels);
        self.chosen.clear();
        self.filled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use connector_contract::ask::{Question, QuestionOption};

    fn ask() -> QuestionAsk {
        let option = |label: &str| QuestionOption { label: label.into(), description: String::new() };
        let question = |multiple| Question {
            question: "which?".into(),
            header: String::new(),
            options: vec![option("A"), option("B"), option("C")],
            multiple,
        };
        QuestionAsk {
            id: "que_1".into(),
            session_id: "ses_1".into(),
            questions: vec![question(false), question(true), question(false)],
        }
    }

    #[test]
    fn each_question_is_answered_in_its_way() {
        let ask = ask();
        let mut sheet = Sheet::of(&Asked::Question(ask.clone()));
        assert!(sheet.takes(0, "words") && !sheet.takes(1, "words"));
        assert_eq!(sheet.choose(&ask, 0, 1), Filled::NotYet);
        assert_eq!(sheet.choose(&ask, 0, 2), Filled::NotYet, "the first question is answered already");
        assert_eq!(sheet.done(&ask, 1), Filled::NotYet, "nothing is chosen yet");
        for option in [2, 0, 1, 1] {
            assert_eq!(sheet.choose(&ask, 1, option), Filled::NotYet);
        }
        assert_eq!(sheet.chosen(), [2, 0]);
        assert_eq!(sheet.done(&ask, 1), Filled::NotYet);
        assert_eq!(sheet.choose(&ask, 2, 9), Filled::NotYet, "there is no such option");
        let all = |lists: &[&[&str]]| {
            Filled::All(lists.iter().map(|list| list.iter().map(|it| (*it).to_owned()).collect()).collect())
        };
        let filled = all(&[&["B"], &["A", "C"], &["my own"]]);
        assert_eq!(sheet.words(&ask, " my own "), filled);
        assert_eq!(sheet.words(&ask, "my own"), filled, "given once more, since it was not passed on");
        assert!(sheet.takes(2, "my own") && !sheet.takes(2, "other") && !sheet.takes(1, "my own"));
    }
}
