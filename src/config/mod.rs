//! Settings: read once, from the environment over an optional TOML file, checked at once, with every
//! problem named. No other room reads the environment.

mod reader;

use std::{collections::BTreeMap, net::IpAddr, path::Path, time::Duration};

pub use reader::Problems;
use reader::Reader;

use crate::{
    analytics::{AnalyticsSettings, AudienceThresholds, EventSettings, ExploreBudget},
    auth::Verifier,
    charts::ChartSettings,
    db::DatabaseSettings,
    domain::{chart::Calendar, counting::CountingRules, event::AcceptRules, window::DAY_MS},
    graphql::DocumentLimits,
    http::{HttpSettings, SocketSettings},
    ingest::IngestLimits,
    keeping::KeepingSettings,
};

/// Everything that the service needs to know at start.
pub struct Settings {
    pub database: DatabaseSettings,
    pub host: IpAddr,
    pub port: u16,
    pub log_level: String,
    pub log_json: bool,
    /// How long requests in flight may take to finish once the process is told to stop.
    pub shutdown_timeout: Duration,
    pub auth: AuthSettings,
    pub http: HttpSettings,
    pub ingest: IngestLimits,
    pub counting: CountingRules,
    pub documents: DocumentLimits,
    pub introspection: bool,
    pub analytics: AnalyticsSettings,
    /// How often open listener sets are merged into stored ones.
    pub merge_interval: Duration,
    pub live_events_kept: usize,
    pub charts: ChartSettings,
    pub keeping: KeepingSettings,
    /// How often what recommendations are told from is brought up to date; never if absent.
    pub recommend_interval: Option<Duration>,
    /// Whether a developer may have everything removed.
    pub is_development: bool,
}

/// How tokens are checked, and signed where a secret is at hand.
#[derive(Clone)]
pub struct AuthSettings {
    pub secret: Option<String>,
    pub public_key_pem: Option<String>,
    pub jwks: Option<String>,
    pub issuer: String,
    pub audience: String,
}

impl std::fmt::Debug for AuthSettings {
    /// Hides the secret.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("AuthSettings")
            .field("secret", &self.secret.as_ref().map(|_| "…"))
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}

impl AuthSettings {
    pub fn has_key(&self) -> bool {
        self.secret.is_some() || self.public_key_pem.is_some() || self.jwks.is_some()
    }

    /// The verifier of these settings; `Err` names the setting and what is wrong with it.
    pub fn verifier(&self) -> Result<Verifier, String> {
        let mut verifier = Verifier::new(&self.issuer, &self.audience);
        if let Some(secret) = &self.secret {
            verifier.add_secret(secret);
        }
        if let Some(pem) = &self.public_key_pem {
            verifier.add_pem(pem).map_err(|error| format!("JWT_PUBLIC_KEY_FILE {error}"))?;
        }
        if let Some(jwks) = &self.jwks {
            verifier.add_jwks(jwks).map_err(|error| format!("JWT_JWKS_FILE {error}"))?;
        }
        Ok(verifier)
    }
}

/// Whether a command can do without a key for tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyNeed {
    Required,
    Optional,
}

/// The embedded database, in the directory that the process was started in.
pub const DEFAULT_DATABASE_URL: &str = "sqlite://backbeat.db";

/// Reads the process's settings: the environment over `file`, or over `backbeat.toml` where it exists.
pub fn load(file: Option<&Path>, key: KeyNeed) -> Result<Settings, Problems> {
    let environment = std::env::vars().collect();
    let default_file = Path::new("backbeat.toml");
    let file = file.or_else(|| default_file.exists().then_some(default_file));
    let text = match file.map(std::fs::read_to_string).transpose() {
        Ok(text) => text,
        Err(error) => return Err(Problems::single(format!("the settings file cannot be read: {error}"))),
    };
    parse(environment, text.as_deref(), key)
}

