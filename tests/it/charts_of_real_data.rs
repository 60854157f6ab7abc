//! A year and more of published charts, counted again from their numbers.

use std::{
    collections::{BTreeMap, HashMap},
    io::Read,
    path::Path,
};

use backbeat::{
    charts::Order,
    domain::{chart::Cadence, entity::EntityKind},
};
use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::{
    import::{backbeat, text},
    support::{App, TestDatabase, app::Options, at, data::shared_file},
};

/// The rows of a file by week and rank; each cell by its column.
fn weeks(file: &Path, week: &str) -> BTreeMap<String, BTreeMap<i64, HashMap<String, String>>> {
    let mut bytes = Vec::new();
    GzDecoder::new(std::fs::File::open(file).unwrap()).read_to_end(&mut bytes).unwrap();
    let mut weeks: BTreeMap<String, BTreeMap<i64, _>> = BTreeMap::new();
    for row in csv::Reader::from_reader(&bytes[..]).into_deserialize() {
        let row: HashMap<String, String> = row.unwrap();
        let rank: i64 = row["rank"].parse().unwrap();
        let known = weeks.entry(row[week].clone()).or_default().insert(rank, row);
        assert!(known.is_none(), "two rows have one rank");
    }
    weeks
}

async fn entries(app: &App, of: &str, week: &str) -> Vec<Value> {
    let query = format!(
        "{{ chart(of: {of}, on: \"{week}\") {{ entries(first: 200) {{ nodes {{
            position previousPosition peakPosition periodsOnChart value node {{ id title }} }} }} }} }}"
    );
    let data = app.ask(&query).await;
    data["chart"]["entries"]["nodes"].as_array().unwrap_or_else(|| panic!("{week}: {data}")).clone()
}

