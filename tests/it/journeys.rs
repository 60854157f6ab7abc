//! What users do one step after the other, against plain recounts: funnels and sessions of random events.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use chrono::{DateTime, Datelike, TimeZone};
use chrono_tz::Tz;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    on_every_database,
    support::{App, T0, TestDatabase, app::Options, rfc3339},
};

const CASES: u64 = 4;
const QUESTIONS: usize = 8;
const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 1_440 * MINUTE_MS;
const TYPES: [&str; 5] = ["track.played", "ui.clicked", "track.liked", "order.paid", "order.refunded"];
const COUNTRIES: [&str; 2] = ["DE", "FR"];
const KINDS: [&str; 4] = ["SONG", "ARTIST", "ALBUM", "PLAYLIST"];
const PLANS: [&str; 2] = ["free", "paid"];
/// Paths with the JSON of values; some are those of objects and of nothing.
const PROPERTIES: [(&str, &str); 9] = [
    ("plan.name", r#""free""#),
    ("plan.name", r#""paid""#),
    ("plan.seats", "1"),
    ("plan.seats", r#""1""#),
    ("plan", r#""none""#),
    ("plan.name.first", "null"),
    ("coupon", "null"),
    ("trial", "true"),
    ("absent", "null"),
];
/// What is merged halfway through.
const MERGES: [(&str, &str, &str); 2] = [("SONG", "song-3", "song-1"), ("ARTIST", "artist-3", "artist-2")];
const ZONES: [&str; 3] = ["UTC", "Asia/Kathmandu", "America/Los_Angeles"];

/// Many happen at one moment, and some there differ in nothing but what they are about and their properties.
fn random_event(random: &mut StdRng, number: usize, earlier: &[Value]) -> Value {
    let mut event = match earlier.len() {
        count if count > 0 && random.random_range(0..3) == 0 => earlier[random.random_range(0..count)].clone(),
        _ => random_deed(random),
    };
    event["id"] = json!(format!("event-{number}"));
    event["songId"] = json!(format!("song-{}", random.random_range(1..4)));
    for (field, values) in [("artistId", 3), ("albumId", 2), ("playlistId", 2)] {
        event[field] = match random.random_range(0..values + 1) {
            0 => Value::Null,
            value => json!(format!("{}-{value}", field.trim_end_matches("Id"))),
        };
    }
    event["properties"] = match random.random_range(0..4) {
        0 => json!({}),
        1 => json!({"plan": "none", "coupon": null}),
        _ => json!({
            "plan": {"name": PLANS[random.random_range(0..2)], "seats": random.random_range(1..3)},
            "coupon": "X", "trial": random.random_range(0..2) == 0,
        }),
    };
    event
}

fn random_deed(random: &mut StdRng) -> Value {
    let event_type = TYPES[random.random_range(0..TYPES.len())];
    let at_ms = match random.random_range(0..2) {
        0 => T0 - 7 * MINUTE_MS * random.random_range(0..800),
        _ => T0 - 700 * MINUTE_MS * random.random_range(0..8),
    };
    let mut event = json!({"type": event_type, "occurredAt": at_ms});
    if event_type.starts_with("order.") {
        event["amount"] = json!(format!("{}.10", random.random_range(0..5)));
        event["currency"] = json!(["EUR", "JPY"][random.random_range(0..2)]);
        if event["currency"] == "JPY" {
            event["amount"] = json!("7");
        }
    }
    if random.random_range(0..8) > 0 {
        event["userId"] = json!(format!("user-{}", random.random_range(0..9)));
    }
    for (field, values) in [("country", &COUNTRIES), ("source", &["search", "radio"]), ("genre", &["jazz", "rock"])] {
        if random.random_range(0..3) > 0 {
            event[field] = json!(values[random.random_range(0..values.len())]);
        }
    }
    if random.random_range(0..12) == 0 {
        event["count"] = json!(3);
    }
    event
}

fn at(event: &Value) -> i64 {
    event["occurredAt"].as_i64().unwrap()
}

/// Each user's events; those that stand for several are nobody's.
fn by_user(events: &[Value]) -> BTreeMap<&str, Vec<&Value>> {
    let mut users: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for event in events.iter().filter(|event| event["count"].is_null()) {
        if let Some(user) = event["userId"].as_str() {
            users.entry(user).or_default().push(event);
        }
    }
    users
}

/// The same with nine decimals: reading a number back may change its last.
fn rounded(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().map(rounded).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), rounded(value))).collect(),
        Value::Number(number) if number.is_f64() => json!(format!("{:.9}", number.as_f64().unwrap())),
        other => other.clone(),
    }
}

