//! Takes options one by one and collects what is wrong with them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
    time::Duration,
};

/// All problems of the settings.
#[derive(Debug, PartialEq, Eq)]
pub struct Problems(Vec<String>);

impl Problems {
    pub fn single(problem: String) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "the settings cannot be used:")?;
        self.0.iter().try_for_each(|problem| writeln!(formatter, "  - {problem}"))
    }
}

impl std::error::Error for Problems {}

pub struct Reader {
    environment: BTreeMap<String, String>,
    /// The file's values by lower-case name.
    file: BTreeMap<String, String>,
    known: BTreeSet<String>,
    problems: Vec<String>,
}

impl Reader {
    pub fn new(environment: BTreeMap<String, String>, file: Option<&str>) -> Self {
        let mut problems = Vec::new();
        let table: toml::Table = file.unwrap_or_default().parse().unwrap_or_else(|error: toml::de::Error| {
            problems.push(format!("the settings file is not TOML: {}", error.message()));
            toml::Table::new()
        });
        let file = table
            .into_iter()
            .map(|(name, value)| {
                let text = match value {
                    toml::Value::String(text) => text,
                    toml::Value::Array(items) => {
                        let texts =
                            items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned));
                        texts.collect::<Vec<_>>().join(",")
                    }
                    other => other.to_string(),
                };
                (name, text)
            })
            .collect();
        Self { environment, file, known: BTreeSet::new(), problems }
    }

    pub fn problem(&mut self, name: &str, problem: &str) {
        self.problems.push(format!("{name}: {problem}"));
    }

    fn value(&mut self, name: &str) -> Option<String> {
        self.known.insert(name.to_ascii_lowercase());
        let from_file = self.file.get(&name.to_ascii_lowercase());
        self.environment.get(name).or(from_file).cloned()
    }

    pub fn text(&mut self, name: &str, default: &str) -> String {
        self.value(name).unwrap_or_else(|| default.to_owned())
    }

    pub fn parse<T: FromStr>(&mut self, name: &str, expected: &str, default: T) -> T {
        self.find(name, expected).unwrap_or(default)
    }

    /// What is given; `None` where nothing is, or nothing that can be read.
    pub fn find<T: FromStr>(&mut self, name: &str, expected: &str) -> Option<T> {
        let text = self.value(name)?;
        let parsed = text.trim().parse().ok();
        if parsed.is_none() {
            self.problem(name, &format!("{text:?} is not {expected}"));
        }
        parsed
    }

    /// A size or a number of things: at least one.
    pub fn positive(&mut self, name: &str, default: usize) -> usize {
        let number = self.parse(name, "a whole number from 1", default);
        if number == 0 {
            self.problem(name, "must be at least 1");
        }
        number
    }

    /// A length of time as [`Self::seconds`], longer than nothing.
    pub fn some_seconds(&mut self, name: &str, default: Duration) -> Duration {
        let duration = self.seconds(name, default);
        if duration.is_zero() {
            self.problem(name, "must be longer than nothing");
        }
        duration
    }

    /// A length of time in seconds (`8`, `0.5`, `8s`) or milliseconds (`500ms`); 0 is one.
    pub fn seconds(&mut self, name: &str, default: Duration) -> Duration {
        let Some(text) = self.value(name) else { return default };
        let trimmed = text.trim();
        let (number, unit) = match trimmed.strip_suffix("ms") {
            Some(number) => (number, 0.001),
            None => (trimmed.strip_suffix('s').unwrap_or(trimmed), 1.0),
        };
        let seconds = number.trim().parse::<f64>().ok().map(|number| number * unit);
        let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        duration.unwrap_or_else(|| {
            self.problem(name, &format!("{text:?} is not a length of time such as 8, 8s or 500ms"));
            default
        })
    }

    pub fn flag(&mut self, name: &str, default: bool) -> bool {
        let Some(text) = self.value(name) else { return default };
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => true,
            "false" | "0" | "no" | "off" => false,
            _ => {
                self.problem(name, &format!("{text:?} is neither true nor false"));
                default
            }
        }
    }

    /// One of several words; the first is the default.
    pub fn choice<const N: usize>(&mut self, name: &str, words: [&'static str; N]) -> &'static str {
        let Some(text) = self.value(name) else { return words[0] };
        let found = words.into_iter().find(|word| word.eq_ignore_ascii_case(text.trim()));
        found.unwrap_or_else(|| {
            self.problem(name, &format!("{text:?} is not one of {}", words.join(", ")));
            words[0]
        })
    }

    /// A value that must not be seen: from the variable, or from the file that `NAME_FILE` points at.
    pub fn secret(&mut self, name: &str) -> Option<String> {
        let direct = self.value(name);
        let from_file = self.file(&format!("{name}_FILE")).map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
        direct.or(from_file)
    }

    /// The text of the file that an option points at.
    pub fn file(&mut self, name: &str) -> Option<String> {
        let path = self.value(name)?;
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) => {
                self.problem(name, &format!("{path:?} cannot be read: {error}"));
                None
            }
        }
    }

    /// Ends the reading: unknown names in the file are problems too.
    pub fn finish(mut self) -> Result<(), Problems> {
        for name in self.file.keys().filter(|name| !self.known.contains(*name)) {
            self.problems.push(format!("{name}: the settings file names an option that does not exist"));
        }
        if self.problems.is_empty() { Ok(()) } else { Err(Problems(self.problems)) }
    }
}
