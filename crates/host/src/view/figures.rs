//! Figures: how long a step took and what it cost, in numbers that people can read.

use connector_contract::facts::Usage;

/// The most that is written out: nothing real has more.
const MOST: u64 = 999_999_999;

/// Time, cost and tokens, to stand after a title.
pub(super) fn figures(usage: Usage) -> String {
    let mut text = String::new();
    if let Some(ms) = usage.duration_ms {
        text.push_str(&match ms / 1_000 {
            ..=MOST => format!(" in {}.{} s", ms / 1_000, ms / 100 % 10),
            _ => format!(" in over {MOST} s"),
        });
    }
    if let Some(cost) = usage.cost {
        text.push_str(&format!(" · cost ${}", sane(cost, 4)));
    }
    if let Some(tokens) = usage.tokens {
        text.push_str(&match tokens {
            ..=MOST => format!(" · {tokens} tokens"),
            _ => format!(" · over {MOST} tokens"),
        });
    }
    text
}

fn sane(number: f64, digits: usize) -> String {
    match number {
        number if !number.is_finite() => "an absurd number".to_owned(),
        number if number.abs() > 999_999_999.0 => format!("over {MOST}"),
        number => format!("{number:.digits$}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_numbers_are_shortened() {
        for (number, shown) in [
            (0.01234, "0.0123"),
            (999_999_999.0, "999999999.0000"),
            (1e300, "over 999999999"),
            (-1e300, "over 999999999"),
            (f64::NAN, "an absurd number"),
        ] {
            assert_eq!(sane(number, 4), shown);
        }
    }
}