fn random_match(random: &mut StdRng) -> Value {
    let mut matched = json!({"type": TYPES[random.random_range(0..TYPES.len())]});
    match random.random_range(0..6) {
        0 => matched["country"] = json!(COUNTRIES[random.random_range(0..2)]),
        1 => matched["source"] = json!("search"),
        2 => matched["genre"] = json!("jazz"),
        _ => {}
    }
    if random.random_range(0..3) == 0 {
        let kind = KINDS[random.random_range(0..KINDS.len())];
        matched["entity"] =
            json!({"kind": kind, "id": format!("{}-{}", kind.to_lowercase(), random.random_range(1..4))});
    }
    if random.random_range(0..3) == 0 {
        let asked = (0..random.random_range(1..3)).map(|_| {
            let (path, value) = PROPERTIES[random.random_range(0..PROPERTIES.len())];
            json!({"path": path, "value": serde_json::from_str::<Value>(value).unwrap()})
        });
        matched["properties"] = asked.collect();
    }
    matched
}

fn is_met(matched: &Value, event: &Value) -> bool {
    let has = |asked: &Value| {
        let path = format!("/{}", asked["path"].as_str().unwrap().replace('.', "/"));
        event["properties"].pointer(&path).is_some_and(|found| *found == asked["value"])
    };
    matched.as_object().unwrap().iter().all(|(field, value)| match field.as_str() {
        "entity" => event[format!("{}Id", value["kind"].as_str().unwrap().to_lowercase())] == value["id"],
        "properties" => value.as_array().unwrap().iter().all(has),
        field => event[field] == *value,
    })
}

/// The same with what is merged under the one id that it is read as.
fn read_as_one(value: &Value) -> Value {
    let text = value.to_string();
    MERGES.iter().fold(text, |text, (_, from, into)| text.replace(from, into)).parse().unwrap()
}

/// A funnel as it is asked.
struct Asked {
    steps: Vec<Value>,
    exclude: Vec<Value>,
    within_ms: i64,
    order: &'static str,
    from_ms: i64,
    to_ms: i64,
}

impl Asked {
    fn random(random: &mut StdRng) -> Self {
        let from_ms = T0 - random.random_range(0..4 * DAY_MS / 900_000) * 900_000;
        Self {
            steps: (0..random.random_range(2..5)).map(|_| random_match(random)).collect(),
            exclude: (0..random.random_range(0..2)).map(|_| random_match(random)).collect(),
            within_ms: [1, 7 * MINUTE_MS, 120 * MINUTE_MS, DAY_MS, 9 * DAY_MS][random.random_range(0..5)],
            order: ["SEQUENTIAL", "STRICT", "ANY"][random.random_range(0..3)],
            from_ms,
            to_ms: from_ms + random.random_range(1..300) * 900_000,
        }
    }

    fn place(&self, event: &Value) -> usize {
        self.steps.iter().position(|step| is_met(step, event)).unwrap_or(usize::MAX)
    }

    fn is_excluded(&self, event: &Value) -> bool {
        self.place(event) == usize::MAX && self.exclude.iter().any(|excluded| is_met(excluded, event))
    }

