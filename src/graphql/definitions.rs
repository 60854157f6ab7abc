//! What every number means: the schema's own descriptions, so that there is one text for both, with what a
//! description does not say. A new metric is one row of [`ROWS`].

use std::{collections::HashMap, sync::LazyLock};

use async_graphql::{
    SimpleObject,
    parser::{
        parse_schema,
        types::{FieldDefinition, TypeKind, TypeSystemDefinition},
    },
};
use sha2::{Digest, Sha256};

/// A metric's name, its unit, the numbers of the lines in the platform's definitions that fix it, and where
/// the schema has it. The description of the first place is its text.
struct Row {
    key: &'static str,
    title: &'static str,
    unit: &'static str,
    numbers: &'static [i32],
    found_in: &'static [&'static str],
}

const fn row(
    key: &'static str,
    title: &'static str,
    unit: &'static str,
    numbers: &'static [i32],
    found_in: &'static [&'static str],
) -> Row {
    Row { key, title, unit, numbers, found_in }
}

const EVENTS: &str = "events";
const PEOPLE: &str = "people";
const MILLISECONDS: &str = "milliseconds";
const FRACTION: &str = "fraction, 0 to 1";

const ROWS: &[Row] = &[
    row("plays", "Plays", EVENTS, &[1], &["Metrics.plays", "Metric.PLAYS"]),
    row("streams", "Streams", EVENTS, &[2], &["Metrics.streams", "Metric.STREAMS"]),
    row("skips", "Skips", EVENTS, &[4], &["Metrics.skips", "Metric.SKIPS"]),
    row("skipRate", "Skip rate", FRACTION, &[4], &["Metrics.skipRate"]),
    row("completionRate", "Completion rate", FRACTION, &[4], &["Metrics.completionRate"]),
    row("listeningTime", "Listening time", MILLISECONDS, &[5], &["Metrics.listeningTimeMs", "Metric.LISTENING_TIME"]),
    row("listeners", "Listeners", PEOPLE, &[6], &["Metrics.listeners", "Metric.LISTENERS"]),
    row("streamsPerListener", "Streams per listener", "streams per person", &[9], &["Metrics.streamsPerListener"]),
    row("directStreams", "Direct streams", EVENTS, &[13], &["Metrics.directStreams"]),
    row("anonymousListeners", "Anonymous listeners", PEOPLE, &[6], &["Metrics.anonymousListeners"]),
    row("averageDailyListeners", "Average daily listeners", "people per day", &[7], &["Metrics.averageDailyListeners"]),
    row(
        "monthlyListeners",
        "Monthly listeners",
        PEOPLE,
        &[8],
        &["Artist.monthlyListeners", "Song.monthlyListeners", "Album.monthlyListeners", "Playlist.monthlyListeners"],
    ),
    row("followers", "Followers", "follows", &[10], &["Artist.followers"]),
    row("netFollows", "Net follows", EVENTS, &[10], &["Metrics.netFollows"]),
    row("netLikes", "Net likes", EVENTS, &[11], &["Metrics.netLikes"]),
    row("netSaves", "Net saves", EVENTS, &[11], &["Metrics.netSaves"]),
    row("likers", "Likers", PEOPLE, &[11], &["Metrics.likers"]),
    row("sharers", "Sharers", PEOPLE, &[11], &["Metrics.sharers"]),
    row("savers", "Savers", PEOPLE, &[11], &["Metrics.savers"]),
    row("playlistAdders", "Playlist adders", PEOPLE, &[11], &["Metrics.playlistAdders"]),
    row("saveRate", "Save rate", FRACTION, &[12], &["Metrics.saveRate"]),
    row("shareRate", "Share rate", FRACTION, &[12], &["Metrics.shareRate"]),
    row("intentRate", "Intent rate", FRACTION, &[12], &["Metrics.intentRate"]),
    row("follows", "Follows", EVENTS, &[10], &["Metrics.follows", "Metric.FOLLOWS"]),
    row("unfollows", "Unfollows", EVENTS, &[10], &["Metrics.unfollows"]),
    row("likes", "Likes", EVENTS, &[11], &["Metrics.likes", "Metric.LIKES"]),
    row("unlikes", "Likes taken back", EVENTS, &[11], &["Metrics.unlikes"]),
    row("saves", "Saves", EVENTS, &[11], &["Metrics.saves", "Metric.SAVES"]),
    row("unsaves", "Saves taken back", EVENTS, &[11], &["Metrics.unsaves"]),
    row("shares", "Shares", EVENTS, &[11], &["Metrics.shares", "Metric.SHARES"]),
    row("playlistAdds", "Playlist additions", EVENTS, &[11], &["Metrics.playlistAdds", "Metric.PLAYLIST_ADDS"]),
    row("purchases", "Purchases", EVENTS, &[25], &["Metrics.purchases", "Metric.PURCHASES"]),
    row("refunds", "Refunds", EVENTS, &[25], &["Metrics.refunds"]),
    row("activeUsers", "Active users", PEOPLE, &[21], &["ActiveUsersPoint.users"]),
    row("dailyActiveUsers", "Daily active users", PEOPLE, &[21], &["ActiveUsers.daily"]),
    row("weeklyActiveUsers", "Weekly active users", PEOPLE, &[21], &["ActiveUsers.weekly", "ActiveUsersPoint.weekly"]),
    row(
        "monthlyActiveUsers",
        "Monthly active users",
        PEOPLE,
        &[21],
        &["ActiveUsers.monthly", "ActiveUsersPoint.monthly"],
    ),
    row("stickiness", "Stickiness", FRACTION, &[21], &["ActiveUsers.stickiness", "ActiveUsersPoint.stickiness"]),
    row("cohortSize", "Size of a cohort", PEOPLE, &[23], &["RetentionCohort.size"]),
    row("retainedUsers", "Retained users", PEOPLE, &[23], &["RetentionCell.users"]),
    row("retentionRate", "Retention rate", FRACTION, &[23], &["RetentionCell.rate"]),
    row("logins", "Logins", EVENTS, &[22, 37], &["LoginStats.logins"]),
    row("loggedInUsers", "Users who logged in", PEOPLE, &[22, 37], &["LoginStats.users"]),
    row("loginFrequency", "Login frequency", "logins per person", &[37], &["LoginStats.frequency"]),
    row("eventsOfAType", "Events of a type", EVENTS, &[22, 37], &["CountPoint.events", "FeatureUse.events"]),
    row("usersOfAType", "Users of a type of event", PEOPLE, &[22, 37], &["CountPoint.users", "FeatureUse.users"]),
    row("usageShare", "Share of all events", FRACTION, &[37], &["FeatureUse.share"]),
    row("sessions", "Sessions", "sessions", &[36], &["SessionStats.sessions", "SessionPoint.sessions"]),
    row("sessionUsers", "Users with sessions", PEOPLE, &[36], &["SessionStats.users", "SessionPoint.users"]),
    row("sessionsPerUser", "Sessions per user", "sessions per person", &[36], &["SessionStats.perUser"]),
    row(
        "eventsPerSession",
        "Events per session",
        "events per session",
        &[36],
        &["SessionStats.eventsPerSession", "SessionPoint.eventsPerSession"],
    ),
    row(
        "averageSession",
        "Average session",
        MILLISECONDS,
        &[36, 37],
        &["SessionStats.averageMs", "SessionPoint.averageMs"],
    ),
    row(
        "medianSession",
        "Median session",
        MILLISECONDS,
        &[36, 37],
        &["SessionStats.medianMs", "SessionPoint.medianMs"],
    ),
    row("funnelUsers", "Users at a step", PEOPLE, &[36], &["FunnelStep.users"]),
    row("funnelRate", "Rate of a step", FRACTION, &[36], &["FunnelStep.rate"]),
    row("funnelStepRate", "Rate from step to step", FRACTION, &[36], &["FunnelStep.stepRate"]),
    row("funnelMedian", "Time between steps", MILLISECONDS, &[36], &["FunnelStep.medianMs"]),
    row("funnelMedianSinceFirst", "Time since the first step", MILLISECONDS, &[36], &["FunnelStep.medianSinceFirstMs"]),
    row("clicks", "Clicks", EVENTS, &[24], &["Conversion.clicks", "ConversionPoint.clicks"]),
    row("clickers", "Users who clicked", PEOPLE, &[24], &["Conversion.clickers"]),
    row("conversions", "Conversions", EVENTS, &[24], &["Conversion.conversions", "ConversionPoint.conversions"]),
    row("converters", "Users who converted", PEOPLE, &[24], &["Conversion.converters"]),
    row("sales", "Sales", EVENTS, &[24], &["Conversion.sales", "ConversionPoint.sales"]),
    row("buyers", "Users who bought", PEOPLE, &[24], &["Conversion.buyers"]),
    row(
        "conversionRate",
        "Conversion rate",
        "ratio of conversions to clicks",
        &[24],
        &["Conversion.conversionRate", "ConversionPoint.conversionRate"],
    ),
    row("userConversionRate", "User conversion rate", FRACTION, &[24], &["Conversion.userConversionRate"]),
    row(
        "salesRevenue",
        "Revenue of sales",
        "money, by currency",
        &[25],
        &["Conversion.revenue", "ConversionPoint.revenue"],
    ),
    row(
        "averageOrderValue",
        "Average order value",
        "money, by currency",
        &[25],
        &["Conversion.averageOrderValue", "ConversionPoint.averageOrderValue"],
    ),
    row("repeatRate", "Repeat rate", FRACTION, &[24], &["Conversion.repeatRate"]),
    row("userStreams", "Streams of a user", EVENTS, &[2], &["ListeningSummary.streams"]),
    row("userListeningTime", "Listening time of a user", MILLISECONDS, &[5], &["ListeningSummary.listeningTimeMs"]),
    row("streamsByHour", "Streams by hour of the day", EVENTS, &[2], &["ListeningSummary.byHourOfDay"]),
    row("streakDays", "Days in a row", "days", &[], &["ListeningSummary.streakDays"]),
    row("userSessions", "Sessions of a user", "sessions", &[36], &["ListeningSummary.sessions"]),
    row("userAverageSession", "Average session of a user", MILLISECONDS, &[37], &["ListeningSummary.averageSessionMs"]),
    row("revenue", "Revenue", "money, by currency", &[25], &["Metrics.revenue"]),
    row("netRevenue", "Net revenue", "money", &[25], &["Revenue.amount"]),
    row("grossRevenue", "Gross revenue", "money", &[25], &["Revenue.gross"]),
    row("refundedRevenue", "Refunded revenue", "money", &[25], &["Revenue.refunded"]),
    row("audience", "Audience", PEOPLE, &[16], &["Audience.total"]),
    row("activeListeners", "Active listeners", PEOPLE, &[17], &["Audience.active"]),
    row("previouslyActive", "Previously active listeners", PEOPLE, &[17], &["Audience.previouslyActive"]),
    row("programmed", "Programmed listeners", PEOPLE, &[15, 17], &["Audience.programmed"]),
    row("superListeners", "Super listeners", PEOPLE, &[18], &["Audience.superListeners"]),
    row("moderateListeners", "Moderate listeners", PEOPLE, &[18], &["Audience.moderate"]),
    row("lightListeners", "Light listeners", PEOPLE, &[18], &["Audience.light"]),
    row("newListeners", "New listeners", PEOPLE, &[19], &["Audience.newListeners"]),
    row("returning", "Returning listeners", PEOPLE, &[19], &["Audience.returning"]),
    row("reactivated", "Reactivated listeners", PEOPLE, &[19], &["Audience.reactivated"]),
    row("sharedListeners", "Shared listeners", PEOPLE, &[], &["Overlap.shared"]),
    row("shareOfThis", "Shared listeners of this artist's", FRACTION, &[], &["Overlap.shareOfThis"]),
    row("shareOfThat", "Shared listeners of the other artist's", FRACTION, &[], &["Overlap.shareOfThat"]),
    row("marketListeners", "Listeners of a market", PEOPLE, &[20], &["Market.listeners"]),
    row("marketStreams", "Streams of a market", EVENTS, &[20], &["Market.streams"]),
    row("listenerShare", "Listener share of a market", FRACTION, &[20], &["Market.listenerShare"]),
    row("streamShare", "Stream share of a market", FRACTION, &[20], &["Market.streamShare"]),
    row("affinity", "Affinity of a market", "ratio, 1 is as much as on the platform", &[20], &["Market.affinity"]),
    row("rank", "Rank", "place", &[], &["Rank.position", "RankingEdge.position"]),
    row("percentile", "Percentile", "0 to 100", &[], &["Rank.percentile"]),
    row("rankingShare", "Share of a ranking", FRACTION, &[], &["RankingEdge.share"]),
    row("timesUsual", "Times the usual", "ratio of streams a day", &[27], &["TrendingItem.timesUsual"]),
    row("trendScore", "Trend score", "logarithm to base 2", &[27], &["TrendingItem.score"]),
    row("trendListeners", "Listeners of a trend", PEOPLE, &[27], &["TrendingItem.listeners"]),
    row("releaseStreams", "Streams since release", EVENTS, &[13], &["ReleasePoint.streams"]),
    row("directReleaseStreams", "Direct streams since release", EVENTS, &[13], &["ReleasePoint.directStreams"]),
    row("releaseListeners", "Listeners since release", PEOPLE, &[6], &["ReleasePoint.listeners"]),
    row("chartPosition", "Chart position", "place", &[26], &["ChartEntry.position"]),
    row("previousChartPosition", "Previous chart position", "place", &[26], &["ChartEntry.previousPosition"]),
    row("chartChange", "Chart change", "places", &[26], &["ChartEntry.change"]),
    row("peakPosition", "Peak position", "place", &[26], &["ChartEntry.peakPosition"]),
    row("periodsOnChart", "Periods on chart", "charts", &[26], &["ChartEntry.periodsOnChart"]),
    row("streak", "Streak", "charts", &[26], &["ChartEntry.streak"]),
    row("chartStreams", "Streams of the period", EVENTS, &[26], &["ChartEntry.value"]),
    row("likeness", "Score of a recommendation", FRACTION, &[28], &["Recommendation.score"]),
    row("support", "Listeners in common", PEOPLE, &[28], &["Recommendation.support"]),
    row("recallAt20", "Recall at 20", FRACTION, &[], &["MethodQuality.recall20"]),
    row("ndcgAt10", "NDCG at 10", FRACTION, &[], &["MethodQuality.ndcg10"]),
    row("ndcgAt100", "NDCG at 100", FRACTION, &[], &["MethodQuality.ndcg100"]),
    row("coverageAt10", "Coverage at 10", FRACTION, &[], &["MethodQuality.coverage10"]),
    row("noveltyAt10", "Novelty at 10", "bits", &[], &["MethodQuality.novelty10"]),
    row("listenersNow", "Listeners now", PEOPLE, &[], &["Realtime.listenersNow"]),
    row("playsPerMinute", "Plays per minute", "events per minute", &[1], &["Realtime.playsPerMinute"]),
];