/// Settings of these variables over this TOML text. Each option's name in the file is the variable's in
/// lower case.
pub fn parse(environment: BTreeMap<String, String>, file: Option<&str>, key: KeyNeed) -> Result<Settings, Problems> {
    let mut reader = Reader::new(environment, file);
    let database = database(&mut reader);
    let auth = auth(&mut reader, key);
    let http = http(&mut reader);
    let keeping = keeping(&mut reader);
    let ingest = ingest(&mut reader, http.body_size_bytes_max, keeping);
    let counting = CountingRules { short_songs_count: reader.flag("COUNT_SHORT_SONGS", false) };
    let settings = Settings {
        database,
        host: reader.parse("HOST", "an IP address such as 127.0.0.1 or 0.0.0.0", IpAddr::from([127, 0, 0, 1])),
        port: reader.parse("PORT", "a port from 0 to 65535", 8080),
        log_level: log_level(&mut reader),
        log_json: reader.choice("LOG_FORMAT", ["text", "json"]) == "json",
        shutdown_timeout: reader.seconds("SHUTDOWN_TIMEOUT", Duration::from_secs(8)),
        http,
        ingest,
        counting,
        documents: documents(&mut reader),
        introspection: reader.flag("INTROSPECTION", true),
        analytics: analytics(&mut reader, counting),
        live_events_kept: reader.positive("LIVE_EVENTS_KEPT", 32_768),
        merge_interval: reader.some_seconds("AUDIENCE_MERGE_INTERVAL", Duration::from_secs(30)),
        charts: charts(&mut reader),
        keeping,
        recommend_interval: Some(reader.seconds("RECOMMEND_INTERVAL", Duration::from_secs(3_600)))
            .filter(|interval| !interval.is_zero()),
        is_development: reader.flag("DEVELOPMENT", false),
        auth,
    };
    reader.finish()?;
    Ok(settings)
}

fn analytics(reader: &mut Reader, counting: CountingRules) -> AnalyticsSettings {
    let thresholds = AudienceThresholds {
        moderate_min: reader.parse("AUDIENCE_MODERATE_MIN", "a whole number", 3),
        super_min: reader.parse("AUDIENCE_SUPER_MIN", "a whole number", 10),
    };
    if thresholds.moderate_min < 2 || thresholds.super_min <= thresholds.moderate_min {
        reader.problem("AUDIENCE_SUPER_MIN", "must be more than AUDIENCE_MODERATE_MIN, and that more than 1");
    }
    AnalyticsSettings {
        cache_for: reader.seconds("CACHE_FOR", Duration::from_secs(1)),
        trending_cache_for: reader.seconds("TRENDING_CACHE_FOR", Duration::from_secs(30)),
        shown_people_min: reader.parse("SHOWN_PEOPLE_MIN", "a whole number", 5),
        audience_thresholds: thresholds,
        day_leaders: reader.parse("DAY_LEADERS", "a whole number", 1_000),
        active_event_types: list(reader, "ACTIVE_EVENT_TYPES").into(),
        counting,
        events: EventSettings {
            looked_at_max: reader.positive("EVENTS_LOOKED_AT_MAX", 200_000),
            counted_max: reader.positive("EVENTS_COUNTED_MAX", 10_000),
        },
        explore: ExploreBudget {
            rows_max: reader.positive("EXPLORE_ROWS_MAX", 2_000_000),
            groups_max: reader.positive("EXPLORE_GROUPS_MAX", 100_000),
            time_max: reader.some_seconds("EXPLORE_TIME_MAX", Duration::from_secs(5)),
        },
    }
}

fn database(reader: &mut Reader) -> DatabaseSettings {
    let url = reader.secret("DATABASE_URL").unwrap_or_else(|| DEFAULT_DATABASE_URL.to_owned());
    let is_postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
    if !is_postgres && !url.starts_with("sqlite:") {
        reader.problem("DATABASE_URL", "must begin with sqlite:// or postgres://");
    }
    if url.contains(":memory:") || url.contains("mode=memory") {
        reader.problem("DATABASE_URL", "an SQLite database has to be a file: nothing in memory is durable");
    }
    let read_connections = if is_postgres { 10 } else { 4 };
    DatabaseSettings {
        read_connections: reader.parse("DATABASE_READ_CONNECTIONS", "a whole number", read_connections),
        sqlite_cache_mib: reader.parse("SQLITE_CACHE_MIB", "a whole number", 128),
        ..DatabaseSettings::new(url)
    }
}