    /// Whether a user's events at these places, in order, are an attempt.
    fn is_attempt(&self, events: &[&Value], places: &[usize]) -> bool {
        let (first, last) = (places[0], places[places.len() - 1]);
        (self.from_ms..self.to_ms).contains(&at(events[first]))
            && at(events[last]) - at(events[first]) <= self.within_ms
            && !events[first..last].iter().any(|event| self.is_excluded(event))
            && (self.order != "STRICT" || places.windows(2).all(|pair| pair[0] + 1 == pair[1]))
            && places.iter().zip(&self.steps).all(|(place, step)| is_met(step, events[*place]))
    }

    fn attempts_from(&self, events: &[&Value], begun: &mut Vec<usize>, found: &mut Vec<Vec<usize>>) {
        if begun.len() == self.steps.len() {
            return;
        }
        for next in begun.last().map_or(0, |last| last + 1)..events.len() {
            begun.push(next);
            if self.is_attempt(events, begun) {
                found.push(begun.clone());
                self.attempts_from(events, begun, found);
            }
            begun.pop();
        }
    }

    fn best_in_order(&self, events: &[&Value]) -> Option<Vec<usize>> {
        let mut found = Vec::new();
        self.attempts_from(events, &mut Vec::new(), &mut found);
        let key = |places: &Vec<usize>| {
            let last = places[places.len() - 1];
            (places.len(), Reverse(last), places.iter().rev().copied().collect::<Vec<_>>())
        };
        found.into_iter().max_by_key(key)
    }

    fn best_in_any_order(&self, events: &[&Value]) -> Option<Vec<usize>> {
        let is_begin =
            |first: &usize| (self.from_ms..self.to_ms).contains(&at(events[*first])) && self.place(events[*first]) < 9;
        let attempt = |first: usize| {
            let (mut done, mut places) = (BTreeSet::new(), Vec::new());
            for (place, event) in events.iter().enumerate().skip(first) {
                if at(event) - at(events[first]) > self.within_ms || self.is_excluded(event) {
                    break;
                }
                let open = (0..self.steps.len()).find(|step| !done.contains(step) && is_met(&self.steps[*step], event));
                if let Some(step) = open {
                    done.insert(step);
                    places.push(place);
                }
            }
            places
        };
        let attempts = (0..events.len()).filter(is_begin).map(attempt);
        attempts.max_by_key(|places| (places.len(), Reverse(at(events[places[places.len() - 1]])), places[0]))
    }

    /// Each user's best attempt: the country of its first event, and when its events happened.
    fn attempts(&self, events: &[Value]) -> Vec<(Option<String>, Vec<i64>)> {
        let mut attempts = Vec::new();
        for mut events in by_user(events).into_values() {
            let said = |event: &Value| {
                ["type", "country", "source", "device", "genre"].map(|field| event[field].as_str().map(str::to_owned))
            };
            let is_step = |event: &Value, step: usize| is_met(&self.steps[step], event);
            let mask = |event: &Value| {
                (0..self.steps.len()).fold(0, |mask, step| mask | u32::from(is_step(event, step)) << step)
            };
            events.sort_by_key(|event| (at(event), self.place(event), said(event), mask(event)));
            let best = if self.order == "ANY" { self.best_in_any_order(&events) } else { self.best_in_order(&events) };
            if let Some(places) = best {
                let country = events[places[0]]["country"].as_str().map(str::to_owned);
                attempts.push((country, places.into_iter().map(|place| at(events[place])).collect()));
            }
        }
        attempts
    }

    fn query(&self) -> (String, Value) {
        let steps = "users rate stepRate medianMs medianSinceFirstMs";
        let query = format!(
            "query($steps: [EventMatch!]!, $exclude: [EventMatch!], $within: Duration!, $order: FunnelOrder!,
                $during: Window!) {{ platform {{
                funnel(steps: $steps, exclude: $exclude, within: $within, order: $order, during: $during, by: COUNTRY) {{
                    steps {{ type {steps} }} parts {{ key steps {{ {steps} }} }} }} }} }}"
        );
        let variables = json!({
            "steps": self.steps, "exclude": self.exclude, "order": self.order,
            "within": format!("PT{}S", self.within_ms as f64 / 1_000.0),
            "during": {"between": {"from": rfc3339(self.from_ms), "to": rfc3339(self.to_ms)}},
        });
        (query, variables)
    }
}

