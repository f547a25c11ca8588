//! TOML values as JSON values.

use serde_json::{Map, Number, Value};
use toml::de::DeValue;

use super::Sink;
use super::table::Item;
use crate::diagnostic::Code;

/// The value as JSON; a date or time becomes its text.
pub(super) fn read(item: Item<'_>, sink: &Sink<'_>) -> Option<Value> {
    Some(match item.get_ref() {
        DeValue::String(text) => Value::String(text.as_ref().to_owned()),
        DeValue::Boolean(boolean) => Value::Bool(*boolean),
        DeValue::Datetime(datetime) => Value::String(datetime.to_string()),
        DeValue::Integer(integer) => {
            let number = i64::from_str_radix(integer.as_str(), integer.radix());
            let Ok(number) = number else {
                let message = format!("{} is too large a number", integer.as_str());
                sink.error(Code::InvalidValue, item.span(), message);
                return None;
            };
            Value::Number(number.into())
        }
        DeValue::Float(float) => {
            let number = float.as_str().parse().ok().and_then(Number::from_f64);
            let Some(number) = number else {
                let message = format!("{} is no number that JSON has", float.as_str());
                sink.error(Code::InvalidValue, item.span(), message);
                return None;
            };
            Value::Number(number)
        }
        DeValue::Array(items) => {
            items.iter().map(|item| read(item, sink)).collect::<Option<Vec<_>>>()?.into()
        }
        DeValue::Table(table) => {
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by_key(|(key, _)| key.span().start);
            let fields: Option<Map<_, _>> = entries
                .into_iter()
                .map(|(key, item)| Some((key.get_ref().as_ref().to_owned(), read(item, sink)?)))
                .collect();
            Value::Object(fields?)
        }
    })
}
