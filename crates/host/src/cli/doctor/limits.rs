//! What holds the limits of a workspace, and how the kernel comes to hold them.

use opencode_daemons::pool::{HeldLimit, HeldLimits, Holder, TO_DELEGATE};

use super::Finding;

/// One line for all limits of a workspace, if it has any.
pub(super) fn finding(workspace: &str, held: &HeldLimits) -> Option<Finding> {
    let limits = &held.limits;
    if limits.is_empty() {
        return None;
    }
    let what = format!("limits of {workspace}");
    let word = |limit: &HeldLimit| match &limit.by {
        Holder::Kernel => by_cgroup(limit.key),
        Holder::Counting(why) => format!("{} is counted ({why})", limit.key),
        Holder::Nobody(why) => format!("{} is held by nothing ({why})", limit.key),
        Holder::Unseen(why) => format!("what holds {} cannot be seen ({why})", limit.key),
    };
    let mut text = limits.iter().map(word).collect::<Vec<_>>().join("; ");
    if held.supposed {
        text.insert_str(0, "no host runs; in one that were started from here ");
    }
    let some = |is: fn(&Holder) -> bool| limits.iter().any(|limit| limit.key != "disk_mb" && is(&limit.by));
    // What no cgroup holds anywhere is as good as it gets.
    Some(if some(|by| matches!(by, Holder::Counting(_) | Holder::Nobody(_))) {
        Finding::doubtful(what, format!("{text}; {TO_DELEGATE}"))
    } else if some(|by| matches!(by, Holder::Unseen(_))) {
        Finding::doubtful(what, text)
    } else {
        Finding::good(what, text)
    })
}

/// What a cgroup does for the limit with this key.
fn by_cgroup(key: &str) -> String {
    match key {
        "memory_mb" => {
            format!("{key} is held by a cgroup, which slows down what takes more and ends it a quarter above")
        }
        "max_processes" => format!("{key} is counted, and a cgroup holds a ceiling over it"),
        key => format!("{key} is held by a cgroup"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    fn limit(key: &'static str, by: Holder) -> HeldLimit {
        HeldLimit { key, by }
    }

    #[test]
    fn each_limit_is_told_with_its_holder_and_the_remedy_where_there_is_one() {
        let counted = |key| limit(key, Holder::Counting("no cgroup".to_owned()));
        let held = |limits, supposed| finding("w", &HeldLimits { limits, supposed });
        assert!(held(vec![], false).is_none());
        let limits = vec![limit("memory_mb", Holder::Kernel), counted("disk_mb")];
        let supposed = held(limits.clone(), true).unwrap();
        assert!(supposed.text.contains("no host runs; in one that were started from here memory_mb is held"));
        let good = held(limits, false).unwrap();
        assert_eq!(good.verdict, Verdict::Good);
        assert_eq!(
            good.text,
            "memory_mb is held by a cgroup, which slows down what takes more and ends it a quarter above; \
             disk_mb is counted (no cgroup)"
        );
        let unseen = held(vec![limit("memory_mb", Holder::Unseen("why".to_owned()))], false).unwrap();
        assert_eq!(unseen.verdict, Verdict::Doubtful);
        assert_eq!(unseen.text, "what holds memory_mb cannot be seen (why)");
        for by in [Holder::Counting("why".to_owned()), Holder::Nobody("why".to_owned())] {
            let doubtful =
                held(vec![limit("memory_mb", Holder::Kernel), limit("cpu_percent", by)], false).unwrap();
            assert_eq!(doubtful.verdict, Verdict::Doubtful);
            for said in ["(why)", "Delegate=yes", "systemd 251"] {
                assert!(doubtful.text.contains(said), "{}", doubtful.text);
            }
        }
    }
}
