//! Refuses documents that ask for too much before anything is spent on them: first by a scan of the
//! text, before the parser sees it; then by the parsed document, with its fragments expanded.

use std::collections::HashMap;

use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};

use super::error::ApiError;
use crate::domain::error::ErrorKind;

/// What one document may ask for.
#[derive(Debug, Clone, Copy)]
pub struct DocumentLimits {
    pub size_bytes_max: usize,
    pub tokens_max: usize,
    /// Of brackets of any kind: selections, lists, input objects.
    pub nesting_max: usize,
    pub aliases_max: usize,
    /// Fields with all fragments expanded.
    pub fields_max: usize,
    /// Levels of fields.
    pub depth_max: usize,
    /// What executing it may cost: a field costs 1, a page its length, sets and rankings more.
    pub cost_max: usize,
}

impl Default for DocumentLimits {
    fn default() -> Self {
        Self {
            // GraphiQL's introspection has 2 KB; a dashboard a few; values belong in variables.
            size_bytes_max: 100_000,
            tokens_max: 15_000,
            nesting_max: 50,
            aliases_max: 200,
            fields_max: 5_000,
            depth_max: 20,
            // Fifty artists with totals, previous period and a daily timeline cost about 8,000.
            cost_max: 40_000,
        }
    }
}

fn too_complex(message: String) -> ApiError {
    ApiError::new(ErrorKind::TooComplex, message)
}

/// Counts tokens and brackets without building anything.
pub fn scan(text: &str, limits: &DocumentLimits) -> Result<(), ApiError> {
    if text.len() > limits.size_bytes_max {
        let message = format!("the document has {} bytes, the limit is {}", text.len(), limits.size_bytes_max);
        return Err(too_complex(message));
    }
    let bytes = text.as_bytes();
    let (mut at, mut tokens, mut nesting) = (0, 0_usize, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b',' => at += 1,
            b'#' => at += bytes[at..].iter().take_while(|byte| !matches!(byte, b'\n' | b'\r')).count(),
            b'"' => {
                at += string_length(&bytes[at..]);
                tokens += 1;
            }
            b'{' | b'[' | b'(' => {
                nesting += 1;
                tokens += 1;
                at += 1;
            }
            b'}' | b']' | b')' => {
                nesting = nesting.saturating_sub(1);
                tokens += 1;
                at += 1;
            }
            byte if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.') => {
                let is_word = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
                at += bytes[at..].iter().take_while(is_word).count();
                tokens += 1;
            }
            _ => {
                at += 1;
                tokens += 1;
            }
        }
        if tokens > limits.tokens_max {
            return Err(too_complex(format!("the document has more than {} tokens", limits.tokens_max)));
        }
        if nesting > limits.nesting_max {
            return Err(too_complex(format!("the document is nested deeper than {} levels", limits.nesting_max)));
        }
    }
    Ok(())
}

/// The length of the string, or block string, that begins here; an open one reaches to the end.
fn string_length(bytes: &[u8]) -> usize {
    let is_block = bytes.starts_with(b"\"\"\"");
    let mut at = if is_block { 3 } else { 1 };
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' if !is_block => return at + 1,
            b'"' if bytes[at..].starts_with(b"\"\"\"") => return at + 3,
            b'\n' if !is_block => return at,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// What a selection comes to with its fragments expanded.
#[derive(Debug, Clone, Copy, Default)]
struct Expanded {
    fields: usize,
    aliases: usize,
    depth: usize,
}

/// Counts fields, aliases and levels. Each fragment is expanded once, so the count is quick however
/// often fragments spread each other.
pub fn check(document: &ExecutableDocument, limits: &DocumentLimits) -> Result<(), ApiError> {
    let mut counter = Counter { document, fragments: HashMap::new() };
    let mut sum = Expanded::default();
    for (_, operation) in document.operations.iter() {
        let expanded = counter.expand(&operation.node.selection_set.node)?;
        sum.fields = sum.fields.saturating_add(expanded.fields);
        sum.aliases = sum.aliases.saturating_add(expanded.aliases);
        sum.depth = sum.depth.max(expanded.depth);
    }
    for (what, count, max) in [
        ("fields", sum.fields, limits.fields_max),
        ("aliases", sum.aliases, limits.aliases_max),
        ("levels", sum.depth, limits.depth_max),
    ] {
        if count > max {
            return Err(too_complex(format!("the document has more than {max} {what} with its fragments expanded")));
        }
    }
    Ok(())
}

struct Counter<'a> {
    document: &'a ExecutableDocument,
    /// By name; `None` while it is being expanded, so that a cycle is seen.
    fragments: HashMap<&'a str, Option<Expanded>>,
}