/// What a number means.
#[derive(Debug, Clone, SimpleObject)]
pub struct Definition {
    /// Its name for programs; it stays when texts change.
    key: &'static str,
    /// Its name for people.
    title: &'static str,
    /// What it means, to the letter: the schema's description of the first field in `foundIn`.
    text: String,
    /// What it is counted in.
    unit: &'static str,
    /// The numbers of the lines in the platform's definitions that fix it; empty where it is the service's own.
    numbers: Vec<i32>,
    /// The fields of the schema that hold it, and the enum value that asks for it, as `Type.name`.
    found_in: Vec<&'static str>,
    /// The version of all definitions together: it changes with any of them.
    version: &'static str,
}

/// Every metric's definition, in the order of the platform's definitions.
pub fn definitions() -> Vec<Definition> {
    let of_row = |(row, text): (&'static Row, &String)| Definition {
        key: row.key,
        title: row.title,
        text: text.clone(),
        unit: row.unit,
        numbers: row.numbers.to_vec(),
        found_in: row.found_in.to_vec(),
        version: version(),
    };
    ROWS.iter().zip(&DEFINED.texts).map(of_row).collect()
}

/// The version of all definitions together: a hash of what they say.
pub fn version() -> &'static str {
    &DEFINED.version
}

struct Defined {
    /// The rows' texts, in their order.
    texts: Vec<String>,
    version: String,
}