fn median(mut values: Vec<i64>) -> Option<i64> {
    values.sort_unstable();
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2),
    }
}

fn reached<'a>(attempts: impl Iterator<Item = &'a Vec<i64>> + Clone, count: usize) -> Vec<Value> {
    let users = |step: usize| attempts.clone().filter(|times| times.len() > step).count();
    let rate = |users: usize, of: usize| (of > 0).then(|| users as f64 / of as f64);
    let of_step = |step: usize| {
        let there = attempts.clone().filter(|times| times.len() > step);
        let since_previous = there.clone().map(|times| times[step] - times[step.saturating_sub(1)]).collect();
        let since_first = there.map(|times| times[step] - times[0]).collect();
        json!({
            "users": users(step), "rate": rate(users(step), users(0)),
            "stepRate": rate(users(step), users(step.saturating_sub(1))),
            "medianMs": median(since_previous), "medianSinceFirstMs": median(since_first),
        })
    };
    (0..count).map(of_step).collect()
}

async fn check_funnel(app: &App, events: &[Value], is_merged: bool, random: &mut StdRng, context: &str) {
    let mut asked = Asked::random(random);
    let (query, variables) = asked.query();
    let events = &match is_merged {
        true => events.iter().map(read_as_one).collect(),
        false => events.to_vec(),
    };
    if is_merged {
        asked.steps.iter_mut().chain(&mut asked.exclude).for_each(|matched| *matched = read_as_one(matched));
    }
    let answer = app.graphql(Some(&app.admin()), &query, variables.clone()).await;
    let told = &answer["data"]["platform"]["funnel"];
    let attempts = asked.attempts(events);
    let count = asked.steps.len();
    let mut expected = reached(attempts.iter().map(|(_, times)| times), count);
    for (step, matched) in expected.iter_mut().zip(&asked.steps) {
        step["type"] = matched["type"].clone();
    }
    assert_eq!(rounded(&told["steps"]), rounded(&json!(expected)), "{context}: {variables}");
    let countries: BTreeSet<&Option<String>> = attempts.iter().map(|(country, _)| country).collect();
    let mut parts: Vec<Value> = countries
        .into_iter()
        .map(|country| {
            let inside = attempts.iter().filter(|(of, _)| of == country).map(|(_, times)| times);
            json!({"key": country, "steps": reached(inside, count)})
        })
        .collect();
    parts.sort_by_key(|part| Reverse(part["steps"][0]["users"].as_u64()));
    assert_eq!(rounded(&told["parts"]), rounded(&json!(parts)), "{context}: {variables}");
}

/// A session: when it begins and ends, its events, whose it is.
type Session<'a> = (i64, i64, usize, &'a str);

fn sessions(events: &[Value]) -> Vec<Session<'_>> {
    let mut sessions: Vec<Session> = Vec::new();
    for (user, events) in by_user(events) {
        let mut times: Vec<i64> = events.into_iter().map(at).collect();
        times.sort_unstable();
        for time in times {
            match sessions.last_mut() {
                Some((_, end, count, of)) if *of == user && time - *end < 30 * MINUTE_MS => {
                    (*end, *count) = (time, *count + 1);
                }
                _ => sessions.push((time, time, 1, user)),
            }
        }
    }
    sessions
}

fn session_numbers(sessions: &[Session], from_ms: i64, to_ms: i64) -> Value {
    let inside: Vec<&Session> = sessions.iter().filter(|session| (from_ms..to_ms).contains(&session.0)).collect();
    let users = inside.iter().map(|session| session.3).collect::<BTreeSet<_>>().len();
    let lengths: Vec<i64> = inside.iter().map(|(from, to, ..)| to - from).collect();
    let ratio = |part: f64| (!inside.is_empty()).then(|| part / inside.len() as f64);
    json!({
        "sessions": inside.len(), "users": {"value": users}, "medianMs": median(lengths.clone()),
        "eventsPerSession": ratio(inside.iter().map(|session| session.2 as f64).sum()),
        "averageMs": ratio(lengths.iter().sum::<i64>() as f64),
    })
}

