//! The service's answers against the plain ones, and both of its ways against each other.

use super::*;

fn rank(value: &Value) -> u8 {
    match value {
        Value::Bool(_) => 0,
        Value::Number(_) => 1,
        Value::String(_) => 2,
        _ => 3,
    }
}

fn compare(one: &Value, other: &Value) -> std::cmp::Ordering {
    rank(one).cmp(&rank(other)).then_with(|| match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
        (Value::Number(one), Value::Number(other)) => one.as_f64().unwrap().total_cmp(&other.as_f64().unwrap()),
        (Value::String(one), Value::String(other)) => one.cmp(other),
        _ => std::cmp::Ordering::Equal,
    })
}

type GroupKey = (i64, Vec<Value>);

/// The rows by a plain group-by; `None` where amounts of several currencies meet.
fn expected_rows(spec: &Spec, events: &[Plain<'_>]) -> Option<Vec<Value>> {
    let mut groups: Vec<(GroupKey, PlainGroup<'_>)> = Vec::new();
    let catalogue = spec.catalogue();
    for event in events.iter().filter(|event| spec.admits(event)) {
        let mut groupings = vec![Vec::new()];
        for by in &spec.by {
            let is_own = |value: &Value| {
                let own = catalogue.as_ref().filter(|_| *by == "ARTIST");
                own.is_none_or(|artists| artists.contains(&value.as_str().unwrap()))
            };
            let values: Vec<Value> = event.key(by, spec.zone()).into_iter().filter(is_own).collect();
            groupings = groupings
                .iter()
                .flat_map(|grouping: &Vec<Value>| {
                    values.iter().map(move |value| [&grouping[..], std::slice::from_ref(value)].concat())
                })
                .collect();
        }
        for keys in groupings {
            let key = (spec.time(event.at()), keys);
            let place = groups.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
                groups.push((key, PlainGroup::default()));
                groups.len() - 1
            });
            groups[place].1.events.push((event, spec.counts(event)));
        }
    }
    let has_amounts = spec.measures.iter().any(|(_, property)| *property == "amount");
    let mixed = |group: &PlainGroup<'_>| {
        group.events.iter().filter_map(|(event, _)| event.text("currency")).collect::<BTreeSet<_>>().len() > 1
    };
    if has_amounts && groups.iter().any(|(_, group)| mixed(group)) {
        return None;
    }
    let is_whole = spec.by.is_empty() && spec.every.is_none();
    if is_whole && groups.is_empty() {
        groups.push(((0, Vec::new()), PlainGroup::default()));
    }
    groups.retain(|(_, group)| is_whole || group.says(spec));
    if !spec.artists.is_empty() {
        groups = fold(spec, groups);
    }
    let columns = spec.columns();
    let row = |((time, keys), group): &(GroupKey, PlainGroup<'_>)| -> Vec<Value> {
        let time = spec.every.map(|_| json!(rfc3339(*time)));
        let values = spec.measures.iter().map(|measure| group.value(*measure));
        time.into_iter().chain(keys.iter().cloned()).chain(values).collect()
    };
    let mut rows: Vec<Vec<Value>> = groups.iter().map(row).collect();
    let (time, first) = (usize::from(spec.every.is_some()), usize::from(spec.every.is_some()) + spec.by.len());
    let order = match &spec.order {
        Some((column, is_descending)) => {
            vec![(columns.iter().position(|known| known == column).unwrap(), *is_descending)]
        }
        None if time == 1 => vec![(0, false), (first, true)],
        None => vec![(first, true)],
    };
    rows.sort_by(|one, other| {
        let by_order = order.iter().map(|(place, is_descending)| {
            let (one, other) = (&one[*place], &other[*place]);
            let order = compare(one, other);
            if *is_descending && !one.is_null() && !other.is_null() { order.reverse() } else { order }
        });
        let by_keys = one[..first].iter().zip(&other[..first]).map(|(one, other)| compare(one, other));
        by_order.chain(by_keys).fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
    });
    rows.truncate(spec.first);
    Some(rows.into_iter().map(|row| columns.iter().cloned().zip(row).collect::<Map<_, _>>().into()).collect())
}