static DEFINED: LazyLock<Defined> = LazyLock::new(|| {
    let descriptions = descriptions();
    let text = |row: &Row| descriptions.get(row.found_in[0]).cloned().unwrap_or_default();
    let texts: Vec<String> = ROWS.iter().map(text).collect();
    let mut hash = Sha256::new();
    for (row, text) in ROWS.iter().zip(&texts) {
        for part in [row.key, row.title, row.unit, text] {
            hash.update(part);
            hash.update([0]);
        }
    }
    let version = hash.finalize()[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    Defined { texts, version }
});

/// The descriptions of the schema's fields by `Type.field`.
fn descriptions() -> HashMap<String, String> {
    let document = parse_schema(super::sdl()).expect("our own schema, as we print it");
    let mut descriptions = HashMap::new();
    for definition in document.definitions {
        let TypeSystemDefinition::Type(definition) = definition else { continue };
        let TypeKind::Object(object) = &definition.node.kind else { continue };
        for field in &object.fields {
            let FieldDefinition { name, description, .. } = &field.node;
            if let Some(description) = description {
                let text: Vec<&str> = description.node.split_whitespace().collect();
                descriptions.insert(format!("{}.{}", definition.node.name.node, name.node), text.join(" "));
            }
        }
    }
    descriptions
}