async fn check_sessions(app: &App, events: &[Value], random: &mut StdRng, context: &str) {
    let zone_name = ZONES[random.random_range(0..ZONES.len())];
    let zone: Tz = zone_name.parse().unwrap();
    let from_ms = T0 - random.random_range(0..5 * DAY_MS / 900_000) * 900_000;
    let to_ms = from_ms + random.random_range(1..400) * 900_000;
    let numbers = "sessions users { value } medianMs eventsPerSession averageMs";
    let query = format!(
        r#"{{ platform {{ sessions(during: {{between: {{from: "{}", to: "{}"}}}}, timeZone: "{zone_name}") {{
            {numbers} perUser points {{ start end {numbers} }} }} }} }}"#,
        rfc3339(from_ms),
        rfc3339(to_ms)
    );
    let data = app.ask(&query).await;
    let told = &data["platform"]["sessions"];
    let context = format!("{context}: {query}");
    let all = sessions(events);
    let mut expected = session_numbers(&all, from_ms, to_ms);
    let (count, users) = (expected["sessions"].as_f64().unwrap(), expected["users"]["value"].as_f64().unwrap());
    expected["perUser"] = json!((users > 0.0).then(|| count / users));
    expected["points"] = told["points"].clone();
    assert_eq!(rounded(told), rounded(&expected), "{context}");
    let local_day = |at_ms: i64| zone.timestamp_millis_opt(at_ms).unwrap().num_days_from_ce();
    let mut start_ms = from_ms;
    for point in told["points"].as_array().unwrap() {
        let end_ms = DateTime::parse_from_rfc3339(point["end"].as_str().unwrap()).unwrap().timestamp_millis();
        assert_eq!((local_day(start_ms), end_ms > start_ms), (local_day(end_ms - 1), true), "{context}");
        let mut expected = session_numbers(&all, start_ms, end_ms);
        expected["start"] = json!(rfc3339(start_ms));
        expected["end"] = json!(rfc3339(end_ms));
        assert_eq!(rounded(point), rounded(&expected), "{context}");
        start_ms = end_ms;
    }
    assert_eq!(start_ms, to_ms, "{context}");
}

/// What an event's amount is in hundredths, or in whole yen.
fn minor(event: &Value) -> i64 {
    event["amount"].as_str().unwrap().replace('.', "").parse().unwrap()
}

fn decimal(minor: i64, currency: &str) -> String {
    let sign = if minor < 0 { "-" } else { "" };
    match currency {
        "JPY" => minor.to_string(),
        _ => format!("{sign}{}.{:02}", minor.abs() / 100, minor.abs() % 100),
    }
}

fn conversion_numbers<'a>(inside: impl Iterator<Item = &'a Value> + Clone) -> Value {
    let of_type = |event_type: &'static str| inside.clone().filter(move |event| event["type"] == event_type);
    let times = |event: &Value| event["count"].as_i64().unwrap_or(1);
    let count = |event_type| of_type(event_type).map(times).sum::<i64>();
    let (mut revenue, mut averages) = (Vec::new(), Vec::new());
    for currency in ["EUR", "JPY"] {
        let of = |event_type| of_type(event_type).filter(|event| event["currency"] == currency);
        let sum = |event_type| of(event_type).map(minor).sum::<i64>();
        let (gross, refunded) = (sum("order.paid"), sum("order.refunded"));
        let payments: i64 = of("order.paid").map(times).sum();
        if payments > 0 || refunded > 0 {
            revenue.push(json!({
                "currency": currency, "amount": decimal(gross - refunded, currency),
                "gross": decimal(gross, currency), "refunded": decimal(refunded, currency),
            }));
        }
        if payments > 0 {
            let average = (gross as f64 / payments as f64).round() as i64;
            averages.push(json!({"currency": currency, "amount": decimal(average, currency)}));
        }
    }
    let clicks = count("ui.clicked");
    json!({
        "clicks": clicks, "conversions": count("track.liked"), "sales": count("order.paid"),
        "conversionRate": (clicks > 0).then(|| count("track.liked") as f64 / clicks as f64),
        "revenue": revenue, "averageOrderValue": averages,
    })
}