async fn check_spotify(database: TestDatabase) {
    let Some(file) = shared_file("spotify_us_weekly_2017.csv.gz") else { return };
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = backbeat(directory.path(), &[("DATABASE_URL", &database.url)], arguments);
        assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    };
    let columns = ["week_start=occurredAt", "streams=count", "track_id=songId", "title=songTitle", "artist=artistName"];
    let mappings = columns.iter().flat_map(|column| ["--map", column]);
    let import: Vec<&str> =
        ["import", file.to_str().unwrap(), "--type", "track.played"].into_iter().chain(mappings).collect();
    assert_eq!(run(&import), "10400 accepted, 0 duplicates, 0 conflicts, 0 rejected\n");
    let charts =
        ["job", "run", "charts", "--from", "2017-01-01", "--to", "2017-12-31", "--cadence", "weekly", "--of", "song"];
    // The last week that holds a day of the year begins on 29 December, and has no rows.
    assert_eq!(run(&charts), "53 periods, 52 charts published, 0 revised\n");
    assert_eq!(run(&charts), "53 periods, 0 charts published, 0 revised\n");
    assert_eq!(run(&[&charts[..], &["--revise"]].concat()), "53 periods, 0 charts published, 0 revised\n");

    let app = App::start(&database).await;
    let published = weeks(&file, "week_start");
    assert_eq!(published.len(), 52);
    let mut firsts: HashMap<(String, String), usize> = HashMap::new();
    for (week, rows) in &published {
        let counted = entries(&app, "SONG", week).await;
        assert_eq!((counted.len(), rows.len()), (200, 200), "{week}");
        for (entry, (rank, row)) in counted.iter().zip(rows) {
            let expected = json!([rank, row["track_id"], row["streams"].parse::<i64>().unwrap()]);
            assert_eq!(json!([entry["position"], entry["node"]["id"], entry["value"]]), expected, "{week}");
        }
        let text = |field: &str| counted[0]["node"][field].as_str().unwrap().to_owned();
        *firsts.entry((text("title"), text("id"))).or_default() += 1;
    }
    // The file has it under another id in its first three weeks, which nobody has merged here.
    let most = firsts.into_iter().max_by_key(|(_, weeks)| *weeks).unwrap();
    assert_eq!(most, (("rockstar".to_owned(), "7wGoVu4Dady5GV0Sv4UIsx".to_owned()), 12));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_year_of_spotify_weeks_is_as_published_on_sqlite() {
    check_spotify(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_year_of_spotify_weeks_is_as_published_on_postgres() {
    if let Some(database) = TestDatabase::postgres().await {
        check_spotify(database).await;
    }
}

/// A Billboard file, each row as 201 - rank streams of what it names. `agreeing` rows of all weeks but the first
/// have the place before that was published with them.
async fn check_billboard(name: &str, of: EntityKind, agreeing: usize) {
    let Some(file) = shared_file(name) else { return };
    let published = weeks(&file, "chart_week");
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::at(at("2024-06-01T00:00:00Z"))).await;
    let mut events = Vec::new();
    for (week, rows) in &published {
        for (rank, row) in rows {
            let mut event = json!({"id": format!("{week} {rank}"), "type": "track.played", "occurredAt": format!("{week}T12:00:00Z"),
                                   "songTitle": row["title"], "artistName": row["artist"], "count": 201 - rank});
            if of == EntityKind::Album {
                event["albumTitle"] = json!(row["title"]);
            }
            events.push(event);
        }
    }
    app.record(&events).await;
    let order = Order {
        of,
        cadence: Cadence::Weekly,
        from_ms: at("2021-01-01T00:00:00Z"),
        to_ms: at("2024-01-01T00:00:00Z"),
        recount: false,
    };
    let report = app.core.charts.run(&order, |_| {}).await.unwrap();
    assert_eq!(report.published, 105);

    // The same from the file alone: title and artist as they stand there.
    let (mut peaks, mut periods): (HashMap<_, i64>, HashMap<_, i64>) = Default::default();
    let mut before: HashMap<(String, String), i64> = HashMap::new();
    let (mut compared, mut agreed) = (0, 0);
    for (number, (week, rows)) in published.iter().enumerate() {
        let counted = entries(&app, of.word().to_uppercase().as_str(), week).await;
        assert_eq!(counted.len(), rows.len(), "{week}");
        let mut places = HashMap::new();
        for (entry, (rank, row)) in counted.iter().zip(rows) {
            let key = (row["title"].clone(), row["artist"].clone());
            let peak = peaks.entry(key.clone()).and_modify(|peak| *peak = (*peak).min(*rank)).or_insert(*rank);
            let weeks = periods.entry(key.clone()).and_modify(|weeks| *weeks += 1).or_insert(1);
            let expected = json!([rank, before.get(&key), *peak, *weeks, 201 - rank]);
            let fields = ["position", "previousPosition", "peakPosition", "periodsOnChart", "value"];
            assert_eq!(json!(fields.map(|field| &entry[field])), expected, "{week}: {key:?}");
            if number > 0 {
                compared += 1;
                agreed += usize::from(entry["previousPosition"].as_i64() == row["last_week_rank"].parse().ok());
            }
            places.insert(key, *rank);
        }
        before = places;
    }
    assert_eq!((compared, agreed), (104 * published.values().next().unwrap().len(), agreeing));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_years_of_the_hot_100_have_the_published_places_before() {
    // In 14 rows the publisher changed the spelling of the title or the credits.
    check_billboard("hot100_2022_2023.csv.gz", EntityKind::Song, 10_386).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_years_of_the_billboard_200_have_the_published_places_before() {
    check_billboard("billboard200_2021_2022.csv.gz", EntityKind::Album, 20_800).await;
}

/// A day's top songs of 22 countries: small ones have fewer than 200, and songs that tie have no order of their own
/// in a file without listeners.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_of_countries_has_the_published_markets_and_charts() {
    let Some(file) = shared_file("spotify_daily_by_country.csv.gz") else { return };
    let mut bytes = Vec::new();
    GzDecoder::new(std::fs::File::open(file).unwrap()).read_to_end(&mut bytes).unwrap();
    let rows: Vec<HashMap<String, String>> =
        csv::Reader::from_reader(&bytes[..]).into_deserialize().map(Result::unwrap).collect();
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::at(at("2021-05-01T00:00:00Z"))).await;
    let (mut events, mut countries, mut songs) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    for row in &rows {
        let (country, song) = (row["region"].to_uppercase(), row["track_id"].clone());
        let streams: i64 = row["streams"].parse().unwrap();
        events.push(json!({"id": format!("{country} {}", row["rank"]), "type": "track.played", "occurredAt": "2021-04-23T12:00:00Z",
                           "songId": song, "songTitle": row["title"], "artistName": row["artist"], "country": country, "count": streams}));
        countries.entry(country.clone()).or_insert_with(Vec::new).push((
            row["rank"].parse::<i64>().unwrap(),
            song.clone(),
            streams,
        ));
        songs.entry(song).or_insert_with(Vec::new).push((-streams, country));
    }
    app.record(&events).await;
    assert_eq!(events.len(), 4_192);
    let totals: i64 = countries.values().flatten().map(|(_, _, streams)| streams).sum();
    assert_eq!((countries.len(), totals), (22, 66_253_605));

    // Each song's markets, and each country's sum over all songs.
    let during = r#"during: {between: {from: "2021-04-23T00:00:00Z", to: "2021-04-24T00:00:00Z"}}"#;
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for some in songs.keys().cloned().collect::<Vec<_>>().chunks(50) {
        let query = format!(
            "{{ songs(ids: {}) {{ id topMarkets({during}, first: 22) {{ country streams }}
                breakdown(by: COUNTRY, of: STREAMS, {during}, first: 22) {{ key value }} }} }}",
            json!(some)
        );
        for song in app.ask(&query).await["songs"].as_array().unwrap() {
            let markets = songs.get_mut(song["id"].as_str().unwrap()).unwrap();
            markets.sort();
            let expected: Vec<Value> =
                markets.iter().map(|(streams, country)| json!({"country": country, "streams": -streams})).collect();
            assert_eq!(song["topMarkets"], json!(expected), "{song}");
            for part in song["breakdown"].as_array().unwrap() {
                let value = part["value"].as_f64().unwrap() as i64;
                *sums.entry(part["key"].as_str().unwrap().to_owned()).or_default() += value;
            }
        }
    }
    let of_file = |rows: &Vec<(i64, String, i64)>| rows.iter().map(|(_, _, streams)| streams).sum::<i64>();
    assert_eq!(sums, countries.iter().map(|(country, rows)| (country.clone(), of_file(rows))).collect());

    let (from_ms, to_ms) = (at("2021-04-23T00:00:00Z"), at("2021-04-24T00:00:00Z"));
    let order = Order { of: EntityKind::Song, cadence: Cadence::Daily, from_ms, to_ms, recount: false };
    assert_eq!(app.core.charts.run(&order, |_| {}).await.unwrap().published, 23);
    for (country, rows) in &mut countries {
        let query = format!(
            "{{ chart(of: SONG, cadence: DAILY, country: \"{country}\") {{ entries(first: 200) {{ nodes {{ value node {{ id }} }} }} }} }}"
        );
        let chart = app.ask(&query).await["chart"]["entries"]["nodes"].clone();
        // The published order of those that tie is by nothing that the file has; ours is by id.
        rows.sort_by(|(_, one, streams), (_, other, others)| others.cmp(streams).then(one.cmp(other)));
        let expected: Vec<Value> =
            rows.iter().map(|(_, id, streams)| json!({"value": streams, "node": {"id": id}})).collect();
        assert_eq!(chart, json!(expected), "{country}");
    }
    app.stop().await;
}
