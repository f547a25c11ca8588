//! Wildcard patterns as opencode matches them, compared with each other.
//!
//! `*` is any text, `?` any one character, and a pattern that ends in ` *` matches what
//! stands before that too. `covers` may miss a case and then says no; `overlaps` never
//! misses one.

/// Whether everything that `narrow` matches is matched by `wide`.
pub(super) fn covers(wide: &str, narrow: &str) -> bool {
    let wide = variants(wide);
    variants(narrow).iter().all(|narrow| wide.iter().any(|wide| covers_plain(wide, narrow)))
}

/// Whether some text is matched by both.
pub(super) fn overlaps(one: &str, other: &str) -> bool {
    let other = variants(other);
    variants(one).iter().any(|one| other.iter().any(|other| overlaps_plain(one, other)))
}

/// The plain patterns that a pattern stands for.
fn variants(pattern: &str) -> Vec<Vec<char>> {
    let pattern = pattern.replace('\\', "/");
    let short = pattern.strip_suffix(" *").map(|short| short.chars().collect());
    std::iter::once(pattern.chars().collect()).chain(short).collect()
}

fn covers_plain(wide: &[char], narrow: &[char]) -> bool {
    let rest_is_stars = |from: usize| wide[from..].iter().all(|c| *c == '*');
    // `row[i]`: whether the rest of `wide` from `i` covers the rest of `narrow` looked at.
    let mut row: Vec<bool> = (0..=wide.len()).map(rest_is_stars).collect();
    for c in narrow.iter().rev() {
        let mut next = vec![false; wide.len() + 1];
        for i in (0..wide.len()).rev() {
            next[i] = match wide[i] {
                '*' => next[i + 1] || row[i],
                '?' => *c != '*' && row[i + 1],
                literal => literal == *c && row[i + 1],
            };
        }
        row = next;
    }
    row[0]
}

fn overlaps_plain(one: &[char], other: &[char]) -> bool {
    let mut row: Vec<bool> = (0..=one.len()).map(|from| one[from..].iter().all(|c| *c == '*')).collect();
    for c in other.iter().rev() {
        let mut next = vec![false; one.len() + 1];
        next[one.len()] = *c == '*' && row[one.len()];
        for i in (0..one.len()).rev() {
            next[i] = match (one[i], *c) {
                ('*', _) | (_, '*') => next[i + 1] || row[i],
                (a, b) => (a == '?' || b == '?' || a == b) && row[i + 1],
            };
        }
        row = next;
    }
    row[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_what_it_matches_and_no_more() {
        for (wide, narrow, covered) in [
            ("*", "git *", true),
            ("git *", "git push *", true),
            ("git *", "git", true),
            ("git", "git *", false),
            ("git push *", "git *", false),
            ("*.env", "a.env", true),
            ("*.env", "*.env.*", false),
            ("a?", "a*", false),
            ("a*", "a?", true),
            ("a?c", "abc", true),
            ("**", "*", true),
            ("*a*", "*a", true),
            ("c:/x/*", "c:\\x\\y", true),
            ("", "", true),
            ("", "*", false),
        ] {
            assert_eq!(covers(wide, narrow), covered, "{wide:?} {narrow:?}");
        }
    }

    #[test]
    fn patterns_overlap_where_one_text_is_matched_by_both() {
        for (one, other, both) in [
            ("*", "git *", true),
            ("git *", "git", true),
            ("git *", "gitk", false),
            ("*.env", "*.env.*", true),
            ("a*", "*b", true),
            ("a*c", "b*c", false),
            ("a?", "ab", true),
            ("a?", "a", false),
            ("rm *", "git *", false),
            ("", "*", true),
            ("*x*", "?", true),
        ] {
            assert_eq!(overlaps(one, other), both, "{one:?} {other:?}");
            assert_eq!(overlaps(other, one), both, "{other:?} {one:?}");
        }
    }
}