fn auth(reader: &mut Reader, key: KeyNeed) -> AuthSettings {
    let settings = AuthSettings {
        secret: reader.secret("JWT_SECRET"),
        public_key_pem: reader.file("JWT_PUBLIC_KEY_FILE"),
        jwks: reader.file("JWT_JWKS_FILE"),
        issuer: reader.text("JWT_ISSUER", "backbeat"),
        audience: reader.text("JWT_AUDIENCE", "backbeat"),
    };
    if settings.secret.as_deref() == Some("") {
        reader.problem("JWT_SECRET", "is empty");
    }
    if key == KeyNeed::Required && !settings.has_key() {
        reader.problem(
            "JWT_SECRET",
            "no key for tokens: set JWT_SECRET (at least 32 random bytes; or JWT_SECRET_FILE), \
             JWT_PUBLIC_KEY_FILE or JWT_JWKS_FILE; or try the service with `backbeat serve --demo`",
        );
    }
    if let Err(problem) = settings.verifier() {
        reader.problem("JWT", &problem);
    }
    settings
}

fn log_level(reader: &mut Reader) -> String {
    let level = reader.text("LOG_LEVEL", "info").to_ascii_lowercase();
    // What other frameworks call it.
    let level = if level == "warning" { "warn".to_owned() } else { level };
    if tracing_subscriber::EnvFilter::try_new(&level).is_err() {
        reader.problem("LOG_LEVEL", "must be trace, debug, info, warn, error, or a filter such as info,backbeat=debug");
    }
    level
}

/// What stands between commas.
fn list(reader: &mut Reader, name: &str) -> Vec<String> {
    let text = reader.text(name, "");
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(ToOwned::to_owned).collect()
}

fn http(reader: &mut Reader) -> HttpSettings {
    let cors_origins: Vec<String> =
        list(reader, "CORS_ORIGINS").iter().map(|origin| origin.trim_end_matches('/').to_owned()).collect();
    for origin in &cors_origins {
        if origin != "*" && !origin.starts_with("http://") && !origin.starts_with("https://") {
            reader.problem("CORS_ORIGINS", "must be * or a list of origins such as https://example.org, with commas");
        }
    }
    HttpSettings {
        cors_origins,
        request_timeout: reader.some_seconds("REQUEST_TIMEOUT", Duration::from_secs(10)),
        body_size_bytes_max: reader.positive("REQUEST_SIZE_MAX", 5 << 20),
        graphiql: reader.flag("GRAPHIQL", true),
        socket: SocketSettings {
            init_timeout: reader.some_seconds("SOCKET_INIT_TIMEOUT", Duration::from_secs(5)),
            ping_interval: reader.some_seconds("SOCKET_PING_INTERVAL", Duration::from_secs(20)),
            operations_max: reader.positive("SOCKET_OPERATIONS_MAX", 20),
            sockets_max: reader.positive("SOCKETS_MAX", 20_000),
        },
    }
}

/// Settings that say how long something is kept.
fn keeping(reader: &mut Reader) -> KeepingSettings {
    let events = days_kept(reader, "EVENT_RETENTION_DAYS", 2);
    let by_its_other_name = days_kept(reader, "METRICS_RETENTION_DAYS", 2);
    if events.zip(by_its_other_name).is_some_and(|(one, other)| one != other) {
        reader.problem("METRICS_RETENTION_DAYS", "is EVENT_RETENTION_DAYS by another name, which says otherwise");
    }
    let quarters = days_kept(reader, "QUARTER_RETENTION_DAYS", 3);
    let millis = |days: Option<i64>| days.filter(|days| *days > 0).map(|days| days.saturating_mul(DAY_MS));
    KeepingSettings { events_ms: millis(events.or(by_its_other_name)), quarters_ms: millis(quarters) }
}

