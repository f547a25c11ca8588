//! Numbers: they may be floats, and those that are none come as strings.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::wire::read::whole;

/// A number, or 0 for what is not finite or not one.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Number(f64);

impl Number {
    /// Without what stands behind the point; 0 for what is negative.
    pub(super) fn whole(self) -> u64 {
        whole(self.0)
    }

    pub(super) fn float(self) -> f64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyNumber)
    }
}

struct AnyNumber;

#[expect(clippy::cast_precision_loss, reason = "counts and times are far below the limit")]
impl<'de> Visitor<'de> for AnyNumber {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }
    fn visit_f64<E>(self, number: f64) -> Result<Number, E> {
        Ok(Number(if number.is_finite() { number } else { 0.0 }))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Number, E> {
        Ok(Number(number as f64))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Number, E> {
        Ok(Number(number as f64))
    }
    /// `NaN`, `Infinity`, `-Infinity`.
    fn visit_str<E>(self, _: &str) -> Result<Number, E> {
        Ok(Number(0.0))
    }
    fn visit_bool<E>(self, _: bool) -> Result<Number, E> {
        Ok(Number(0.0))
    }
    fn visit_unit<E>(self) -> Result<Number, E> {
        Ok(Number(0.0))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Number, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Number(0.0))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Number, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Number(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_counts_nothing() {
        for (text, number) in [
            ("12", 12.0),
            ("1.5", 1.5),
            ("-3", -3.0),
            (r#""NaN""#, 0.0),
            (r#""Infinity""#, 0.0),
            (r#""-Infinity""#, 0.0),
            ("null", 0.0),
            ("true", 0.0),
            (r#"{"a":[1]}"#, 0.0),
            ("[1,{}]", 0.0),
        ] {
            assert_eq!(serde_json::from_str::<Number>(text).unwrap(), Number(number), "{text}");
        }
        assert_eq!(serde_json::from_str::<Number>("-3").unwrap().whole(), 0);
    }
}