async fn check_conversion(app: &App, events: &[Value], random: &mut StdRng, context: &str) {
    let from_ms = T0 - random.random_range(0..5 * DAY_MS / 900_000) * 900_000;
    let to_ms = from_ms + random.random_range(1..400) * 900_000;
    let within_ms = random.random_range(1..300) * MINUTE_MS;
    let numbers = "clicks conversions sales conversionRate revenue { currency amount gross refunded }
        averageOrderValue { currency amount }";
    let query = format!(
        r#"{{ platform {{ conversion(
            during: {{between: {{from: "{}", to: "{}"}}}}, every: HOUR, clickEvent: "ui.clicked", saleEvent: "order.paid",
            conversionEvent: "track.liked", attributedWithin: "PT{}M"
        ) {{ {numbers} clickers {{ value }} converters {{ value }} buyers {{ value }} userConversionRate repeatRate
            points {{ start end {numbers} }} }} }} }}"#,
        rfc3339(from_ms),
        rfc3339(to_ms),
        within_ms / MINUTE_MS,
    );
    let data = app.ask(&query).await;
    let told = &data["platform"]["conversion"];
    let context = format!("{context}: {query}");
    let within = |from_ms: i64, to_ms: i64| events.iter().filter(move |event| (from_ms..to_ms).contains(&at(event)));
    let users = by_user(events);
    let did = |event_type: &str| {
        let times_of = |list: &Vec<&Value>| {
            let did = list.iter().filter(|event| event["type"] == event_type && (from_ms..to_ms).contains(&at(event)));
            did.count()
        };
        users.values().map(times_of).filter(|times| *times > 0).collect::<Vec<usize>>()
    };
    let converted = |list: &&Vec<&Value>| {
        let clicks = list.iter().filter(|event| event["type"] == "ui.clicked" && (from_ms..to_ms).contains(&at(event)));
        clicks.into_iter().any(|click| {
            let until = at(click)..=at(click) + within_ms;
            list.iter().any(|event| event["type"] == "track.liked" && until.contains(&at(event)))
        })
    };
    let (clickers, buyers) = (did("ui.clicked").len(), did("order.paid"));
    let rate = |part: usize, whole: usize| (whole > 0).then(|| part as f64 / whole as f64);
    let mut expected = conversion_numbers(within(from_ms, to_ms));
    expected["clickers"] = json!({"value": clickers});
    expected["converters"] = json!({"value": did("track.liked").len()});
    expected["buyers"] = json!({"value": buyers.len()});
    expected["userConversionRate"] = json!(rate(users.values().filter(converted).count(), clickers));
    expected["repeatRate"] = json!(rate(buyers.iter().filter(|times| **times > 1).count(), buyers.len()));
    expected["points"] = told["points"].clone();
    assert_eq!(rounded(told), rounded(&expected), "{context}");
    for point in told["points"].as_array().unwrap() {
        let ms = |field: &str| DateTime::parse_from_rfc3339(point[field].as_str().unwrap()).unwrap().timestamp_millis();
        let mut expected = conversion_numbers(within(ms("start"), ms("end")));
        expected["start"] = point["start"].clone();
        expected["end"] = point["end"].clone();
        assert_eq!(rounded(point), rounded(&expected), "{context}");
    }
}