fn days_kept(reader: &mut Reader, name: &str, days_min: i64) -> Option<i64> {
    let days: Option<i64> = reader.find(name, "a number of days, 0 to keep everything");
    if days.is_some_and(|days| days != 0 && !(days_min..=DAYS_KEPT_MAX).contains(&days)) {
        reader.problem(name, &format!("must be 0, to keep everything, or {days_min} to {DAYS_KEPT_MAX} days"));
    }
    days
}

/// A hundred years.
const DAYS_KEPT_MAX: i64 = 36_500;

fn ingest(reader: &mut Reader, request_size_bytes_max: usize, keeping: KeepingSettings) -> IngestLimits {
    let request_events_max = reader.positive("REQUEST_EVENTS_MAX", 5_000);
    let queue_size_bytes_max = reader.positive("QUEUE_SIZE_MAX", 64 << 20);
    // Each event is rounded up to whole KiB.
    if queue_size_bytes_max < request_size_bytes_max + (request_events_max << 10) {
        reader.problem(
            "QUEUE_SIZE_MAX",
            "must hold one request: REQUEST_SIZE_MAX and 1024 for each of REQUEST_EVENTS_MAX",
        );
    }
    let horizon_days: i64 = reader.parse("ACCEPT_HORIZON_DAYS", "a number of days, 0 for no horizon", 0);
    let horizon_ms = (horizon_days > 0).then(|| horizon_days.saturating_mul(DAY_MS));
    IngestLimits {
        accept: AcceptRules {
            event_size_bytes_max: reader.positive("EVENT_SIZE_MAX", 32 << 10),
            id_length_max: reader.positive("ID_LENGTH_MAX", 200),
            properties_depth_max: reader.positive("PROPERTIES_DEPTH_MAX", 16),
            future_tolerance_ms: millis(reader.seconds("FUTURE_TOLERANCE", Duration::from_secs(300))),
            // What is not kept is not accepted: a retry of it could no longer be recognised.
            horizon_ms: [horizon_ms, keeping.events_ms].into_iter().flatten().min(),
        },
        request_events_max,
        queue_size_bytes_max,
        commit_wait: reader.some_seconds("COMMIT_WAIT", Duration::from_secs(10)),
    }
}

/// Longer than this a period cannot settle: the job looks so far back.
const CHART_SETTLE_MAX: Duration = Duration::from_secs(7 * 86_400);

fn charts(reader: &mut Reader) -> ChartSettings {
    let settle = reader.seconds("CHART_SETTLE", Duration::from_secs(6 * 3_600));
    if settle > CHART_SETTLE_MAX {
        reader.problem("CHART_SETTLE", "must be at most 604800, which is a week");
    }
    let week_starts_on = reader.parse("CHART_WEEK_STARTS_ON", "a day of the week such as friday", chrono::Weekday::Fri);
    ChartSettings { calendar: Calendar { week_starts_on }, settle }
}

