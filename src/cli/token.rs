//! `backbeat token`

use std::{path::Path, process::ExitCode};

use super::Failure;
use crate::{
    auth::{self, Claims},
    config::{self, KeyNeed},
    domain::{
        clock::{Clock, SystemClock},
        viewer::Role,
    },
};

/// Make a token, signed with JWT_SECRET.
///
/// The token goes to standard output and nothing else does:
///
///   TOKEN=$(backbeat token --role admin)
///   curl -H "Authorization: Bearer $TOKEN" …
#[derive(Debug, clap::Args)]
pub struct TokenArguments {
    /// What the bearer may do: admin sees everything, artist their own catalogue, listener what is
    /// public, service sends events.
    #[arg(long, value_parser = ["admin", "artist", "listener", "service"])]
    role: String,
    /// An artist id that is the bearer's own; repeat it for several. Needed for the role artist.
    #[arg(long = "artist", value_name = "ID")]
    artists: Vec<String>,
    /// Whom the token is for; the role's name if left out.
    #[arg(long, value_name = "ID")]
    subject: Option<String>,
    /// How long it works: a number with s, m, h or d.
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = ttl)]
    ttl: i64,
    /// The namespace of the event ids that the bearer sends, for a sender whose ids are not unique on
    /// the platform: the same id from two sources is two events.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
}

fn ttl(text: &str) -> Result<i64, String> {
    let (number, unit) = text.split_at(text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic()).len());
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("use s, m, h or d, as in 90m".to_owned()),
    };
    let number: i64 = number.parse().map_err(|_| "is not a number with a unit, as in 90m".to_owned())?;
    number.checked_mul(seconds).filter(|ttl| *ttl != 0).ok_or_else(|| "is not a length of time".to_owned())
}

pub fn run(config: Option<&Path>, arguments: TokenArguments) -> Result<ExitCode, Failure> {
    let settings = config::load(config, KeyNeed::Optional)?;
    let secret = settings
        .auth
        .secret
        .as_ref()
        .ok_or_else(|| Failure("set JWT_SECRET, or use the issuer whose public key the service has".to_owned()))?;
    let role = Role::from_word(&arguments.role).ok_or_else(|| Failure("unknown role".to_owned()))?;
    if role == Role::Artist && arguments.artists.is_empty() {
        return Err(Failure("the role artist needs --artist ID".to_owned()));
    }
    let now_s = SystemClock.now_ms() / 1_000;
    let claims = Claims {
        sub: arguments.subject.unwrap_or_else(|| role.word().to_owned()),
        iss: settings.auth.issuer.clone(),
        aud: settings.auth.audience.clone(),
        exp: now_s + arguments.ttl,
        iat: now_s,
        role: role.word().to_owned(),
        artists: arguments.artists,
        source: arguments.source,
    };
    println!("{}", auth::sign(&claims, secret));
    Ok(ExitCode::SUCCESS)
}
