//! What every surface owes whoever uses it: one suite, which is run on each platform.
//!
//! A platform's own tests are about what it alone has. Whoever adds a surface writes a [`Platform`](platform::Platform) and
//! one line here.

mod asks;
mod cards;
mod console;
mod house;
mod messages;
mod platform;
mod restarts;
mod telegram;

/// Runs each case on a platform, as a test of its own.
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

/// The suite on a platform: `surface_conformance!(name, Platform)`.
macro_rules! surface_conformance {
    ($name:ident, $platform:ty) => {
        mod $name {
            cases!($platform:
                cards:
                    a_card_shows_all_that_an_approval_is_bound_to
                    an_approved_card_runs_once_and_its_result_is_shown
                    a_refused_card_runs_nothing_and_that_is_said
                    whoever_may_not_approve_decides_nothing
                    two_who_decide_at_once_have_it_run_at_most_once
                    a_late_decision_changes_nothing
                    a_card_that_is_out_of_date_approves_nothing
                    a_card_that_expired_runs_nothing
                    a_card_that_takes_two_runs_after_the_second
                    a_long_prompt_is_there_whole_or_said_to_be_cut
                    what_deceives_is_shown_written_out
                    markup_of_others_stays_text
                    many_cards_of_a_chat_are_each_decided_by_themselves
                    what_was_decided_elsewhere_can_no_longer_be_decided
                    a_card_that_somebody_deleted_can_still_be_decided_elsewhere;
                messages:
                    a_result_says_what_the_agent_said_and_what_changed
                    a_long_result_is_there_whole_or_said_to_be_cut
                    a_failure_says_why
                    a_command_alone_is_asked_for_its_words
                    what_no_rule_takes_is_said_to_whoever_wrote_it
                    the_hosts_own_commands_are_answered
                    what_runs_is_stopped_from_the_chat
                    an_answer_to_a_result_goes_on_in_its_session
                    who_is_not_let_in_is_told_nothing_and_starts_nothing
                    an_update_that_comes_twice_is_one_message
                    an_edited_message_starts_nothing
                    what_is_said_comes_in_order
                    what_runs_is_seen_to_run
                    thirty_chats_at_once_each_get_their_own;
                asks:
                    a_permission_is_asked_in_the_chat_and_answered_there
                    a_refused_permission_reaches_the_agent
                    a_question_takes_words
                    who_may_not_approve_does_not_answer
                    what_was_answered_elsewhere_is_over_here
                    an_ask_whose_step_was_stopped_is_over
                    two_answers_at_once_are_one
                    what_an_agent_asks_is_shown_written_out;
                restarts:
                    a_waiting_card_is_decided_after_a_restart
                    what_was_not_delivered_is_delivered_after_a_restart
                    what_was_delivered_and_recorded_is_not_sent_again
                    what_was_sent_and_not_recorded_is_sent_at_most_once_more
                    an_ask_is_answered_after_a_restart
                    a_refusal_by_rate_is_waited_out
                    a_platform_that_is_down_is_waited_for
                    a_chat_that_moved_is_told_so_in_the_new_one
                    the_last_results_are_sent_before_the_end;
            );
        }
    };
}

surface_conformance!(on_console, super::console::Typed);
surface_conformance!(on_telegram, super::telegram::Bot);