impl<'a> Counter<'a> {
    fn expand(&mut self, selection_set: &'a SelectionSet) -> Result<Expanded, ApiError> {
        let mut sum = Expanded::default();
        for selection in &selection_set.items {
            let part = match &selection.node {
                Selection::Field(field) => {
                    let below = self.expand(&field.node.selection_set.node)?;
                    Expanded {
                        fields: below.fields.saturating_add(1),
                        aliases: below.aliases.saturating_add(usize::from(field.node.alias.is_some())),
                        depth: below.depth + 1,
                    }
                }
                Selection::InlineFragment(fragment) => self.expand(&fragment.node.selection_set.node)?,
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node)?,
            };
            sum.fields = sum.fields.saturating_add(part.fields);
            sum.aliases = sum.aliases.saturating_add(part.aliases);
            sum.depth = sum.depth.max(part.depth);
        }
        Ok(sum)
    }

    fn fragment(&mut self, name: &'a str) -> Result<Expanded, ApiError> {
        match self.fragments.get(name) {
            Some(Some(expanded)) => return Ok(*expanded),
            Some(None) => {
                let message = format!("the fragment {name:?} spreads itself");
                return Err(ApiError::new(ErrorKind::ValidationFailed, message));
            }
            None => {}
        }
        // An unknown fragment is for validation to report.
        let Some(fragment) = self.document.fragments.get(name) else { return Ok(Expanded::default()) };
        self.fragments.insert(name, None);
        let expanded = self.expand(&fragment.node.selection_set.node)?;
        self.fragments.insert(name, Some(expanded));
        Ok(expanded)
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;

    fn kind_of(text: &str, limits: &DocumentLimits) -> Option<ErrorKind> {
        let scanned = scan(text, limits);
        scanned.and_then(|()| check(&parse_query(text).unwrap(), limits)).err().map(|error| error.kind)
    }

    #[test]
    fn each_limit_holds_and_its_last_allowed_value_passes() {
        let limits = DocumentLimits {
            size_bytes_max: 200,
            tokens_max: 20,
            nesting_max: 4,
            aliases_max: 2,
            fields_max: 8,
            depth_max: 3,
            cost_max: 0,
        };
        for (text, expected) in [
            ("{ a }".to_owned(), None),
            (format!("{{ a }} #{}", "x".repeat(193)), None),
            (format!("{{ a }} #{}", "x".repeat(194)), Some(ErrorKind::TooComplex)),
            (format!("{{ {} }}", "a ".repeat(8)), None),
            (format!("{{ {} }}", "a ".repeat(9)), Some(ErrorKind::TooComplex)),
            (format!("{{ {} }}", "a ".repeat(19)), Some(ErrorKind::TooComplex)),
            ("{ a { b { c } } }".to_owned(), None),
            ("{ a { b { c { d } } } }".to_owned(), Some(ErrorKind::TooComplex)),
            ("{ a(x: [[[[1]]]]) }".to_owned(), Some(ErrorKind::TooComplex)),
            ("{ x: a y: a }".to_owned(), None),
            ("{ x: a y: a z: a }".to_owned(), Some(ErrorKind::TooComplex)),
            ("{ a(x: \"{{{{{{ \\\" {{{{ }\") }".to_owned(), None),
            ("{ a(x: \"\"\"{{{{{{ \" {{{{\"\"\") }".to_owned(), None),
            ("{ ...F } fragment F on Q { ...F }".to_owned(), Some(ErrorKind::ValidationFailed)),
        ] {
            assert_eq!(kind_of(&text, &limits), expected, "{text}");
        }
    }

    #[test]
    fn fragments_that_double_each_other_are_counted_quickly() {
        let mut text = "{ ...F0 }".to_owned();
        for level in 0..60 {
            let next = level + 1;
            text.push_str(&format!(" fragment F{level} on Q {{ ...F{next} ...F{next} }}"));
        }
        text.push_str(" fragment F60 on Q { a }");
        assert_eq!(kind_of(&text, &DocumentLimits::default()), Some(ErrorKind::TooComplex));
    }
}