async fn check_cases(first_seed: u64, database: impl AsyncFn() -> Option<TestDatabase>) {
    for seed in first_seed..first_seed + CASES {
        let Some(database) = database().await else { return };
        let mut random = StdRng::seed_from_u64(seed);
        let mut events = Vec::new();
        for number in 0..180 {
            events.push(random_event(&mut random, number, &events));
        }
        let app = App::start_with(&database, Options::at(T0)).await;
        for (batch, number) in events.chunks(30).zip(1..) {
            app.record(batch).await;
            // Answers do not depend on what is merged.
            if random.random_range(0..2) == 0 {
                app.merge_audience().await;
            }
            if number == 4 {
                for (kind, from, into) in MERGES {
                    let input = format!(r#"{{kind: {kind}, fromId: "{from}", intoId: "{into}"}}"#);
                    app.ask(&format!("mutation {{ mergeEntities(input: {input}) {{ entity {{ id }} }} }}")).await;
                }
            }
            for _ in 0..QUESTIONS {
                let (events, context) = (&events[..30 * number], format!("seed {seed}, batch {number}"));
                check_funnel(&app, events, number >= 4, &mut random, &context).await;
                check_sessions(&app, events, &mut random, &context).await;
                check_conversion(&app, events, &mut random, &context).await;
            }
        }
        assert_eq!(app.verify().await.shown, Vec::<String>::new(), "seed {seed}");
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn journeys_equal_a_plain_recount_on_sqlite() {
    check_cases(0, async || Some(TestDatabase::sqlite())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn journeys_equal_a_plain_recount_on_postgres() {
    check_cases(100, TestDatabase::postgres).await;
}

on_every_database!(bad_questions_about_journeys_are_refused, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let step = r#"{type: "track.played"}"#;
    let eleven = [step; 11].join(", ");
    for (field, code, told) in [
        (format!("funnel(steps: [{step}]) {{ steps {{ users }} }}"), "BAD_USER_INPUT", "steps"),
        (format!("funnel(steps: [{eleven}]) {{ steps {{ users }} }}"), "BAD_USER_INPUT", "steps"),
        (
            format!("funnel(steps: [{step}, {step}], exclude: [{eleven}]) {{ steps {{ users }} }}"),
            "BAD_USER_INPUT",
            "exclude",
        ),
        (
            format!(r#"funnel(steps: [{step}, {step}], within: "P367D") {{ steps {{ users }} }}"#),
            "BAD_USER_INPUT",
            "within",
        ),
        (format!(r#"funnel(steps: [{step}, {step}], first: 0) {{ steps {{ users }} }}"#), "BAD_USER_INPUT", "first"),
        (
            format!(r#"funnel(steps: [{step}, {{type: "x", country: "Germany"}}]) {{ steps {{ users }} }}"#),
            "BAD_USER_INPUT",
            "steps.country",
        ),
        ("sessions(during: {last: \"P30000D\"}, every: HOUR) { sessions }".to_owned(), "BAD_USER_INPUT", "every"),
        ("conversion(attributedWithin: \"P367D\") { clicks }".to_owned(), "BAD_USER_INPUT", "attributedWithin"),
    ] {
        let answer = app.graphql(Some(&app.admin()), &format!("{{ platform {{ {field} }} }}"), json!({})).await;
        let error = &answer["errors"][0]["extensions"];
        assert_eq!(json!([error["code"], error["field"]]), json!([code, told]), "{field}: {answer}");
    }
    let zero =
        format!(r#"{{ platform {{ funnel(steps: [{step}, {step}], within: "PT0S") {{ steps {{ users }} }} }} }}"#);
    let answer = app.graphql(Some(&app.admin()), &zero, json!({})).await;
    assert!(answer["errors"][0]["message"].as_str().unwrap().contains("longer than nothing"), "{answer}");
    // A type of event that never happened is no error: nobody did it.
    let query = r#"{ platform {
        funnel(steps: [{type: "never.happened"}, {type: "track.played"}], by: GENRE) {
            steps { users rate stepRate medianMs } parts { key } }
        sessions { sessions perUser averageMs medianMs } } }"#;
    let data = app.ask(query).await;
    let nobody = json!({"users": 0, "rate": null, "stepRate": null, "medianMs": null});
    assert_eq!(data["platform"]["funnel"], json!({"steps": [nobody, nobody], "parts": []}));
    let none = json!({"sessions": 0, "perUser": null, "averageMs": null, "medianMs": null});
    assert_eq!(data["platform"]["sessions"], none);
    app.stop().await;
});
