//! What is asked of an event's free properties: that one of them has a value.

use serde_json::{Number, Value};

/// The longest path that is taken, in bytes; properties are nested at most 16 levels deep.
const PATH_LENGTH_MAX: usize = 1_000;

/// Where in an event's properties something is: through objects by their keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PropertyPath(Vec<String>);

/// One property that has to equal a value: a text, a number, a boolean or null. Lists and objects equal nothing, and
/// so does what is not there: only a property that is given as null equals null.
#[derive(Debug, Clone, PartialEq)]
pub struct PropertyMatch {
    path: PropertyPath,
    value: Value,
}

/// Why something cannot be asked of properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PropertyError {
    #[error("must name a property, or with dots one inside others: plan.name; at most {PATH_LENGTH_MAX} bytes")]
    Path,
    #[error("must be a text, a number, true, false or null: lists and objects are not compared")]
    Value,
}

impl PropertyPath {
    /// Keys with dots between them; a key that holds a dot cannot be named.
    pub fn new(path: &str) -> Result<Self, PropertyError> {
        let path = Some(path).filter(|path| path.len() <= PATH_LENGTH_MAX).ok_or(PropertyError::Path)?;
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        if path.iter().any(String::is_empty) { Err(PropertyError::Path) } else { Ok(Self(path)) }
    }

    /// What is there; lists and objects are as good as nothing.
    pub fn find<'a>(&self, properties: &'a Value) -> Option<&'a Value> {
        let found = self.0.iter().try_fold(properties, |value, key| value.as_object()?.get(key));
        found.filter(|found| !found.is_object() && !found.is_array())
    }
}

impl PropertyMatch {
    /// `path` is as [`PropertyPath::new`] takes it.
    pub fn new(path: &str, value: Value) -> Result<Self, PropertyError> {
        let path = PropertyPath::new(path)?;
        if value.is_array() || value.is_object() {
            return Err(PropertyError::Value);
        }
        Ok(Self { path, value })
    }

    /// Whether an event's properties, as the log keeps them, have this value there.
    pub fn matches(&self, properties: Option<&str>) -> bool {
        let properties = properties.and_then(|text| serde_json::from_str::<Value>(text).ok());
        properties.is_some_and(|properties| self.is_in(&properties))
    }

    /// Whether properties that are read already have this value there.
    pub fn is_in(&self, properties: &Value) -> bool {
        self.path.find(properties).is_some_and(|found| is_equal(found, &self.value))
    }
}

/// Numbers are equal by what they are worth, however they are written.
fn is_equal(found: &Value, asked: &Value) -> bool {
    match (found, asked) {
        (Value::Number(found), Value::Number(asked)) => is_equal_number(found, asked),
        (found, asked) => found == asked,
    }
}

fn is_equal_number(found: &Number, asked: &Number) -> bool {
    // Between whole numbers without a detour: past 2^53 a float would take neighbours for one.
    if found.is_f64() || asked.is_f64() { found.as_f64() == asked.as_f64() } else { found == asked }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_property_equals_a_value_at_the_end_of_its_path() {
        let properties = json!({
            "plan": { "name": "family", "seats": 6, "price": 14.5, "trial": false, "coupon": null },
            "tags": ["a"], "big": 9_007_199_254_740_993_i64, "plan.name": "solo",
        });
        let properties = properties.to_string();
        for (path, value, is_match) in [
            ("plan.name", json!("family"), true),
            ("plan.name", json!("Family"), false),
            // A key that holds a dot cannot be named.
            ("plan.name", json!("solo"), false),
            ("plan.seats", json!(6), true),
            ("plan.seats", json!(6.0), true),
            ("plan.seats", json!("6"), false),
            ("plan.price", json!(14.5), true),
            ("plan.price", json!(14), false),
            ("big", json!(9_007_199_254_740_993_i64), true),
            ("big", json!(9_007_199_254_740_992_i64), false),
            ("plan.trial", json!(false), true),
            ("plan.trial", json!(null), false),
            ("plan.coupon", json!(null), true),
            // What is not there, and what is no scalar, equals nothing.
            ("plan.absent", json!(null), false),
            ("absent.name", json!(null), false),
            ("plan", json!(null), false),
            ("tags", json!("a"), false),
            ("tags.0", json!("a"), false),
            ("plan.name.first", json!("f"), false),
        ] {
            let asked = PropertyMatch::new(path, value.clone()).unwrap();
            assert_eq!(asked.matches(Some(&properties)), is_match, "{path} = {value}");
            assert!(!asked.matches(None), "{path} = {value}, without properties");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        let longest = "x".repeat(PATH_LENGTH_MAX);
        for (path, value, refused) in [
            (&*longest, json!(1), None),
            (&*format!("{longest}x"), json!(1), Some(PropertyError::Path)),
            ("", json!(1), Some(PropertyError::Path)),
            (".a", json!(1), Some(PropertyError::Path)),
            ("a.", json!(1), Some(PropertyError::Path)),
            ("a..b", json!(1), Some(PropertyError::Path)),
            ("a", json!([1]), Some(PropertyError::Value)),
            ("a", json!({ "b": 1 }), Some(PropertyError::Value)),
        ] {
            assert_eq!(PropertyMatch::new(path, value.clone()).err(), refused, "{path} = {value}");
        }
    }
}
