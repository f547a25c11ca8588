//! What every surface owes whoever uses it: one suite, which is run on each platform.
//!
//! A platform's own tests are about what it alone has. Whoever adds a surface writes a [`Platform`](platform::Platform) and
//! one line here, which says what of the suite the platform has.

mod asks;
mod board;
mod cards;
mod console;
mod house;
mod load;
mod matrix;
mod messages;
mod platform;
mod restarts;
mod telegram;

/// Each case as a test of its own.
macro_rules! cases {
    ($platform:ty: $($module:ident: $($case:ident)+;)+) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$module::$case::<$platform>().await;
            }
        )+)+
    };
}

/// The cases that need what is named so.
macro_rules! cases_of {
    (anything, $platform:ty) => {
        cases!($platform:
            cards:
                a_card_shows_all_that_an_approval_is_bound_to
                an_approved_card_runs_once_and_its_result_is_shown
                a_refused_card_runs_nothing_and_that_is_said
                a_late_decision_changes_nothing
                a_card_that_is_out_of_date_approves_nothing
                a_card_that_expired_runs_nothing
                a_long_prompt_is_there_whole
                what_deceives_is_shown_written_out
                markup_of_others_stays_text
                many_cards_of_a_chat_are_each_decided_by_themselves
                what_was_decided_elsewhere_can_no_longer_be_decided;
            messages:
                a_result_says_what_the_agent_said_and_what_changed
                a_long_result_is_there_whole_or_said_to_be_cut
                a_failure_says_why
                a_command_alone_is_asked_for_its_words
                what_no_rule_takes_is_said_to_whoever_wrote_it
                the_hosts_own_commands_are_answered
                what_runs_is_stopped_from_the_chat
                an_answer_to_a_result_goes_on_in_its_session
                what_is_said_comes_in_order
                what_runs_is_seen_to_run;
            asks:
                a_permission_is_asked_in_the_chat_and_answered_there
                a_refused_permission_reaches_the_agent
                a_question_takes_words
                what_was_answered_elsewhere_is_over_here
                an_ask_whose_step_was_stopped_is_over
                what_an_agent_asks_is_shown_written_out;
            restarts:
                a_waiting_card_is_decided_after_a_restart
                what_was_not_delivered_is_delivered_after_a_restart
                an_ask_is_answered_after_a_restart
                the_last_results_are_sent_before_the_end;
        );
    };
    // More than one person, more than one chat, and somebody who is not let in.
    (others, $platform:ty) => {
        cases!($platform:
            cards:
                whoever_may_not_approve_decides_nothing
                two_who_decide_at_once_have_it_run_at_most_once
                a_card_that_takes_two_runs_after_the_second
                a_vote_and_a_decision_in_one_chat_are_seen_in_the_other
                a_chat_that_the_rule_names_no_more_is_told_no_more_after_a_restart;
            messages:
                who_is_not_let_in_is_told_nothing_and_starts_nothing
                thirty_chats_at_once_each_get_their_own;
            asks:
                who_may_not_approve_does_not_answer
                two_answers_at_once_are_one;
        );
    };
    // Commands that are events of their own.
    (command_events, $platform:ty) => {
        cases!($platform:
            messages: a_command_that_a_rule_takes_is_not_said_to_be_nobodys;
        );
    };
    // Messages that outlive the host.
    (kept_messages, $platform:ty) => {
        cases!($platform:
            restarts:
                what_was_delivered_and_recorded_is_not_sent_again
                what_was_sent_and_not_recorded_is_sent_at_most_once_more;
        );
    };
    // Messages that can be changed and taken away, the host's and those of people.
    (edits, $platform:ty) => {
        cases!($platform:
            cards: a_card_that_somebody_deleted_can_still_be_decided_elsewhere;
            messages: an_edited_message_starts_nothing;
        );
    };
    // A server, which can refuse, be down, and bring an update twice.
    (a_server, $platform:ty) => {
        cases!($platform:
            messages: an_update_that_comes_twice_is_one_message;
            restarts:
                a_refusal_by_rate_is_waited_out
                a_platform_that_is_down_is_waited_for;
        );
    };
    // Chats that become another.
    (moving_chats, $platform:ty) => {
        cases!($platform:
            restarts: what_a_chat_is_still_to_be_told_goes_where_it_moved;
        );
    };
}

/// The suite on a platform, as far as it has what the cases are about.
macro_rules! surface_conformance {
    ($name:ident, $platform:ty, has: $($what:ident)+) => {
        mod $name {
            $(cases_of!($what, $platform);)+
        }
    };
}

surface_conformance!(on_console, super::console::Typed, has: anything);
surface_conformance!(
    on_telegram, super::telegram::Bot,
    has: anything others command_events kept_messages edits a_server moving_chats
);
surface_conformance!(
    on_matrix, super::matrix::Rooms,
    has: anything others command_events kept_messages edits a_server moving_chats
);
surface_conformance!(
    on_a_board, super::board::Board,
    has: anything others command_events kept_messages edits a_server
);