/// Tells cells of few people together, as artists are told.
fn fold<'a>(spec: &Spec, groups: Vec<(GroupKey, PlainGroup<'a>)>) -> Vec<(GroupKey, PlainGroup<'a>)> {
    const ORIGINS: [&str; 3] = ["COUNTRY", "SOURCE", "DEVICE"];
    let is_of_one = ["country", "source", "device"].iter().any(|name| spec.filters.contains_key(name));
    if !is_of_one && !spec.by.iter().any(|by| ORIGINS.contains(by)) {
        return groups;
    }
    let common = |(time, keys): &GroupKey| {
        let hidden =
            keys.iter().zip(&spec.by).map(|(key, by)| if ORIGINS.contains(by) { json!("OTHER") } else { key.clone() });
        (*time, hidden.collect::<Vec<_>>())
    };
    let mut shared: Vec<(GroupKey, Vec<(GroupKey, PlainGroup<'a>)>)> = Vec::new();
    for (key, group) in groups {
        let common = common(&key);
        match shared.iter_mut().find(|(known, _)| *known == common) {
            Some((_, cells)) => cells.push((key, group)),
            None => shared.push((common, vec![(key, group)])),
        }
    }
    let mut shown = Vec::new();
    for (common, mut cells) in shared {
        // The most people first, then by key.
        cells.sort_by(|(one, _), (other, _)| {
            one.1
                .iter()
                .zip(&other.1)
                .map(|(one, other)| compare(one, other))
                .fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
        });
        cells.sort_by_key(|(_, group)| std::cmp::Reverse(group.people(spec)));
        let mut folded = PlainGroup::default();
        let mut is_folded = false;
        while let Some((_, smallest)) = cells.last() {
            if smallest.people(spec) >= 5 && (!is_folded || folded.people(spec) >= 5) {
                break;
            }
            is_folded = true;
            folded.events.extend(cells.pop().unwrap().1.events);
        }
        cells.extend(is_folded.then_some((common, folded)));
        shown.extend(cells.into_iter().filter(|(_, group)| !is_of_one || group.people(spec) >= 5));
    }
    shown
}

/// Rows as they are compared: without titles, floats as far as JSON's reader is exact.
fn comparable(mut rows: Vec<Value>) -> Vec<Value> {
    for row in &mut rows {
        let row = row.as_object_mut().unwrap();
        row.retain(|column, _| !column.ends_with("Title"));
        for value in row.values_mut().filter(|value| value.is_f64()) {
            *value = json!((value.as_f64().unwrap() * 1e6).round() / 1e6);
        }
    }
    rows
}

async fn check_question(app: &App, spec: &Spec, events: &[Plain<'_>], context: &str) -> bool {
    let query = spec.query();
    let token = if spec.artists.is_empty() { app.admin() } else { app.token("artist", &spec.artists) };
    let answer = app.graphql(Some(&token), &query, json!({})).await;
    let context = format!("{context}, {:?}: {query}\n{answer}", spec.artists);
    let Some(expected) = expected_rows(spec, events) else {
        assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{context}");
        return false;
    };
    let told = &answer["data"]["explore"];
    assert!(answer.get("errors").is_none(), "{context}");
    let told_rows = told["rows"].as_array().unwrap().clone();
    assert_eq!(comparable(told_rows), comparable(expected), "{context}");
    let question = spec.question();
    let cheapest = app.core.analytics.explore(&question, ExploreFrom::Cheapest).await.unwrap();
    let from_events = app.core.analytics.explore(&question, ExploreFrom::Events).await.unwrap();
    assert_eq!(cheapest.rows, from_events.rows, "{context}");
    told["source"] == "ROLLUP"
}

async fn check_cases(first_seed: u64, database: impl AsyncFn() -> Option<TestDatabase>) {
    let (mut from_sums, mut asked) = (0, 0);
    for seed in first_seed..first_seed + CASES {
        let Some(database) = database().await else { return };
        let mut random = StdRng::seed_from_u64(seed);
        let events: Vec<Value> = (0..450).map(|number| random_event(&mut random, number)).collect();
        let plain: Vec<Plain<'_>> =
            (0..).zip(&events).map(|(place, event)| Plain { event, is_told: place >= 150 }).collect();
        let app = App::start_with(&database, Options::at(T0)).await;
        app.record(&events[..150]).await;
        let told = app.ask(CATALOGUE).await;
        assert_eq!(told["upsertCatalog"]["rejected"], 0, "{told}");
        app.ask(MERGE).await;
        for (batch, end) in events[150..].chunks(150).zip([300, 450]) {
            app.record(batch).await;
            // Answers do not depend on what is merged.
            if random.random_range(0..2) == 0 {
                app.merge_audience().await;
            }
            for number in 0..QUESTIONS / 2 {
                let spec = random_spec(&mut random);
                asked += 1;
                let context = format!("seed {seed}, {end} events, question {number}");
                from_sums += usize::from(check_question(&app, &spec, &plain[..end], &context).await);
            }
        }
        app.stop().await;
    }
    assert!(from_sums > asked / 10, "only {from_sums} of {asked} questions were answered from sums");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_bys_equal_a_plain_one_on_sqlite() {
    check_cases(0, async || Some(TestDatabase::sqlite())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_bys_equal_a_plain_one_on_postgres() {
    check_cases(100, TestDatabase::postgres).await;
}