fn documents(reader: &mut Reader) -> DocumentLimits {
    let defaults = DocumentLimits::default();
    DocumentLimits {
        size_bytes_max: reader.positive("QUERY_SIZE_MAX", defaults.size_bytes_max),
        tokens_max: reader.positive("QUERY_TOKENS_MAX", defaults.tokens_max),
        nesting_max: reader.positive("QUERY_NESTING_MAX", defaults.nesting_max),
        aliases_max: reader.positive("QUERY_ALIASES_MAX", defaults.aliases_max),
        fields_max: reader.positive("QUERY_FIELDS_MAX", defaults.fields_max),
        depth_max: reader.positive("QUERY_DEPTH_MAX", defaults.depth_max),
        cost_max: reader.positive("QUERY_COST_MAX", defaults.cost_max),
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_names_that_operators_use_are_honoured() {
        let settings = parse(
            environment(&[
                ("DATABASE_URL", "postgres://localhost/backbeat"),
                ("HOST", "0.0.0.0"),
                ("PORT", "9000"),
                ("CORS_ORIGINS", "https://a.example, https://b.example/"),
                ("LOG_LEVEL", "WARNING"),
                ("SHUTDOWN_TIMEOUT", "3"),
                ("JWT_SECRET", "a secret of more than thirty-two bytes"),
                ("PATH", "/usr/bin"),
            ]),
            None,
            KeyNeed::Required,
        )
        .unwrap();
        assert_eq!(settings.database.url, "postgres://localhost/backbeat");
        assert_eq!((settings.host.to_string().as_str(), settings.port), ("0.0.0.0", 9000));
        assert_eq!(settings.http.cors_origins, ["https://a.example", "https://b.example"]);
        assert_eq!((settings.log_level.as_str(), settings.shutdown_timeout), ("warn", Duration::from_secs(3)));
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let file = "port = 7000\nhost = \"0.0.0.0\"\njwt_secret = \"from the file\"";
        let settings = parse(environment(&[("PORT", "9000")]), Some(file), KeyNeed::Required).unwrap();
        assert_eq!((settings.host.to_string().as_str(), settings.port), ("0.0.0.0", 9000));
        assert_eq!(settings.auth.secret.as_deref(), Some("from the file"));
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let problems = parse(
            environment(&[
                ("DATABASE_URL", "mysql://x"),
                ("PORT", "many"),
                ("SHUTDOWN_TIMEOUT", "-1"),
                ("QUEUE_SIZE_MAX", "9"),
                ("CHART_WEEK_STARTS_ON", "someday"),
                ("CHART_SETTLE", "604801"),
                ("QUARTER_RETENTION_DAYS", "2"),
            ]),
            Some("prot = 1\nhost = \"nowhere\""),
            KeyNeed::Required,
        )
        .err()
        .unwrap()
        .to_string();
        let named = ["DATABASE_URL", "PORT", "SHUTDOWN_TIMEOUT", "HOST", "JWT_SECRET", "QUEUE_SIZE_MAX", "prot"];
        for name in named.into_iter().chain(["CHART_WEEK_STARTS_ON", "CHART_SETTLE", "QUARTER_RETENTION_DAYS"]) {
            assert!(problems.contains(name), "{name} is missing in:\n{problems}");
        }
    }

    #[test]
    fn what_is_not_kept_is_not_accepted() {
        let retained = |variables: &[(&str, &str)]| {
            let settings = parse(environment(variables), None, KeyNeed::Optional).map_err(|error| error.to_string())?;
            let days = |millis: Option<i64>| millis.map(|millis| millis / DAY_MS);
            Ok((days(settings.keeping.events_ms), days(settings.ingest.accept.horizon_ms)))
        };
        for (variables, kept_and_accepted) in [
            (&[][..], (None, None)),
            (&[("EVENT_RETENTION_DAYS", "0"), ("ACCEPT_HORIZON_DAYS", "9")], (None, Some(9))),
            (&[("EVENT_RETENTION_DAYS", "30")], (Some(30), Some(30))),
            (&[("METRICS_RETENTION_DAYS", "30"), ("ACCEPT_HORIZON_DAYS", "60")], (Some(30), Some(30))),
            (&[("EVENT_RETENTION_DAYS", "30"), ("METRICS_RETENTION_DAYS", "30")], (Some(30), Some(30))),
            (&[("EVENT_RETENTION_DAYS", "2"), ("ACCEPT_HORIZON_DAYS", "1")], (Some(2), Some(1))),
        ] {
            assert_eq!(retained(variables), Ok(kept_and_accepted), "{variables:?}");
        }
        for (variables, named) in [
            (&[("EVENT_RETENTION_DAYS", "1")][..], "EVENT_RETENTION_DAYS: must be 0"),
            (&[("METRICS_RETENTION_DAYS", "-5")], "METRICS_RETENTION_DAYS: must be 0"),
            (&[("EVENT_RETENTION_DAYS", "30"), ("METRICS_RETENTION_DAYS", "0")], "by another name"),
        ] {
            let problem: Result<(Option<i64>, Option<i64>), String> = retained(variables);
            assert!(problem.as_ref().is_err_and(|problem| problem.contains(named)), "{variables:?}: {problem:?}");
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        let settings = parse(environment(&[("JWT_SECRET", "hush")]), None, KeyNeed::Required).unwrap();
        assert!(!format!("{:?}", settings.auth).contains("hush"));
    }
}
